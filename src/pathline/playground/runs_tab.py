"""The tab of runs: open one or two, draw, look closer."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from pathline.playground.controls import EVERY_CLASS, real, whole
from pathline.playground.guard import list_runs
from pathline.playground.parts import canvas, markdown, picks, telling
from pathline.playground.run_views import closer_look, flow_of, loss_of, nothing, pieces
from pathline.playground.runs import OWN, Drawing, about, closer, harmless, open_run, planar
from pathline.solvers import SOLVERS
from pathline.train import Run

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What is on the page: names of the runs, and how they were drawn from."""

    names: tuple[str, ...]
    drawing: Drawing


def runs_tab(page: gr.Blocks, root: Path) -> None:
    """Build the tab within the open Blocks of ``page``."""
    known = list_runs(root) if root.is_dir() else []
    drawn = gr.State(None)
    with gr.Row():
        with gr.Column(scale=1, min_width=270, elem_classes="narrow"):
            with gr.Group():
                first = gr.Dropdown(known, value=known[0] if known else None, label="Run", elem_id="run")
                second = gr.Dropdown([NONE, *known], value=NONE, label="Compare with", elem_id="other")
                again = gr.Button("Look for runs again", size="sm")
            with gr.Group():
                count = gr.Slider(1, 2000, value=64, step=1, label="Samples")
                label = gr.Dropdown([EVERY_CLASS], value=EVERY_CLASS, label="Class")
                seed = gr.Number(0, label="Seed of the first sample", precision=0, minimum=0)
            with gr.Group():
                solver = gr.Dropdown([OWN, *SOLVERS], value=OWN, label="Solver")
                evaluations = gr.Textbox("", label="Evaluations", placeholder=OWN)
                guidance = gr.Textbox("", label="Guidance w", placeholder=OWN)
        with gr.Column(scale=3, min_width=300, elem_classes="stage"):
            with gr.Row():
                draw = gr.Button("Draw samples", variant="primary", elem_id="draw", min_width=90)
                stop = gr.Button("Stop", elem_id="halt", min_width=70)
            told = markdown(nothing(root) if not known else "Choose a run, then **Draw samples**.", elem_id="status")
            with gr.Column(visible="hidden") as plane:  # mounted, for a canvas that mounts late misses its first flow
                shown = canvas("run-flow")
            with gr.Row():
                with gr.Column(min_width=260):
                    grid = picks("samples-a")
                    plain = gr.HTML(elem_id="plain-a")
                with gr.Column(min_width=260, visible=False) as beside:
                    other_grid = picks("samples-b")
                    other_plain = gr.HTML(elem_id="plain-b")
            close = gr.HTML(elem_id="closer")
            with gr.Row():
                with gr.Column(min_width=260):
                    facts, curve = gr.Markdown(elem_id="facts-a"), gr.HTML(elem_id="loss-a")
                with gr.Column(min_width=260, visible=False) as facts_beside:
                    other_facts, other_curve = gr.Markdown(elem_id="facts-b"), gr.HTML(elem_id="loss-b")
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    working: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private", "concurrency_limit": 3}

    def opened(name: "str | None", other: "str | None") -> list[Any]:
        """Facts and losses of both runs, and the classes to choose from; or why one is not opened."""
        try:
            chosen = _chosen(root, name, other)
        except (ValueError, TypeError, OSError) as error:  # instead of facts, which would be of the run before
            hidden = gr.Column(visible=False)
            return [gr.skip(), gr.skip(), hidden, hidden, f"**Not opened:** {harmless(error)}", None, None, None]
        classes = chosen[0].class_names if chosen else ()
        pair = len(chosen) == 2
        choices = [EVERY_CLASS, *((text, str(k)) for k, text in enumerate(classes[:200]))]
        panels = [part for run in chosen for part in (about(run), loss_of(run))] + [None, None] * (2 - len(chosen))
        return [
            gr.Slider(value=500 if chosen and planar(chosen[0]) else 64),
            gr.Dropdown(choices=choices, value=EVERY_CLASS),
            gr.Column(visible=pair),
            gr.Column(visible=pair),
            *panels,
        ]

    def drawing(*values: Any) -> "Iterator[list[Any]]":
        """Samples of one or two runs; images come piece by piece."""
        name, other, *settings = values
        chosen = _chosen(root, name, other)
        if not chosen:
            raise ValueError(f"there is no run to draw from below {root}: train one, or look for runs again")
        how = _how(settings)
        flows = [run for run in chosen if planar(run)]
        state = Drawn(names=tuple(n for n in (name, other) if n not in (None, NONE))[: len(chosen)], drawing=how)
        output = {
            "told": "drawing …",
            "flow": gr.skip(),
            "plane": gr.Column(visible=True if flows else "hidden"),
            "parts": [{}, "", {}, ""],
            "close": "",
            "state": state,
        }
        if flows:
            output["flow"] = flow_of(root, flows, how)
            yield _row(output)
            output["flow"] = gr.skip()
        for place, run in enumerate(chosen):
            if not planar(run):
                for text, parts in pieces(run, how):
                    output["told"] = f"{run.path.name}: {text}"
                    output["parts"][2 * place : 2 * place + 2] = parts
                    yield _row(output)
        same = " Both start from the same noise." if len(chosen) == 2 and chosen[0].shape == chosen[1].shape else ""
        output["told"] = (
            f"{how.count} samples of {' and '.join(state.names)}, seed {how.seed}.{same} Click one to look closer."
        )
        yield _row(output)

    def look(which: int, state: "Drawn | None", event: gr.EventData) -> str:
        """One sample: its way, and the training data next to it."""
        if state is None or which >= len(state.names):
            raise ValueError("draw samples first")
        run = open_run(root, state.names[which])
        return closer_look(run, closer(root, run, state.drawing, int((event._data or {}).get("index", -1))))

    def look_first(state: "Drawn | None", event: gr.EventData) -> str:
        return look(0, state, event)

    def look_second(state: "Drawn | None", event: gr.EventData) -> str:
        return look(1, state, event)

    def look_plane(state: "Drawn | None", event: gr.EventData) -> str:
        names = state.names if state is not None else ()
        flat = [k for k, name in enumerate(names) if planar(open_run(root, name))]
        view = int((event._data or {}).get("view", 0))
        return look(flat[view] if view < len(flat) else 0, state, event)

    def search(name: "str | None") -> list[Any]:
        found = list_runs(root) if root.is_dir() else []
        kept = name if name in found else (found[0] if found else None)
        return [gr.Dropdown(choices=found, value=kept), gr.Dropdown(choices=[NONE, *found], value=NONE)]

    panels = [count, label, beside, facts_beside, facts, curve, other_facts, other_curve]
    # every change is answered, in order: what is shown is what was chosen last
    in_order: dict[str, Any] = {"trigger_mode": "multiple", "concurrency_limit": 1, **quiet}
    gr.on([first.change, second.change], telling(opened), [first, second], panels, **in_order)
    again.click(search, first, [first, second], **quiet)
    inputs = [first, second, count, seed, label, solver, evaluations, guidance]
    outputs = [told, shown, plane, grid, plain, other_grid, other_plain, close, drawn]
    event = draw.click(telling(drawing), inputs, outputs, show_progress_on=told, **working)
    looks: list[Any] = [
        event,
        grid.picked(telling(look_first), drawn, close, **working),
        other_grid.picked(telling(look_second), drawn, close, **working),
        shown.picked(telling(look_plane), drawn, close, **working),
    ]
    stopping = stop.click(lambda: "stopping …", None, told, cancels=looks, queue=False, **quiet)
    # said once more when the last piece may have arrived and written over it
    stopping.then(_stopped, None, told, **quiet)
    if known:
        page.load(telling(opened), [first, second], panels, **quiet)


def _stopped() -> str:
    time.sleep(0.5)
    return "stopped"


def _row(output: "dict[str, Any]") -> list[Any]:
    return [output["told"], output["flow"], output["plane"], *output["parts"], output["close"], output["state"]]


def _chosen(root: Path, name: "str | None", other: "str | None") -> list[Run]:
    return [open_run(root, text) for text in (name, other) if text not in (None, NONE, "")]


def _how(settings: "list[Any]") -> Drawing:
    count, seed, label, solver, evaluations, guidance = settings
    return Drawing(
        count=whole(count, "samples"),
        seed=whole(seed, "the seed"),
        label=None if label in (None, EVERY_CLASS) else whole(label, "the class"),
        solver=None if solver in (None, OWN) else solver,
        evaluations=whole(evaluations, "evaluations") if str(evaluations or "").strip() else None,
        guidance=real(guidance, "the guidance scale w") if str(guidance or "").strip() else None,
    )
