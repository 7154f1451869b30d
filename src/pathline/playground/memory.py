"""What was computed lately, kept: two that ask for the same at once wait for one computation."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Memory:
    """The last ``most`` results by key; an error is told to all that wait for it, and not kept."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: "Callable[[], T]") -> T:
        """The result of ``make`` for ``key``, made at the first call."""
        with self._lock:
            known = self._kept.get(key)
            future: Future[Any] = Future() if known is None else known
            self._kept[key] = future
            self._kept.move_to_end(key)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        if known is None:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._kept.pop(key, None)
                future.set_exception(error)
        return future.result()
