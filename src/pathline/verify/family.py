"""One flow, many SDEs: the family of equal marginals, and the reversal of noising processes (theory T14, T15)."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from pathline.paths import AffinePath
from pathline.schedules import VP
from pathline.solvers.processes import SDE, Noising, OrnsteinUhlenbeck, Process, Reversed
from pathline.solvers.sde import ETAS, Eta, Family, eta_at
from pathline.solvers.simulate import simulate
from pathline.testing.oracles import Oracle
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound, value
from pathline.verify.reference import (
    LINEAR,
    MIXTURE,
    at,
    coefs_at,
    derivative,
    gap,
    generator,
    gradient,
    kolmogorov,
    moments,
)


class MakeFamily(Protocol):
    """(field, eta, step) -> the SDE that is to share the marginals of the field; steps of that length are meant."""

    def __call__(self, *, field: Oracle, eta: Eta, step: float | None = None) -> Process: ...


class MakeReversal(Protocol):
    """(forward process, score, end) -> its reversal in time end - t."""

    def __call__(
        self, *, process: Process, score: Callable[[Tensor, Tensor], Tensor], end: float, noise: float
    ) -> Process: ...


_STOPS = (0.5, 0.96)


def _equal_marginals(make: MakeFamily) -> Outcome:
    field, n = MIXTURE.oracle(LINEAR), 8_000
    start = torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)[:, None]
    readings, ends = [], {}
    for name in ETAS:
        worst = max(_residual(make, field, name, t) for t in (0.2, 0.5, 0.8))
        readings.append(bound(f"Fokker-Planck residual, eta = {name}", worst, 1e-7))
        x = start
        noise, t = generator(4), 0.0
        for stop in _STOPS:
            grid = torch.linspace(t, stop, round((stop - t) / 0.02) + 1, dtype=torch.float64)
            process = make(field=field, eta=name, step=float(grid[1] - grid[0]))
            x, t = simulate(process, x, grid, method="heun", generator=noise, record=False).x, stop
            readings.extend(_compared(x, stop, name))
        ends[name] = x[:, 0]
    return Outcome(readings=tuple(readings), arrays={"ends": ends})


def _residual(make: MakeFamily, field: Oracle, eta: Eta, t: float) -> float:
    """max |dp/dt + (p f)' - g²/2 p''| as a share of max |dp/dt|."""
    x, process = torch.linspace(-4.0, 4.0, 161, dtype=torch.float64), make(field=field, eta=eta)

    def density(x: Tensor, t: Tensor) -> Tensor:
        c = field.path.schedule(t)
        return MIXTURE.density(x, c.alpha, c.sigma)

    change = derivative(lambda s: density(x, s), at(t), 1e-4)
    outflow = derivative(lambda y: density(y, at(t)) * process.drift(y[:, None], at(t))[:, 0], x)
    spread = derivative(lambda y: derivative(lambda z: density(z, at(t)), y), x)
    square = torch.as_tensor(process.diffusion(x[:, None], at(t)), dtype=torch.float64) ** 2
    return float((change + outflow - 0.5 * square * spread).abs().max() / change.abs().max())


def _compared(x: Tensor, t: float, name: str) -> list[Reading]:
    """Moments and distribution of particles against p_t of the linear path."""
    truth, seen = MIXTURE.moments(t, 1.0 - t), moments(x)
    where = f"eta = {name}, t = {t}"
    return [
        value(f"mean, {where}", seen[0], truth[0], 0.06),
        value(f"variance, {where}", seen[1], truth[1], 0.06 * truth[1]),
        value(f"kurtosis, {where}", seen[2], truth[2], 0.08 * truth[2]),
        bound(f"Kolmogorov distance, {where}", kolmogorov(x, lambda y: MIXTURE.cdf(y, t, 1.0 - t)), 0.022),
    ]


def _draw_family(axes: Any, outcome: Outcome) -> None:
    x = torch.linspace(-4.5, 4.5, 300, dtype=torch.float64)
    last = _STOPS[-1]
    axes.fill_between(x, MIXTURE.density(x, last, 1.0 - last), color=style.PALE, label="p_t")
    for (name, samples), colour in zip(outcome.arrays["ends"].items(), style.CYCLE, strict=False):
        axes.hist(samples.numpy(), bins=90, density=True, color=colour, histtype="step", label=name, linewidth=0.9)
    axes.set_xlim(-4.5, 4.5)
    axes.legend(fontsize=6.5, frameon=False, title="eta", title_fontsize=7)
    style.label(axes, "x", "density", f"particles at t = {last}")


def _doubled(*, field: Oracle, eta: Eta, step: float | None = None) -> Process:
    right = Family(field=field, eta=eta, step=step)
    return SDE(lambda x, t: 2.0 * right.drift(x, t) - field.evaluate(x, t).velocity, lambda x, t: right.diffusion(x, t))


def _confused(*, field: Oracle, eta: Eta, step: float | None = None) -> Process:
    right = Family(field=field, eta=eta, step=step)
    return SDE(right.drift, lambda x, t: torch.as_tensor(right.diffusion(x, t)) ** 2 / 2.0)


def _noised(*, field: Oracle, eta: Eta, step: float | None = None) -> Process:
    right = Family(field=field, eta=eta, step=step)
    return SDE(lambda x, t: field.evaluate(x, t).velocity, right.diffusion)


T14 = Check(
    id="T14",
    statement="For every g_t ≥ 0 the SDE dX = [u + (g²/2) s] dt + g dW has the marginals of the flow",
    how="Fokker-Planck residual and 8,000 particles (mean, variance, kurtosis, distribution) under five eta = g²/2",
    formulas=(
        r"dX_t = \left[u_t(X_t) + \frac{g_t^2}{2} \nabla \log p_t(X_t)\right] dt + g_t\,dW_t, \quad X_t \sim p_t",
    ),
    measure=_equal_marginals,
    right=Family,
    wrong=(
        Mistake(name="u + g² s: the 1/2 forgotten", formula=_doubled),
        Mistake(name="g and eta = g²/2 confused in the noise", formula=_confused),
        Mistake(name="noise added to the flow without the score", formula=_noised),
    ),
    draw=_draw_family,
)


def _reversed(make: MakeReversal) -> Outcome:
    path = AffinePath(VP())
    readings = [*_forward(path), *_same_family(make, path)]
    theta, g, end = 1.0, 1.2, 1.0
    forward = OrnsteinUhlenbeck(theta=theta, g=g)

    def spread(t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.exp(-theta * t), (g**2 * (1.0 - torch.exp(-2.0 * theta * t)) / (2.0 * theta)) ** 0.5

    def score(x: Tensor, t: Tensor) -> Tensor:
        return gradient(lambda y: MIXTURE.marginal(*spread(t)).log_prob(y).flatten(1).sum(1), x)

    n, kept = 6_000, {}
    for noise in (0.0, 1.0):
        backward = make(process=forward, score=score, end=end, noise=noise)
        level = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        x = MIXTURE.quantile(level, *(float(c) for c in spread(at(end))))[:, None]
        grid = torch.linspace(0.0, 0.95, 96, dtype=torch.float64)
        kept[noise] = x = simulate(backward, x, grid, method="heun", generator=generator(3), record=False).x
        left = tuple(float(c) for c in spread(at(end - 0.95)))
        truth, seen = MIXTURE.moments(*left), moments(x)
        kind = "reverse SDE" if noise else "probability-flow ODE"
        distance = kolmogorov(x, lambda y, left=left: MIXTURE.cdf(y, *left))
        readings.append(bound(f"Ornstein-Uhlenbeck, {kind}: Kolmogorov distance", distance, 0.022))
        readings.append(value(f"Ornstein-Uhlenbeck, {kind}: variance", seen[1], truth[1], 0.04 * truth[1]))
    return Outcome(readings=tuple(readings), arrays={"ends": kept, "left": left})


def _forward(path: AffinePath) -> list[Reading]:
    """The VP process against dX = -beta/2 X ds + sqrt(beta) dW, typed anew, and its particles against the path."""
    process, x = Noising(path.schedule), torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)[:, None]
    drifts, noises = [], []
    for s in (0.1, 0.5, 0.9):
        beta = 0.1 + 19.9 * s
        drifts.append(gap(process.drift(x, at(s)), -0.5 * beta * x))
        noises.append(abs(float(process.diffusion(x, at(s))) / beta**0.5 - 1.0))
    start = torch.full((20_000, 1), 1.5, dtype=torch.float64)
    grid = torch.linspace(0.0, 0.4, 41, dtype=torch.float64)
    end, c = (
        simulate(process, start, grid, method="heun", generator=generator(4), record=False).x,
        coefs_at(path.schedule, 0.6),
    )
    mean, variance, _ = moments(end)
    return [
        bound("drift of the VP process is -beta/2 x", max(drifts), 1e-9),
        bound("its noise is sqrt(beta)", max(noises), 1e-9),
        value("VP particles: mean alpha x_1", mean, 1.5 * c.alpha, 0.025),
        value("VP particles: variance sigma²", variance, c.sigma**2, 0.03),
    ]


def _same_family(make: MakeReversal, path: AffinePath) -> list[Reading]:
    """The reverse SDE and the probability-flow ODE against the family at eta = g²/2 and at 0."""
    field, x = MIXTURE.oracle(path), torch.linspace(-4.0, 4.0, 81, dtype=torch.float64)[:, None]
    forward = Noising(path.schedule)
    gaps: dict[str, list[float]] = {"reverse SDE": [], "probability-flow ODE": []}
    for t in (0.1, 0.5, 0.9):
        estimate = field(x, t)
        eta = eta_at("reverse", path.coefs(at(t), x), at(t))
        for (_, errors), noise in zip(gaps.items(), (1.0, 0.0), strict=True):
            backward = make(process=forward, score=lambda y, s: field.evaluate(y, 1.0 - s).score, end=1.0, noise=noise)
            errors.append(gap(backward.drift(x, at(1.0 - (1.0 - t))), estimate.velocity + noise * eta * estimate.score))
    return [bound(f"{name} of VP is the family of T14", max(errors), 1e-9) for name, errors in gaps.items()]


def _draw_reversed(axes: Any, outcome: Outcome) -> None:
    x = torch.linspace(-4.5, 4.5, 300, dtype=torch.float64)
    axes.fill_between(x, MIXTURE.density(x, *outcome.arrays["left"]), color=style.PALE, label="exact")
    for (noise, samples), colour in zip(outcome.arrays["ends"].items(), style.CYCLE, strict=False):
        name = "reverse SDE" if noise else "probability-flow ODE"
        axes.hist(samples[:, 0].numpy(), bins=90, density=True, color=colour, histtype="step", label=name)
    axes.set_xlim(-4.5, 4.5)
    axes.legend(fontsize=6.5, frameon=False)
    style.label(axes, "x", "density", "Ornstein-Uhlenbeck run backwards")


def _half_pull(*, process: Process, score: Callable[[Tensor, Tensor], Tensor], end: float, noise: float) -> Process:
    """g²/2 s with the full noise: the flow's pull in the reverse SDE."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        square = torch.as_tensor(process.diffusion(x, end - t)) ** 2
        return 0.5 * square * score(x, end - t) - process.drift(x, end - t)

    return SDE(drift, lambda x, t: noise * process.diffusion(x, end - t))


def _full_pull(*, process: Process, score: Callable[[Tensor, Tensor], Tensor], end: float, noise: float) -> Process:
    """g² s without the noise: the reverse SDE's pull in the flow."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        square = torch.as_tensor(process.diffusion(x, end - t)) ** 2
        return square * score(x, end - t) - process.drift(x, end - t)

    return SDE(drift, lambda x, t: noise * process.diffusion(x, end - t))


T15 = Check(
    id="T15",
    statement="Reversing a noising SDE, and its probability-flow ODE, are members of that family",
    how="VP typed anew and simulated; drifts against T14 at eta = g²/2 and 0; Ornstein-Uhlenbeck run backwards to the data",
    formulas=(
        r"d\bar X = [-f + g^2 \nabla \log p]\,d\bar t + g\,d\bar W, \qquad "
        r"d\bar X = \left[-f + \frac{g^2}{2} \nabla \log p\right] d\bar t",
    ),
    measure=_reversed,
    right=Reversed,
    wrong=(
        Mistake(name="g²/2 s in the reverse SDE", formula=_half_pull),
        Mistake(name="g² s in the probability-flow ODE", formula=_full_pull),
    ),
    draw=_draw_reversed,
)
