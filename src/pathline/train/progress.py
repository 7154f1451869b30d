"""The progress bar: loss, steps per second and time left; a plain line now and then where there is no terminal."""

import sys
import time
from typing import Any


class Progress:
    """Counts steps from ``first`` to ``last``. Redrawing is tqdm's business, so a step costs well under a microsecond."""

    def __init__(self, first: int, last: int, *, enabled: bool) -> None:
        self.first, self.last = first, last
        self.done, self.loss = first, float("nan")
        self._begin = time.perf_counter()
        self._bar: Any = None
        self._lines = enabled and not sys.stderr.isatty()
        self._next_line = self._begin + 20.0
        self._mark = (first, self._begin)
        if enabled and not self._lines:
            from tqdm.auto import tqdm

            self._bar = tqdm(total=last, initial=first, desc="train", unit="step", dynamic_ncols=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        """One step is done."""
        self.done += 1
        if self._bar is not None:
            self._bar.update()

    def speed(self) -> float:
        """Steps per second since the last call."""
        now = time.perf_counter()
        (done, before), self._mark = self._mark, (self.done, now)
        return (self.done - done) / max(now - before, 1e-9)

    def pause(self, seconds: float) -> None:
        """``seconds`` since the last `speed` were not spent on steps."""
        done, before = self._mark
        self._mark = (done, before + seconds)

    def show(self, loss: float) -> None:
        """Say how it goes."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        now = time.perf_counter()
        if self._lines and (now >= self._next_line or self.done == self.last):
            self._next_line = now + 20.0
            rate = (self.done - self.first) / max(now - self._begin, 1e-9)
            left = (self.last - self.done) / max(rate, 1e-9)
            print(
                f"step {self.done}/{self.last}  loss {loss:.4f}  {rate:.1f} steps/s  {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
