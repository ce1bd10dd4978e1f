"""Who wants to hear that something changed in an account's folders, whoever changed it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

Hear = Callable[[int], object]


@define(eq=False)
class Changes:
    """Tells listeners of an account which folder changed; of others it costs a look into a dict."""

    _heard_by: dict[int, list[Hear]] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return sum(map(len, self._heard_by.values()))

    def tell(self, account_id: int, folder_id: int) -> None:
        """After the commit."""
        for hear in list(self._heard_by.get(account_id, ())):
            hear(folder_id)

    def listen(self, account_id: int, hear: Hear) -> Callable[[], None]:
        """`hear` is called with the folder's id at each change, until what this gives is called.

        It must be quick, and raise nothing.
        """
        self._heard_by.setdefault(account_id, []).append(hear)

        def stop() -> None:
            heard_by = self._heard_by.get(account_id, [])
            if hear in heard_by:
                heard_by.remove(hear)
            if not heard_by:
                self._heard_by.pop(account_id, None)

        return stop
