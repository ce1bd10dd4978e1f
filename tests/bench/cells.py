"""What is measured: each cell has a name, a load, and what mailnode must reach in it.

An aim is a ratio to a peer in the same run, or a figure. Those of Dovecot are to the better of
the two Dovecots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import evolve, frozen

DOVECOTS = ("dovecot", "dovecot-tuned")
TWO = "mailnode-2"  # of two processes
NOBODY_DEAD = "mailnode, nobody dead"  # the other half of each pair


@frozen
class Aim:
    """What mailnode must reach.

    Attributes:
        figure: a key of the cell's records.
        against: peers; the best of them counts. () compares with `bound` itself.
        least: whether the bound is the least, not the most.
        by: who must reach it.
    """

    figure: str
    bound: float
    against: tuple[str, ...] = ()
    least: bool = True
    by: str = "mailnode"


def times(bound: float, *against: str, figure: str = "arrived_rate", by: str = "mailnode") -> Aim:
    return Aim(figure, bound, against, by=by)


def under(bound: float, *against: str, figure: str = "cpu_1000") -> Aim:
    return Aim(figure, bound, against, least=False)


@frozen
class Boxes:
    """Mailboxes that are filled before POP3 is measured."""

    first_user: int
    users: int
    mails: int
    octets: int


@frozen
class Cell:
    """One thing to measure.

    Attributes:
        load: arguments of the load generator.
        figure: the key of a record that the ratio and the chart show.
        boxes: which mailboxes must be filled.
        bare: the program that does this step alone, for what a server on Twisted can't undercut.
    """

    name: str
    kind: str
    about: str
    load: tuple[str, ...] = ()
    figure: str = ""
    unit: str = ""
    aims: tuple[Aim, ...] = ()
    boxes: Boxes | None = None
    bare: str = ""

    @property
    def timed(self) -> bool:
        """Whether the run says how long, not the load how many."""
        return not {"-m", "-n"} & set(self.load)

    @property
    def is_tls(self) -> bool:
        return self.name.endswith(TLS)


TLS = "-tls"


def _smtp(name: str, about: str, load: str, *aims: Aim, bare: str = "bare-rows") -> Cell:
    how = tuple(load.split())
    return Cell(name, "smtp", about, how, "arrived_rate", "mails/s", aims, bare=bare)


def _relay(name: str, about: str, load: str) -> Cell:
    aim = times(3, "postfix", figure="relayed_rate")
    return Cell(name, "relay", about, tuple(load.split()), aim.figure, "mails/s", (aim,))


def _pop3(
    name: str, about: str, load: str, figure: str, unit: str, boxes: Boxes, *aims: Aim
) -> Cell:
    return Cell(name, "pop3", about, tuple(load.split()), figure, unit, aims, boxes, "bare-pop3")


_SMALL = Boxes(0, 20, 1000, 4096)
_MIDDLE = Boxes(20, 20, 100, 100 << 10)
_LARGE = Boxes(40, 20, 10, 5 << 20)
_LONG = Boxes(60, 1, 100_000, 512)
_ALL_SMALL = "-s 20 -n 20 -U 0 -u 20 -x"
_ALL_MIDDLE = "-s 20 -n 20 -U 20 -u 20 -x"
_ALL_LARGE = "-s 20 -n 20 -U 40 -u 20 -x"


def _retr(name: str, about: str, load: str, boxes: Boxes, least: float) -> Cell:
    figure, unit = ("mail_rate", "mails/s") if boxes is _SMALL else ("mib_rate", "MiB/s")
    aims = [times(least, *DOVECOTS, figure=figure)]
    if boxes is _SMALL:
        aims += [under(1.0, *DOVECOTS), times(1.1, *DOVECOTS, figure=figure, by=TWO)]
    return _pop3(name, about, load, figure, unit, boxes, *aims)


_PLAIN = (
    _smtp("a20", "4 KiB, new connection, 20 sessions", "-s 20",
          times(3, "postfix"), under(0.5)),
    _smtp("a100", "4 KiB, new connection, 100 sessions", "-s 100", times(8, "postfix")),
    _smtp("k20", "4 KiB, kept connection, 20 sessions", "-s 20 -k",
          times(5, "postfix"), times(2, "nodemailer"), under(0.3)),
    _smtp("k100", "4 KiB, kept connection, 100 sessions", "-s 100 -k", times(10, "postfix")),
    _smtp("p20", "4 KiB, kept connection, pipelined, 20 sessions", "-s 20 -k -P",
          times(7, "postfix")),
    _smtp("m100k", "100 KiB, kept connection, 20 sessions", "-s 20 -k -l 102400",
          times(3, "postfix"), times(1.1, "nodemailer"), under(1.0)),
    _smtp("m5m", "5 MiB, kept connection, 8 sessions", "-s 8 -k -l 5242880",
          times(1.5, "postfix"), under(25), bare="bare-file"),
    _smtp("r10", "4 KiB to 10 recipients, kept connection, 20 sessions", "-s 20 -k -r 10",
          times(10, "postfix")),
    _smtp("r10P", "the same, pipelined", "-s 20 -k -r 10 -P", times(20, "postfix")),
    _pop3("stat1k", "sign in and STAT, 1,000 mails, 20 sessions", "-s 20 -S -U 0 -u 20",
          "session_rate", "sign-ins/s", _SMALL, times(2, *DOVECOTS, figure="session_rate")),
    _retr("retr4k", "RETR of 1,000 x 4 KiB, one by one, 20 users", _ALL_SMALL, _SMALL, 0.8),
    _retr("retr4kP", "the same, 50 at a time", f"{_ALL_SMALL} -P 50", _SMALL, 0.8),
    _retr("retr100k", "RETR of 100 x 100 KiB, one by one, 20 users", _ALL_MIDDLE, _MIDDLE, 1.1),
    _retr("retr100kP", "the same, 50 at a time", f"{_ALL_MIDDLE} -P 50", _MIDDLE, 1.1),
    _retr("retr5m", "RETR of 10 x 5 MiB, one by one, 20 users", _ALL_LARGE, _LARGE, 1.0),
    _retr("retr5mP", "the same, pipelined", f"{_ALL_LARGE} -P 50", _LARGE, 1.0),
)  # fmt: skip


def _inside_tls(cell: Cell) -> Cell:
    name, load = cell.name + TLS, (*cell.load, "-Z")
    about = {"smtp": "with STARTTLS", "pop3": "with STLS"}[cell.kind]
    return evolve(cell, name=name, about=f"{cell.about}, {about}", load=load, aims=(), bare="")


_MORE = (
    Cell("crowd500", "smtp", "500 clients connect at the same moment, a mail each",
         ("-s", "500", "-m", "500", "-A", "-t", "30"), "arrived_rate", "mails/s",
         (under(0, figure="failed"),)),
    Cell("steady500", "smtp", "500 mails a second are offered, new connection, 100 sessions",
         ("-s", "100", "-R", "500"), "p99_ms", "ms until the 250, p99"),
    Cell("arrival", "arrival", "one mail at a time: until the 250, and until it is in the mailbox",
         figure="arrived_p50_ms", unit="ms"),
    Cell("first", "first", "the first sign-in: argon2id, 20 sessions",
         ("-s", "20", "-S", "-n", "60"), "session_rate", "sign-ins/s",
         (times(1 / 1.2, "argon2id", figure="session_rate"),)),
    Cell("list100k", "pop3", "LIST and UIDL of 100,000 mails, 1 session",
         ("-s", "1", "-n", "3", "-L", "-U", "60", "-u", "1"), "uidl_p50_ms", "ms", (), _LONG),
    _relay("relay", "4 KiB, kept connection, 20 sessions, on to one host elsewhere", "-s 20 -k"),
    _relay("relay100", "the same, 100 sessions", "-s 100 -k"),
    Cell("flushes", "flushes", "flushes to the disk for each mail"),
    Cell("idle", "idle", "10,000 idle connections", (), "kib_each", "KiB each",
         (under(110 << 20, figure="octets"), under(6, figure="kib_each"),
          under(2, figure="latency_ratio"))),
    Cell("idle-tls", "idle", "10,000 idle connections inside TLS", ("-Z",),
         "kib_each", "KiB each"),
    Cell("queue200k", "queue", "200,000 recipients in the queue, 10 a mail, 2,000 hosts",
         (), "list_s", "s",
         (under(150 << 20, figure="resident"), under(1, figure="list_s"))),
    Cell("dead50k", "queue", "50 mails a second to a host that lives, and 50,000 recipients due at"
         " one that does not", (), "delay_p50_ms", "ms",
         (under(1.5, NOBODY_DEAD, figure="delay_p50_ms"),
          under(2, NOBODY_DEAD, figure="delay_p99_ms"))),
    Cell("boxes", "growth", "mailboxes of 10, 1,000 and 100,000 mails"),
    Cell("accounts", "growth", "100, 1,000 and 10,000 accounts"),
    Cell("alias", "growth", "an alias to 1, 10, 100 and 1,000 mailboxes"),
    Cell("store", "growth", "a store that grows"),
)  # fmt: skip

CELLS: Mapping[str, Cell] = {
    cell.name: cell for cell in (*_PLAIN, *map(_inside_tls, _PLAIN), *_MORE)
}


def choose(words: Iterable[str]) -> list[Cell]:
    """Cells by name or by kind (smtp, relay, queue, pop3, tls, growth, idle); all without a word.

    Raises:
        KeyError: with the word that names none.
    """
    chosen: dict[str, Cell] = {}
    for word in words:
        found = [
            cell
            for cell in CELLS.values()
            if word == cell.name
            or (word == "tls" and cell.is_tls)
            or (word == cell.kind and not cell.is_tls)
        ]
        if not found:
            raise KeyError(word)
        chosen |= {cell.name: cell for cell in found}
    return list(chosen.values()) or list(CELLS.values())
