"""The mail that tells an account of a sign-in from elsewhere, or of a change, in plain words."""

from __future__ import annotations

import time
from email.message import EmailMessage
from email.utils import formatdate
from textwrap import fill

from mailnode.addresses import Address
from mailnode.audited import Entry
from mailnode.mime import WRITTEN, WRITTEN_UTF8
from mailnode.store.seen_rows import ALL, SIGN_INS

WIDTH = 72

_SUBJECTS = {
    "signed-in": "A new sign-in to your account",
    "password-changed": "Your password was changed",
    "factor-added": "A second factor was added to your account",
    "factor-removed": "A second factor was removed from your account",
    "recovery-codes-made": "New recovery codes were made for your account",
    "token-made": "A token or app password was made for your account",
}
_ASK = (
    "If it was not: somebody else can read your mail now. Ask the administrator of your mail server"
    " at once for a new password, by telephone or in person."
)
_CHANGE = (
    "If it was not: sign in to the web of your mail server and open the settings. Change the"
    " password there: that signs out everybody else, and ends all tokens and app passwords. Then"
    ' look at "Recent sign-ins", and remove second factors that are not yours.'
)
_REST = "whatever else happens: the settings show the rest. "
_LAST = {
    "": "",
    SIGN_INS: f"This is the last mail of today about {SIGN_INS}, {_REST}",
    ALL: f"This is the last such mail of today, {_REST}",
}
_WRITTEN_BY = "This mail was written by the server; it does not ask for any password."
_WAYS = {"web": "on the web, by a browser", "pop3": "by POP3", "smtp": "by SMTP"}


def make_notice(
    entry: Entry, *, to: Address, sender: Address, mail_id: str, hostname: str, last: str = ""
) -> bytes:
    """Header and body: CRLF lines.

    Args:
        entry: of an account's, with an event that is told.
        last: of what no more are sent today (`seen_rows.Notice`).
    """
    is_ascii = f"{to}{sender}".isascii()
    mail = EmailMessage(policy=WRITTEN if is_ascii else WRITTEN_UTF8)
    mail["Date"] = formatdate(entry.at, localtime=True)
    mail["From"] = f"Mail server {hostname} <{sender}>"
    mail["To"] = f"<{to}>"
    mail["Subject"] = _SUBJECTS[entry.event]
    mail["Message-ID"] = f"<{mail_id}@{hostname}>"
    mail["Auto-Submitted"] = "auto-generated"
    said = (_happened(entry), _facts(entry, to), *_what_to_do(entry), _end(last))
    mail.set_content("\n\n".join(said) + "\n")
    return mail.as_bytes()


def _happened(entry: Entry) -> str:
    if entry.event == "signed-in":
        new = "a browser" if entry.detail.get("device") else "an address"
        return f"Somebody signed in to your mail account from {new} that is new:"
    return f"{_SUBJECTS[entry.event]}:"


def _facts(entry: Entry, to: Address) -> str:
    """A line each, that reads well in whatever letters it is shown."""
    actor, detail = entry.actor, entry.detail
    facts = [("account", str(to))]
    facts += [("when", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry.at)))]
    facts += [("from", actor.client or "the server itself")]
    if entry.event == "signed-in":
        service, by, name = actor.way.partition(" by ")
        facts.append(("how", _WAYS.get(service, service) or "unknown"))
        if by:
            facts.append(("with", f"the app password {name}"))
    elif actor.by and actor.by != entry.account:
        facts.append(("by", f"{actor.by}, who looks after the server"))
    elif actor.way:
        facts.append(("how", _WAYS.get(actor.way, actor.way)))
    for name in ("name", "factor", "kind"):
        if name in detail:
            facts.append((name, str(detail[name])[:100]))
    if "scopes" in detail:
        scopes = detail["scopes"]
        may = ", ".join(map(str, scopes)) if isinstance(scopes, list) else str(scopes)
        facts.append(("may", may[:100]))
    return "\n".join(f"    {name}: {value}" for name, value in facts)


def _what_to_do(entry: Entry) -> list[str]:
    known = "If that was you, or somebody you asked, there is nothing to do."
    if entry.event == "password-changed":
        return [known, fill(_ASK, WIDTH)]
    return [known, fill(_CHANGE, WIDTH)]


def _end(last: str) -> str:
    return fill(f"{_LAST[last]}{_WRITTEN_BY}", WIDTH)
