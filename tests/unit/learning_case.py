"""Mails of two kinds to learn from, made of words that each kind has more often."""

from __future__ import annotations

import random
from pathlib import Path

from mailnode.learning.features import Likeness, likeness_of
from mailnode.learning.model import UNWANTED, WANTED, Model
from mailnode.store.models import NODE, ModelFiles

BITS = 14
COMMON = [f"common{at:c}" for at in range(97, 123)]
GOOD = "meeting draft patch kernel lunch regards thread compile minutes agenda".split()
BAD = "viagra casino winner lottery refinance pills unsubscribe guarantee credit debt".split()


def mail(text: str, *, subject: str = "Hello there", sender: str = "a@example.org") -> bytes:
    head = f"From: {sender}\r\nTo: b@example.test\r\nSubject: {subject}\r\n\r\n"
    return (head + text + "\r\n").encode()


def some(kind: str, count: int, seed: int = 1) -> list[Likeness]:
    """Mails of a kind, no two alike."""
    chance, made = random.Random(f"{kind}{seed}"), []
    own, other = (BAD, GOOD) if kind == UNWANTED else (GOOD, BAD)
    for number in range(count):
        words = chance.sample(COMMON, 12) + chance.sample(own, 4) + chance.sample(other, 1)
        chance.shuffle(words)
        name = f"{kind[0]}{chance.choice('abcdefgh')}"
        number_word = "".join(chr(97 + int(digit)) for digit in f"{seed}{number:04}")
        text = " ".join([*words, number_word])
        made.append(likeness_of(mail(text, sender=f"{name}@{kind}.example")))
    return made


def taught(count: int = 40, bits: int = BITS) -> Model:
    """A model that knows so many of each kind, in turn."""
    model = Model.empty(bits)
    for good, bad in zip(some(WANTED, count), some(UNWANTED, count), strict=True):
        model.train(good, WANTED)
        model.train(bad, UNWANTED)
    return model


def teach(data: Path, account_id: int = NODE, count: int = 12) -> None:
    """A node's model, or that of an account, has learned so many mails of each kind."""
    with ModelFiles(data).changing() as changing:
        assert changing is not None
        for number in range(count):
            own = f"q{chr(97 + number)}"
            for words, label in ((BAD, UNWANTED), (GOOD, WANTED)):
                changing.teach(account_id, likeness_of(mail(" ".join([*words, own]))), label)
        changing.write(account_id)
