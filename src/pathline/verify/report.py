"""Results as a table of text, as pictures, and as one self-contained page."""

import base64
import html
import io
import math
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pathline.verify.base import Check, Outcome, Reading, Result
from pathline.verify.style import INK, RIGHT, WRONG

_COLUMNS = ("id", "statement", "how it was checked", "reading", "measured", "expected", "", "s")


def table(results: Sequence[Result], width: int | None = None) -> str:
    """A `row` per check under a `header`, and the `summary`."""
    return "\n".join([header(width), *(row(result, width) for result in results), "", summary(results)])


def header(width: int | None = None) -> str:
    """The head of the table, for a terminal of ``width`` columns (that of the terminal if None)."""
    widths = _widths(width)
    return "\n".join([*_cells(_COLUMNS, widths), "─" * (sum(widths) + 2 * (len(widths) - 1))])


def row(result: Result, width: int | None = None) -> str:
    """One check: its worst reading, pass or FAIL, seconds; below, the readings that failed and the mistakes not caught."""
    worst, check = result.outcome.worst, result.check
    verdict = "pass" if result.passed else "FAIL"
    told = (check.id, check.statement, check.how, worst.name, worst.measured, worst.expected, verdict)
    lines = _cells((*told, f"{result.seconds:.1f}"), _widths(width))
    return "\n".join([*lines, *(f"      {line}" for line in _troubles(result))])


def _widths(width: int | None) -> tuple[int, ...]:
    width = shutil.get_terminal_size((150, 24)).columns if width is None else width
    fixed = (4, 9, 14, 5, 6)
    texts = max(48, width - sum(fixed) - 2 * (len(_COLUMNS) - 1))
    return 4, texts * 36 // 100, texts * 38 // 100, texts * 26 // 100, *fixed[1:]


def _cells(texts: Sequence[str], widths: Sequence[int]) -> list[str]:
    """A row whose texts are wrapped to their columns."""
    columns = [textwrap.wrap(text, wide) or [""] for text, wide in zip(texts, widths, strict=True)]
    height = max(map(len, columns))
    rows = zip(*(column + [""] * (height - len(column)) for column in columns), strict=True)
    return ["  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip() for row in rows]


def _troubles(result: Result) -> list[str]:
    failed = [f"! {r.name}: {r.measured}, expected {r.expected}" for r in result.outcome.readings if not r.passed]
    return failed + [f"! not caught: {mistake.name}" for mistake, outcome in result.controls if outcome.passed]


def summary(results: Sequence[Result]) -> str:
    """How many checks passed, in how many seconds, and how many mistakes were caught if any were tried."""
    passed = sum(result.passed for result in results)
    tried = [outcome for result in results for _, outcome in result.controls]
    caught = sum(not outcome.passed for outcome in tried)
    controls = f"; {caught} of {len(tried)} deliberate mistakes caught" if tried else ""
    return f"{passed} of {len(results)} checks passed in {sum(r.seconds for r in results):.0f} s{controls}"


def picture(result: Result) -> Any:
    """A matplotlib figure: what the check drew, and beside it what each mistake that was run drew."""
    drawn = [(result.check.id, result.outcome, INK)]
    drawn += [(f"mistake: {mistake.name}", outcome, WRONG) for mistake, outcome in result.controls]
    figure = blank_figure(5.2 * len(drawn), 3.6)
    for axes, (title, outcome, colour) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn, strict=True):
        result.check.draw(axes, outcome)
        own = axes.get_title()
        wrapped = textwrap.fill(f"{title}: {own}" if outcome is result.outcome and own else title, 58)
        axes.set_title(wrapped, fontsize=9, color=colour)
    return figure


def save_picture(result: Result, path: "str | Path") -> Path:
    """`picture` as a file; the format follows the suffix. Raises ValueError for a suffix that matplotlib does not know."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(result).savefig(path, dpi=150)
    return path


def blank_figure(width: float, height: float) -> Any:
    """A matplotlib figure of its own canvas, inches; pyplot's state is left alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def image(figure: Any, alt: str, kind: str = "svg", dpi: int = 110, **options: Any) -> str:
    """A figure as an <img> that carries its bytes."""
    import matplotlib

    held = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "pathline"}):
        figure.savefig(held, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None, **options)
    mime = "image/svg+xml" if kind == "svg" else f"image/{kind}"
    code = base64.b64encode(held.getvalue()).decode()
    return f'<img src="data:{mime};base64,{code}" alt="{html.escape(alt, quote=True)}">'


def formula(text: str) -> str:
    """A line of mathtext as an image; its source is the alternative text."""
    figure = blank_figure(0.1, 0.1)
    figure.set_layout_engine("none")
    figure.text(0.0, 0.0, f"${text}$", fontsize=13, color=INK, math_fontfamily="cm")
    return image(figure, text, bbox_inches="tight", pad_inches=0.04, transparent=True)


_STYLE = f"""
:root {{ color-scheme: light; }}
body {{ margin: 2rem auto; max-width: 68rem; padding: 0 1rem; font: 15px/1.5 system-ui, sans-serif; color: {INK}; }}
h1 {{ font-size: 1.6rem; margin-bottom: .2rem; }}
h2 {{ font-size: 1.1rem; margin: 0 0 .4rem; }}
table {{ border-collapse: collapse; width: 100%; font-size: 13px; }}
th, td {{ text-align: left; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e3e7eb; vertical-align: top; }}
td.number {{ font-variant-numeric: tabular-nums; white-space: nowrap; }}
section {{ border: 1px solid #e3e7eb; border-radius: 8px; padding: 1rem 1.2rem; margin: 1.2rem 0; }}
section img {{ max-width: 100%; }}
.formula {{ margin: .4rem 0; overflow-x: auto; }} .formula img {{ height: auto; max-width: none; }}
.pass {{ color: #2c7a5a; font-weight: 600; }} .fail {{ color: {WRONG}; font-weight: 600; }}
.how {{ color: #5b6673; }} a {{ color: {RIGHT}; text-decoration: none; }}
details {{ margin-top: .6rem; }} summary {{ cursor: pointer; color: #5b6673; }}
"""


def page(title: str, body: str) -> str:
    """A self-contained page: style inside, nothing fetched."""
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>{body}</body></html>\n'


def to_html(results: Sequence[Result]) -> str:
    """The page of ``results``: a table, and per check its formulas, readings, picture and caught mistakes."""
    from pathline._version import __version__

    rows = "".join(_overview(result) for result in results)
    names = ("id", "statement", "worst reading", "measured", "expected", "", "s")
    header = "".join(f"<th>{name}</th>" for name in names)
    body = (
        f"<h1>The theory, checked</h1><p>pathline {html.escape(__version__)}: {html.escape(summary(results))}.</p>"
        f"<table><tr>{header}</tr>{rows}</table>{''.join(_section(result) for result in results)}"
    )
    return page("pathline verify", body)


def _verdict(passed: bool) -> str:
    return '<span class="pass">pass</span>' if passed else '<span class="fail">FAIL</span>'


def _overview(result: Result) -> str:
    check, worst = result.check, result.outcome.worst
    told = (f'<a href="#{check.id}">{check.id}</a>', html.escape(check.statement), html.escape(worst.name))
    numbers = (
        html.escape(worst.measured),
        html.escape(worst.expected),
        _verdict(result.passed),
        f"{result.seconds:.1f}",
    )
    cells = "".join(f"<td>{cell}</td>" for cell in told) + "".join(
        f'<td class="number">{cell}</td>' for cell in numbers
    )
    return f"<tr>{cells}</tr>"


def _section(result: Result) -> str:
    check = result.check
    formulas = "".join(f'<div class="formula">{formula(line)}</div>' for line in check.formulas)
    picture_of = image(picture(result), f"figure of {check.id}", kind="png", dpi=85)
    controls = "".join(_control(check, mistake.name, outcome) for mistake, outcome in result.controls)
    caught = f"<p>Deliberate mistakes:</p><ul>{controls}</ul>" if controls else ""
    count = len(result.outcome.readings)
    return (
        f'<section id="{check.id}"><h2>{check.id} · {html.escape(check.statement)} {_verdict(result.passed)}</h2>'
        f'{formulas}<p class="how">Checked by: {html.escape(check.how)}.</p>{picture_of}'
        f"<details><summary>{count} readings</summary>{_readings(result.outcome.readings)}</details>{caught}</section>"
    )


def _readings(readings: Sequence[Reading]) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(r.name)}</td><td class="number">{html.escape(r.measured)}</td>'
        f'<td class="number">{html.escape(r.expected)}</td><td>{_verdict(r.passed)}</td></tr>'
        for r in readings
    )
    return f"<table>{rows}</table>"


def _control(check: Check, name: str, outcome: Outcome) -> str:
    worst = outcome.worst
    if outcome.passed:
        return f'<li>{html.escape(name)}: <span class="fail">not caught</span></li>'
    factor = "" if math.isinf(worst.strain) else f", {worst.strain:.2g} times what it may be"
    return (
        f"<li>{html.escape(name)}: caught by “{html.escape(worst.name)}” ({html.escape(worst.measured)}{factor})</li>"
    )
