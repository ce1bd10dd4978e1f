"""Which passwords may be set: long enough, hard to guess, nobody's name, none of before.

The same for the command line, the web and the API. It takes up to half a second: not for the
reactor thread. A demo account's password is published and may be any.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

from attrs import define, field

from mailnode.cred.hashes import password_matches
from mailnode.errors import WeakPassword

if TYPE_CHECKING:
    from mailnode.addresses import Address
    from mailnode.settings import PasswordSettings

MOST_CHARACTERS = 1000
JUDGED_CHARACTERS = 40  # zxcvbn takes a third of a second for so many, and the cube of it for more


@define(eq=False)
class PasswordPolicy:
    """What is asked of a new password.

    Args:
        settings: [passwords] as it stands now.
    """

    _settings: Callable[[], PasswordSettings]
    _one_at_a_time: Lock = field(factory=Lock, init=False)  # zxcvbn keeps names in its module

    def judge(self, password: str, address: Address, former: Sequence[str] = ()) -> None:
        """It may be set.

        Args:
            former: hashes of the account's passwords, the latest, which it has now, first.

        Raises:
            WeakPassword: it may not; the text says why, and what would be better.
        """
        require_text(password)
        settings = self._settings()
        if len(password) < settings.least_characters:
            raise WeakPassword(f"A password has at least {settings.least_characters} characters")
        if password.casefold() in (str(address).casefold(), address.local.casefold()):
            raise WeakPassword("A password is not the name of its account")
        if settings.least_score:
            self._require_score(password, address, settings.least_score)
        for known in former[: settings.remembered]:
            if known and password_matches(known, password):
                raise WeakPassword(
                    "This account has or had that password already: choose one that is new"
                )

    def _require_score(self, password: str, address: Address, least: int) -> None:
        from zxcvbn import zxcvbn  # its lists of words are 2 MB that few processes need

        names = [address.local, address.domain, *address.domain.split("."), str(address)]
        with self._one_at_a_time:
            found = zxcvbn(password[:JUDGED_CHARACTERS], [*names, "mailnode"])
        if found["score"] < least:
            raise WeakPassword(f"That password is easy to guess{_advice(found['feedback'])}")


def require_text(password: str) -> None:
    """Raises WeakPassword: it is blank, or no line of text."""
    if not password.strip():
        raise WeakPassword("The password is empty or blank")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in password):
        raise WeakPassword("The password holds a control character")
    if len(password) > MOST_CHARACTERS:
        raise WeakPassword(f"A password has at most {MOST_CHARACTERS:,} characters")


def _advice(feedback: dict[str, Any]) -> str:
    told = [feedback["warning"], *feedback["suggestions"]]
    said = " ".join(part if part.endswith(".") else f"{part}." for part in told if part)
    return f". {said.removesuffix('.')}" if said else ""
