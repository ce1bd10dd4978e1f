"""What a route's function is given: who asks, from where, and what was sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field

from mailnode.model import Client
from mailnode.web.bodies import Form, InMemory, ToDisk, Uploads, read_form
from mailnode.web.refusals import BadRequest, MustSignIn

if TYPE_CHECKING:
    from mailnode.audited import Actor
    from mailnode.web.guard import Admission, Peer
    from mailnode.web.guest import Guest
    from mailnode.web.requests import WebRequest


@define(eq=False)
class Visit:
    """One request, admitted and whole."""

    request: WebRequest
    admission: Admission
    _form: Form | None = field(default=None, init=False)

    @property
    def peer(self) -> Peer:
        return self.admission.peer

    @property
    def visitor(self) -> Guest | None:
        """Who asks; None for nobody."""
        return self.admission.guest

    @property
    def guest(self) -> Guest:
        """Who asks.

        Raises:
            MustSignIn: nobody; no route for users gets so far.
        """
        if self.admission.guest is None:
            raise MustSignIn()
        return self.admission.guest

    @property
    def actor(self) -> Actor:
        """Who does what is asked for, for the audit stream."""
        return evolve(self.guest.actor, client=self.peer.client)

    @property
    def client(self) -> Client:
        """Who submits a mail, for Received and the journal."""
        return Client(
            host=self.peer.client,
            protocol="HTTPS" if self.peer.secure else "HTTP",
            account=str(self.guest.account.address),
            loopback=self.peer.local,
        )

    @property
    def path(self) -> str:
        """As it was asked for, without what stands behind `?`; printable ASCII."""
        path: str = self.request.path.decode("ascii", "replace")
        return path

    def query(self, name: str, otherwise: str = "") -> str:
        """The last value of that name behind `?`.

        Raises:
            BadRequest: it is not UTF-8.
        """
        values = self.request.args.get(name.encode())
        try:
            return values[-1].decode() if values else otherwise
        except UnicodeDecodeError:
            raise BadRequest("The address is not UTF-8") from None

    @property
    def body(self) -> bytes:
        """What was sent, of a route that takes small bodies."""
        body = self.admission.body
        return bytes(body.octets) if isinstance(body, InMemory) else b""

    @property
    def uploads(self) -> Uploads:
        """What was sent, of a route that streams bodies to the disk. Closed with the answer."""
        body = self.admission.body
        return body.uploads if isinstance(body, ToDisk) else Uploads()

    @property
    def form(self) -> Form:
        """The fields that were sent.

        Raises:
            BadRequest: they can't be read.
        """
        if isinstance(self.admission.body, ToDisk):
            return self.uploads.form
        if self._form is None:
            kind = self.request.header("Content-Type").partition(";")[0].strip().lower()
            is_form = kind == "application/x-www-form-urlencoded"
            self._form = read_form(self.body) if is_form else Form()
        return self._form

    def json(self) -> Any:
        """What was sent, as JSON.

        Raises:
            BadRequest: it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise BadRequest("That is not JSON", detail=str(error)) from None
