"""Guidance on labelled mixtures, where all of it is closed form (theory T33, T35)."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pathline.field import BaseField, Field
from pathline.guidance import CFG
from pathline.objectives import Matching
from pathline.paths import AffinePath
from pathline.predictions import DATA, NOISE, SCORE, VELOCITY, Prediction
from pathline.solvers import integrate
from pathline.solvers.sde import eta_at
from pathline.testing import oracles
from pathline.testing.oracles import GaussianMixture
from pathline.verify import style
from pathline.verify.base import Check, Mistake, Outcome, Reading, bound
from pathline.verify.reference import LINEAR, SCHEDULES, at, coefs_at, gap, generator, gradient, plane

Guide: TypeAlias = Callable[[BaseField, float], BaseField]
"""(field, w) -> the guided field."""
Classify: TypeAlias = Callable[[GaussianMixture, Tensor, float, Tensor, float], Tensor]
"""(field, x_t, t, y, w) -> the velocity guided by the classifier."""

_MEANS = torch.tensor([[2.0, 0.0], [1.2, 1.4], [-1.5, 0.8], [-0.4, -1.8]], dtype=torch.float64)
_LABELS = torch.tensor([0, 0, 1, 1])
_STD = 0.5
_SPACES = (VELOCITY, DATA, NOISE, SCORE)


def _labelled(path: AffinePath) -> GaussianMixture:
    return oracles.gaussian_mixture(_MEANS, _STD, None, path, labels=_LABELS)


def _of_class(path: AffinePath, label: int) -> GaussianMixture:
    """The same components on their own: the conditional field without any conditioning."""
    return oracles.gaussian_mixture(_MEANS[label == _LABELS], _STD, None, path)


def _states(n: int = 80) -> tuple[Tensor, Tensor]:
    return 1.5 * torch.randn(n, 2, generator=generator(1), dtype=torch.float64), torch.arange(n) % 2


def _free(guide: Guide) -> Outcome:
    x, y = _states()
    readings: list[Reading] = []
    for name, schedule in SCHEDULES.items():
        path = AffinePath(schedule)
        field, parts = _labelled(path), [_of_class(path, 0), _of_class(path, 1)]
        none = oracles.gaussian_mixture(_MEANS, _STD, None, path)
        worst = dict.fromkeys(_SPACES, 0.0)
        for t in (0.1, 0.5, 0.9):
            for w in (0.0, 1.0, 2.5):
                guided = guide(field, w)(x, t, y=y)
                for space in _SPACES:
                    given = torch.where((y == 0)[:, None], *(part(x, t).read(space) for part in parts))
                    truth = (1.0 - w) * none(x, t).read(space) + w * given
                    worst[space] = max(worst[space], gap(guided.read(space), truth))
        readings += [bound(f"guided {space}, {name}", error, 1e-9) for space, error in worst.items()]
    readings += [_dropped(prediction) for prediction in (VELOCITY, DATA)]
    return Outcome(readings=tuple(readings), arrays={"samples": _samples(guide)})


def _dropped(prediction: Prediction, n: int = 30_000) -> Reading:
    """The loss with dropped labels is least at the conditional field, and at the unconditional one where y is dropped.

    Mean gradients at theta = 0 of a net that is exact plus theta_0 (label kept) or theta_1 (dropped), in standard errors.
    """
    field = _labelled(LINEAR)
    with torch.enable_grad():
        theta = torch.zeros(n, 2, dtype=torch.float64, requires_grad=True)

        def net(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            shift = torch.where(y == -1, theta[:, 1], theta[:, 0])
            return field.evaluate(x, t, y=y).read(prediction) + shift[:, None]

        draws, y = generator(2), torch.arange(n) % 2
        x_1 = field.sample_data(n, draws, y=y)
        objective = Matching(LINEAR, prediction, label_dropout=0.3)
        losses = objective.per_sample(Field(net, LINEAR, prediction), x_1, y=y, generator=draws)
        (slopes,) = torch.autograd.grad(losses.sum(), theta)
    z = slopes.mean(0) / (slopes.std(0) / n**0.5)
    return bound(f"dropped labels train both fields ({prediction}), standard errors", float(z.abs().max()), 4.5)


def _samples(guide: Guide) -> dict[float, Tensor]:
    """Samples of the first class at three weights, from the same noise."""
    x_0, y = torch.randn(250, 2, generator=generator(3), dtype=torch.float64), torch.zeros(250, dtype=torch.int64)
    grid = torch.linspace(0.0, 1.0, 25, dtype=torch.float64)
    return {w: integrate(guide(_labelled(LINEAR), w), x_0, "heun", grid, y=y) for w in (0.0, 1.0, 2.5)}


def _draw_samples(axes: Any, outcome: Outcome) -> None:
    for (w, x), colour in zip(outcome.arrays["samples"].items(), (style.PALE, style.SECOND, style.RIGHT), strict=True):
        axes.scatter(x[:, 0], x[:, 1], s=7, color=colour, label=f"w = {w:g}")
    axes.scatter(_MEANS[:2, 0], _MEANS[:2, 1], marker="x", color=style.INK, s=40, zorder=3)
    axes.set_aspect("equal")
    axes.legend(fontsize=7, frameon=False)
    style.label(axes, "", "", "samples of one class (its means: crosses)")


T33 = Check(
    id="T33",
    statement="Classifier-free guidance is (1 - w) u(x|none) + w u(x|y), the same in every prediction",
    how="fields of the classes built on their own, four spaces, five schedules; gradients of the loss with dropped labels",
    formulas=(
        r"\tilde u_t(x \mid y) = (1 - w)\, u_t(x \mid \mathrm{none}) + w\, u_t(x \mid y), \qquad w = 1: \mathrm{no\ guidance}",
    ),
    measure=_free,
    right=lambda field, w: CFG(w)(field),
    wrong=(
        Mistake(
            name="the other convention, (1 + w) u(x|y) - w u(x|none)", formula=lambda field, w: CFG(1.0 + w)(field)
        ),
        Mistake(name="the weight of w and 1 - w exchanged", formula=lambda field, w: CFG(1.0 - w)(field)),
    ),
    draw=_draw_samples,
)


def _class_slope(x: Tensor, y: Tensor, alpha: float, sigma: float) -> Tensor:
    """grad log p(y | x_t) by automatic differentiation of the reference densities; classes are equally frequent."""

    def log_posterior(x: Tensor) -> Tensor:
        given = torch.stack([plane(_MEANS[k == _LABELS], _STD, alpha, sigma).log_prob(x) for k in (0, 1)], 1)
        return torch.log_softmax(given, 1).gather(1, y[:, None])[:, 0]

    return gradient(log_posterior, x)


def _classifier(classify: Classify) -> Outcome:
    x, y = _states()
    readings = []
    for name, schedule in SCHEDULES.items():
        path = AffinePath(schedule)
        field, parts = _labelled(path), [_of_class(path, 0), _of_class(path, 1)]
        slopes, given, stronger, factors = [], [], [], []
        for t in (0.1, 0.5, 0.9):
            c = coefs_at(schedule, t)
            factor = c.dalpha / c.alpha * c.sigma**2 - c.dsigma * c.sigma
            factors.append(abs(float(eta_at("reverse", schedule(at(t)), at(t))) / factor - 1.0))
            slope = _class_slope(x, y, c.alpha, c.sigma)
            slopes.append(gap(field.class_score(x, t, y), slope))
            one = torch.where((y == 0)[:, None], *(part(x, t).velocity for part in parts))
            given.append(gap(classify(field, x, t, y, 1.0), one))
            stronger.append(gap(classify(field, x, t, y, 2.5), CFG(2.5)(field)(x, t, y=y).velocity))
        readings.append(bound(f"grad log p(y|x) of the oracle, {name}", max(slopes), 1e-9))
        readings.append(bound(f"u + b grad log p(y|x) against u(x|y), {name}", max(given), 1e-9))
        readings.append(bound(f"with weight 2.5 against classifier-free guidance, {name}", max(stronger), 1e-9))
        readings.append(bound(f"b is g²/2 of the noising process, {name}", max(factors), 1e-9))
    return Outcome(readings=tuple(readings), arrays=_pull(classify))


def _pull(classify: Classify) -> dict[str, Any]:
    axis = torch.linspace(-3.0, 3.0, 13, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    y, field = torch.zeros(len(x), dtype=torch.int64), _labelled(LINEAR)
    chance = field.class_log_prob(x, 0.6)[:, 0].exp().reshape(13, 13)
    return {"x": x, "pull": classify(field, x, 0.6, y, 1.0) - field(x, 0.6).velocity, "chance": chance, "axis": axis}


def _draw_pull(axes: Any, outcome: Outcome) -> None:
    x, pull, axis = outcome.arrays["x"], outcome.arrays["pull"], outcome.arrays["axis"]
    shown = axes.contourf(axis, axis, outcome.arrays["chance"].T, levels=10, cmap="Blues", alpha=0.7)
    axes.figure.colorbar(shown, ax=axes, label="p(y | x_t)")
    axes.quiver(x[:, 0], x[:, 1], pull[:, 0], pull[:, 1], color=style.INK, width=0.004)
    style.label(axes, "x", "y", "what the classifier adds, t = 0.6")


def _by_slope(field: GaussianMixture, x: Tensor, t: float, y: Tensor, w: float) -> Tensor:
    c = coefs_at(field.path.schedule, t)
    factor = c.dalpha / c.alpha * c.sigma**2 - c.dsigma * c.sigma
    return field(x, t).velocity + w * factor * field.class_score(x, t, y)


def _unscaled(field: GaussianMixture, x: Tensor, t: float, y: Tensor, w: float) -> Tensor:
    return field(x, t).velocity + w * field.class_score(x, t, y)


def _half(field: GaussianMixture, x: Tensor, t: float, y: Tensor, w: float) -> Tensor:
    c = coefs_at(field.path.schedule, t)
    return field(x, t).velocity - w * c.dsigma * c.sigma * field.class_score(x, t, y)


T35 = Check(
    id="T35",
    statement="Classifier guidance: u(x|y) = u(x) + b_t grad log p(y|x_t)",
    how="class gradients by automatic differentiation of reference densities; conditional fields; classifier-free guidance",
    formulas=(
        r"u_t(x \mid y) = u_t(x) + b_t \nabla \log p_t(y \mid x), \qquad "
        r"b_t = \frac{\dot\alpha_t}{\alpha_t}\sigma_t^2 - \dot\sigma_t \sigma_t",
    ),
    measure=_classifier,
    right=_by_slope,
    wrong=(
        Mistake(name="the gradient added without b_t", formula=_unscaled),
        Mistake(name="b_t = -sigma' sigma alone", formula=_half),
    ),
    draw=_draw_pull,
)
