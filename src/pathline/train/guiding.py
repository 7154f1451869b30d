"""Guidance by name: ``"apg(2.0, radius=5.0)"``, as YAML and the command line spell it."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from torch import Tensor

from pathline._errors import lookup
from pathline.guidance import GUIDANCE, SCALES, Autoguidance, Guidance
from pathline.predictions import PREDICTIONS
from pathline.times import TIMES
from pathline.train.spec import build


def make_guidance(given: "float | str | Guidance | Tensor | None") -> "Guidance | Tensor | float | None":
    """What ``given`` means: None or 1 is none, a number the scale of classifier-free guidance, a text one of `GUIDANCE` with options.

    A scale may be one of `SCALES`, as in ``cfg(cosine(4.0))``, and a method stand in another, as in ``interval(cfg_zero(2.0), 0.1, 0.7)``.
    ``autoguidance(2.0, 'runs/weak')`` takes the run in that folder as the weak one, ``step=`` an early checkpoint of it.

    Raises:
        ValueError: a name or an option that is not known, or a value that the method refuses.
        FileNotFoundError: no such run.
    """
    found = given
    if isinstance(given, str):
        number = _number(given)
        found = build("guidance", given, _registry()) if number is None else number
    return None if isinstance(found, int | float) and found == 1.0 else found  # pyright: ignore[reportReturnType]


def _registry() -> dict[str, Callable[..., Any]]:
    # a classifier is a network of yours: it has no spelling
    named = {name: entry for name, entry in GUIDANCE.items() if name != "classifier"}
    return {**{name: _resolving(entry) for name, entry in named.items()}, "autoguidance": _resolving(_weak_run)}


def _weak_run(weight: float, run: str, step: "int | None" = None) -> Guidance:
    from pathline.train.run import Run

    return Autoguidance(weight, Run.open(Path(run), step=step).field)


def _resolving(entry: Callable[..., Any]) -> Callable[..., Any]:
    """``entry`` with texts among its options resolved by what the option is."""

    @wraps(entry, updated=())
    def call(*given: Any, **named: Any) -> Any:
        bound = inspect.signature(entry).bind(*given, **named)
        for key, value in bound.arguments.items():
            bound.arguments[key] = _option(key, value)
        return entry(*bound.args, **bound.kwargs)

    return call


def _option(key: str, value: Any) -> Any:
    if key == "weights" and isinstance(value, Mapping):
        return {name: _option("weight", scale) for name, scale in value.items()}
    if not isinstance(value, str) or key == "run":
        return value
    if key == "guidance":
        return make_guidance(value)
    if key == "space":
        return lookup("prediction", value, PREDICTIONS)
    if key == "grid":
        return build("time law", value, TIMES)
    return build("scale", value, SCALES)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
