"""The tab of exact fields: choose, press play, look, measure."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pathline.data.toys import TOYS
from pathline.playground import exact, explain, measures
from pathline.playground.controls import (
    class_choices,
    name_of,
    particle_controls,
    read,
    setting_controls,
    whole,
    write,
)
from pathline.playground.coupled import NOISE
from pathline.playground.memory import Memory
from pathline.playground.parts import canvas, markdown, picture, telling
from pathline.playground.settings import (
    MOST_POINTS,
    PAIRS_SHOWN,
    Points,
    Setting,
    drawn_points,
    toy_points,
    with_source,
)
from pathline.playground.uploads import KINDS, read_points
from pathline.viz import error_curve

DRAW, FILE = "draw your own", "upload a file"
EMPTY_SQUARE = {"kind": "draw", "box": [-4.48, 4.48, -4.48, 4.48]}
SOLVERS_SHOWN = ["euler", "heun", "rk4", "ab2", "dpmpp_2m"]
WAITING = "Press **Play**: particles of noise become data. The field is exact, nothing was trained."
_ids = itertools.count(1)
_recent = Memory(12)


@dataclass(frozen=True, kw_only=True)
class Last:
    """What was played last: the charts are about this."""

    points: Points
    setting: Setting


def exact_tab(page: gr.Blocks) -> "Callable[[], Any]":
    """Build the tab within the open Blocks of ``page``, which plays once when it is opened.

    Returns what computes that first play beforehand, so that the first visitor need not wait for it.
    """
    last, drawn = gr.State(None), gr.State([])
    with gr.Row():
        with gr.Column(scale=1, min_width=270, elem_classes="narrow"):
            with gr.Group():
                name = gr.Dropdown([*TOYS, DRAW, FILE], value="moons", label="Data")
                begin = gr.Dropdown([NOISE, *TOYS], value=NOISE, label="Source", elem_id="source")
                file = gr.File(label=f"Points: {', '.join(KINDS)}", file_types=list(KINDS), visible=False, height=120)
                count = gr.Slider(32, MOST_POINTS, value=512, step=16, label="Data points")
                std = gr.Slider(0.02, 1.0, value=0.1, step=0.01, label="Width of a data point")
            first = setting_controls(solver="heun")
            particles, seed = particle_controls()
        with gr.Column(scale=3, min_width=300, elem_classes="stage"):
            with gr.Row():
                play = gr.Button("▶ Play", variant="primary", elem_id="play", min_width=90)
                stop = gr.Button("Stop", elem_id="stop", min_width=70)
                again = gr.Button("Draw again", visible=False, min_width=90)
            with gr.Row(elem_id="pairs"):
                pairs = {name: gr.Button(name, size="sm", min_width=130) for name in PAIRS_SHOWN}
            shown = canvas("flow")
            summary = markdown(WAITING, elem_id="summary")
            with gr.Accordion("A second view, on the same noise", open=False):
                double = gr.Checkbox(False, label="Show a second setting beside the first", elem_id="double")
                with gr.Row(visible=False) as row, gr.Column(elem_classes="narrow"):
                    same = gr.Button("Take over the first setting", size="sm", elem_id="same")
                    second = setting_controls(solver="euler", evaluations=8)
            with gr.Tabs():
                with gr.Tab("Equations"):
                    told = markdown(explain.equations(Setting()), elem_id="equations")
                with gr.Tab("Python"):
                    python = gr.Code(
                        explain.code(toy_points("moons"), Setting()),
                        language="python",
                        interactive=False,
                        elem_id="python",
                    )
                with gr.Tab("Error against evaluations"):
                    names = gr.Dropdown(
                        measures.solver_names(), value=SOLVERS_SHOWN, multiselect=True, label="Solvers", max_choices=8
                    )
                    measure = gr.Button("Measure", elem_id="measure")
                    curve = gr.HTML(elem_id="curve", container=False)
                with gr.Tab("Log-likelihood"):
                    look = gr.Button("Compute", elem_id="look")
                    terrain = gr.HTML(elem_id="terrain")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    source = [name, count, std, file, drawn]
    double.change(lambda on: gr.Row(visible=on), double, row, queue=False, **quiet)
    same.click(lambda *values: list(values), first.all(), second.all(), queue=False, **quiet)
    name.input(_chosen, [name], [file, count, again, shown, play], **quiet)
    again.click(lambda: EMPTY_SQUARE, None, shown, queue=False, **quiet)
    shown.drawn(_remember, None, drawn, **quiet)
    for changed in (name.input, file.change, shown.drawn):
        changed(_classes, source, [first.label, second.label], trigger_mode="always_last", **quiet)
    inputs = [*source, begin, particles, seed, double, *first.all(), *second.all()]
    working = {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": 4}
    shows = [shown, summary, told, python, last]
    runs: list[Any] = [
        # pressed again while the table is still being made: the last press counts
        play.click(telling(_play), inputs, shows, show_progress_on=summary, trigger_mode="always_last", **working),
        measure.click(telling(_measure), [last, names], curve, **working),
        look.click(telling(_landscape), last, terrain, **working),
    ]
    for shortcut, button in pairs.items():
        set_up = button.click(telling(_pair(shortcut)), source, [double, row, *first.all(), *second.all()], **quiet)
        runs.append(set_up.success(telling(_play), inputs, shows, show_progress_on=summary, **working))
    stop.click(lambda: None, None, None, cancels=runs, queue=False, api_visibility="private")
    page.load(telling(_play), inputs, shows, show_progress="hidden", api_visibility="private")
    begun = [component.value for component in inputs]
    return lambda: list(_play(*begun))


def _pair(name: str) -> "Callable[..., list[Any]]":
    """What sets the page to two settings side by side."""
    first, second = PAIRS_SHOWN[name]

    def set_up(*source: Any) -> list[Any]:
        if first.label is not None and first.label not in _points(*source).classes:
            raise ValueError(f"these data have no class {first.label}: choose a set with classes, such as moons")
        return [True, gr.Row(visible=True), *write(first), *write(second)]

    return set_up


def _points(name: str, count: Any, std: Any, file: Any, drawn: Any) -> Points:
    """The data that the controls mean."""
    width = float(std if std is not None else 0.1)
    if name == FILE:
        if not file:
            raise ValueError(f"upload a file of points first ({', '.join(KINDS)}), or choose another set")
        return read_points(file, std=width)
    if name == DRAW:
        if len(drawn) < 2:
            raise ValueError("draw some data first: drag with the mouse on the square")
        rows = drawn[:MOST_POINTS]
        return drawn_points([row[:2] for row in rows], [int(row[2]) for row in rows], std=width)
    return toy_points(name, whole(count, "data points"), std=width)


def _play(*values: Any) -> "Iterator[Any]":
    """Particles first, then what stands behind them and what they cost."""
    points = _points(*values[:5])
    begin, particles, seed, double = values[5:9]
    width = (len(values) - 9) // 2
    settings = [read(list(values[9 : 9 + width]), particles, seed)]
    if double:
        settings.append(read(list(values[9 + width :]), particles, seed))
    points = with_source(points, begin or NOISE, settings)
    titles = name_of(*settings) if double else ("",)
    key = (
        (*values[:3], begin, *settings) if values[0] in TOYS else object()
    )  # drawn and uploaded points are not compared
    plays = _recent.get(
        (key, "plays"), lambda: [(title, exact.play(points, s)) for title, s in zip(titles, settings, strict=True)]
    )
    tag, same = str(next(_ids)), gr.skip()
    yield (
        exact.flow(plays, tag),
        same,
        explain.equations(settings[0], begin or NOISE),
        explain.code(points, settings[0]),
        Last(points=points, setting=settings[0]),
    )
    yield _recent.get((key, "behind"), lambda: exact.backdrops(plays, tag)) | {"id": tag}, same, same, same, same
    found = _recent.get((key, "found"), lambda: [(title, exact.summarise(p)) for title, p in plays])
    yield same, _table(found, settings), same, same, same


def _table(found: "list[tuple[str, exact.Summary]]", settings: "list[Setting]") -> str:
    head = "| setting | evaluations | steps | time | length of the way / distance | bend (T12) | sliced W2 to data |\n|---|---|---|---|---|---|---|"
    lines = [head]
    for (title, s), setting in zip(found, settings, strict=True):
        if s.distance is None:
            distance = "– (guidance aims elsewhere)"
        else:
            distance = f"{s.distance:.3f} (floor {s.floor:.3f})"
        cells = [
            title or setting.solver,
            str(s.evaluations),
            str(s.steps),
            f"{s.seconds:.2f} s",
            f"{s.stretch:.3g}",
            f"{s.bend:.3g}",
            distance,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _measure(last: "Last | None", names: "list[str]") -> "Iterator[str]":
    """The chart, redrawn after each solver."""
    if last is None:
        raise ValueError("press Play first: the chart is about what was played last")
    if not names:
        raise ValueError("choose at least one solver")
    yield "Solving for the reference …"
    series: dict[str, dict[float, float]] = {}
    for series in measures.error_series(last.points, last.setting, names):
        title = f"{last.points.name}, {last.setting.schedule}, {last.setting.grid} grid"
        ax = error_curve(series, ylabel="RMS distance to converged particles", title=title)
        best = ", ".join(f"{name} {min(line.values()):.2g} at {max(line)}" for name, line in series.items())
        yield picture(ax, f"Error against evaluations of the field: {best}")
    if not series:
        yield "No solver leaves an error that can be told from that of the reference."


def _landscape(last: "Last | None") -> str:
    """The two log-densities side by side."""
    if last is None:
        raise ValueError("press Play first: the landscape is that of what was played last")
    found = measures.landscape(last.points, last.setting)
    told = f"Log-density through the flow and exact; mean difference under the data {found.error:.3g} nats"
    return picture(measures.draw_landscape(found), told) + f"<p>{told} (theory T7).</p>"


def _chosen(name: str) -> "list[Any]":
    """What the choice of data shows: an upload, a square to draw in, and whether to play at once."""
    return [
        gr.File(visible=name == FILE),
        gr.Slider(visible=name not in (DRAW, FILE)),
        gr.Button(visible=name == DRAW),
        EMPTY_SQUARE if name == DRAW else gr.skip(),
        gr.skip(),
    ]


def _remember(event: gr.EventData) -> "list[list[float]]":
    """Points that the browser drew, as far as they are points."""
    points = (event._data or {}).get("points", [])[:MOST_POINTS]
    return [[float(x), float(y), int(c)] for x, y, c in points]


def _classes(*values: Any) -> "list[Any]":
    try:
        choices = class_choices(_points(*values))
    except (ValueError, OSError):  # told when somebody presses Play
        return [gr.skip(), gr.skip()]
    return [choices, choices]
