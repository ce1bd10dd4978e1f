"""Why a mail was judged so, in plain words."""

from __future__ import annotations

from attrs import frozen

# What the name of each kind is called; those of kind "form" are called by themselves.
_CALLED = {
    "word": 'the word "{}"',
    "subject": '"{}" in the subject',
    "from": '"{}" in the name of the sender',
    "sender": "the sender {}",
    "sender @": "a sender at {}",
    "sender .": "a sender under .{}",
    "link": "a link to {}",
    "link .": "a link under .{}",
    "part": "a part of kind {}",
    "charset": "the character set {}",
    "file": "a file that ends in {}",
    "tag": "<{}> in its page",
    "fact": "what was found: {}",
}
FORMS = {
    "form no subject": "that it has no subject",
    "form subject in capitals": "a subject in capitals",
    "form several senders": "several senders",
    "form no sender": "that it names no sender",
    "form answers go elsewhere": "answers that go to another domain than its sender's",
    "form to nobody": "that it is addressed to nobody",
    "form to one": "that it is addressed to one",
    "form to a few": "that it is addressed to a few",
    "form to many": "that it is addressed to many",
    "form text in base64": "text in base64",
    "form a file": "a file with an odd name",
    "form several exclamation marks": 'exclamation marks in a row ("!!")',
    "form hardly any text": "that it has hardly any text",
    "form hidden text": "text in its page that is not to be seen",
    "form link with a name before its host": "a link with a name before its host",
    "form link to a number": "a link to a number instead of a name",
}


@frozen
class Reason:
    """One thing that spoke for a judgement or against it.

    Attributes:
        words: such as 'the word "viagra" (in 812 of 818 unwanted mails, in 1 of 2,550 wanted)'.
        weight: in log-odds; above 0 it speaks for an unwanted mail, below 0 for a wanted one.
    """

    words: str
    weight: float


def say(
    name: str,
    weight: float,
    seen: tuple[int, int] = (0, 0),
    of: tuple[int, int] = (0, 0),
    by_account: bool = False,
) -> Reason:
    """The reason that a name gives.

    Args:
        seen: in how many wanted and unwanted mails it stood.
        of: how many of these were learned from.
        by_account: they are mails of the reader.
    """
    if not any(seen):
        return Reason(f"{called(name)} (not seen before)", weight)
    your = "your " if by_account else ""
    sides = [
        f"in {_number(min(seen[1], of[1]))} of {your}{of[1]:,} unwanted mails",
        f"in {_number(min(seen[0], of[0]))} of {your}{of[0]:,} wanted ones",
    ]
    return Reason(f"{called(name)} ({', '.join(sides if weight > 0 else sides[::-1])})", weight)


def called(name: str) -> str:
    """What a person calls that name."""
    if form := FORMS.get(name):
        return form
    kind, _, what = name.partition(" ")
    if kind in ("sender", "link") and what[:1] in ("@", "."):
        kind, what = f"{kind} {what[0]}", what[1:]
    return _CALLED.get(kind, "{}").format(what)


def _number(count: int) -> str:
    return f"{count:,}" if count else "none"
