"""Ctrl-C and SIGTERM ask a run to stop after its step."""

import os
import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop, has saved, and can be resumed. ``code`` is the exit status by convention."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.code = 128 + number


class StopRequest:
    """``with StopRequest() as stop``: ``stop.number`` is the signal that arrived, 0 before. A second one acts at once.

    Not so below torchrun, which gets a Ctrl-C like everybody and passes it on, so that it comes twice: torchrun itself
    ends a process that takes too long.
    """

    watched = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # only there can handlers be set
            self._before = {number: signal.signal(number, self._note) for number in self.watched}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _note(self, number: int, frame: "FrameType | None") -> None:
        self.number = number
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}
