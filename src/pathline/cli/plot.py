"""``pathline plot RUN``."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from pathline._errors import lookup
from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Draw pictures of a run into its folder: samples, trajectories, snapshots, field, film, loss. Without a kind, every one
that fits its data.

examples:
  pathline plot runs/moons
  pathline plot runs/moons trajectories loss
  pathline plot runs/digits film --n 5"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline plot``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    kinds: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[KIND ...]"), tyro.conf.Positional] = ()
    """What to draw; everything that fits if nothing is named."""
    n: int | None = None
    """How many samples are shown."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline plot", about=ABOUT)
    from pathline.train import Run, pictures
    from pathline.viz import save

    for kind in arguments.kinds:
        lookup("picture", kind, pictures.KINDS)
    run = Run.open(arguments.run)
    for kind in arguments.kinds:
        reason = pictures.misfit(kind, run)
        if reason is not None:
            raise UsageError(reason)
    fitting = [kind for kind in pictures.KINDS if pictures.misfit(kind, run) is None]
    for kind in arguments.kinds or fitting:
        path = save(pictures.KINDS[kind](run, n=arguments.n), run.path / f"{kind}.png")
        print(f"{kind:<13}{path}", flush=True)
