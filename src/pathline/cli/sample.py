"""``pathline sample RUN``."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import tyro
from torch import Tensor

from pathline.cli.parsing import UsageError, parse
from pathline.train.config import Precision

if TYPE_CHECKING:
    from pathline.data import Dataset
    from pathline.train import Run
    from pathline.train.shards import Shards

MANY = 4096
"""Samples above which one process draws in shards too."""

ABOUT = """\
Draw samples from a run, in the units of its data: RUN/samples.npz with x (and y), and a picture samples.png.
Sample i comes from seed + i alone, so any --batch gives the same set, and so does any number of processes. Many samples
are drawn in shards: after an interruption the same command goes on with those that are missing.

examples:
  pathline sample runs/moons --n 5000
  pathline sample runs/digits --per-class 10 --guidance 2
  pathline sample runs/digits --per-class 10 --guidance "cfg_zero(2.0)"
  pathline sample runs/digits --y 3 --n 64 --solver heun --evaluations 20
  torchrun --standalone --nproc_per_node 4 -m pathline sample runs/digits -n 50000
  pathline sample runs/moons --source mine.npy       a run between two sets, from points of yours
  pathline sample runs/moons --encode moons          back: where the flow comes from"""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How to draw. What is not given is what the run itself says."""

    n: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """How many samples; 10 per class, or 1000 without labels."""
    y: tuple[int, ...] = ()
    """Labels to draw, in turn; every class if none is given, -1 for no label."""
    per_class: int | None = None
    """Samples of each label, instead of --n."""
    guidance: str | None = None
    """Weight of classifier-free guidance (1 is none), or a method such as "apg(2.0)" or "interval(2.0, 0.1, 0.7)"."""
    solver: str | None = None
    """A solver of pathline.SOLVERS, or the file of a tuned one."""
    steps: int | None = None
    """Steps of the solver."""
    evaluations: int | None = None
    """Budget of field evaluations per sample, instead of --steps."""
    grid: str | None = None
    """Time law that spaces the steps, such as cosine or "shifted(3)"."""
    seed: int = 0
    """Seed of the first sample."""
    batch: int = 256
    """Samples at a time."""
    checkpoint: int | None = None
    """Step of the checkpoint to use; the newest one if not given."""
    average: str | None = None
    """Another average of the weights than the main one: one of ema_also, such as 0.999 or "power(0.1)"."""
    precision: Precision = "no"
    """Mixed precision of the network while samples are drawn: bf16, or fp16 on GPUs."""
    cpu: bool = False
    """Stay on the CPU although there is a GPU."""

    def opened(self, run: str, device: torch.device) -> "Run":
        """The run in the folder ``run``, as it is asked for."""
        from pathline.train import Run

        return Run.open(run, step=self.checkpoint, average=self.average, precision=self.precision, device=device)

    def count(self, classes: int) -> int:
        """How many samples are asked for, from a run that knows ``classes`` classes."""
        if self.per_class is None:
            return (10 * (len(self.y) or classes) or 1000) if self.n is None else self.n
        if self.n is not None:
            raise UsageError(f"give --n or --per-class, not both (got {self.n} and {self.per_class})")
        if not classes:
            raise UsageError("--per-class needs a run with labels: give --n")
        return self.per_class * (len(self.y) or classes)

    def options(self, n: int) -> dict[str, Any]:
        """Arguments of `Run.sample`."""
        y = torch.tensor(self.y)[torch.arange(n) % len(self.y)] if self.y else None
        return {
            "y": y,
            "guidance": self.guidance,
            "solver": self.solver,
            "steps": self.steps,
            "evaluations": self.evaluations,
            "grid": self.grid,
            "seed": self.seed,
            "batch_size": self.batch,
        }


@dataclass(frozen=True, kw_only=True)
class Arguments(Drawing):
    """Arguments of ``pathline sample``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    source: str | None = None
    """Data set or file of points to start from, in the units of the source; the run's own source, or noise, if not given."""
    encode: str | None = None
    """Data set or file to carry back to the source, instead of drawing: RUN/encoded.npz with x in the source's units."""
    out: str | None = None
    """Array file to write; RUN/samples.npz if not given. The picture stands beside it."""
    picture: bool = True
    """Draw the picture."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline sample", about=ABOUT)
    from pathline.cli.output import write_samples, write_shards
    from pathline.train import pictures
    from pathline.train.drawing import draw_in_shards
    from pathline.train.names import SAMPLES
    from pathline.train.processes import Processes
    from pathline.viz import save

    processes = Processes.started(cpu=arguments.cpu)
    run = arguments.opened(arguments.run, processes.device)
    path = run.path / SAMPLES if arguments.out is None else Path(arguments.out)
    if path.suffix != ".npz":
        raise UsageError(f"--out must end in .npz, got {path}")
    if arguments.encode is not None:
        if processes.count > 1:
            raise UsageError("--encode works in one process: start it without torchrun")
        if arguments.precision != "no":
            raise UsageError(f"--encode is as precise as the weights: leave out --precision {arguments.precision}")
        _encode(run, arguments)
        return
    x_0 = None
    if arguments.source is not None:
        if arguments.per_class is not None:
            raise UsageError("--source brings as many points as it has: give --n for fewer, not --per-class")
        x_0 = _points(arguments.source, arguments.n).x
    n = arguments.count(len(run.class_names)) if x_0 is None else len(x_0)
    options = arguments.options(n)
    begin = time.perf_counter()
    if processes.count > 1 or n > MANY:
        shards = draw_in_shards(
            run, path.with_suffix(".parts"), n, processes=processes, progress=True, x_0=x_0, **options
        )
        processes.leave()
        if not processes.first:
            return
        write_shards(path, run, shards, arguments.seed)
        x, y = _front(shards)
        shards.clear()
    else:
        x, y = run.sample(n, progress=True, x_0=x_0, **options), run.labels(n, options["y"])
        write_samples(path, run, x, y, arguments.seed)
    print(f"{n} samples of shape {run.shape} in {time.perf_counter() - begin:.1f} s")
    print(f"samples  {path}")
    if arguments.picture:
        picture = save(pictures.samples(run, x, y), path.with_suffix(".png"))
        print(f"picture  {picture}")


def _front(shards: "Shards") -> "tuple[Tensor, Tensor | None]":
    """The first `MANY` samples and their labels, for the picture."""
    count = -(-MANY // shards.recipe["shard"])
    found = [part for k in range(min(count, len(shards))) if (part := shards.read(k)) is not None]
    x = torch.cat([part["x"] for part in found]).float()
    return x, torch.cat([part["y"] for part in found]) if "y" in found[0] else None


def _points(text: str, n: "int | None") -> "Dataset":
    """The first ``n`` points of a data set or file, all if None."""
    from pathline.data import StreamDataset, in_memory
    from pathline.train.assemble import load_data

    data = load_data(text)
    held = data.in_memory(n) if isinstance(data, StreamDataset) else in_memory(data)
    return held.subset(range(min(n or len(held), len(held))))


def _encode(run: "Run", arguments: Arguments) -> None:
    """Write where the flow comes from at the points of a file: RUN/encoded.npz, source points x in their units."""
    import numpy as np

    data = _points(str(arguments.encode), arguments.n)
    y = arguments.options(len(data))["y"]
    if y is None and run.class_names:
        y = data.y
    solver = {} if arguments.solver is None else {"solver": arguments.solver}
    begin = time.perf_counter()
    z = run.encode(data.x, y=y, batch_size=arguments.batch, **solver)
    path = run.path / "encoded.npz" if arguments.out is None else Path(arguments.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {"x": z.numpy()} if y is None else {"x": z.numpy(), "y": y.numpy()}
    np.savez(path, **arrays)
    print(f"{len(z)} points carried back in {time.perf_counter() - begin:.1f} s")
    print(f"encoded  {path}")
