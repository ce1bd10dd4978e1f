"""Where a person's mail is: options, a profile, the node in this folder, or what a domain tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from getpass import getuser
from pathlib import Path
from typing import Any, TypeVar

import click
from attrs import define, field

from mailnode.addresses import parse_address
from mailnode.cli import output
from mailnode.cli.frame import (
    EX_CONFIG,
    EX_NOPERM,
    EX_TEMPFAIL,
    EX_USAGE,
    Mistake,
    NodeCommand,
    config_of,
)
from mailnode.cli.node import open_accounts, running_node
from mailnode.cli.passwords import read_secret_line, stdin_is_terminal
from mailnode.cli.progress import waiting_for
from mailnode.cli.server_names import read_server
from mailnode.client import passwords
from mailnode.client.connection import Connection, Server, Trust
from mailnode.client.discovery import Found, discover
from mailnode.client.maildrop import Maildrop
from mailnode.client.profiles import Profile, profiles_path, read_profile
from mailnode.client.submission import Submission, own_name
from mailnode.client.trouble import SignInRefused, Unreachable
from mailnode.errors import MailError
from mailnode.filenames import expanded
from mailnode.outbound.words import Login

TRIES = 3
_CHOICES = "mailnode.client"
_LISTENERS = {"smtp": ("smtp", "submission", "smtps"), "pop3": ("pop3", "pop3s")}

T = TypeVar("T")


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    if value:
        choose(ctx, str(param.name), value)


def choose(ctx: click.Context, name: str, value: object) -> None:
    """From here it is as if this option had been given."""
    ctx.meta.setdefault(_CHOICES, {})[name] = value


def client_options() -> list[click.Parameter]:
    """Options of each command that speaks with a server as a mail program does."""

    def option(name: str, metavar: str, words: str) -> click.Parameter:
        return click.Option([name], metavar=metavar, expose_value=False, callback=_keep, help=words)

    return [
        option("--server", "HOST", "Server of both SMTP and POP3, on their usual ports."),
        option("--smtp", "HOST:PORT", "Server that takes mail; smtps://HOST:PORT where TLS begins "
               "at once."),
        option("--pop3", "HOST:PORT", "Server that gives mail; pop3s://HOST:PORT likewise."),
        option("--user", "NAME", "Whom to sign in as."),
        option("--profile", "NAME", "One of the profiles in ~/.config/mailnode/client.toml."),
        option("--password-file", "FILE", "File whose first line is the password."),
        option("--password-command", "COMMAND", "Command whose first line of output is the "
               "password."),
        option("--trust", "FILE", "Certificates (PEM) to believe in place of the system's."),
        click.Option(
            ["--insecure"],
            is_flag=True,
            expose_value=False,
            callback=_keep,
            help="Take any certificate, and let the POP3 password go in clear.",
        ),
    ]  # fmt: skip


class ClientCommand(NodeCommand):
    """A command of the mail client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["params"] = [*(kwargs.get("params") or ()), *client_options()]
        super().__init__(*args, **kwargs)


@define(eq=False)
class Place:
    """Where one command finds a person's mail.

    Attributes:
        address: whose mail it is, as far as that was said; "" for not.
        is_node: whether it is the node in this folder.
        stdin_is_text: whether standard input is for something else than a password.
    """

    ctx: click.Context
    address: str = ""
    is_node: bool = False
    stdin_is_text: bool = False
    profile: Profile = field(factory=Profile)
    _found: Found | None = None
    _passwords: dict[str, str] = field(factory=dict)  # of "smtp" where it has its own, of "" else
    _typed: bool = False
    _keyring_failed: bool = False
    _agreed: list[Server] = field(factory=list)  # hosts of other domains

    @classmethod
    def of(cls, ctx: click.Context, mailbox: str = "") -> Place:
        """As the options say, else a profile, else the node in this folder.

        A profile is for the one whose it is: where somebody else is named, the default one counts
        for nothing, and one that was named too gives its servers alone.

        Args:
            mailbox: whose mail it is, where that was said.
        """
        chosen = _chosen(ctx)
        place = cls(ctx)
        named, user = chosen.get("profile", ""), chosen.get("user", "")
        elsewhere = any(chosen.get(name) for name in ("server", "smtp", "pop3"))
        if named or (not elsewhere and running_node(config_of(ctx)) is None):
            profile = read_profile(profiles_path(), named) or Profile()
            if all(profile.is_of(each) for each in (mailbox, user) if each):
                place.profile = profile
            elif named:
                place.profile = profile.for_another()
        profile = place.profile
        said = profile.server or profile.smtp or profile.pop3 or profile.mailbox
        place.is_node = not (elsewhere or said) and running_node(config_of(ctx)) is not None
        place.address = profile.mailbox or mailbox or user
        return place

    @property
    def user(self) -> str:
        """The sign-in name; "" while nobody has said one."""
        said = _chosen(self.ctx).get("user") or self.profile.user
        if said:
            return str(said)
        return self._found.sign_in_name(self.address) if self._found else self.address

    def user_at(self, kind: str) -> str:
        """The sign-in name at the server that takes mail ("smtp"), or gives it ("pop3")."""
        if kind == "smtp" and not _chosen(self.ctx).get("user"):
            return self.profile.smtp_user or self.user
        return self.user

    @property
    def signs_in_to_send(self) -> bool:
        """Whether it is signed in before a mail is handed over, without the server's asking."""
        if _chosen(self.ctx).get("user"):
            return True
        return self.user_was_said and self.profile.smtp_sign_in

    @property
    def user_was_said(self) -> bool:
        """Whether somebody has said whom to sign in as."""
        return bool(_chosen(self.ctx).get("user") or self.profile.user or self.profile.address)

    @property
    def can_sign_in(self) -> bool:
        """Whether a password for sending can be had, by asking if need be, and may be used."""
        if not (self.profile.smtp_sign_in or _chosen(self.ctx).get("user")):
            return False
        return stdin_is_terminal() or any(self._said_password("smtp"))

    @property
    def trust(self) -> Trust:
        chosen = _chosen(self.ctx)
        file = chosen.get("trust") or self.profile.trust
        return Trust(Path(file).expanduser() if file else None, clear=bool(chosen.get("insecure")))

    def servers(self, kind: str) -> list[Server]:
        """Where to try, in this order.

        Raises:
            Mistake: nobody has said where.
        """
        chosen, profile = _chosen(self.ctx), self.profile
        if said := chosen.get(kind) or (not chosen.get("server") and getattr(profile, kind)):
            return read_server(kind, said)
        if said := chosen.get("server") or profile.server:
            return read_server(kind, said)
        if self.is_node:
            return [self._of_node(kind)]
        return [self._of_domain(kind)]

    def _of_node(self, kind: str) -> Server:
        running = running_node(config_of(self.ctx))
        if running is None:
            raise Unreachable("the node in this folder does not run any more")
        for name in _LISTENERS[kind]:
            for where in running.listening.get(name, ()):
                host, _, port = where.rpartition(":")
                if port.isdecimal():
                    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104
                    return Server(host.strip("[]"), int(port), name.endswith("s"))
        raise Mistake(f"the node in this folder has no {kind.upper()} port", EX_CONFIG)

    def _of_domain(self, kind: str) -> Server:
        address = self.address
        self._require_no_stopped_node(address)
        if "@" not in address:
            option = "--user YOU@YOUR.DOMAIN" if kind == "pop3" else "--from YOU@YOUR.DOMAIN"
            whose = f" of {address}" if address else ""
            raise Mistake(
                f"which server? No node runs in this folder and there is no profile{whose}; give "
                f"--server HOST, or --{kind} HOST:PORT, or {option} and its domain is asked",
                EX_USAGE,
            )
        if address != self.profile.mailbox:  # another's servers: no password of ours goes there
            self.profile = self.profile.for_another()
        if self._found is None:
            with waiting_for("the DNS"):
                self._found = discover(address)
        domain = address.rpartition("@")[2].lower()
        server = self._found.servers.get(kind)
        if server is None:
            here = "" if self._has_node else "there is no node in this folder; "
            raise Mistake(
                f"{here}{domain} does not say which {kind.upper()} server it has; give --{kind} "
                "HOST:PORT",
                EX_CONFIG,
            )
        ours = server.host == domain or server.host.endswith(f".{domain}")
        if not ours and server not in self._agreed:
            self._confirm(server, domain)
            self._agreed.append(server)
        return server

    @property
    def _has_node(self) -> bool:
        """Whether there is one in this folder, running or not."""
        return config_of(self.ctx).users_path.exists()

    def require_running(self) -> None:
        """
        Raises:
            Mistake: mail would go to the node of this folder, which doesn't run.
        """
        chosen, profile = _chosen(self.ctx), self.profile
        said = chosen.get("server") or chosen.get("smtp") or profile.server or profile.smtp
        if not (said or self.is_node):
            self._require_no_stopped_node(self.address)

    def _require_no_stopped_node(self, address: str) -> None:
        """
        Raises:
            Mistake: the mail is at the node of this folder, which doesn't run.
        """
        if not self._has_node or running_node(config_of(self.ctx)) is not None:
            return
        domain = address.partition("@")[2].lower()
        with suppress(click.ClickException, MailError, OSError), open_accounts(self.ctx) as known:
            if domain and domain not in (each.name for each in known.domains()):
                return
        raise Mistake(
            "the node in this folder does not run: start it, as with `twistd -n mailnode`; for a "
            "server elsewhere give --server HOST",
            EX_TEMPFAIL,
        )

    def _confirm(self, server: Server, domain: str) -> None:
        """What a DNS answer says can be forged: a host of another domain is asked for."""
        by = self._found.by if self._found else ""
        what = f"{domain} names {server} for its mail (by {by})"
        if not stdin_is_terminal():
            raise Mistake(f"{what}: is that yours? Then give it by --smtp and --pop3", EX_CONFIG)
        if not click.confirm(f"{what}. Is that right?", default=True, err=True):
            raise click.Abort

    # Sessions

    def maildrop(self) -> Maildrop:
        """A POP3 session; whom and what to sign in with is asked for on a terminal.

        Raises:
            Mistake, MailError.
        """
        return self._signed_in(
            "pop3", lambda connection: Maildrop.open(connection, self.user, self._password("pop3"))
        )

    def submission(self, *, sign_in: bool) -> Submission:
        """An SMTP session.

        Raises:
            Mistake, MailError.
        """
        if not sign_in:
            return self._open(self.servers("smtp"), Submission.open)
        return self._signed_in(
            "smtp",
            lambda connection: Submission.open(
                connection, Login(self.user_at("smtp"), self._password("smtp"))
            ),
        )

    def _signed_in(self, kind: str, open_session: Callable[[Connection], T]) -> T:
        """On a terminal a wrong password is asked for again."""
        servers = self.servers(kind)
        self.require_user()
        for at in range(TRIES):
            self._have_password(kind, servers[0])
            try:
                session = self._open(servers, open_session)
            except SignInRefused as refusal:
                self._passwords.pop(self._whose(kind), None)
                if not self._may_ask_again(kind) or at == TRIES - 1:
                    raise
                self._keyring_failed = True
                click.echo(f"{output.printable(refusal.text)}; try again", err=True)
            else:
                self._offer_to_keep(kind, servers[0])
                return session
        raise AssertionError("unreachable")

    def _said_password(self, kind: str) -> tuple[str, str]:
        """(file, command) that were said, by an option or the profile; "" for not."""
        chosen, profile = _chosen(self.ctx), self.profile
        pairs = [(chosen.get("password_file", ""), chosen.get("password_command", ""))]
        if kind == "smtp":
            pairs.append((profile.smtp_password_file, profile.smtp_password_command))
        if not self._is_another(kind):
            pairs.append((profile.password_file, profile.password_command))
        return next((pair for pair in pairs if any(pair)), ("", ""))

    def _is_another(self, kind: str) -> bool:
        """Whether the profile has a password of its own for what takes mail."""
        profile = self.profile
        return kind == "smtp" and bool(profile.smtp_password_file or profile.smtp_password_command)

    def _whose(self, kind: str) -> str:
        """Under which name its password is remembered."""
        return kind if self._is_another(kind) or self.user_at(kind) != self.user else ""

    def _password(self, kind: str) -> str:
        return self._passwords.get(self._whose(kind), "")

    def _may_ask_again(self, kind: str) -> bool:
        """Whether another password can be had: one that was said in a file stays the same."""
        return stdin_is_terminal() and not any(self._said_password(kind))

    def _open(self, servers: Sequence[Server], open_session: Callable[[Connection], T]) -> T:
        """A session; a server may be slow to answer, and is after a wrong password."""
        with waiting_for(str(servers[0])) as tell:
            return open_session(self._connect(servers, tell))

    def _connect(self, servers: Sequence[Server], tell: Callable[[str], object]) -> Connection:
        """The first that can be reached."""
        for server in servers[:-1]:
            with suppress(Unreachable):
                return Connection(server, self.trust, on_silence=tell)
        return Connection(servers[-1], self.trust, on_silence=tell)

    def forget(self) -> None:
        """What was typed was a mistake; what the options and a profile say of the user stays."""
        self.address = self.profile.mailbox or _chosen(self.ctx).get("user", "")
        self._passwords.clear()
        self._found = None
        self._typed = self._keyring_failed = False

    def is_captured(self, recipient: str) -> bool:
        """Whether the node in this folder keeps mail for this address, by its gear."""
        if not self.is_node:
            return False
        with suppress(click.ClickException, MailError, OSError), open_accounts(self.ctx) as known:
            directory = known.load_directory(config_of(self.ctx).accounts.subaddress)
            address = parse_address(recipient)
            return not (directory.is_local(address.domain) or directory.may_leave(address))
        return False

    def likely_address(self) -> str:
        """Whose mail it may be, for want of a word: at the node in this folder its first account.

        Elsewhere the user of this machine.
        """
        if self.is_node:
            with (
                suppress(click.ClickException, MailError, OSError),
                open_accounts(self.ctx) as known,
            ):
                if accounts := known.accounts():
                    return str(accounts[0].address)
        return f"{getuser()}@{own_name()}"

    def require_user(self) -> None:
        if not self.user and not stdin_is_terminal():
            raise Mistake("whose mail? Give --user NAME", EX_USAGE)
        if not self.user:
            self.address = str(click.prompt("Your address", err=True)).strip()
        if not self.user.isprintable():
            raise Mistake(f"{self.user!r} is no name to sign in as", EX_USAGE)

    def _have_password(self, kind: str, server: Server) -> None:
        """From where the options or the profile say, the keyring, or a prompt."""
        if self._password(kind):
            return
        (file, command), user = self._said_password(kind), self.user_at(kind)
        if file:
            found = passwords.from_file(expanded(file))
        elif command:
            found = passwords.from_command(command)
        elif not self._keyring_failed and (kept := passwords.from_keyring(user, server.host)):
            found = kept
        else:
            found = self._ask_password(user, server)
        self._passwords[self._whose(kind)] = found

    def _ask_password(self, user: str, server: Server) -> str:
        """On a terminal; otherwise the next line of standard input, where nothing else reads it."""
        found = ""
        if stdin_is_terminal():
            words = f"Password of {user} at {server.host}"
            found, self._typed = str(click.prompt(words, hide_input=True, err=True)), True
        elif not self.stdin_is_text:
            found = read_secret_line() or ""
        if not found:
            raise Mistake(
                f"there is no password for {user} at {server}: give --password-file, "
                "--password-command, a line on standard input, or run this on a terminal",
                EX_NOPERM,
            )
        return found

    def _offer_to_keep(self, kind: str, server: Server) -> None:
        """Asked once, where there is a keyring."""
        if not self._typed or self.is_node or not passwords.has_keyring():
            return
        self._typed = False
        wanted = click.confirm("Keep the password in the keyring?", default=False, err=True)
        user = self.user_at(kind)
        if wanted and not passwords.keep_in_keyring(user, server.host, self._password(kind)):
            click.echo("the keyring did not take it", err=True)


def _chosen(ctx: click.Context) -> dict[str, Any]:
    found: dict[str, Any] = ctx.meta.setdefault(_CHOICES, {})
    return found
