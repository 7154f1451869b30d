"""``pathline evaluate RUN``."""

import json
import time
from dataclasses import dataclass
from typing import Annotated

import tyro

from pathline.cli.parsing import parse
from pathline.cli.sample import Drawing

ABOUT = """\
Measure a run: its samples against the held-out part of its data, each metric beside the value that fresh real data
would get at the same n, and the likelihood of held-out data (bits per dimension for data on whole levels). Labelled data
add class agreement and the features of a small classifier, trained once.

examples:
  pathline evaluate runs/moons
  pathline evaluate runs/digits --n 1000 --guidance 1.5
  pathline evaluate runs/moons --metrics w2 mmd nll
  pathline evaluate runs/fashion --n 10000 --metrics fd --precision bf16
  pathline evaluate runs/cifar10 --n 50000 --metrics fd --inception weights-inception-2015-12-05-6726825d.pth"""


@dataclass(frozen=True, kw_only=True)
class Arguments(Drawing):
    """Arguments of ``pathline evaluate``."""

    run: Annotated[str, tyro.conf.arg(metavar="RUN"), tyro.conf.Positional]
    """Folder of a run, such as runs/moons."""
    n: int | None = None
    """How many samples; 2000 vectors or 500 images if not given."""
    metrics: tuple[str, ...] = ()
    """Names in pathline.metrics.METRICS, and nll; a choice that fits the data if none is given."""
    inception: str | None = None
    """Weights of Inception v3 as torch-fidelity has them: FD is then the standard FID (extra: fid)."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline evaluate", about=ABOUT)
    from pathline.train import assess
    from pathline.train.names import METRICS_FILE
    from pathline.train.processes import Processes

    run = arguments.opened(arguments.run, Processes.alone(cpu=arguments.cpu).device)
    n = arguments.n
    if n is None:
        n = 500 if run.about["image"] else 2000
    if arguments.per_class is not None:
        n = arguments.count(len(run.class_names))
    begin = time.perf_counter()
    found = assess(
        run,
        n=n,
        metrics=arguments.metrics or None,
        inception=arguments.inception,
        progress=True,
        **arguments.options(n),
    )
    path = run.path / METRICS_FILE
    path.write_text(json.dumps(found.report.to_dict(), indent=1) + "\n", encoding="utf-8")
    print(found.report)
    print(f"\nmeasured in {time.perf_counter() - begin:.1f} s; the numbers are in {path}")
