"""Keeps what is known of those who guess, takes up bans, and tells of both.

Who bans or lifts tells the audit stream: a ban that is found in the file has been told.

One process of a node owns the file and decides who is blocked: the node, or the supervisor of
several. Workers are told what failed elsewhere and who is blocked, and read the bans themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mailnode.audited import Actor, Entry
from mailnode.cred.guessing import Asked, Blocked, Guesses
from mailnode.errors import MailError
from mailnode.events import Banned, Event, Unbanned
from mailnode.networks import read_network, short
from mailnode.store.guard import (
    Ban,
    Block,
    GuardFile,
    Kept,
    ban_detail,
    lifted_detail,
)
from mailnode.threads import Threads

if TYPE_CHECKING:
    from mailnode.house import House
    from mailnode.store.audit import Audit
    from mailnode.store.directory import LiveDirectory

BELL = "bans"
LOOK_EVERY = 5  # seconds
TRIM_EVERY = 3600
TOLD_EVERY_S = 60.0
DECIDED_BY_NODE = "mailnode"

Told = tuple[list[list[Any]], list[list[Any]], list[list[Any]]]

_log = Logger(namespace="mailnode")


@define(eq=False)
class Guard:
    """Of one process.

    Args:
        owns: whether it writes the file and decides who is blocked.

    Attributes:
        guesses: what the portal asks.
        bans: by administrators, those that are over included for a moment.
        on_blocked: hears of each block, one for no time being lifted.
    """

    guesses: Guesses
    owns: bool
    _file: GuardFile
    _threads: Threads
    _directory: LiveDirectory
    _tell: Callable[[Event], object]
    _audit: Audit
    _ring: Callable[[str], object]
    bans: list[Ban] = field(factory=list, init=False)
    on_blocked: Callable[[Blocked], object] = field(default=lambda blocked: None, init=False)
    _seconds: int = field(default=0, init=False)
    _working: Deferred[None] | None = field(default=None, init=False)
    _told_at: float = field(default=float("-inf"), init=False)

    @classmethod
    def of(cls, house: House, *, owns: bool) -> Guard:
        """Of a house whose files are open; it reads what was kept."""
        data = house.config.data_path
        guesses = Guesses(
            house.reactor, house.due.wall, house.seal.secret_for(b"guard"), decides=owns
        )
        guesses.apply(house.config.guessing)
        guard = cls(
            guesses,
            owns,
            GuardFile(data),
            Threads(house.reactor.callFromThread, most_threads=1),
            house.directory,
            house.mail_log.tell,
            house.audit,
            house.bell.ring,
        )
        guesses.on_blocked = guard._blocked
        guard._begin(data)
        house.directory.subscribe(guard._accounts_changed)
        house.bell.on(BELL, guard.take_up)
        return guard

    def _begin(self, data: Any) -> None:
        file = GuardFile(data)  # another thread's way than the one that goes on
        try:
            kept = file.read()
        except MailError as error:
            _log.error("what was known of guessing is lost: {error}", error=str(error))
            kept = Kept()
        finally:
            file.close()
        self._take_bans(list(kept.bans))
        if self.owns:
            self.guesses.take(kept.failures, kept.guessers, kept.known)
        else:
            self.guesses.take(known=kept.known)

    def account_of(self, name: str) -> int | None:
        """Whose sign-in name it is."""
        account = self._directory.find_sign_in(name)
        return account.id if account is not None else None

    # Keeping

    def each_second(self) -> None:
        """What is new is kept; now and then what others wrote is read."""
        self._seconds += 1
        if self._working is not None:
            return  # its time comes
        if self.owns and self._seconds % TRIM_EVERY == 0:
            self._work(self._trim())
        elif (self.owns and self.guesses.is_changed) or self._seconds % LOOK_EVERY == 0:
            self.take_up()

    def take_up(self) -> None:
        """Bans may have changed."""
        self._work(self._take_up())

    def _work(self, work: Any) -> None:
        self._working = working = Deferred.fromCoroutine(work)

        def done(_result: object) -> None:
            if self._working is working:
                self._working = None

        working.addErrback(self._failed).addBoth(done)

    async def _take_up(self) -> None:
        changed = self.guesses.changed()
        before = self.guesses.guessers.blocked()
        known = self.guesses.known.rows if self.owns else list

        def in_thread() -> Any:
            if self.owns and any(changed):
                self._file.write(*changed)
            look = self._file.look()
            anew, self._file.begun_anew = self._file.begun_anew, False
            return look, anew

        look, anew = await self._threads.run(in_thread)
        if anew and self.owns:  # what was in it is in memory, too
            failures, guessers, _ = self.guesses.told()
            await self._threads.run(self._file.write, failures, guessers, known())
            for ban in self.bans:
                await self._threads.run(self._file.ban, ban)
        elif look is not None:
            bans, guessers_there = look
            self._take_bans(bans, tell=self.owns)
            if self.owns:
                for key in set(before) - guessers_there:
                    self._lift(key)

    def _failed(self, failure: Any) -> None:
        """The log hears of it once a minute, and the node goes on by what it has in memory."""
        now = self.guesses.clock.seconds()
        if not failure.check(MailError):
            _log.failure("what is known of guessing can't be kept", failure)
        elif now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            error = str(failure.value)
            _log.warn("what is known of guessing can't be kept: {error}", error=error)

    async def _trim(self) -> None:
        now, known_s = self.guesses.now(), self.guesses.rules.known
        self.guesses.known.trim(now - known_s)
        await self._threads.run(self._file.trim, now, known_s)
        owners = await self._threads.run(self._file.account_ids)
        gone = {owner for owner in owners if self._directory.find_by_id(owner) is None}
        if gone and gone != owners:  # else users.db may be another one for a moment
            await self._threads.run(self._file.forget, gone)

    def _accounts_changed(self, account_ids: set[int]) -> None:
        gone = [each for each in account_ids if self._directory.find_by_id(each) is None]
        for account_id in gone:
            self.guesses.forget_account(account_id)
        if gone and self.owns:
            forgetting = self._threads.run(self._file.forget, gone)
            forgetting.addErrback(self._failed)

    async def stop(self) -> None:
        """What is new is kept, and the file is closed."""
        if self._working is not None:
            await self._working
        if self.owns and self.guesses.is_changed:
            writing = self._threads.run(self._file.write, *self.guesses.changed())
            await writing.addErrback(self._failed)
        ended: Deferred[None] = Deferred()
        self._file.file.end(self._threads, ended)
        await ended

    # Bans and blocks

    def _take_bans(self, bans: list[Ban], *, tell: bool = False) -> None:
        before, self.bans = self.bans, bans
        self.guesses.bans.replace(bans)
        if not tell:
            return
        now = self.guesses.now()
        for ban in bans:
            if ban not in before:
                detail = {"for_s": None if ban.until is None else round(ban.until - now),
                          "reason": ban.reason, "by": ban.made_by}  # fmt: skip
                self._tell(Banned(client=short(ban.network), detail=detail))
        there = {ban.network for ban in bans}
        for ban in before:
            if ban.network not in there and (ban.until is None or ban.until > now):
                self._tell(Unbanned(client=short(ban.network)))

    def _blocked(self, blocked: Blocked) -> None:
        detail: dict[str, object] = {"for_s": round(blocked.for_s), "reason": "guessing"}
        detail |= {"by": DECIDED_BY_NODE, "failures": self.guesses.rules.failures}
        if blocked.account_id:
            detail["account_id"] = blocked.account_id
        banned = Banned(client=blocked.address, detail=detail)
        self._tell(banned)
        self._audit.hear(banned)
        self.on_blocked(blocked)

    def _lift(self, key: tuple[str, int]) -> None:
        self.guesses.guessers.lift(key)
        if not key[1]:
            self._tell(Unbanned(client=key[0]))
        self.on_blocked(Blocked(*key, 0.0, 0))

    def kept_out(self) -> tuple[list[Ban], list[Block]]:
        """Bans and blocks that hold."""
        guessers = self.guesses.guessers
        rows = guessers.rows(guessers.blocked(), self.guesses.now())
        return self._bans_that_hold(), [Block(address, account_id, until, times)
                      for address, account_id, _, _, until, times in rows]  # fmt: skip

    def _bans_that_hold(self) -> list[Ban]:
        now = self.guesses.now()
        return [each for each in self.bans if each.until is None or each.until > now]

    def counts(self) -> dict[str, int]:
        """For the metrics."""
        blocked = self.guesses.guessers.blocked()
        return {"ban": len(self._bans_that_hold()), "block": len(blocked)}

    async def ban(self, network: str, for_s: float | None, reason: str, actor: Actor) -> Ban:
        """Nobody signs in from there, with any process once it is answered.

        Raises:
            BadBan: it is no network, or one that is never banned.
            StoreBusy, StoreFull, StoreBroken.
        """
        now = self.guesses.now()
        until = now + for_s if for_s is not None else None
        ban = Ban(read_network(network), now, until, reason, actor.by)
        await self._threads.run(self._file.ban, ban)
        self._take_bans([*(each for each in self.bans if each.network != ban.network), ban],
                        tell=True)  # fmt: skip
        self._ring(BELL)
        await self._keep(Entry("banned", actor=actor, detail=ban_detail(ban, for_s)))
        return ban

    async def lift(self, network: str, actor: Actor) -> None:
        """Whoever is there may try again.

        Raises:
            BadBan: it is no network.
            NotFound: nobody there is banned or blocked.
            StoreBusy, StoreFull, StoreBroken.
        """
        name = read_network(network)
        await self._take_up()  # a block that isn't kept yet
        lifted = await self._threads.run(self._file.lift, name, self.guesses.now())
        if lifted.networks:
            self._take_bans([each for each in self.bans if each.network != name])
            self._tell(Unbanned(client=short(name), detail={"by": actor.by}))
        for key in lifted.addresses:
            self._lift(key)
        self._ring(BELL)
        await self._keep(Entry("unbanned", actor=actor, detail=lifted_detail(name, lifted)))

    async def _keep(self, entry: Entry) -> None:
        """The audit stream has it."""
        self._audit.tell(entry)
        await self._audit.flush()

    # Between processes

    def told(self) -> Told:
        """What a worker that begins must know, for JSON."""
        failures, guessers, known = self.guesses.told()
        return _hexed(failures), _hexed(guessers), _hexed(known)

    def take(self, told: Any) -> None:
        """Know it."""
        failures, guessers, known = told
        self.guesses.take(
            [(what, bytes.fromhex(key), count, at) for what, key, count, at in failures],
            [tuple(row) for row in guessers],
            [(account_id, bytes.fromhex(key), at) for account_id, key, at in known],
        )


def _hexed(rows: Any) -> list[list[Any]]:
    return [[each.hex() if isinstance(each, bytes) else each for each in row] for row in rows]


def pack_asked(asked: Asked) -> list[Any]:
    """For JSON."""
    guess = asked.guess.hex() if asked.guess is not None else None
    return [asked.client, asked.name, asked.account_id, guess]


def unpack_asked(packed: list[Any]) -> Asked:
    client, name, account_id, guess = packed
    return Asked(client, name, account_id, bytes.fromhex(guess) if guess is not None else None)
