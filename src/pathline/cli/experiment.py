"""``pathline experiment NAME``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pathline._errors import nearest
from pathline.cli.parsing import UsageError, parse
from pathline.experiments import EXPERIMENTS, Options

ABOUT = """\
Run an ablation: several settings and seeds, a table with the spread over the seeds, a picture and the numbers.

{names}

examples:
  pathline experiment jit-toy --quick            a size that takes seconds, to see that it runs
  pathline experiment guidance --out results
  pathline experiment sde-vs-ode --subject runs/digits --seeds 0 1 2 3"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline experiment``."""

    name: Annotated[str, tyro.conf.arg(metavar="NAME"), tyro.conf.Positional]
    """Which experiment."""
    out: str = "experiments"
    """Folder; table.md, result.json and plot.png go into a folder of that name inside it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each is a whole repetition."""
    subject: str | None = None
    """A run folder or a recipe to measure, where the experiment lets you choose."""
    quick: bool = False
    """A size that takes seconds; its numbers mean nothing."""


def main(words: list[str]) -> None:
    """Run the command."""
    lines = "\n".join(f"  {name:<12} {found.question}" for name, found in EXPERIMENTS.items())
    arguments = parse(Arguments, words, prog="pathline experiment", about=ABOUT.format(names=lines))
    if arguments.name not in EXPERIMENTS:
        raise UsageError(f"unknown experiment {arguments.name!r}: {nearest(arguments.name, EXPERIMENTS)}")
    options = Options(
        seeds=arguments.seeds,
        quick=arguments.quick,
        subject=arguments.subject,
        say=lambda text: print(text, flush=True),
    )
    folder = Path(arguments.out) / arguments.name
    found = EXPERIMENTS[arguments.name].run(options, folder=folder)
    places = found.write(folder)
    print(f"\n{found.table()}\n")
    for place in places:
        print(place)
