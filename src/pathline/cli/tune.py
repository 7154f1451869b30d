"""``pathline tune RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Fit a solver to a run: the times and coefficients with which a few evaluations come closest to the converged samples.
It is validated on noise that the fit has not seen, and written to RUN/solvers/NAME.json unless it lost.

examples:
  pathline tune runs/moons --evaluations 6
  pathline tune runs/digits --evaluations 5 --guidance 1.5
  pathline tune runs/digits --list
  pathline sample runs/digits --solver runs/digits/solvers/tuned5.json"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline tune``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    evaluations: int = 6
    """Field evaluations per sample of the solver."""
    samples: int | None = None
    """Noises to fit on; 1024, 256 for a large network, 512 of adam."""
    held_out: int = 256
    """Noises to validate on."""
    guidance: str | None = None
    """Weight of classifier-free guidance, or a method such as "apg(2.0)"; the run's own if not given."""
    what: Literal["all", "times", "coefficients"] = "all"
    """What to fit: all comes nearest to the converged samples, times alone can look more like the data (lower FD)."""
    method: Literal["auto", "gauss_newton", "adam"] = "auto"
    """auto is gauss_newton, or adam for a network without forward-mode derivatives."""
    iterations: int | None = None
    """Iterations of a fit; 40 of gauss_newton (16 for a large network), 250 of adam."""
    seed: int = 0
    """Seed of the noises."""
    name: str | None = None
    """Name of the file; tunedN for N evaluations."""
    overwrite: bool = False
    """Replace a solver of that name."""
    list: bool = False
    """Only list the solvers of the run."""
    cpu: bool = False
    """Stay on the CPU although there is a GPU."""


def main(words: "list[str]") -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline tune", about=ABOUT)
    from pathline.solvers import tune
    from pathline.train import Run
    from pathline.train.names import SOLVER_FILES
    from pathline.train.processes import Processes

    run = Run.open(arguments.run, device=Processes.alone(cpu=arguments.cpu).device)
    folder = run.path / SOLVER_FILES
    if arguments.list:
        print(listing(folder))
        return
    run.need_noise("tune")
    path = folder / f"{arguments.name or f'tuned{arguments.evaluations}'}.json"
    if path.exists() and not arguments.overwrite:
        raise UsageError(f"{path} exists: give another --name, or --overwrite")
    labels = run.labels(len(run.class_names))
    cond: dict[str, Any] = {} if labels is None else {"y": labels}
    tuned = tune(
        run.field,
        arguments.evaluations,
        shape=run.shape,
        samples=arguments.samples,
        held_out=arguments.held_out,
        what=arguments.what,
        method=arguments.method,
        iterations=arguments.iterations,
        guidance=run.arguments(guidance=arguments.guidance)["guidance"],
        generator=torch.Generator().manual_seed(arguments.seed),
        progress=True,
        **cond,
    )
    info = tuned.info
    print(f"RMS error on held-out noise at {arguments.evaluations} evaluations, in standardised units:")
    print(f"  tuned                 {info['error']:.4g}")
    print(f"  {info['baseline']:<20}  {info['baseline_error']:.4g}  (best untuned)")
    tuned.save(path)
    print(f"{info['baseline_error'] / info['error']:.1f} x closer, fitted in {info['seconds']} s")
    print(f"solver  {path}")


def listing(folder: Path) -> str:
    """A line for each solver file in ``folder``."""
    from pathline.solvers import load_solver

    lines = []
    for path in sorted(folder.glob("*.json")):
        info = load_solver(path).info
        lines.append(
            f"{path.stem:<12} {info.get('evaluations', '?'):>3} evaluations  error {info.get('error', float('nan')):.4g}"
            f"  (untuned {info.get('baseline_error', float('nan')):.4g}, {info.get('baseline', '?')})  {path}"
        )
    return "\n".join(lines) or f"no solver in {folder}: pathline tune RUN --evaluations N makes one"
