"""``pathline reflow``."""

import time
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Straighten the paths of a run: make pairs (noise, what the run draws from it), and train on them from the weights of the run.
Afterwards few steps of a solver, even one, do the work of many. A reflowed run may be reflowed again; --distill, best as
the last round, trains the single step alone.

examples:
  pathline reflow runs/moons
  pathline reflow runs/moons --rounds 2 --steps 5000
  pathline reflow runs/moons-reflow --distill
  pathline reflow runs/digits --guidance 1.5 --pairs 20000"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline reflow``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    out: str | None = None
    """Folder of the new run; RUN-reflow or RUN-distilled if not given."""
    rounds: int = 1
    """Reflow so many times, each round from the run before."""
    distill: bool = False
    """Train the single step in the last round."""
    pairs: int = 50_000
    """Pairs to make."""
    solver: str = "heun"
    """Solver that makes them, of pathline.SOLVERS, deterministic."""
    solver_steps: int | None = None
    """Steps of that solver; 32 if neither steps nor evaluations is given."""
    evaluations: int | None = None
    """Its budget of field evaluations, instead of steps."""
    guidance: float | None = None
    """Weight of classifier-free guidance that the pairs carry; none if not given."""
    seed: int = 0
    """Seed of the noise of the pairs."""
    steps: int | None = None
    """Steps of training; those of the run if not given."""
    lr: float | None = None
    """Highest learning rate; that of the run if not given."""
    batch_size: int | None = None
    """Samples per step; that of the run if not given."""
    measure: bool = True
    """Measure straightness and one-step samples before and after."""
    resume: bool = False
    """Go on with a training that was interrupted; pairs that are whole are kept in any case."""
    overwrite: bool = False
    """Delete what the folder holds, and start anew."""
    cpu: bool | None = None
    """Stay on the CPU although there is an accelerator; as the run did if not given."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline reflow", about=ABOUT)
    if arguments.rounds < 1:
        raise UsageError(f"--rounds must be at least 1, got {arguments.rounds}")
    if arguments.rounds > 1 and arguments.out is not None:
        raise UsageError("--out names one folder, but each of the --rounds makes one: leave one of the two out")
    from pathline.train import Run, reflow

    changes: dict[str, Any] = {name: getattr(arguments, name) for name in ("steps", "lr", "batch_size", "cpu")}
    run = Run.open(arguments.run)
    for place in range(1, arguments.rounds + 1):
        begin = time.perf_counter()
        found = reflow(
            run, out=arguments.out, pairs=arguments.pairs, seed=arguments.seed + place - 1,
            distill=arguments.distill and place == arguments.rounds, solver=arguments.solver,
            steps=arguments.solver_steps, evaluations=arguments.evaluations, guidance=arguments.guidance,
            training={k: v for k, v in changes.items() if v is not None}, measure=arguments.measure,
            resume=arguments.resume, overwrite=arguments.overwrite,
        )  # fmt: skip
        print(f"{run.path} reflowed in {time.perf_counter() - begin:.0f} s: {found.run.path}")
        if arguments.measure:
            print(f"\n{found}\n")
        run = found.run
