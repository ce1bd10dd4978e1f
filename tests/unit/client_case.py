"""A mail server that follows a script, in memory, at the other end of the client's connection."""

from __future__ import annotations

from collections.abc import Sequence

from mailnode.client.connection import Connection, Server, Trust

ELSEWHERE = Server("mail.example.org", 110)
HERE = Server("localhost", 110)


class ScriptedConnection(Connection):
    """Answers each write with the next piece of its script; a server that has no more is gone.

    Attributes:
        said: what the client wrote, a write each.
        secured: how often hands were shaken.
    """

    def __init__(
        self, greeting: bytes, replies: Sequence[bytes], server: Server = HERE, **trust: object
    ) -> None:
        self.said: list[bytes] = []
        self.secured = 0
        self.closed = False
        self._coming = greeting
        self._replies = list(replies)
        super().__init__(server, Trust(**trust))  # type: ignore[arg-type]

    def __attrs_post_init__(self) -> None:
        """There is no socket."""

    @property
    def is_secure(self) -> bool:
        return self.secured > 0 or self.server.implicit_tls

    def secure(self) -> None:
        self.secured += 1

    def write(self, data: bytes) -> None:
        self.said.append(data)
        if self._replies:
            self._coming += self._replies.pop(0)

    def _receive(self) -> bytes:
        data, self._coming = self._coming, b""
        return data

    def wait_at_most(self, seconds: float) -> None:
        """It answers at once."""

    def close(self) -> None:
        self.closed = True
