"""Schedules against their published formulas (theory T21-T25)."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pathline.predictions import Prediction, edm_f
from pathline.schedules import DDPM, EDM, VE, VP, Coefs, Cosine, CustomSchedule, Linear, Polynomial, Schedule, Trig
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound, value
from pathline.verify.reference import derivative, gap, generator, relative

_T = torch.linspace(0.02, 0.98, 97, dtype=torch.float64)


def _against(name: str, schedule: Schedule, alpha: Tensor, sigma: Tensor) -> list[Reading]:
    """Values against typed ones, derivatives against finite differences, the inverse of log-SNR."""
    c = schedule(_T)
    rates = [derivative(lambda t, k=k: torch.as_tensor(schedule(t)[k]).expand_as(t), _T, 1e-4) for k in (0, 1)]
    dalpha, dsigma = (torch.as_tensor(d, dtype=torch.float64).expand_as(_T) for d in (c.dalpha, c.dsigma))
    return [
        bound(f"alpha and sigma, {name}", max(relative(c.alpha, alpha), relative(c.sigma, sigma)), 1e-9),
        bound(f"their derivatives, {name}", max(gap(dalpha, rates[0]), gap(dsigma, rates[1])), 1e-6),
        bound(f"t of log-SNR, {name}", gap(schedule.t_of_logsnr(schedule.log_snr(_T)), _T), 1e-9),
    ]


def _curves(schedules: Mapping[str, Schedule]) -> dict[str, Any]:
    return {"curves": {name: schedule(_T) for name, schedule in schedules.items()}}


def _draw_curves(axes: Any, outcome: Outcome) -> None:
    for (name, c), colour in zip(outcome.arrays["curves"].items(), style.CYCLE, strict=False):
        axes.plot(_T, torch.as_tensor(c.alpha).expand_as(_T), color=colour, linewidth=1.3, label=name)
        axes.plot(_T, c.sigma, color=colour, linewidth=1.3, linestyle="--")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "t", "alpha (solid), sigma (dashed)")


def _linear(schedule: Schedule) -> Outcome:
    c = schedule(_T)
    speed = gap(torch.as_tensor(c.dalpha - c.dsigma, dtype=torch.float64).expand_as(_T), torch.full_like(_T, 2.0))
    readings = [*_against("linear", schedule, _T, 1.0 - _T), bound("alpha' - sigma' = 2 at every t", speed, 1e-12)]
    return Outcome(readings=tuple(readings), arrays=_curves({"linear": schedule}))


T21 = Check(
    id="T21",
    statement="Conditional optimal transport: alpha = t, sigma = 1 - t",
    how="typed formula, finite differences, inverse of log-SNR",
    formulas=(r"x_t = t\,x_1 + (1 - t)\,x_0",),
    measure=_linear,
    right=Linear(),
    wrong=(Mistake(name="alpha = t², sigma = 1 - t²", formula=Polynomial(2.0)),),
    draw=_draw_curves,
)


def _vp(schedule: Schedule) -> Outcome:
    """d alpha/ds = -beta/2 alpha and dv/ds = beta (1 - v) integrated by RK4 in diffusion time, against the closed form."""
    steps = 2000
    h, state = 1.0 / steps, torch.tensor([1.0, 0.0], dtype=torch.float64)

    def rate(s: float, y: Tensor) -> Tensor:
        beta = 0.1 + 19.9 * s
        return torch.stack([-0.5 * beta * y[0], beta * (1.0 - y[1])])

    marks, states = [], []
    for i in range(steps):
        s = i * h
        k1 = rate(s, state)
        k2 = rate(s + h / 2, state + h / 2 * k1)
        k3 = rate(s + h / 2, state + h / 2 * k2)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(s + h, state + h * k3))
        if (i + 1) % 100 == 0:
            marks.append(1.0 - (i + 1) * h)
            states.append(state)
    c, truth = schedule(torch.tensor(marks, dtype=torch.float64)), torch.stack(states)
    total = (1.0 - _T) * (0.1 + 0.5 * 19.9 * (1.0 - _T))
    square = torch.as_tensor(schedule(_T).alpha) ** 2 + torch.as_tensor(schedule(_T).sigma) ** 2
    readings = (
        bound("alpha of the simulated moments", gap(torch.as_tensor(c.alpha), truth[:, 0]), 1e-9),
        bound("sigma² of the simulated moments", gap(torch.as_tensor(c.sigma) ** 2, truth[:, 1]), 1e-9),
        bound("alpha² + sigma² = 1", gap(square, torch.ones_like(_T)), 1e-12),
        *_against("vp", schedule, torch.exp(-0.5 * total), (1.0 - torch.exp(-total)) ** 0.5),
    )
    return Outcome(readings=readings, arrays=_curves({"vp": schedule}))


T22 = Check(
    id="T22",
    statement="Variance preserving: alpha = exp(-B/2), alpha² + sigma² = 1, beta from 0.1 to 20",
    how="moments of dX = -beta/2 X ds + sqrt(beta) dW integrated numerically; typed formula",
    formulas=(r"\alpha = e^{-B/2}, \quad \sigma^2 = 1 - e^{-B}, \quad B = \int_0^{1-t} \beta(s)\,ds",),
    measure=_vp,
    right=VP(),
    wrong=(
        Mistake(name="alpha = exp(-B): the 1/2 forgotten", formula=VP(beta_min=0.2, beta_max=40.0)),
        Mistake(name="beta_max 19.9 in place of 20", formula=VP(beta_max=19.9)),
    ),
    draw=_draw_curves,
)


def _cosines(schedules: Mapping[str, Schedule]) -> Outcome:
    angle = 0.5 * math.pi * ((1.0 - _T) + 0.008) / 1.008
    cumulated = torch.cos(angle) ** 2 / math.cos(0.5 * math.pi * 0.008 / 1.008) ** 2
    half = 0.5 * math.pi * _T
    readings = (
        *_against("cosine", schedules["cosine"], cumulated**0.5, (1.0 - cumulated) ** 0.5),
        *_against("trig", schedules["trig"], torch.sin(half), torch.cos(half)),
        *_against("polynomial", schedules["polynomial"], _T**3, 1.0 - _T**3),
    )
    return Outcome(readings=readings, arrays=_curves(schedules))


_POWERS = {"cosine": Cosine(), "trig": Trig(), "polynomial": Polynomial(3.0)}

T23 = Check(
    id="T23",
    statement="Cosine, trigonometric and polynomial schedules",
    how="typed formulas, finite differences, inverse of log-SNR",
    formulas=(
        r"\alpha = \cos\theta_s / \cos\theta_0,\ \theta_s = \frac{\pi}{2}\frac{s + 0.008}{1.008}; \quad "
        r"\alpha = \sin\frac{\pi t}{2},\ \sigma = \cos\frac{\pi t}{2}; \quad \alpha = t^n,\ \sigma = 1 - t^n",
    ),
    measure=_cosines,
    right=_POWERS,
    wrong=(
        Mistake(name="the cosine schedule without its division by cos(theta_0)", formula={**_POWERS, "cosine": CustomSchedule(
            alpha=lambda t: torch.cos(0.5 * math.pi * (1.0 - t + 0.008) / 1.008),
            sigma=lambda t: torch.sin(0.5 * math.pi * (1.0 - t + 0.008) / 1.008),
        )}),
    ),
    draw=_draw_curves,
)  # fmt: skip


def _edm(prediction: Prediction) -> Outcome:
    """Karras et al. 2022, table 1, with sigma_data = 1/2: the wrapper, unit variances, unit weight."""
    s, sigmas = 0.5, EDM()(_T).sigma
    rho, low, high = 7.0, 0.002, 80.0
    grid = (high ** (1 / rho) + _T * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    sigma = torch.as_tensor(sigmas)[:, None]
    c = Coefs(1.0, sigma, 0.0, -1.0)
    x_1 = s * torch.randn(1, 40_000, generator=generator(1), dtype=torch.float64)
    x_0 = torch.randn(1, 40_000, generator=generator(2), dtype=torch.float64)
    network = prediction.of(c, x_1, x_0)
    scale, clock = (f(c) if f is not None else sigma for f in (prediction.input_scale, prediction.clock))
    skip, out = s**2 / (sigma**2 + s**2), sigma * s / (sigma**2 + s**2) ** 0.5
    denoised = skip * (x_1 + sigma * x_0) + out * network
    inputs = torch.as_tensor(scale) * (x_1 + sigma * x_0)
    ve = VE(0.01, 50.0)(_T)
    readings = (
        bound("sigma is the rho = 7 grid", relative(sigmas, grid), 1e-9),
        *_against("EDM", EDM(), torch.ones_like(_T), grid),
        bound("sigma of VE is geometric", relative(ve.sigma, 0.01 * 5000.0 ** (1.0 - _T)), 1e-9),
        bound("c_skip x + c_out F of a perfect network is x_1", gap(denoised, x_1.expand_as(denoised)), 1e-9),
        value("variance of the network's input", float(inputs.var(1).mean()), 1.0, 0.02),
        value("variance of the network's target, least over sigma", float(network.var(1).min()), 1.0, 0.03),
        value("variance of the network's target, most over sigma", float(network.var(1).max()), 1.0, 0.03),
        bound("c_noise = ln(sigma)/4", gap(torch.as_tensor(clock), torch.log(sigma) / 4.0), 1e-9),
    )
    return Outcome(readings=readings, arrays={"sigma": sigmas, "variance": network.var(1)})


def _draw_edm(axes: Any, outcome: Outcome) -> None:
    axes.semilogx(outcome.arrays["sigma"], outcome.arrays["variance"], color=style.RIGHT)
    axes.set_ylim(0.0, 2.0)
    style.label(axes, "sigma", "variance of the target F", "what the network is asked for has variance 1")


T24 = Check(
    id="T24",
    statement="VE and EDM: alpha = 1; preconditioned input and target have variance 1 at every sigma",
    how="rho grid and wrapper of Karras et al. typed anew; variances over 40,000 draws",
    formulas=(
        r"D = c_{skip}\,x + c_{out}\,F(c_{in}\,x,\ c_{noise}), \quad c_{skip} = \frac{s^2}{\sigma^2 + s^2}, \quad "
        r"c_{out} = \frac{\sigma s}{\sqrt{\sigma^2 + s^2}}",
    ),
    measure=_edm,
    right=edm_f(0.5),
    wrong=(Mistake(name="sigma_data = 1 where the data have 1/2", formula=edm_f(1.0)),),
    draw=_draw_edm,
)


def _ddpm(tables: Mapping[str, DDPM]) -> Outcome:
    t = 1.0 - torch.arange(1000, dtype=torch.float64) / 999.0
    linear = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    scaled = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    readings = []
    for name, betas in (("linear", linear), ("scaled_linear", scaled)):
        cumulated, c = torch.cumprod(1.0 - betas, 0), tables[name](t)
        error = max(relative(c.alpha, cumulated**0.5), relative(c.sigma, (1.0 - cumulated) ** 0.5))
        readings.append(bound(f"alpha and sigma at the 1,000 steps, {name}", error, 1e-9))
        inverse = tables[name].t_of_logsnr(tables[name].log_snr(_T))
        readings.append(bound(f"t of log-SNR, {name}", gap(inverse, _T), 1e-9))
    zero = tables["scaled_linear"].zero_terminal_snr()(torch.tensor([0.0, 1.0], dtype=torch.float64))
    first = float(tables["scaled_linear"](torch.ones((), dtype=torch.float64)).alpha)
    readings.append(bound("zero terminal SNR: no signal at t = 0", abs(float(torch.as_tensor(zero.alpha)[0])), 1e-9))
    readings.append(bound("and the data end unmoved", abs(float(torch.as_tensor(zero.alpha)[1]) - first), 1e-9))
    return Outcome(readings=tuple(readings), arrays=_curves(tables))


_TABLES = {"linear": DDPM.linear(), "scaled_linear": DDPM.scaled_linear()}

T25 = Check(
    id="T25",
    statement="Discrete DDPM tables as schedules of continuous t",
    how="products of 1 - beta typed anew at the 1,000 steps; zero terminal SNR; inverse of log-SNR",
    formulas=(r"\alpha_k^2 = \prod_{j \leq k} (1 - \beta_j), \quad t = 1 - k/(N-1)",),
    measure=_ddpm,
    right=_TABLES,
    wrong=(
        Mistake(name="beta linear where its root is", formula={**_TABLES, "scaled_linear": DDPM.linear(1000, 0.00085, 0.012)}),
        Mistake(name="sigma_k shifted by one step", formula={**_TABLES, "linear": DDPM(torch.cumprod(
            1.0 - torch.linspace(1e-4, 0.02, 1001, dtype=torch.float64)[1:], 0))}),
    ),
    draw=_draw_curves,
)  # fmt: skip
