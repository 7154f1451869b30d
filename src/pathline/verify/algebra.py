"""One conversion algebra: predictions, loss spaces, exchange of schedules (theory T17, T18, T20)."""

from collections.abc import Callable
from itertools import product
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import BaseField, Field
from pathline.objectives import Matching
from pathline.paths import AffinePath
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction, convert, gain
from pathline.schedules import Coefs, Schedule
from pathline.solvers import integrate
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound
from pathline.verify.reference import LINEAR, MIXTURE, SCHEDULES, at, coefs_at, derivative, gap, generator

Convert: TypeAlias = Callable[[Coefs, Tensor, Tensor, Prediction, Prediction], Tensor]
"""(coefs, x_t, value, source, target) -> what the value says about the target."""
Gain: TypeAlias = Callable[[Coefs, Prediction, Prediction], Any]
"""(coefs, source, target) -> the factor from the squared error in source to that in target."""
Swap: TypeAlias = Callable[[BaseField, Schedule, Tensor, float], Tensor]
"""(field of the linear path, another schedule, x_t under it, t) -> D."""

_FOUR = (VELOCITY, DATA, NOISE, SCORE)
_TIMES = (0.05, 0.3, 0.7, 0.95)


def _defined(c: Coefs, x_1: Tensor, x_0: Tensor) -> dict[str, Tensor]:
    """The four readings of a pair by their definitions."""
    return {
        "velocity": c.dalpha * x_1 + c.dsigma * x_0,
        "data": x_1,
        "noise": x_0,
        "score": -x_0 / c.sigma,
    }


def _conversions(conversion: Convert) -> Outcome:
    x_1 = torch.randn(50, 3, generator=generator(1), dtype=torch.float64)
    x_0 = torch.randn(50, 3, generator=generator(2), dtype=torch.float64)
    readings, worst = [], {}
    for name, schedule in SCHEDULES.items():
        for source, target in product(_FOUR, _FOUR):
            gaps = []
            for t in _TIMES:
                c = coefs_at(schedule, t)
                values, x_t = _defined(c, x_1, x_0), c.alpha * x_1 + c.sigma * x_0
                got = conversion(c, x_t, values[source.name], source, target)
                gaps.append(gap(got, values[target.name]))
            worst[source.name, target.name] = max(max(gaps), worst.get((source.name, target.name), 0.0))
        determinants = []
        for t in _TIMES:
            c, rate = coefs_at(schedule, t), float(derivative(schedule.log_snr, at(t), 1e-4))
            determinants.append(abs((c.alpha * c.dsigma - c.dalpha * c.sigma) / (c.alpha * c.sigma * rate) + 1.0))
        readings.append(bound(f"determinant = -alpha sigma lambda', {name}", max(determinants), 1e-8))
    for (source, target), error in worst.items():
        if source != target:
            readings.append(bound(f"{target} from {source}", error, 1e-9))
    return Outcome(readings=(*readings, *_ends(conversion, x_1, x_0)), arrays={"worst": worst})


def _ends(conversion: Convert, x_1: Tensor, x_0: Tensor) -> list[Any]:
    """The finite limits: at t = 1 the data and at t = 0 the noise is x_t itself, whatever was predicted."""
    readings = []
    for name in ("linear", "trig", "polynomial"):
        start, end = (SCHEDULES[name](at(t)) for t in (0.0, 1.0))
        first, last = _defined(start, x_1, x_0), _defined(end, x_1, x_0)
        data = conversion(end, x_1, last["velocity"], VELOCITY, DATA)
        readings.append(bound(f"D from u at t = 1 is x, {name}", gap(data, x_1), 1e-9))
        data = conversion(end, x_1, last["noise"], NOISE, DATA)
        readings.append(bound(f"D from E at t = 1 is x, {name}", gap(data, x_1), 1e-9))
        noise = conversion(start, x_0, first["data"], DATA, NOISE)
        readings.append(bound(f"E from D at t = 0 is x, {name}", gap(noise, x_0), 1e-9))
        if start.dalpha != 0.0:
            noise = conversion(start, x_0, first["velocity"], VELOCITY, NOISE)
            readings.append(bound(f"E from u at t = 0 is x, {name}", gap(noise, x_0), 1e-9))
    return readings


def _draw_conversions(axes: Any, outcome: Outcome) -> None:
    names = [p.name for p in _FOUR]
    table = [[max(outcome.arrays["worst"][a, b], 1e-17) for b in names] for a in names]
    image = axes.imshow(torch.tensor(table).log10(), cmap="viridis", vmin=-17.0, vmax=0.0)
    axes.set_xticks(range(4), names, fontsize=7)
    axes.set_yticks(range(4), names, fontsize=7)
    axes.figure.colorbar(image, ax=axes, label="log10 of the largest gap")
    style.label(axes, "to", "from", "five schedules, four times")


def _unsquared_score(c: Coefs, x_t: Tensor, value: Tensor, source: Prediction, target: Prediction) -> Tensor:
    if source is not SCORE and target is SCORE:
        return -convert(c, x_t, value, source, NOISE) / c.sigma**2
    return convert(c, x_t, value, source, target)


def _turned(c: Coefs, x_t: Tensor, value: Tensor, source: Prediction, target: Prediction) -> Tensor:
    return convert(c._replace(dsigma=-c.dsigma), x_t, value, source, target)


T17 = Check(
    id="T17",
    statement="x_t and one of velocity, data, noise, score give the other three",
    how="all twelve conversions against the definitions on five schedules; the determinant; the limits at t = 0, 1",
    formulas=(
        r"x_t = \alpha D + \sigma E, \quad u_t = \dot\alpha D + \dot\sigma E, \quad s = -E / \sigma",
        r"\alpha\dot\sigma - \dot\alpha\sigma = -\alpha\,\sigma\,\dot\lambda",
    ),
    measure=_conversions,
    right=convert,
    wrong=(
        Mistake(name="s = -E/sigma²", formula=_unsquared_score),
        Mistake(name="the sign of sigma'", formula=_turned),
    ),
    draw=_draw_conversions,
)

_FLOW_WEIGHTS: dict[tuple[str, str], Callable[[float], float]] = {
    ("velocity", "data"): lambda t: (1.0 - t) ** 2,
    ("velocity", "noise"): lambda t: t**2,
    ("data", "velocity"): lambda t: (1.0 - t) ** -2,
    ("data", "noise"): lambda t: (t / (1.0 - t)) ** 2,
    ("noise", "velocity"): lambda t: t**-2,
    ("noise", "data"): lambda t: ((1.0 - t) / t) ** 2,
}
"""Rectified flow: what multiplies the squared error of a prediction to count it in another space."""


def _weights(weight: Gain) -> Outcome:
    x_t, value, error = (torch.randn(40, 3, generator=generator(seed), dtype=torch.float64) for seed in (3, 4, 5))
    times = torch.linspace(0.05, 0.95, 19, dtype=torch.float64).tolist()
    readings = []
    for name, schedule in SCHEDULES.items():
        worst = 0.0
        for (source, target), t in product(product(_FOUR, _FOUR), times):
            c = coefs_at(schedule, t)
            moved = convert(c, x_t, value + error, source, target) - convert(c, x_t, value, source, target)
            ratio = float(moved.square().sum() / error.square().sum())
            worst = max(worst, abs(float(weight(c, source, target)) / ratio - 1.0))
        readings.append(bound(f"factor against the measured ratio, {name}", worst, 1e-8))
    curves = {}
    for (source, target), formula in _FLOW_WEIGHTS.items():
        pair = {p.name: p for p in _FOUR}
        curves[f"{source} in {target}"] = got = [
            float(weight(coefs_at(LINEAR.schedule, t), pair[source], pair[target])) for t in times
        ]
        off = max(abs(a / formula(t) - 1.0) for a, t in zip(got, times, strict=True))
        readings.append(bound(f"rectified flow, {source} with {target} loss", off, 1e-9))
    readings.append(bound("Matching weighs x-prediction with v-loss by 1/max(1 - t, 0.05)²", _clipped(), 1e-9))
    return Outcome(readings=tuple(readings), arrays={"t": times, "curves": curves})


def _clipped() -> float:
    """Gap of the ratio of the losses in velocity and in data space to 1/max(1 - t, 0.05)², up to t = 1."""
    t = torch.linspace(0.0, 1.0, 41, dtype=torch.float64)
    x_1, x_0 = (torch.randn(41, 3, generator=generator(seed), dtype=torch.float64) for seed in (6, 7))
    field = Field(lambda x, t: torch.zeros_like(x), LINEAR, DATA)
    in_data, in_velocity = (
        Matching(LINEAR, DATA, space).per_sample(field, x_1, x_0, t=t) for space in (DATA, VELOCITY)
    )
    return gap(in_velocity / in_data * (1.0 - t).clamp(min=0.05) ** 2, torch.ones_like(t))


def _draw_weights(axes: Any, outcome: Outcome) -> None:
    for (name, curve), colour in zip(outcome.arrays["curves"].items(), style.CYCLE, strict=False):
        axes.semilogy(outcome.arrays["t"], curve, color=colour, linewidth=1.3, label=name)
    axes.legend(fontsize=6.5, frameon=False, ncols=2)
    style.label(axes, "t", "weight", "rectified flow: prediction in loss space")


T18 = Check(
    id="T18",
    statement="The loss in another space is the same loss with a known weight over time",
    how="measured ratio of squared errors, sixteen pairs, five schedules; the nine combinations of rectified flow",
    formulas=(
        r"L_{p'} = (D' / D)^2\, L_p, \qquad D = \alpha b - \sigma a \quad \mathrm{for} \quad p = a\,x_1 + b\,x_0",
        r"\mathrm{rectified\ flow}: \quad L_{data} = (1-t)^2 L_{velocity}, \quad L_{noise} = t^2 L_{velocity}",
    ),
    measure=_weights,
    right=gain,
    wrong=(
        Mistake(name="1/(1 - t) in place of its square", formula=lambda c, a, b: gain(c, a, b) ** 0.5),
        Mistake(name="source and target exchanged", formula=lambda c, a, b: gain(c, b, a)),
    ),
    draw=_draw_weights,
)


def _by_log_snr(field: BaseField, schedule: Schedule, x: Tensor, t: float) -> Tensor:
    """D of the linear field at the time of equal log-SNR, the state scaled by sigma/sigma'."""
    c = coefs_at(schedule, t)
    same = field.path.schedule.t_of_logsnr(schedule.log_snr(at(t)))
    ours = coefs_at(field.path.schedule, float(same))
    return field(((ours.alpha + ours.sigma) / (c.alpha + c.sigma)) * x, float(same)).data


def _unscaled(field: BaseField, schedule: Schedule, x: Tensor, t: float) -> Tensor:
    return field(x, float(field.path.schedule.t_of_logsnr(schedule.log_snr(at(t))))).data


def _same_time(field: BaseField, schedule: Schedule, x: Tensor, t: float) -> Tensor:
    c, ours = coefs_at(schedule, t), coefs_at(field.path.schedule, t)
    return field(((ours.alpha + ours.sigma) / (c.alpha + c.sigma)) * x, t).data


def _swapped(swap: Swap) -> Outcome:
    trained = MIXTURE.oracle(LINEAR)
    x = torch.linspace(-3.0, 3.0, 121, dtype=torch.float64)[:, None]
    readings = []
    for name, schedule in SCHEDULES.items():
        exact = MIXTURE.oracle(AffinePath(schedule))
        gaps = [gap(swap(trained, schedule, x, t), exact(x, t).data) for t in (0.05, 0.3, 0.6, 0.95)]
        readings.append(bound(f"D under {name} against the exact field", max(gaps), 1e-9))
    schedule = SCHEDULES["vp"]
    x_0 = torch.randn(100, 1, generator=generator(8), dtype=torch.float64)
    grid = torch.linspace(0.0, 1.0, 61, dtype=torch.float64)
    reused = Field(lambda x, t: swap(trained, schedule, x, float(t)), AffinePath(schedule), DATA)
    start = float(LINEAR.schedule.t_of_logsnr(schedule.log_snr(at(0.0))))
    c = coefs_at(schedule, 0.0)
    ends = (
        integrate(reused, x_0, "rk4", grid),
        integrate(trained, x_0 / (c.alpha + c.sigma), "rk4", start + (1.0 - start) * grid),
    )
    readings.append(bound("samples of the linear flow and of its VP rewriting", gap(*ends), 2e-3))
    return Outcome(readings=tuple(readings), arrays={"linear": ends[1][:, 0], "vp": ends[0][:, 0]})


def _draw_swapped(axes: Any, outcome: Outcome) -> None:
    axes.plot([-4, 4], [-4, 4], color=style.PALE, linewidth=1.0)
    axes.scatter(outcome.arrays["linear"], outcome.arrays["vp"], s=8, color=style.RIGHT)
    style.label(axes, "sample of the linear flow", "sample under VP", "the same noise, the same network")


T20 = Check(
    id="T20",
    statement="A field trained under one schedule serves any other: match the log-SNR, scale the state",
    how="the linear field read under five schedules against the exact fields there; samples of both flows",
    formulas=(
        r"D^{(b)}_t(x) = D^{(a)}_{t'}\!\left(\frac{\sigma^{(a)}_{t'}}{\sigma^{(b)}_t}\, x\right), \qquad "
        r"\lambda^{(a)}_{t'} = \lambda^{(b)}_t",
    ),
    measure=_swapped,
    right=_by_log_snr,
    wrong=(
        Mistake(name="the state left at its scale", formula=_unscaled),
        Mistake(name="the time left as it is", formula=_same_time),
    ),
    draw=_draw_swapped,
)
