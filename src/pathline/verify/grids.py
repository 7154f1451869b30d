"""Laws of t and grids of times against their published formulas (theory T26, T39)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pathline import times
from pathline.schedules import EDM, Schedule
from pathline.times import TimeLaw
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, bound
from pathline.verify.reference import SCHEDULES, gap, generator, kolmogorov, relative


def _laws(laws: Mapping[str, TimeLaw]) -> Outcome:
    """Draws of each law against its distribution function in the paper's clock, mirrored where that runs backwards."""
    normal = torch.distributions.Normal(0.0, 1.0)
    cdfs: dict[str, Callable[[Tensor], Tensor]] = {
        "uniform": lambda t: t,
        "logit_normal": lambda t: normal.cdf((torch.logit(t) - 0.5) / 0.8),
        # a sigma of SD3 is 1 - t; its shift is s sigma / (1 + (s - 1) sigma)
        "shifted": lambda t: 1.0 - (1.0 - t) / (3.0 - 2.0 * (1.0 - t)),
        "cosmap": lambda t: 2.0 / math.pi * torch.atan2(t, 1.0 - t),
        "log_snr_normal": lambda t: 1.0 - normal.cdf((-EDM().log_snr(t) + 1.2) / 1.2),
        "beta": lambda t: 1.0 - (1.0 - t) ** 2,
    }
    readings, draws = [], {}
    for i, (name, cdf) in enumerate(cdfs.items()):
        t = laws[name].sample(40_000, generator=generator(i), dtype=torch.float64)
        draws[name] = t
        readings.append(bound(f"Kolmogorov distance of draws, {name}", kolmogorov(t, cdf), 0.011))
    u = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    sigma = 1.0 - u - 1.29 * (torch.cos(0.5 * math.pi * u) ** 2 - 1.0 + u)
    readings.append(bound("mode(1.29): t = 1 - sigma of SD3", gap(laws["mode"].quantile(u), 1.0 - sigma), 1e-12))
    return Outcome(readings=tuple(readings), arrays={"draws": draws})


_LAWS = {
    "uniform": times.uniform(),
    "logit_normal": times.logit_normal(0.5, 0.8),
    "shifted": times.shifted(3.0),
    "cosmap": times.cosmap(),
    "log_snr_normal": times.log_snr_normal(EDM()),
    "beta": times.beta(1.0, 2.0),
    "mode": times.mode(1.29),
}


def _draw_laws(axes: Any, outcome: Outcome) -> None:
    for (name, t), colour in zip(outcome.arrays["draws"].items(), style.CYCLE, strict=False):
        axes.hist(t.numpy(), bins=60, range=(0.0, 1.0), density=True, histtype="step", color=colour, label=name)
    axes.legend(fontsize=6.5, frameon=False)
    style.label(axes, "t", "density", "draws of the laws of t")


T26 = Check(
    id="T26",
    statement="Time laws of training: uniform, logit-normal, SD3's mode and cosmap, Beta, shifts, EDM's",
    how="40,000 draws against the distribution functions of the papers, in their clocks",
    formulas=(
        r"t' = \frac{t}{t + s(1 - t)} \ \Leftrightarrow\ \sigma' = \frac{s\sigma}{1 + (s-1)\sigma}, \quad \sigma = 1 - t",
    ),
    measure=_laws,
    right=_LAWS,
    wrong=(
        Mistake(
            name="the shift applied to t in place of 1 - t", formula={**_LAWS, "shifted": times.shifted(1.0 / 3.0)}
        ),
        Mistake(
            name="the mean of logit-normal with SD3's sign",
            formula={**_LAWS, "logit_normal": times.logit_normal(-0.5, 0.8)},
        ),
    ),
    draw=_draw_laws,
)


def _grids(grids: Mapping[str, Callable[[Schedule], TimeLaw]]) -> Outcome:
    n = 18
    u = torch.linspace(0.0, 1.0, n + 1, dtype=torch.float64)
    readings, shown = [], {}
    for name in ("linear", "trig", "cosine"):
        schedule = SCHEDULES[name]
        grid = grids["karras"](schedule).grid(n)
        truth = (80.0 ** (1 / 7) + u * (0.002 ** (1 / 7) - 80.0 ** (1 / 7))) ** 7
        ratio = torch.exp(-schedule.log_snr(grid))
        readings.append(bound(f"sigma/alpha of the Karras grid, {name}", relative(ratio[1:-1], truth[1:-1]), 1e-6))
        steps = schedule.log_snr(grids["log_snr"](schedule).grid(n)[1:-1]).diff()
        readings.append(bound(f"equal steps of log-SNR, {name}", float(steps.max() / steps.min() - 1.0), 1e-6))
        if name == "linear":
            shown = {kind: make(schedule).grid(n) for kind, make in grids.items()}
    sigma = 1.0 - u
    shifted = 1.0 - 3.0 * sigma / (1.0 + 2.0 * sigma)
    readings.append(bound("shifted grid", gap(shown["shifted"], shifted), 1e-12))
    readings.append(bound("cosine grid", gap(shown["cosine"], 0.5 - 0.5 * torch.cos(math.pi * u)), 1e-12))
    ends = max(max(abs(float(grid[0])), abs(float(grid[-1]) - 1.0)) for grid in shown.values())
    readings.append(bound("every grid runs from 0 to 1", ends, 0.0))
    return Outcome(readings=tuple(readings), arrays={"grids": shown})


_GRIDS: dict[str, Callable[[Schedule], TimeLaw]] = {
    "karras": lambda schedule: times.karras(schedule),
    "log_snr": lambda schedule: times.log_snr_uniform(schedule, -5.0, 5.0),
    "shifted": lambda schedule: times.shifted(3.0),
    "cosine": lambda schedule: times.cosine(),
    "uniform": lambda schedule: times.uniform(),
}


def _draw_grids(axes: Any, outcome: Outcome) -> None:
    for row, ((name, grid), colour) in enumerate(zip(outcome.arrays["grids"].items(), style.CYCLE, strict=False)):
        axes.plot(grid, torch.full_like(grid, float(row)), "|", color=colour, markersize=12)
        axes.text(-0.02, row, name, ha="right", va="center", fontsize=7)
    axes.set_yticks([])
    axes.set_xlim(-0.25, 1.02)
    style.label(axes, "t", "", "18 steps on the linear path")


T39 = Check(
    id="T39",
    statement="Grids of times: equal log-SNR, Karras rho, cosine, shifted",
    how="Karras' formula on sigma/alpha of three schedules, steps of log-SNR, typed formulas",
    formulas=(
        r"\frac{\sigma_i}{\alpha_i} = \left(\sigma_{max}^{1/\rho} + \frac{i}{n}(\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho})\right)^{\rho}",
    ),
    measure=_grids,
    right=_GRIDS,
    wrong=(
        Mistake(name="rho = 3 for 7", formula={**_GRIDS, "karras": lambda schedule: times.karras(schedule, rho=3.0)}),
        Mistake(
            name="a grid uniform in t for one uniform in log-SNR",
            formula={**_GRIDS, "log_snr": lambda schedule: times.uniform()},
        ),
    ),
    draw=_draw_grids,
)
