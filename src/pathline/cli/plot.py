"""``pathline plot RUN``."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from pathline._errors import lookup
from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Draw pictures of a run into its folder. Without a kind, every one that fits its data and takes no measuring.

  samples       beside held-out data, or a row a class        loss          over the steps
  source        where a flow between data sets begins         bins          loss by time, from early to late
  trajectories  of points in the plane                        straightness  how much paths bend at each time
  snapshots     points in the plane at five times             nfe           error against evaluations of the field
  density       their density                                 verify        loss by time beside the least possible
  phase         states on the line over time
  field         velocity in the plane
  film          images on their way from noise

examples:
  pathline plot runs/moons
  pathline plot runs/moons trajectories nfe
  pathline plot runs/digits --kind film --n 5"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline plot``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    kinds: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[KIND ...]"), tyro.conf.Positional] = ()
    """What to draw; everything that fits and is quick if nothing is named."""
    kind: tuple[str, ...] = ()
    """The same as an option: --kind film loss."""
    n: int | None = None
    """How many samples are shown."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline plot", about=ABOUT)
    from pathline.train import Run, pictures
    from pathline.viz import save

    wanted = dict.fromkeys(arguments.kinds + arguments.kind)
    for kind in wanted:
        lookup("picture", kind, pictures.KINDS)
    run = Run.open(arguments.run)
    for kind in wanted:
        reason = pictures.misfit(kind, run)
        if reason is not None:
            raise UsageError(reason)
    quick = [kind for kind in pictures.KINDS if kind not in pictures.SLOW and pictures.misfit(kind, run) is None]
    for kind in wanted or quick:
        path = save(pictures.KINDS[kind](run, n=arguments.n), run.path / f"{kind}.png")
        print(f"{kind:<13}{path}", flush=True)
