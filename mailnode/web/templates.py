"""Pages, made of the package's templates: whatever a stranger wrote is escaped."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mailnode.model import INBOX
from mailnode.telling import size
from mailnode.web.assets import Assets
from mailnode.web.guard import Guard
from mailnode.web.routes import Answer

if TYPE_CHECKING:
    from mailnode.web.requests import WebRequest
    from mailnode.web.visit import Visit

MENU_CHARACTERS = 36
MOST_FLASHES, MOST_FLASHED = 5, 1_000


@frozen
class FlashForm:
    """A button beside what is said.

    Attributes:
        action: the path that it posts to.
        fields: that it posts.
    """

    action: str
    label: str
    fields: Mapping[str, str]


@frozen
class Flash:
    """What the next page says first.

    Attributes:
        kind: "done" or "failed".
        form: what can be done about it; None for nothing.
    """

    text: str
    kind: str = "done"
    form: FlashForm | None = None


@define(eq=False)
class Flashes:
    """What sessions are told with their next page; of the newest thousand of them."""

    _waiting: OrderedDict[bytes, list[Flash]] = field(factory=OrderedDict, init=False)

    def add(
        self, visit: Visit, text: str, kind: str = "done", form: FlashForm | None = None
    ) -> None:
        session = visit.guest.session
        if session is not None:
            self.add_for(session.key_hash, text, kind, form)

    def add_for(
        self, key_hash: bytes, text: str, kind: str = "done", form: FlashForm | None = None
    ) -> None:
        """The session of that key is told so."""
        waiting = self._waiting.setdefault(key_hash, [])
        self._waiting.move_to_end(key_hash)
        waiting.append(Flash(text, kind, form))
        del waiting[:-MOST_FLASHES]
        if len(self._waiting) > MOST_FLASHED:
            self._waiting.popitem(last=False)

    def take(self, visit: Visit) -> list[Flash]:
        session = visit.visitor.session if visit.visitor else None
        return self._waiting.pop(session.key_hash, []) if session is not None else []


@define(eq=False)
class Templates:
    """Makes pages.

    Args:
        node: its name, as people see it.
    """

    assets: Assets
    guard: Guard
    node: str
    flashes: Flashes = field(factory=Flashes, init=False)
    _environment: Environment = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("mailnode.web"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "static": self.assets.address,
            "icon": self._icon,
            "when": when,
            "time": time_of,
            "size": size,
            "folder_title": folder_title,
            "shortened": shortened,
            "browser": browser_of,
            "node": self.node,
        }

    def _icon(self, name: str) -> Markup:
        return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"></use></svg>').format(
            self.assets.address("icons.svg"), name
        )

    def text(self, template: str, /, **values: Any) -> str:
        """A template filled, with what every template may ask for left empty."""
        nobody = {"guest": None, "csrf": "", "flashes": (), "path": "", "title": "", "shelf": None}
        return self._environment.get_template(template).render(nobody | values)

    def page(self, visit: Visit, template: str, status: int = 200, /, **values: Any) -> Answer:
        """A template as the answer: `title` is among the values.

        The template knows guest, csrf, flashes and path, too.
        """
        guest, cookies = visit.visitor, tuple[str, ...]()
        if guest is not None and guest.session is not None:
            csrf = guest.session.csrf
        else:
            csrf, cookie = self.guard.visitor_csrf(visit.request, visit.peer)
            cookies = (cookie,) if cookie else ()
        values |= {"guest": guest, "csrf": csrf, "path": visit.path}
        # What a script of the page asks for beside it is nobody's next page.
        shown = visit.request.header("Sec-Fetch-Dest") in ("", "document")
        flashes = self.flashes.take(visit) if shown else []
        text = self.text(template, flashes=flashes, **values)
        return Answer(text, status, cookies=cookies)

    def part(self, visit: Visit, template: str, /, **values: Any) -> Answer:
        """A piece of a page, for a script of the page."""
        guest = visit.guest
        csrf = guest.session.csrf if guest.session is not None else ""
        known = {"guest": guest, "csrf": csrf, "path": visit.path}
        return Answer(self.text(template, **(known | values)))

    def refusal(self, request: WebRequest, status: int, title: str, text: str) -> str:
        """The page of a refusal, for whoever it is."""
        return self.text("refusal.html", title=title, text=text)


_BROWSERS = (("Firefox/", "Firefox"), ("Edg/", "Edge"), ("OPR/", "Opera"), ("Chrome/", "Chrome"),
             ("Safari/", "Safari"), ("curl/", "curl"))  # fmt: skip
_SYSTEMS = (("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("Windows", "Windows"),
            ("Mac OS", "macOS"), ("Linux", "Linux"))  # fmt: skip


def browser_of(agent: str) -> str:
    """What people call a browser that says of itself that it is many; as it says where none is."""
    name = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{name} on {system}" if name and system else name or agent or "unknown"


def when(at: float) -> str:
    """UTC epoch seconds for people, in UTC: a browser's zone is not ours to know."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at))


def time_of(at: float, to: str = "minute") -> Markup:
    """The same for a page, whose script tells it as the clock of its browser has it.

    Args:
        to: how much of it: "day" of a list, where today's have their time, "minute" or "second".
    """
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    return Markup('<time datetime="{}" data-to="{}" title="{}">{}</time>').format(
        stamp, to, when(at), when(at)
    )


def shortened(name: str) -> str:
    """For a menu, which is as wide as its longest line: what a name begins and ends with."""
    if len(name) <= MENU_CHARACTERS:
        return name
    end = MENU_CHARACTERS // 3
    return f"{name[: MENU_CHARACTERS - end - 1]}\N{HORIZONTAL ELLIPSIS}{name[-end:]}"


def folder_title(name: str) -> str:
    """What people call it."""
    return "Inbox" if name == INBOX else name
