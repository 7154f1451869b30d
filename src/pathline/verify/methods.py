"""The family of guidance methods, each by the property that defines it (theory T34)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.guidance import APG, CFG, Autoguidance, CFGPlusPlus, CFGZero, Guidance, Interval, Rescale
from pathline.paths import AffinePath
from pathline.solvers import sample
from pathline.testing import oracles
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound
from pathline.verify.reference import LINEAR, TRIG, gap, generator

Family: TypeAlias = Mapping[str, Callable[..., Guidance]]
"""w and, where there is one, a weak field or a grid -> the guidance of that name."""

_MEANS = torch.tensor([[2.0, 0.0, 0.5], [1.2, 1.4, 0.0], [-1.5, 0.8, -0.5], [-0.4, -1.8, 1.0]], dtype=torch.float64)
_LABELS = torch.tensor([0, 0, 1, 1])
_STD, _W = 0.5, 2.5


def _of_class(path: AffinePath, y: Tensor, x: Tensor, t: float, reading: str) -> Tensor:
    """What fields of the classes, built on their own, say at (x, t)."""
    parts = [oracles.gaussian_mixture(_MEANS[k == _LABELS], _STD, None, path) for k in (0, 1)]
    return torch.where((y == 0)[:, None], *(getattr(part(x, t), reading) for part in parts))


def _across(a: Tensor, b: Tensor) -> float:
    """How far a is from being orthogonal to b: the largest |cosine|."""
    return float(torch.nn.functional.cosine_similarity(a, b).abs().max())


def _apart(a: Tensor, b: Tensor) -> float:
    """How far a is from being parallel to b: the length of its part across b."""
    unit = torch.nn.functional.normalize(b, dim=1)
    return float((a - (a * unit).sum(1, keepdim=True) * unit).norm(dim=1).max())


def _measure(family: Family) -> Outcome:
    x, y = 1.5 * torch.randn(60, 3, generator=generator(1), dtype=torch.float64), torch.arange(60) % 2
    readings: list[Reading] = []
    for name, path in (("linear", LINEAR), ("trig", TRIG)):
        field = oracles.gaussian_mixture(_MEANS, _STD, None, path, labels=_LABELS)
        none = oracles.gaussian_mixture(_MEANS, _STD, None, path)
        weak = oracles.gaussian_mixture(_MEANS, 0.9, None, path, labels=_LABELS)
        worst: dict[str, float] = {}

        def see(what: str, error: float, worst: dict[str, float] = worst) -> None:
            worst[what] = max(worst.get(what, 0.0), error)

        for t in (0.25, 0.5, 0.75):
            u_none, u_given = none(x, t).velocity, _of_class(path, y, x, t, "velocity")
            d_none, d_given = none(x, t).data, _of_class(path, y, x, t, "data")
            plain = u_none + _W * (u_given - u_none)

            def guided(key: str, *more: Any, field: BaseField = field, t: float = t) -> Any:
                return family[key](_W, *more)(field)(x, t, y=y)

            inside = 0.4 <= t <= 0.6
            see(
                "interval: guided inside, alone outside", gap(guided("interval").velocity, plain if inside else u_given)
            )
            scaled = (guided("cfg_zero").velocity - _W * u_given) / (1.0 - _W)
            see("CFG-Zero*: the negative is parallel to u(x)", _apart(scaled, u_none))
            see("CFG-Zero*: what it leaves of u(x|y) is orthogonal to u(x)", _across(u_given - scaled, u_none))
            rescaled = guided("rescale").velocity
            see("rescale: the spread of u(x|y)", gap(rescaled.std(1), u_given.std(1)))
            see("rescale: the direction of plain guidance", _apart(rescaled, plain))
            moved = guided("apg").data - d_given
            see("APG: orthogonal to D(x|y)", _across(moved, d_given))
            see("APG: what it drops lies along D(x|y)", _apart((_W - 1.0) * (d_given - d_none) - moved, d_given))
            stronger = _W * u_given + (1.0 - _W) * weak(x, t, y=y).velocity
            see("autoguidance: the weak field is the negative", gap(guided("autoguidance", weak).velocity, stronger))
        see("CFG++: its own steps by DDIM", _renoised(family, field, none, x, y))
        readings += [bound(f"{what}, {name}", error, 1e-6) for what, error in worst.items()]
    return Outcome(readings=tuple(readings), arrays=_strengths())


def _renoised(family: Family, field: BaseField, none: BaseField, x: Tensor, y: Tensor) -> float:
    """DDIM under CFG++ against x_s = alpha_s D_lambda + sigma_s E(x), the conditional part from class fields."""
    path, grid = field.path, torch.linspace(0.05, 1.0, 7, dtype=torch.float64)
    ours = sample(field, x, solver="ddim", grid=grid, guidance=family["cfg_pp"](0.6, grid), y=y)
    theirs = x
    for t, s in zip(grid[:-1].tolist(), grid[1:]):
        alone, given = none(theirs, t), _of_class(path, y, theirs, t, "data")
        coefs = path.schedule(s)
        theirs = coefs.alpha * (0.4 * alone.data + 0.6 * given) + coefs.sigma * alone.noise
    return gap(ours, theirs)


def _strengths() -> dict[str, Any]:
    """The scale of plain guidance that CFG++ with lambda = 1 amounts to, over t, for three numbers of steps."""
    t = torch.linspace(0.0, 0.999, 400, dtype=torch.float64)
    found = {}
    for steps in (4, 8, 16):
        place = (t * steps).floor() / steps
        after = place + 1.0 / steps
        found[steps] = 1.0 / (1.0 - place * (1.0 - after) / ((1.0 - place) * after))
    return {"t": t, "scales": found}


def _draw(axes: Any, outcome: Outcome) -> None:
    t, scales = outcome.arrays["t"], outcome.arrays["scales"]
    for (steps, w), colour in zip(scales.items(), (style.PALE, style.SECOND, style.RIGHT), strict=True):
        axes.plot(t, w, color=colour, label=f"{steps} steps")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "t", "w", "plain guidance that CFG++ with lambda = 1 amounts to")


RIGHT: Family = {
    "interval": lambda w: Interval(w, 0.4, 0.6),
    "cfg_zero": lambda w: CFGZero(w, zero_until=0.0),
    "rescale": lambda w: Rescale(w, phi=1.0),
    "apg": lambda w: APG(w, eta=0.0),
    "autoguidance": Autoguidance,
    "cfg_pp": lambda w, grid: CFGPlusPlus(w, grid=grid),
}

T34 = Check(
    id="T34",
    statement="Intervals, CFG-Zero*, rescaling, APG, autoguidance and CFG++ change one thing each of guidance",
    how="the property that defines each, on fields of the classes built on their own",
    formulas=(
        r"s = \langle u(x \mid y), u(x)\rangle / |u(x)|^2, \qquad \tilde D - D(x \mid y) \perp D(x \mid y)",
        r"x_s = \alpha_s D_\lambda + \sigma_s E(x) \;\Leftrightarrow\; w = \lambda/(1 - \alpha_t\sigma_s/(\sigma_t\alpha_s))",
    ),
    measure=_measure,
    right=RIGHT,
    wrong=(
        Mistake(name="CFG-Zero* without its scale", formula={**RIGHT, "cfg_zero": CFG}),
        Mistake(name="APG that keeps the parallel part", formula={**RIGHT, "apg": lambda w: APG(w, eta=1.0)}),
        Mistake(name="CFG++ taken for CFG of the same scale", formula={**RIGHT, "cfg_pp": lambda w, grid: CFG(w)}),
        Mistake(name="rescaling by half", formula={**RIGHT, "rescale": lambda w: Rescale(w, phi=0.5)}),
        Mistake(
            name="autoguidance with w for w - 1",
            formula={**RIGHT, "autoguidance": lambda w, weak: Autoguidance(w + 1.0, weak)},
        ),
        Mistake(name="the interval everywhere", formula={**RIGHT, "interval": CFG}),
    ),
    draw=_draw,
)
