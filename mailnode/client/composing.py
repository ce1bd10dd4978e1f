"""A draft as a letter that can be handed to a server."""

from __future__ import annotations

from attrs import frozen

from mailnode.client.submission import Letter
from mailnode.composing.drafts import Draft
from mailnode.composing.mails import Composed, compose


@frozen
class Made:
    """A mail that is ready to leave."""

    mail: Composed
    letter: Letter

    @property
    def message_id(self) -> str:
        return self.mail.message_id


def make_letter(draft: Draft) -> Made:
    """The mail, and whom it is for.

    Raises:
        OSError: a file can't be read.
    """
    mail = compose(draft)
    letter = Letter(
        sender=str(draft.sender.address),
        recipients=tuple(str(each.address) for each in draft.recipients),
        size_octets=mail.size_octets,
        open=mail.open,
        smtputf8=mail.smtputf8,
        eight_bit=mail.smtputf8,
    )
    return Made(mail, letter)
