"""Memory of training on data larger than memory: the resident set does not grow with the file.

Each size is measured in a process of its own: arrays read by the row (``x.npy``), and the same rows as a stream. The
peak of the resident set includes torch and everything else; what matters is that it stays where it is. With ``--limit`` the system
lets a process allocate no more than so many GiB (RLIMIT_DATA: heap and private memory, not the pages of a file); that the limit
bites is shown by reading the file as a whole, which must fail.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --gib 0.0625 4
    OMP_NUM_THREADS=1 python benchmarks/memory.py --gib 4 --limit 1
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import IterableDataset

import pathline as pl
from pathline.data import from_torch, load

SHAPE = (3, 64, 64)
STEPS, BATCH = 100, 64
RESULTS = Path(__file__).parent / "results"


class Rows(IterableDataset):
    """The rows of an array file from front to back."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self):
        with self.path.open("rb") as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            while row := file.read(int(np.prod(SHAPE))):
                yield torch.frombuffer(bytearray(row), dtype=torch.uint8).reshape(SHAPE)


class Scale(torch.nn.Module):
    """A net that costs nothing: reading is what is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, x_t, t):
        return self.factor * x_t


def write(path: Path, gib: float) -> int:
    """An array of random bytes, written a block at a time; its number of rows."""
    rows = int(gib * 2**30) // int(np.prod(SHAPE))
    block = np.random.default_rng(0).integers(0, 256, (256, *SHAPE), dtype=np.uint8)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (rows, *SHAPE)})
        for start in range(0, rows, 256):
            file.write(block[: rows - start].tobytes())
    return rows


def measure(path: Path, how: str, limit: float) -> None:
    """Train, and print peak resident set in MiB and steps per second; ``limit`` GiB is the most that may be allocated."""
    torch.set_num_threads(1)
    if limit:
        resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 2**30), int(limit * 2**30)))
    if how == "as a whole":
        np.fromfile(path, dtype=np.uint8)
        raise SystemExit("the limit did not bite")
    data = load(path, lazy=True) if how == "by row" else from_torch(Rows(path), levels=256)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            net=Scale(), objective=objective, data=data, out=folder + "/run", steps=STEPS, batch_size=BATCH,
            checkpoint_every=STEPS, progress=False,
        )  # fmt: skip
        begin = time.perf_counter()
        trainer.fit()
        seconds = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{peak:.0f} {STEPS / seconds:.1f}")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--gib", type=float, nargs="+", default=[0.0625, 4.0])
    options.add_argument("--limit", type=float, default=0.0, help="GiB that a process may allocate; 0 for no limit")
    options.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--quick", action="store_true", help="small files, nothing is written: does it run?")
    given = options.parse_args()
    if given.child:
        measure(Path(given.child[0]), given.child[1], given.limit)
        return
    lines = [
        "# Memory of training on files", "",
        f"Rows of {SHAPE} bytes, {STEPS} steps of {BATCH}, a net of three weights; peak resident set of the whole process.", "",
        "| file | read | peak MiB | steps/s |", "|---|---|---|---|",
    ]  # fmt: skip
    for gib in [0.01, 0.02] if given.quick else given.gib:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.npy"
            rows = write(path, gib)
            for how in ("by row", "as a stream", *(["as a whole"] if given.limit else [])):
                told = subprocess.run(
                    [sys.executable, __file__, "--child", str(path), how, "--limit", str(given.limit)],
                    capture_output=True, text=True, env=os.environ, check=False,
                )  # fmt: skip
                if told.returncode and not (how == "as a whole" and "MemoryError" in told.stderr):
                    raise SystemExit(told.stderr)
                peak, speed = told.stdout.split() if not told.returncode else ("MemoryError, as it must be", "")
                lines.append(f"| {gib:g} GiB, {rows:,} rows | {how} | {peak} | {speed} |")
                print(lines[-1], flush=True)
    if not given.quick:
        name = f"memory_limit_{given.limit:g}.md" if given.limit else "memory.md"
        if given.limit:
            lines[2] += f" No process may allocate more than {given.limit:g} GiB (RLIMIT_DATA)."
        (RESULTS / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
