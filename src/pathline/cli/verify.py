"""``pathline verify [ID …]`` and ``pathline verify RUN``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Check the theory by numbers, or a run against what is exact.

Without an argument every statement is checked against an independent oracle: a table, and exit status 1 if one fails. With the
folder of a run: where in time is the trained model wrong, and by how much? Losses beside the Bayes-optimal loss, velocity
and divergence beside the exact ones, calibration, the identities of a true field, marginals.

examples:
  pathline verify
  pathline verify T14 --plot t14.png
  pathline verify --html theory.html          formulas, pictures, and mistakes that must be caught
  pathline verify runs/moons                  writes runs/moons/verify.html"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline verify``."""

    what: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[ID ... | RUN]"), tyro.conf.Positional] = ()
    """Statements such as T2 T14, all if none is named; or the folder of one run."""
    html: str | None = None
    """Write a page to this file; of checks, it runs the deliberate mistakes as well."""
    plot: str | None = None
    """Write the picture of one check, or of the run, to this file; without a name ID.png or RUN/verify.png."""
    controls: bool = False
    """Also run the deliberate mistakes of each check, which must be caught."""
    n: int = 512
    """Run: how many points a bin of time."""
    bins: int = 10
    """Run: bins of time."""
    steps: int = 40
    """Run: steps of Heun's method for the sampled paths."""
    checkpoint: int | None = None
    """Run: training step of the checkpoint; the newest if not given."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, _named_plot(words), prog="pathline verify", about=ABOUT)
    from pathline.verify import CHECKS

    ids = [word.upper() for word in arguments.what]
    if len(ids) == 1 and ids[0] not in CHECKS and (Path(arguments.what[0]).exists() or "/" in arguments.what[0]):
        check_run(Path(arguments.what[0]), arguments)
    else:
        check_theory(ids, arguments)


_OWN_NAME = "."


def _named_plot(words: list[str]) -> list[str]:
    """``--plot`` without a value gets one that stands for the default name."""
    named = []
    for place, word in enumerate(words):
        named.append(word)
        if word == "--plot" and (place + 1 == len(words) or words[place + 1].startswith("--")):
            named.append(_OWN_NAME)
    return named


def check_theory(ids: list[str], arguments: Arguments) -> None:
    """Run the checks, printing each row as it comes. Raises RuntimeError if one fails."""
    from pathline._errors import lookup
    from pathline.verify import CHECKS, report, run

    for name in ids:
        lookup("check", name, CHECKS)
    if arguments.plot is not None and len(ids) != 1:
        raise UsageError("--plot draws one check: name it, as in pathline verify T14 --plot")
    print(report.header())
    controls = arguments.controls or arguments.html is not None
    results = run(ids or None, controls=controls, progress=lambda result: print(report.row(result), flush=True))
    print(f"\n{report.summary(results)}")
    if arguments.plot is not None:
        target = f"{ids[0]}.png" if arguments.plot == _OWN_NAME else arguments.plot
        print(f"picture  {report.save_picture(results[0], target)}")
    if arguments.html is not None:
        print(f"page     {_write(Path(arguments.html), report.to_html(results))}")
    failed = [result.check.id for result in results if not result.passed]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}")


def check_run(path: Path, arguments: Arguments) -> None:
    """Measure a trained model; the table, and a page in the folder of the run."""
    from tqdm.auto import tqdm

    from pathline.train import Run
    from pathline.verify import model_report, verify_model

    run = Run.open(path, step=arguments.checkpoint)
    run.need_noise("verify")
    train, y_train = _standardised(run, run.data.train)
    held_out, y_held_out = (None, None) if run.data.held_out is None else _standardised(run, run.data.held_out)
    with tqdm(total=arguments.bins, desc="verify", unit="bin", leave=False, disable=None) as shown:

        def advance(done: int, total: int) -> None:
            shown.update()

        found = verify_model(
            run.field, train, held_out, y_train=y_train, y_held_out=y_held_out, bins=arguments.bins,
            n=arguments.n, steps=arguments.steps, progress=advance,
        )  # fmt: skip
    print(model_report.text_table(found))
    if arguments.plot is not None:
        target = run.path / "verify.png" if arguments.plot == _OWN_NAME else Path(arguments.plot)
        target.parent.mkdir(parents=True, exist_ok=True)
        model_report.figure(found).savefig(target, dpi=150)
        print(f"picture  {target}")
    page = model_report.to_html(found, str(run.path), curve=_curve(run, train, y_train))
    print(f"page     {_write(run.path / 'verify.html' if arguments.html is None else Path(arguments.html), page)}")


def _standardised(run: Any, part: Any) -> tuple[Any, Any]:
    """Data as the network sees them, with labels if it was conditioned on them."""
    return run.standardizer.transform(part.x), part.y if run.class_names else None


def _curve(run: Any, train: Any, y_train: Any) -> Any:
    """The logged losses over the Bayes-optimal value of the objective; None where that is not known."""
    import torch

    from pathline.verify import bayes_objective, model_report

    losses = [(record["step"], record["loss"]) for record in run.log if "loss" in record]
    if not losses or run.objective is None:
        return None
    try:
        least = bayes_objective(train, run.objective, labels=y_train, generator=torch.Generator().manual_seed(0))
    except ValueError as error:  # a coupling of noise and data
        print(f"no Bayes-optimal loss: {error}")
        return None
    return model_report.training_curve(losses, least)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
