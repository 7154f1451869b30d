"""The report of a run: one HTML file that needs nothing but itself."""

import math
import struct
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from pathline.viz.page import Html, page, tag
from pathline.viz.saving import png, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class MetricRow(Protocol):
    """A row of `pathline.metrics`."""

    def to_dict(self) -> dict[str, Any]:
        """Its entries: name, value, value_spread, floor, floor_spread, better, n, note."""
        ...


Row: TypeAlias = "MetricRow | Mapping[str, Any]"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of the report: axes, a figure, the bytes of a PNG, or the path of one.

    ``alt`` tells in words what is to be seen, for those who cannot see it; ``caption`` stands below.
    """

    shown: "Axes | Figure | bytes | str | PathLike[str]"
    alt: str
    caption: str = ""

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("alt must tell in words what the picture shows, got an empty text")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with text and pictures, such as "Samples" or "Training"."""

    title: str
    text: str = ""
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, kw_only=True)
class KeyFigure:
    """A number to be seen first: ``label``, ``value`` as text, and what to compare it with as ``hint``."""

    label: str
    value: str
    hint: str = ""


def write_report(
    path: str | PathLike[str],
    *,
    title: str,
    config: Mapping[str, Any],
    headline: str = "",
    key_figures: Sequence[KeyFigure] = (),
    sections: Sequence[Section] = (),
    metrics: Iterable[Row] = (),
    protocol: str = "",
    cost: Mapping[str, object] | None = None,
    neighbours: Picture | None = None,
    command: str | Sequence[str] = (),
    notes: str | Sequence[str] = (),
) -> Path:
    """Write the report of a run as one HTML file and return its path.

    The file holds its pictures and its style, runs no script and asks nothing of the network; it is light or dark as the
    reader's system is, and fits a phone. Everything that is given is shown as text, never as HTML.

    Args:
        title: what was made.
        headline: the outcome in a sentence.
        config: the full configuration, nested; shown as YAML behind a click.
        key_figures: the numbers to be seen first.
        sections: pictures with headings, in this order: samples, curves.
        metrics: rows of ``pathline.metrics``, or dictionaries with "name", "value", "floor" (of real against real points),
            "better" ("lower" or "higher"), and at will "value_spread", "floor_spread", "n", "note", "passes".
        protocol: how the metrics were taken. cost: label -> what sampling took.
        neighbours: samples beside their nearest training images (`pairs`).
        command: the command lines that do it again. notes: what else the reader should know.

    Raises:
        ValueError: a row without a name or value, a picture that is no PNG or has no alternative text.
        FileNotFoundError: a picture that is not there.
    """
    rows = [row if isinstance(row, Mapping) else row.to_dict() for row in metrics]
    commands = [command] if isinstance(command, str) else list(command)
    remarks = [notes] if isinstance(notes, str) else list(notes)
    content = [
        tag("header", tag("h1", title), tag("p", headline, class_="headline") if headline else None),
        _keys(key_figures) if key_figures else None,
        *(_section(s.title, tag("p", s.text) if s.text else None, *map(_picture, s.pictures)) for s in sections),
        _section("Metrics", _metrics(rows, protocol)) if rows else None,
        _section("Cost of sampling", _pairs_table(cost)) if cost else None,
        _section("Nearest training images", _picture(neighbours)) if neighbours is not None else None,
        _section("Do it again", tag("pre", tag("code", "\n".join(commands)), tabindex="0")) if commands else None,
        _section("Notes", *(tag("p", remark) for remark in remarks)) if remarks else None,
        _section("Configuration", _collapsed("Show all settings", as_yaml(config))),
        tag("footer", tag("p", "Written by pathline. Everything on this page is in this file.", class_="small")),
    ]
    return write_whole(Path(path), page(title, *content).encode("utf-8"))


def verdict(row: Mapping[str, Any]) -> tuple[str, str]:
    """("pass" or "neutral", words) for a metric beside its floor.

    It passes as "like real" within the floor and twice the spread of both; otherwise the words tell by what factor it is
    away, and the reader judges. A row may decide by itself with "passes".
    """
    if isinstance(row.get("passes"), bool):
        return ("pass", "passes") if row["passes"] else ("neutral", "does not pass")
    value, floor = row.get("value"), row.get("floor")
    if value is None or floor is None or not (math.isfinite(value) and math.isfinite(floor)):
        return "neutral", "—"
    gap = value - floor if row.get("better", "lower") == "lower" else floor - value
    if gap <= 2.0 * math.hypot(row.get("value_spread") or 0.0, row.get("floor_spread") or 0.0):
        return "pass", "like real"
    return "neutral", f"{value / floor:.2f} × real" if floor > 0.0 and value > 0.0 else "off"


def as_yaml(config: Mapping[str, Any]) -> str:
    """``config`` as YAML; what YAML does not know is written as its text."""
    import yaml

    return yaml.safe_dump(
        _plain(config), sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    ).strip()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(entry) for entry in value]
    return value if value is None or type(value) in (bool, int, float, str) else str(value)


def _section(title: str, *content: object) -> Html:
    return tag("section", tag("h2", title), *content)


def _keys(figures: Sequence[KeyFigure]) -> Html:
    tiles = [
        tag(
            "div",
            tag("dt", figure.label),
            tag("dd", figure.value, class_="value"),
            tag("dd", figure.hint, class_="small") if figure.hint else None,
        )
        for figure in figures
    ]
    return tag("section", tag("dl", *tiles, class_="keys"), aria_label="Key figures")


def _picture(picture: Picture) -> Html:
    data = _png_of(picture.shown)
    width, height = struct.unpack(">II", data[16:24])
    # drawn at 200 dots an inch: half as many points on the screen keep letters sharp and of the size of the text
    image = tag(
        "img",
        src="data:image/png;base64," + b64encode(data).decode("ascii"),
        alt=picture.alt,
        width=max(1, width // 2),
        height=max(1, height // 2),
    )
    return tag("figure", image, tag("figcaption", picture.caption) if picture.caption else None)


def _png_of(shown: "Axes | Figure | bytes | str | PathLike[str]") -> bytes:
    if isinstance(shown, (str, PathLike)):
        file = Path(shown)
        if not file.is_file():
            raise FileNotFoundError(f"no picture {file}")
        data, name = file.read_bytes(), str(file)
    elif isinstance(shown, bytes):
        data, name = shown, "the picture"
    else:
        return png(shown)
    if not data.startswith(PNG_SIGNATURE) or len(data) < 24:
        raise ValueError(f"{name} is no PNG: save it with pl.viz.save")
    return data


def _metrics(rows: Sequence[Mapping[str, Any]], protocol: str) -> Html:
    words = ("metric", "samples", "real vs real", "reading")
    head = tag("tr", *(tag("th", word, scope="col", role="columnheader") for word in words), role="row")
    table = tag(
        "table",
        tag("caption", "Samples against real points, beside what other real points get at the same n."),
        tag("thead", head, role="rowgroup"),
        tag("tbody", *map(_metric, rows), role="rowgroup"),
        class_="metrics",
        role="table",  # said aloud because phones lay the rows out as a grid, which hides that they are rows
    )
    legend = (
        "“like real”: no further off than other real points are, give or take twice the spread. Otherwise the factor "
        "between samples and real points is shown."
    )
    return Html(
        tag("div", table, class_="scroll", role="region", aria_label="Metrics", tabindex="0")
        + (tag("p", protocol, class_="small") if protocol else "")
        + tag("p", legend, class_="small")
    )


def _metric(row: Mapping[str, Any]) -> Html:
    if not row.get("name") or "value" not in row:
        raise ValueError(f"a metric must have a name and a value, got {dict(row)}")
    kind, words = verdict(row)
    symbol = "✓ " if kind == "pass" else ""
    better = row.get("better", "lower")
    parts = [f"{better} is better", f"n = {row['n']}" if row.get("n") is not None else "", row.get("note") or ""]
    cells = [
        tag("td", number(row["value"], row.get("value_spread")), class_="number", role="cell"),
        tag("td", number(row.get("floor"), row.get("floor_spread")), class_="number", role="cell"),
        tag("td", tag("span", symbol + words, class_=kind), role="cell"),
    ]
    about = tag("span", ", ".join(filter(None, parts)), class_="small")
    return tag("tr", tag("th", row["name"], about, scope="row", role="rowheader"), *cells, role="row")


def number(value: float | None, spread: float | None = None) -> str:
    """Four digits, and two of the spread.

    >>> number(0.123456, 0.0123), number(None)
    ('0.1235 ± 0.012', '—')
    """
    if value is None:
        return "—"
    return f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"


def _pairs_table(entries: Mapping[str, object]) -> Html:
    rows = [tag("tr", tag("th", key, scope="row"), tag("td", value, class_="number")) for key, value in entries.items()]
    return tag("div", tag("table", tag("tbody", *rows)), class_="scroll")


def _collapsed(summary: str, content: str) -> Html:
    return tag("details", tag("summary", summary), tag("pre", tag("code", content), tabindex="0"))
