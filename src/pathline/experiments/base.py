"""What an experiment is: a question, what it varies and measures, and the table and picture of what it found."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
"""One measurement: the factors that were set, the seed, and the values that were found."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every experiment is told."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each is a whole repetition: weights, order, noise and samples."""
    quick: bool = False
    """A size that takes seconds, to see that it runs; its numbers mean nothing."""
    subject: str | None = None
    """A run folder or a recipe, where the experiment lets you choose; its own default if None."""
    say: Callable[[str], None] = lambda text: None
    """Told of each measurement as it comes."""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be different numbers, at least one, got {self.seeds}")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A question that a computation answers.

    ``measure(options)`` yields one record for each setting and seed. ``by`` names the factors in it, ``values`` what is
    measured; the picture has the factor ``x`` along and the value ``y`` upwards, a line for each setting of the rest.
    """

    name: str
    question: str
    measure: Callable[[Options], Iterable[Record]]
    by: tuple[str, ...]
    values: tuple[str, ...]
    x: str
    y: str
    source: str
    subject: str | None = None
    """Recipe or run that is measured unless another is named; None where there is no choice."""
    log: str = ""
    """Axes with a logarithmic scale, of "x" and "y"."""
    floor: str | None = None
    """The value that stands for real data against real data, drawn as a level."""

    def __post_init__(self) -> None:
        if self.x not in self.by or self.y not in self.values or not set(self.log) <= {"x", "y"}:
            raise ValueError(f"experiment {self.name}: x must be a factor, y a value, log of x and y")

    def run(self, options: "Options | None" = None, *, folder: "str | Path | None" = None) -> "Result":
        """Measure all of it. In ``folder`` the table and the numbers are brought up to date with each measurement.

        Raises:
            ValueError: a subject that this experiment does not take.
        """
        options = Options() if options is None else options
        if options.subject is not None and self.subject is None:
            raise ValueError(f"experiment {self.name} has no subject to choose, got {options.subject!r}")
        begin, records = time.perf_counter(), []
        for record in self.measure(options):
            missing = {*self.by, *self.values, "seed"} - set(record)
            if missing:
                raise ValueError(f"experiment {self.name} left out {', '.join(sorted(missing))}")
            records.append(record)
            options.say("  ".join(f"{key}={_shown(value)}" for key, value in record.items()))
            if folder is not None:
                self._result(records, options, begin).write_numbers(folder)
        return self._result(records, options, begin)

    def _result(self, records: list[Record], options: Options, begin: float) -> "Result":
        return Result(
            experiment=self, records=records, seeds=options.seeds, quick=options.quick,
            subject=options.subject or self.subject, seconds=time.perf_counter() - begin,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean and standard deviation over the seeds of one setting."""

    factors: Mapping[str, Any]
    mean: Mapping[str, float]
    spread: Mapping[str, float]
    count: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """Every measurement of an experiment, and what it cost."""

    experiment: Experiment
    records: list[Record] = field(repr=False)
    seeds: Sequence[int]
    quick: bool
    subject: str | None
    seconds: float

    def summaries(self) -> list[Summary]:
        """Means and spreads over the seeds, in the order in which the settings came."""
        found: dict[tuple[Any, ...], list[Record]] = {}
        for record in self.records:
            found.setdefault(tuple(record[key] for key in self.experiment.by), []).append(record)
        return [self._summary(key, rows) for key, rows in found.items()]

    def _summary(self, key: tuple[Any, ...], rows: list[Record]) -> Summary:
        mean, spread = {}, {}
        for name in self.experiment.values:
            values = [float(row[name]) for row in rows]
            mean[name] = math.fsum(values) / len(values)
            square = math.fsum((v - mean[name]) ** 2 for v in values)
            spread[name] = math.sqrt(square / (len(values) - 1)) if len(values) > 1 else math.nan
        return Summary(factors=dict(zip(self.experiment.by, key)), mean=mean, spread=spread, count=len(rows))

    def table(self) -> str:
        """A Markdown table with what it answers above and how it was made below."""
        told = self.experiment
        rows = [[*told.by, *told.values]]
        for found in self.summaries():
            values = [_pair(found.mean[name], found.spread[name]) for name in told.values]
            rows.append([*(_shown(found.factors[key]) for key in told.by), *values])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        subject = f" on {self.subject}" if self.subject else ""
        size = " Quick size: the numbers mean nothing." if self.quick else ""
        made = (
            f"`pathline experiment {told.name}`{subject}: mean ± standard deviation over the seeds "
            f"{', '.join(map(str, self.seeds))}; {self.seconds:.0f} s.{size} {told.source}"
        )
        return "\n".join([told.question, "", *lines, "", made.strip()])

    def to_dict(self) -> Record:
        """Everything, ready for ``json.dumps``; NaN and infinity become None."""
        return {
            "experiment": self.experiment.name,
            "question": self.experiment.question,
            "source": self.experiment.source,
            "subject": self.subject,
            "seeds": list(self.seeds),
            "quick": self.quick,
            "seconds": round(self.seconds, 1),
            "records": [{key: _plain(value) for key, value in row.items()} for row in self.records],
            "summaries": [
                {
                    **found.factors,
                    **{
                        name: {"mean": _plain(found.mean[name]), "sd": _plain(found.spread[name])}
                        for name in found.mean
                    },
                }
                for found in self.summaries()
            ],
        }

    def write(self, folder: "str | Path") -> list[Path]:
        """``table.md``, ``result.json`` and ``plot.png`` in ``folder``, which is made if it is missing."""
        from pathline.experiments.plot import draw
        from pathline.viz import save

        return [*self.write_numbers(folder), save(draw(self), Path(folder) / "plot.png")]

    def write_numbers(self, folder: "str | Path") -> list[Path]:
        """``table.md`` and ``result.json``, which need no drawing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        table, data = folder / "table.md", folder / "result.json"
        table.write_text(self.table() + "\n", encoding="utf-8")
        data.write_text(json.dumps(self.to_dict(), indent=1) + "\n", encoding="utf-8")
        return [table, data]


def lines_of(result: Result) -> Iterator[tuple[str, list[Summary]]]:
    """The curves of the picture: for each setting of the factors that are not on the x axis, its summaries by x. Numbers
    are named by their factor."""
    told = result.experiment
    rest = [key for key in told.by if key != told.x]
    found: dict[tuple[Any, ...], list[Summary]] = {}
    for each in result.summaries():
        found.setdefault(tuple(each.factors[key] for key in rest), []).append(each)
    for key, rows in found.items():
        words = [value if isinstance(value, str) else f"{name} {_shown(value)}" for name, value in zip(rest, key)]
        yield ", ".join(words), rows


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pair(mean: float, spread: float) -> str:
    return f"{mean:.3g}" if not math.isfinite(spread) else f"{mean:.3g} ± {spread:.1g}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
