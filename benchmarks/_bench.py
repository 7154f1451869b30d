"""What every benchmark shares: alternating rounds, medians, ratios formed within a round, and the results file.

Two contenders are compared only within one process and one round, because the machine may be shared: the rounds
alternate between all contenders in a rotating order, a ratio is formed inside each round, and the median over the
rounds is reported. Times are CPU seconds of this process by default, on one thread.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python benchmarks/NAME.py
"""

import argparse
import ctypes
import gc
import json
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

Contender = Callable[[], Any]
Cell = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds per call of one contender, one value per round."""

    name: str
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median over the rounds, seconds."""
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, seconds."""
        low, _, high = statistics.quantiles(self.rounds, n=4) if len(self.rounds) > 1 else (0.0, 0.0, 0.0)
        return 0.5 * (high - low)

    def over(self, other: "Timing") -> float:
        """Median over the rounds of self/other, each ratio formed within its round."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has: ``--rounds``, ``--threads``, ``--quick``."""
    options = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    options.add_argument("--rounds", type=int, default=9, help="alternating rounds")
    options.add_argument("--threads", type=int, default=1, help="threads of torch")
    options.add_argument("--quick", action="store_true", help="few rounds, nothing is written: does it run?")
    return options


def setup(threads: int = 1) -> None:
    """Fix the number of threads, and the seed of whatever draws without a generator."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)


def keep_pages() -> None:
    """Let the C library keep the memory that is freed (glibc; blocks of up to 32 MB).

    By default it may hand the activations of a network back to the system after every evaluation and fault them in again at
    the next, or not, as the heap happens to lie: 0 to 480 page faults for the same evaluation, up to 0.7 ms of 3, which
    one contender of a process has and another has not.
    """
    allocator, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3
    if not (allocator.mallopt(trim_threshold, 2**30) and allocator.mallopt(mmap_threshold, 2**25)):
        raise RuntimeError("the C library takes no thresholds: keep_pages needs glibc")


def compare(
    contenders: Mapping[str, Contender],
    *,
    rounds: int = 9,
    seconds: float = 0.05,
    warmup: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Time ``contenders`` in alternating rounds; a visit repeats a call until about ``seconds`` have passed.

    ``clock`` is CPU time of the process: on one thread others on the machine disturb it little. For work on several
    threads, or on an accelerator (synchronise inside the contender), give ``time.perf_counter``.
    """
    repeats = {}
    for name, call in contenders.items():
        for _ in range(warmup):
            call()
        repeats[name] = max(1, math.ceil(seconds / max(_visit(call, 1, clock), 1e-7)))
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for turn in range(rounds):
        shift = turn % len(order)
        for name in order[shift:] + order[:shift]:  # rotating: nobody always runs after the same neighbour
            taken[name].append(_visit(contenders[name], repeats[name], clock))
    return {name: Timing(name=name, rounds=tuple(values)) for name, values in taken.items()}


def beside(
    base: Contender, contenders: Mapping[str, Contender], *, rounds: int = 9, warmup: int = 2
) -> dict[str, tuple[Timing, Timing]]:
    """(``base``, contender) of each, timed in pairs one right after the other, now one first and now the other.

    For small ratios: what drifts on the machine from second to second meets both of a pair. A block of memory of random
    size, held through a pair and by every pair another, moves where the two put their arrays: some places cost a contender
    several per cent, and these too meet both.
    """
    for call in (base, *contenders.values()):
        for _ in range(warmup):
            call()
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in contenders}
    sizes = random.Random(0)
    for turn in range(rounds):
        for name, call in contenders.items():
            spacer = bytearray(sizes.randrange(2**12, 2**22))
            for which in (0, 1) if turn % 2 == 0 else (1, 0):
                taken[name][which].append(_visit((base, call)[which], 1, time.process_time))
            del spacer
    return {
        name: (Timing(name="base", rounds=tuple(a)), Timing(name=name, rounds=tuple(b)))
        for name, (a, b) in taken.items()
    }


def _visit(call: Contender, repeats: int, clock: Callable[[], float]) -> float:
    collecting = gc.isenabled()
    gc.disable()
    begin = clock()
    for _ in range(repeats):
        call()
    taken = (clock() - begin) / repeats
    if collecting:
        gc.enable()
    return taken


def peak_memory(call: Contender) -> int:
    """Bytes that one call needs above what was resident before it (Linux: the resettable peak of the resident set)."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # glibc: free pages that are kept for reuse would hide what the call needs
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the system reports no {key}: peak_memory needs Linux")


def gemm_rate(m: int, n: int, k: int, *, dtype: torch.dtype = torch.float32, rounds: int = 5) -> float:
    """Floating-point operations per CPU second of an (m, k) x (k, n) product, 2mnk flops: the floor's rate."""
    a, b, out = torch.randn(m, k, dtype=dtype), torch.randn(k, n, dtype=dtype), torch.empty(m, n, dtype=dtype)
    timing = compare({"gemm": lambda: torch.mm(a, b, out=out)}, rounds=rounds, seconds=0.2)["gemm"]
    return 2.0 * m * n * k / timing.median


def machine() -> str:
    """One line that says on what the numbers were taken, without naming the host."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = [line.split(":", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name")]
        model = f"{found[0].strip()}, {len(found)} logical cores" if found else model
    if torch.cuda.is_available():
        model += f", {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    return (
        f"{model}, {threads} thread{'s' * (threads != 1)} used, torch {torch.__version__.split('+')[0]}, "
        f"Python {platform.python_version()}"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table; numbers with three significant digits."""
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *[[show(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show(cell: Cell) -> str:
    """A cell as text."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        if math.isnan(cell):
            return "nan"
        return f"{cell:,.0f}" if 1e3 <= abs(cell) < 1e6 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else cell


def write(
    name: str, title: str, sections: Sequence[tuple[str, str]], data: Mapping[str, Any], *, command: str | None = None
) -> None:
    """Write ``results/NAME.md``, sections of a heading and a Markdown body, and ``results/NAME.json``; print the former.

    ``command`` is what repeats it, ``NAME.py`` unless told otherwise.
    """
    body = [f"# {title}", machine() + ".", f"Repeat with `python benchmarks/{command or name + '.py'}`."]
    for heading, text in sections:
        body += [f"## {heading}", text] if heading else [text]
    text = "\n\n".join(body) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text)
    (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine(), **data}, indent=1) + "\n")
    print(text)
