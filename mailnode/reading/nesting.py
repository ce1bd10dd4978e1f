"""Elements within each other: what closes where another opens, as browsers do it, in bounds.

The rules are those of HTML, section 13.2.6.4.7 and what follows, for the elements that mail has.
What they leave open is closed, so a parser that reads what comes out has nothing to mend.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import define, field, frozen

MOST_DEPTH = 256  # mail of tables in tables, ten times forwarded, has about 150
MOST_STYLED = 32  # <b>, <font> and such of these: they are opened anew where a block cuts them

VOID = frozenset(["area", "br", "col", "hr", "img", "wbr"])
_STYLED = frozenset("a b big code em font i s small strike strong tt u".split())
_STRUCTURE = frozenset("table caption colgroup col tbody thead tfoot tr td th".split())
_INLINE = frozenset(
    "abbr acronym bdi bdo cite del dfn ins kbd label map mark q samp span sub sup time var".split()
)
_BLOCKS = frozenset(
    "address article aside blockquote center dd details dir div dl dt fieldset figcaption figure"
    " footer h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu nav ol p pre section summary"
    " ul".split()
)
ELEMENTS = VOID | _STYLED | _STRUCTURE | _INLINE | _BLOCKS

_P = frozenset(["p"])
_TABLE = frozenset(["table"])
_CELLS = frozenset(["td", "th", "caption"])
_SCOPE = _CELLS | {"table"}
_HEADINGS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_SECTIONS = frozenset(["tbody", "thead", "tfoot"])
# What may stand above each part of a table when it opens; all else is closed before.
_OPENS_IN = {
    "caption": frozenset(["table"]),
    "colgroup": frozenset(["table"]),
    "col": frozenset(["table", "colgroup"]),
    "tbody": frozenset(["table"]),
    "thead": frozenset(["table"]),
    "tfoot": frozenset(["table"]),
    "tr": _SECTIONS | {"table"},
    "td": frozenset(["tr"]),
    "th": frozenset(["tr"]),
}
_ITEMS = {
    "li": (frozenset(["li"]), _SCOPE | {"ul", "ol", "menu", "dir"}),
    "dd": (frozenset(["dd", "dt"]), _SCOPE | {"dl"}),
    "dt": (frozenset(["dd", "dt"]), _SCOPE | {"dl"}),
}


@frozen
class _Open:
    name: str
    tag: str
    closing: str


@define(eq=False)
class Nesting:
    """The elements that are open, and what has been written.

    Attributes:
        work: how many elements were written, with what searches among those open cost.
        length: characters written.
        cut: an element was left out, as it would have been too deep; its content is there.
    """

    work: int = 0
    length: int = 0
    cut: bool = False
    styled: int = 0
    out: list[str] = field(factory=list)
    stack: list[_Open] = field(factory=list)
    open_names: dict[str, int] = field(factory=dict)

    def emit(self, text: str) -> None:
        self.out.append(text)
        self.length += len(text)

    def holds(self, name: str) -> bool:
        return bool(self.open_names.get(name))

    def close_all(self) -> str:
        """Returns: all that was written."""
        while self.stack:
            self.close_top()
        return "".join(self.out)

    def start(self, name: str, source: str) -> None:
        if name in _STRUCTURE and not self.make_room_in_table(name):
            return
        again = self.close_what_ends_at(name)
        if name in VOID:
            self.emit(source)
        else:
            self.push(name, source, "div" if name == "body" else name)
        for each in again:
            self.push(each.name, each.tag, each.closing)

    def push(self, name: str, source: str, closing: str) -> None:
        styled = name in _STYLED
        if len(self.stack) >= MOST_DEPTH or (styled and self.styled >= MOST_STYLED):
            self.cut = True
            return
        self.work += 1
        self.emit(source)
        self.stack.append(_Open(name, source, closing))
        self.open_names[name] = self.open_names.get(name, 0) + 1
        self.styled += styled

    def make_room_in_table(self, name: str) -> bool:
        """False: it opens nothing here."""
        if name == "table":
            if self.stack and self.stack[-1].name in _STRUCTURE - _CELLS:
                self.close_to(self.last(_TABLE, frozenset()))
            return True
        table = self.last(_TABLE, frozenset())
        if table < 0:
            return False
        within = _OPENS_IN[name] | ({"table"} | _SECTIONS if name in ("td", "th") else frozenset())
        while self.stack[-1].name not in within:
            self.close_top()
        if name in ("td", "th") and self.stack[-1].name != "tr":
            self.push("tr", "<tr>", "tr")
        return True

    def close_what_ends_at(self, name: str) -> list[_Open]:
        """Close what can't hold an element. Returns: what is to be opened again within it."""
        if name == "a":
            return [each for each in self.close_to(self.last(["a"], _SCOPE)) if each.name != "a"]
        if name not in _BLOCKS and name not in ("body", "table"):
            return []
        again = list[_Open]()
        if name in _ITEMS:
            names, scope = _ITEMS[name]
            again = self.close_to(self.last(names, scope))
        again = self.close_to(self.last(_P, _SCOPE)) + again
        if name in _HEADINGS and self.stack and self.stack[-1].name in _HEADINGS:
            self.close_top()
        return again

    def end(self, name: str) -> None:
        at = self.last([name], _TABLE if name in _STRUCTURE else _SCOPE)
        if at < 0:
            return
        if name in _INLINE and any(each.name in _BLOCKS for each in self.stack[at:]):
            return  # as parsers do: it stays open until the block around it ends
        reopened = self.close_to(at, all_of_them=name in _STYLED)
        if name not in _STRUCTURE:
            for each in reopened:
                self.push(each.name, each.tag, each.closing)

    def last(self, names: Collection[str], scope: frozenset[str]) -> int:
        """Where the last open element of these names is, none of `scope` above; -1: nowhere."""
        if not any(self.open_names.get(name) for name in names):
            return -1
        top = len(self.stack) - 1
        for at in range(top, -1, -1):
            if self.stack[at].name in names:
                break
            if self.stack[at].name in scope:
                at = -1
                break
        else:
            at = -1
        self.work += (top - at) // 16
        return at

    def close_to(self, at: int, *, all_of_them: bool = False) -> list[_Open]:
        """Close the element at a place of the stack and all above.

        Returns: those above that a parser opens again behind it: the styled ones, or all.
        """
        if at < 0:
            return []
        above = [each for each in self.stack[at + 1 :] if all_of_them or each.name in _STYLED]
        while len(self.stack) > at:
            self.close_top()
        return above

    def close_top(self) -> None:
        top = self.stack.pop()
        self.open_names[top.name] -= 1
        self.styled -= top.name in _STYLED
        self.emit(f"</{top.closing}>")
