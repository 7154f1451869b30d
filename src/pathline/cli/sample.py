"""``pathline sample RUN``."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Draw samples from a run, in the units of its data: RUN/samples.npz with x (and y), and a picture samples.png.
Sample i comes from seed + i alone, so any --batch gives the same set.

examples:
  pathline sample runs/moons --n 5000
  pathline sample runs/digits --per-class 10 --guidance 2
  pathline sample runs/digits --per-class 10 --guidance "cfg_zero(2.0)"
  pathline sample runs/digits --y 3 --n 64 --solver heun --evaluations 20"""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How to draw. What is not given is what the run itself says."""

    n: int | None = None
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
    out: str | None = None
    """Array file to write; RUN/samples.npz if not given. The picture stands beside it."""
    picture: bool = True
    """Draw the picture."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline sample", about=ABOUT)
    from pathline.cli.output import write_samples
    from pathline.train import Run, pictures
    from pathline.train.run import SAMPLES
    from pathline.viz import save

    run = Run.open(arguments.run, step=arguments.checkpoint)
    path = run.path / SAMPLES if arguments.out is None else Path(arguments.out)
    if path.suffix != ".npz":
        raise UsageError(f"--out must end in .npz, got {path}")
    n = arguments.count(len(run.class_names))
    options = arguments.options(n)
    begin = time.perf_counter()
    x = run.sample(n, progress=True, **options)
    y = run.labels(n, options["y"])
    write_samples(path, run, x, y, arguments.seed)
    print(f"{n} samples of shape {run.shape} in {time.perf_counter() - begin:.1f} s")
    print(f"samples  {path}")
    if arguments.picture:
        picture = save(pictures.samples(run, x, y), path.with_suffix(".png"))
        print(f"picture  {picture}")
