"""Every metric beside its real-vs-real floor, both at the same n: `evaluate` and the table that it returns."""

import math
from dataclasses import dataclass, field
from typing import Any

from pathline._errors import lookup
from pathline.metrics.agreement import ClassAgreement
from pathline.metrics.base import Better
from pathline.metrics.copying import Memorization


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of a report.

    ``value`` compares samples with real points, ``floor`` other real points with the same real points, at the
    same ``n`` on both sides. The spreads are standard deviations over the random draws of `evaluate` (None for
    a single draw); draws share points, so a spread is no standard error.
    """

    name: str
    value: float
    value_spread: float | None = None
    floor: float | None
    floor_spread: float | None = None
    better: Better
    n: int
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; NaN and infinity, which JSON lacks, become None."""
        return {
            "name": self.name,
            "value": _plain(self.value),
            "value_spread": _plain(self.value_spread),
            "floor": _plain(self.floor),
            "floor_spread": _plain(self.floor_spread),
            "better": self.better,
            "n": self.n,
            "note": self.note,
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `evaluate` found. ``str(report)`` is the table; ``report["W2"]`` is a row; "FD" finds "FD (digits-cnn)".

    ``memorization`` and ``agreement`` hold the full results of these checks (nearest training points,
    per-class shares) where they were asked for.
    """

    rows: tuple[Row, ...]
    protocol: str
    features: str | None = None
    memorization: Memorization | None = field(default=None, repr=False)
    agreement: ClassAgreement | None = field(default=None, repr=False)

    def __getitem__(self, name: str) -> Row:
        short = {row.name.split(" (")[0]: row for row in self.rows}
        return lookup("row", name, short | {row.name: row for row in self.rows})

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """A Markdown table, aligned so that it also reads as plain text, with the protocol below it."""
        header = ("metric", "samples", "real vs real", "better", "n", "note")
        cells = [header] + [
            (
                row.name,
                _number(row.value, row.value_spread),
                _number(row.floor, row.floor_spread),
                row.better,
                str(row.n),
                row.note,
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
        lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths)) + " |" for line in cells]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        features = [f"Features: {self.features}."] if self.features else []
        return "\n".join([*lines, "", self.protocol, *features])

    def to_dict(self) -> dict[str, Any]:
        """Everything but the tensors, ready for ``json.dumps``."""
        found: dict[str, Any] = {
            "rows": [row.to_dict() for row in self.rows],
            "protocol": self.protocol,
            "features": self.features,
        }
        if self.memorization is not None:
            m = self.memorization
            found["memorization"] = {
                "ratio": _plain(m.ratio),
                "close_share": _plain(m.close_share),
                "duplicates": m.duplicates,
                "held_out_duplicates": m.held_out_duplicates,
                "passes": m.passes,
            }
        if self.agreement is not None:
            found["agreement"] = {
                "agreement": _plain(self.agreement.agreement),
                "real_accuracy": _plain(self.agreement.real_accuracy),
                "per_class": [_plain(share) for share in self.agreement.per_class],
            }
        return found


def _plain(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _number(value: float | None, spread: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"
