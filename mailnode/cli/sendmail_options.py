"""Options as sendmail has them: letters, bundled or not, their values behind them or next."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from mailnode.cli.frame import EX_USAGE, Mistake

# Of sendmail and those that stand in for it; what is not told here means nothing to us.
_WITH_VALUE = frozenset("ABbCDFfhLMNOopRrVX")
_ALONE = frozenset("cGiImnstTUvx")
_MAYBE = frozenset("deq")  # the value stands right behind, or there is none
_NOTIFY = frozenset(("SUCCESS", "FAILURE", "DELAY"))
_REFUSED = {
    "a": "ARPANET mode is long gone",
    "d": "this is no daemon: mail comes in by `twistd mailnode`",
    "D": "this is no daemon: mail comes in by `twistd mailnode`",
    "i": "there is no file of aliases: `mailnode alias` changes a node's at once",
    "s": "it speaks no SMTP on standard input: a program that wants to can speak it with the node",
    "t": "it tests no addresses",
    "v": "it verifies no addresses: `mailnode route test` says where one leads",
}


@define
class Wanted:
    """What the options ask for.

    Attributes:
        mode: "m" deliver, "p" list the spool, "q" run it.
        keep: spool the mail and try nothing now.
        sender: as it was said; None for not said.
        full_stop: whether a full stop alone on a line ends the mail.
    """

    mode: str = "m"
    recipients: tuple[str, ...] = ()
    from_header: bool = False
    full_stop: bool = True
    keep: bool = False
    verbose: bool = False
    sender: str | None = None
    name: str = ""
    settings: str = ""
    notify: str = ""
    ret: str = ""
    envid: str = ""


def read_options(words: Sequence[str], called: str = "") -> Wanted:
    """What a command line asks for; the first word that is no option is a recipient.

    Args:
        called: by which name the program was; `mailq` lists the spool.

    Raises:
        Mistake: what can't be done here, 64.
    """
    wanted = Wanted(mode="p" if called == "mailq" else "m")
    if called == "newaliases":
        raise _refusal("-bi", _REFUSED["i"])
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            at += 1
            break
        if len(word) < 2 or not word.startswith("-"):
            break
        at += 1
        if word.startswith("--"):
            raise _refusal(word, "sendmail's options are letters")
        at += _read_word(wanted, word, words[at] if at < len(words) else None)
    wanted.recipients = tuple(words[at:])
    return wanted


def _read_word(wanted: Wanted, word: str, following: str | None) -> int:
    """Whether the word behind belongs to this one: 0 or 1."""
    for place, letter in enumerate(word[1:], 1):
        behind = word[place + 1 :]
        if letter in _WITH_VALUE:
            if not behind and following is None:
                raise Mistake(f"-{letter} wants something behind it", EX_USAGE)
            _take(wanted, letter, behind or str(following))
            return 0 if behind else 1
        if letter in _MAYBE:
            _take(wanted, letter, behind)
            return 0
        if letter not in _ALONE:
            raise Mistake(f"there is no option -{letter}", EX_USAGE)
        _take(wanted, letter, "")
    return 0


def _take(wanted: Wanted, letter: str, value: str) -> None:
    if letter == "f" or letter == "r":
        wanted.sender = value
    elif letter == "F":
        wanted.name = value
    elif letter == "t":
        wanted.from_header = True
    elif letter == "i":
        wanted.full_stop = False
    elif letter == "v":
        wanted.verbose = True
    elif letter == "C":
        wanted.settings = value
    elif letter == "V":
        wanted.envid = value
    elif letter == "R":
        wanted.ret = _ret(value)
    elif letter == "N":
        wanted.notify = _notify(value)
    elif letter == "q":
        _take_run(wanted, value)
    elif letter == "b":
        _take_mode(wanted, value)
    elif letter == "I":
        raise _refusal("-I", _REFUSED["i"])
    elif letter == "o":
        _take_setting(wanted, value[:1], value[1:])
    elif letter == "O":
        name, _, said = value.partition("=")
        short = {"ignoredots": "i", "deliverymode": "d"}.get(name.strip().casefold(), "")
        _take_setting(wanted, short, said.strip())


def _take_run(wanted: Wanted, value: str) -> None:
    if value:
        raise _refusal(f"-q{value}", "this is no daemon: let a timer run `sendmail -q`")
    wanted.mode = "q"


def _take_mode(wanted: Wanted, value: str) -> None:
    if value in ("m", "p"):
        wanted.mode = value
    else:
        raise _refusal(f"-b{value}", _REFUSED.get(value, "there is no such mode here"))


def _take_setting(wanted: Wanted, letter: str, value: str) -> None:
    """-oX and -O: those that we know; the others are for sendmail's own doings."""
    if letter == "i":
        wanted.full_stop = value.casefold() in ("false", "f", "no", "n")
    elif letter == "d":
        wanted.keep = value[:1] in ("q", "d")


def _ret(value: str) -> str:
    found = {"full": "FULL", "hdrs": "HDRS"}.get(value.casefold())
    if found is None:
        raise Mistake(f"-R {value}: it is full or hdrs", EX_USAGE)
    return found


def _notify(value: str) -> str:
    words = [each.strip().upper() for each in value.split(",")]
    if words != ["NEVER"] and not set(words) <= _NOTIFY:
        raise Mistake(f"-N {value}: it is never, or some of success,failure,delay", EX_USAGE)
    return ",".join(words)


def _refusal(option: str, why: str) -> Mistake:
    return Mistake(f"{option} is not done here: {why}", EX_USAGE)
