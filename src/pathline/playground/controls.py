"""The controls of a setting, once or twice on the page, and what they stand for."""

import math
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pathline.playground.coupled import COUPLINGS, INDEPENDENT
from pathline.playground.settings import (
    GRIDS,
    MOST_PARTICLES,
    PREDICTIONS,
    SCHEDULES,
    WITH_ETA,
    Points,
    Setting,
)
from pathline.solvers import SOLVERS
from pathline.solvers.sde import ETAS

EVERY_CLASS = "all"
RATES = ["0", "0.1", "0.3", "1", "3", *(name for name in ETAS if name != "zero")]


@dataclass(frozen=True, kw_only=True)
class Controls:
    """Components in the order in which `read` takes their values."""

    solver: gr.Dropdown
    evaluations: gr.Slider
    grid: gr.Dropdown
    eta: gr.Dropdown
    schedule: gr.Dropdown
    prediction: gr.Dropdown
    coupling: gr.Dropdown
    label: gr.Dropdown
    guidance: gr.Slider

    def all(self) -> list[Any]:
        """Every component."""
        return [
            self.solver, self.evaluations, self.grid, self.eta, self.schedule, self.prediction, self.coupling, self.label,
            self.guidance,
        ]  # fmt: skip


def setting_controls(*, solver: str, evaluations: int = 64) -> Controls:
    """Dropdowns and sliders for one setting."""
    with gr.Group():
        solver_box = gr.Dropdown(list(SOLVERS), value=solver, label="Solver", filterable=True)
        budget = gr.Slider(1, 256, value=evaluations, step=1, label="Evaluations")
        eta = gr.Dropdown(
            RATES, value="sigma", label="η: noise of the SDE (0 is the ODE)", allow_custom_value=True,
            visible=solver in WITH_ETA,
        )  # fmt: skip
        grid = gr.Dropdown(list(GRIDS), value="uniform", label="Time grid")
    with gr.Group():
        schedule = gr.Dropdown(list(SCHEDULES), value="linear", label="Schedule")
        prediction = gr.Dropdown(list(PREDICTIONS), value="velocity", label="The network predicts")
        coupling = gr.Dropdown(list(COUPLINGS), value=INDEPENDENT, label="Coupling of source and data")
    with gr.Group():
        label = gr.Dropdown([EVERY_CLASS, "0", "1"], value=EVERY_CLASS, label="Class")
        guidance = gr.Slider(0, 8, value=1, step=0.25, label="Guidance w")
    solver_box.change(_eta_shown, solver_box, eta, show_progress="hidden", queue=False, api_visibility="private")
    return Controls(
        solver=solver_box, evaluations=budget, grid=grid, eta=eta, schedule=schedule, prediction=prediction,
        coupling=coupling, label=label, guidance=guidance,
    )  # fmt: skip


def read(values: "list[Any]", particles: Any, seed: Any) -> Setting:
    """The setting that the values of `Controls.all` mean.

    Raises:
        ValueError: something is empty, not a number, or out of its limits.
    """
    solver, evaluations, grid, eta, schedule, prediction, coupling, label, guidance = values
    return Setting(
        solver=solver,
        evaluations=whole(evaluations, "evaluations"),
        grid=grid,
        eta=str(eta),
        schedule=schedule,
        prediction=prediction,
        coupling=coupling,
        label=None if label in (None, EVERY_CLASS) else whole(label, "the class"),
        guidance=real(1.0 if guidance is None else guidance, "the guidance scale w"),
        particles=whole(particles, "particles"),
        seed=whole(seed, "the seed"),
    )


def write(setting: Setting) -> list[Any]:
    """The values of `Controls.all` that mean ``setting``: what `read` reads."""
    return [
        setting.solver, setting.evaluations, setting.grid, setting.eta, setting.schedule, setting.prediction,
        setting.coupling, EVERY_CLASS if setting.label is None else str(setting.label), setting.guidance,
    ]  # fmt: skip


def whole(value: Any, name: str) -> int:
    """``value`` as a whole number."""
    try:
        number = float(value)
        if number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    return int(number)


def real(value: Any, name: str) -> float:
    """``value`` as a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return number


def class_choices(points: Points) -> Any:
    """The classes of the data, for the dropdown."""
    return gr.Dropdown(choices=[EVERY_CLASS, *map(str, points.classes)], value=EVERY_CLASS)


def particle_controls() -> "tuple[gr.Slider, gr.Number]":
    """How many particles, and which noise."""
    with gr.Group():
        particles = gr.Slider(50, MOST_PARTICLES, value=2000, step=50, label="Particles")
        seed = gr.Number(0, label="Seed of the noise", precision=0, minimum=0)
    return particles, seed


def name_of(first: Setting, second: Setting) -> "tuple[str, str]":
    """A title for each of two settings: where they differ."""
    words: list[list[str]] = [[], []]
    for key, show in (
        ("solver", "{}"), ("evaluations", "{} evaluations"), ("grid", "{} grid"), ("eta", "η = {}"), ("schedule", "{}"),
        ("prediction", "predicts {}"), ("coupling", "{}"), ("label", "class {}"), ("guidance", "w = {:g}"),
    ):  # fmt: skip
        pair = getattr(first, key), getattr(second, key)
        if key == "eta":
            pair = tuple(s.eta if s.solver in WITH_ETA else None for s in (first, second))
        if pair[0] != pair[1]:
            for list_, value in zip(words, pair, strict=True):
                if value is not None or key == "label":
                    list_.append(show.format("all" if value is None else value))
    return ", ".join(words[0]) or "the same", ", ".join(words[1]) or "the same"


def _eta_shown(solver: str) -> Any:
    return gr.Dropdown(visible=solver in WITH_ETA)
