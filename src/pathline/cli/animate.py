"""``pathline animate RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Write the way of samples from noise to data as a film: points in the plane with their trails, or images beside what the
network takes them for at each time. The suffix of --out says how: .gif, .webp, or .mp4 (which needs ffmpeg).

examples:
  pathline animate runs/moons
  pathline animate runs/digits --out digits.webp --n 25 --guidance 2
  pathline animate runs/moons -o moons.mp4 --seconds 6 --solver euler --evaluations 8"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline animate``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    out: Annotated[str | None, tyro.conf.arg(aliases=["-o"])] = None
    """File to write; RUN/flow.gif if not given."""
    n: int | None = None
    """How many samples move; 600 points, or 25 images."""
    y: int | None = None
    """Label to draw; every class in turn if not given."""
    seed: int = 0
    """Seed of the first sample."""
    solver: str | None = None
    """A solver of pathline.SOLVERS; the run's own if not given."""
    evaluations: int | None = None
    """Budget of field evaluations per sample."""
    guidance: float | None = None
    """Weight of classifier-free guidance; 1 is none."""
    seconds: float = 4.0
    """Length of the way from noise to data."""
    fps: int = 25
    """Frames a second."""
    checkpoint: int | None = None
    """Step of the checkpoint to use; the newest one if not given."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline animate", about=ABOUT)
    from pathline.train import Run
    from pathline.viz.animation import SUFFIXES, animate

    run = Run.open(arguments.run, step=arguments.checkpoint)
    path = run.path / "flow.gif" if arguments.out is None else Path(arguments.out)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out must end in {', '.join(SUFFIXES)}, got {path}")
    image = len(run.shape) == 3
    if run.shape != (2,) and not image:
        raise UsageError(
            f"a sample of {run.path} has shape {run.shape}: points in the plane and images can be animated"
        )
    n = (25 if image else 600) if arguments.n is None else arguments.n
    options = {"solver": arguments.solver, "evaluations": arguments.evaluations, "guidance": arguments.guidance}
    solution = run.trajectory(n, y=arguments.y, seed=arguments.seed, **options)
    labels = run.labels(n, arguments.y)
    timing = {"seconds": arguments.seconds, "fps": arguments.fps}
    if image:
        cond: dict[str, Any] = {} if labels is None else {"y": labels}
        written = animate(solution, path, field=run.field, transform=run.decode, **timing, **cond)
    else:
        written = animate(run.in_your_units(solution), path, y=labels, **timing)
    print(f"film  {written}")
