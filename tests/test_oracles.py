"""Exact fields against brute force, against each other, and against what theory says about all of them."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import pathline as pl
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
SCHEDULES = (pl.Linear(), pl.VP(), pl.Trig(), pl.VE(0.01, 20.0), pl.EDM())
READINGS = ("velocity", "data", "noise", "score")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def labels(n: int, classes: int = 3) -> Tensor:
    return torch.arange(n) % classes


def covariances(k: int, d: int) -> Tensor:
    a = normal(k, d, d, seed=7) / d**0.5
    return a @ a.mT + 0.05 * torch.eye(d, dtype=a.dtype)


def build(name: str, path: pl.AffinePath) -> oracles.Oracle:
    means = normal(6, 3, seed=1)
    match name:
        case "gaussian":
            return oracles.gaussian(means[0], covariances(1, 3)[0], path)
        case "mixture":
            return oracles.gaussian_mixture(
                means, torch.linspace(0.2, 0.7, 6).double(), torch.arange(1.0, 7.0), path, labels(6)
            )
        case "full":
            return oracles.full_mixture(means, covariances(6, 3), torch.arange(1.0, 7.0), path, labels(6))
        case "empirical":
            return oracles.empirical(normal(40, 3, seed=2), path, labels(40), std=0.3, block=16)
        case "product":
            return oracles.product(build("full", path), build("empirical", path))
    raise AssertionError(name)


NAMES = ("gaussian", "mixture", "full", "empirical", "product")


def brute(points: Tensor, path: pl.AffinePath, x: Tensor, t: Tensor, std: float) -> dict[str, Tensor]:
    """Every reading from the sum over the data as the theory sheet writes it, one sample and one point at a time."""
    out: dict[str, list[Tensor]] = {name: [] for name in (*READINGS, "log_prob")}
    for xi, ti in zip(x, t.expand(len(x)), strict=True):
        c = pl.Coefs(*(torch.as_tensor(v, dtype=x.dtype) for v in path.schedule(ti)))
        v = c.sigma**2 + (c.alpha * std) ** 2
        logs = torch.stack([-((xi - c.alpha * z) ** 2).sum() / (2.0 * v) for z in points])
        share = torch.softmax(logs, 0)
        data = sum(r * (z + c.alpha * std**2 / v * (xi - c.alpha * z)) for r, z in zip(share, points))
        noise = sum(r * c.sigma / v * (xi - c.alpha * z) for r, z in zip(share, points))
        size = xi.numel()
        out["data"].append(data)
        out["noise"].append(noise)
        out["velocity"].append(c.dalpha * data + c.dsigma * noise)
        out["score"].append(-noise / c.sigma)
        out["log_prob"].append(
            torch.logsumexp(logs, 0) - math.log(len(points)) - 0.5 * size * torch.log(2.0 * math.pi * v)
        )
    return {name: torch.stack(values) for name, values in out.items()}


# --- the empirical oracle ---


@pytest.mark.parametrize("std", [0.0, 0.25])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 4, 5)], ids=str)
def test_empirical_is_the_sum_over_the_data(shape: tuple[int, ...], std: float) -> None:
    points, x = normal(23, *shape, seed=1), normal(5, *shape)
    for schedule in SCHEDULES:
        path = pl.AffinePath(schedule)
        field = oracles.empirical(points, path, std=std, block=7)
        for t in (torch.tensor(0.4).double(), torch.linspace(0.05, 0.95, 5).double()):
            truth = brute(points, path, x, t, std)
            estimate = field(x, t)
            for name in READINGS:
                torch.testing.assert_close(getattr(estimate, name), truth[name], rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(field.log_prob(x, t), truth["log_prob"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("block", [1, 7, 49, 50, 1000])
def test_blocks_change_nothing(block: int) -> None:
    points, x, t = normal(50, 3), normal(9, 3, seed=1), torch.linspace(0.0, 1.0, 9).double()
    y = torch.tensor([-1, 0, 1, 2, 0, 1, 2, -1, 0])
    whole = oracles.empirical(points, LINEAR, labels(50), std=0.1, block=10**6)
    parts = oracles.empirical(points, LINEAR, labels(50), std=0.1, block=block)
    for name in READINGS:
        torch.testing.assert_close(getattr(parts(x, t, y=y), name), getattr(whole(x, t, y=y), name))
    torch.testing.assert_close(parts.log_prob(x, t, y=y), whole.log_prob(x, t, y=y))
    torch.testing.assert_close(parts.posterior_variance(x, t, y=y), whole.posterior_variance(x, t, y=y))


@pytest.mark.parametrize(("dtype", "dim"), [(torch.float32, 64), (torch.float64, 64), (torch.float32, 2)])
@pytest.mark.parametrize("schedule", [pl.Linear(), pl.Trig(), pl.VP(), pl.Cosine()], ids=repr)
def test_at_the_data_end_it_returns_the_nearest_point(schedule: pl.Schedule, dtype: torch.dtype, dim: int) -> None:
    points, x = normal(200, dim, dtype=dtype), normal(50, dim, seed=1, dtype=dtype)
    field = oracles.empirical(points, pl.AffinePath(schedule))
    nearest = points[torch.cdist(x.double(), points.double()).argmin(1)]
    estimate = field(x, 1.0)
    torch.testing.assert_close(estimate.data, nearest, rtol=1e-5, atol=1e-5)
    for t in (0.0, 1.0):
        for name in READINGS:
            assert getattr(field(x, t), name).isfinite().all()
    torch.testing.assert_close(field(points, 1.0).data, points, rtol=1e-5, atol=1e-5)


def test_at_the_noise_end_it_returns_the_mean() -> None:
    points = normal(200, 5) + 3.0
    data = oracles.empirical(points, LINEAR)(normal(4, 5, seed=1), 0.0).data
    torch.testing.assert_close(data, points.mean(0).expand(4, 5))


def test_float32_holds_on_real_images() -> None:
    from sklearn.datasets import load_digits

    points = torch.from_numpy(load_digits().data) / 8.0 - 1.0
    field = oracles.empirical(points.float(), LINEAR)
    exact = oracles.empirical(points, LINEAR)
    for t in (0.0, 0.3, 0.6, 0.9, 0.97, 0.999, 1.0):
        x = exact.sample(64, t, seeded())
        torch.testing.assert_close(field(x.float(), t).data.double(), exact(x, t).data, rtol=0.0, atol=2e-4)


class Largest(TorchDispatchMode):
    """Records the number of entries of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        inputs = {a.untyped_storage().data_ptr() for a in args if isinstance(a, Tensor)}
        if isinstance(out, Tensor) and out.untyped_storage().data_ptr() not in inputs:  # no view
            self.numel = max(self.numel, out.numel())
        return out


def test_memory_is_batch_times_block() -> None:
    batch, count, dim, block = 32, 4096, 48, 128
    field = oracles.empirical(normal(count, dim, dtype=torch.float32), LINEAR, block=block)
    x = normal(batch, dim, seed=1, dtype=torch.float32)
    with Largest() as seen:
        field(x, 0.5)
        field(x, torch.linspace(0.1, 0.9, batch))
    assert seen.numel <= batch * block


def test_a_point_mass_has_no_density_and_says_so() -> None:
    field = oracles.empirical(normal(5, 2), LINEAR)
    with pytest.raises(ValueError, match="std="):
        field.log_prob(normal(3, 2), 1.0)
    assert field.log_prob(normal(3, 2), 0.9).isfinite().all()
    # and its velocity is infinite there, so that solvers keep away from it
    assert field.singular(torch.tensor(1.0).double())
    assert not oracles.empirical(normal(5, 2), LINEAR, std=0.1).singular(torch.tensor(1.0).double())


def test_the_flow_ends_on_the_data() -> None:
    points = normal(40, 2)
    x_1 = pl.sample(oracles.empirical(points, LINEAR), (100, 2), steps=64, generator=seeded())
    assert torch.cdist(x_1.double(), points).min(1).values.max() < 1e-6


# --- labels ---


@pytest.mark.parametrize("name", ["mixture", "full", "empirical"])
def test_a_label_restricts_the_data(name: str) -> None:
    x, y = normal(9, 3), torch.tensor([0, 1, 2, -1, 0, 1, 2, -1, 0])
    t = torch.linspace(0.1, 0.9, 9).double()
    field = build(name, LINEAR)
    for label in (-1, 0, 1, 2):
        rows = y == label
        # by the mixture of one class, which knows nothing of labels
        if name == "empirical":
            points = normal(40, 3, seed=2)
            alone = oracles.empirical(points if label == -1 else points[labels(40) == label], LINEAR, std=0.3)
        else:
            keep = torch.ones(6, dtype=torch.bool) if label == -1 else labels(6) == label
            means, weights = normal(6, 3, seed=1)[keep], torch.arange(1.0, 7.0)[keep]
            if name == "full":
                alone = oracles.full_mixture(means, covariances(6, 3)[keep], weights, LINEAR)
            else:
                alone = oracles.gaussian_mixture(means, torch.linspace(0.2, 0.7, 6).double()[keep], weights, LINEAR)
        for reading in READINGS:
            expected = getattr(alone(x[rows], t[rows]), reading)
            torch.testing.assert_close(getattr(field(x, t, y=y), reading)[rows], expected)
            torch.testing.assert_close(getattr(field(x[rows], t[rows], y=label), reading), expected)
        torch.testing.assert_close(field.log_prob(x, t, y=y)[rows], alone.log_prob(x[rows], t[rows]))
        drawn, other = field.sample_data(20_000, seeded(), y=label), alone.sample_data(20_000, seeded(1))
        assert ((drawn.mean(0) - other.mean(0)).abs() < 5.0 * (2.0 / 20_000) ** 0.5 * other.std(0)).all()


@pytest.mark.parametrize("name", ["mixture", "empirical"])
def test_guidance_is_exact(name: str) -> None:
    """T33: linear in every reading."""
    field, x, w = build(name, LINEAR), normal(6, 3), 2.5
    y = torch.arange(6) % 3
    guided = pl.CFG(w)(field)(x, 0.6, y=y)
    for reading in READINGS:
        expected = (1.0 - w) * getattr(field(x, 0.6), reading) + w * getattr(field(x, 0.6, y=y), reading)
        torch.testing.assert_close(getattr(guided, reading), expected)


@pytest.mark.parametrize("schedule", [pl.Linear(), pl.VP(), pl.VE(0.01, 20.0)], ids=repr)
@pytest.mark.parametrize("name", ["mixture", "full", "empirical"])
def test_classifier_guidance(name: str, schedule: pl.Schedule) -> None:
    """T35: u(x|y) = u(x) + b grad log p(y|x), b = (alpha'/alpha) sigma² - sigma' sigma; the gradient by autograd."""
    field = build(name, pl.AffinePath(schedule))
    t = torch.tensor(0.6).double()
    x = normal(5, 3).requires_grad_()
    posterior = field.class_log_prob(x, t)
    torch.testing.assert_close(posterior.exp().sum(1), torch.ones(5).double())
    alpha, sigma, dalpha, dsigma = (torch.as_tensor(v) for v in schedule(t))
    b = dalpha / alpha * sigma**2 - dsigma * sigma
    for label in range(3):
        (gradient,) = torch.autograd.grad(posterior[:, label].sum(), x, retain_graph=True)
        torch.testing.assert_close(field.class_score(x, t, label), gradient)
        moved = field(x, t).velocity + b * gradient
        torch.testing.assert_close(field(x, t, y=label).velocity, moved)


def test_class_probabilities_come_from_bayes() -> None:
    points, y = normal(30, 2), torch.tensor([5] * 20 + [2] * 10)
    field = oracles.empirical(points, LINEAR, y, std=0.2)
    classes, log_prior = field.class_prior()
    assert classes.tolist() == [2, 5]
    torch.testing.assert_close(log_prior.exp(), torch.tensor([1 / 3, 2 / 3]).double())
    x = normal(4, 2, seed=1)
    joint = torch.stack([torch.log(p) + field.log_prob(x, 0.7, y=int(c)) for c, p in zip(classes, log_prior.exp())], 1)
    torch.testing.assert_close(field.class_log_prob(x, 0.7), joint - field.log_prob(x, 0.7)[:, None])


# --- laws of every oracle ---


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", NAMES)
def test_score_is_the_gradient_of_the_density(name: str, schedule: pl.Schedule) -> None:
    field = build(name, pl.AffinePath(schedule))
    for t in (torch.tensor(0.3).double(), torch.tensor([0.1, 0.5, 0.9, 0.99]).double()):
        x = normal(4, *field.shape).requires_grad_()
        (gradient,) = torch.autograd.grad(field.log_prob(x, t).sum(), x)
        torch.testing.assert_close(field(x, t).score, gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_posterior_variance_is_the_slope_of_the_denoiser(name: str) -> None:
    """The second-order Tweedie formula: tr Cov(x_1 | x_t) = (sigma²/alpha) div D."""
    for schedule in (pl.Linear(), pl.VP()):
        field = build(name, pl.AffinePath(schedule))
        t = torch.tensor(0.7).double()
        x = normal(4, *field.shape).requires_grad_()
        data = field(x, t).data
        slope = sum(torch.autograd.grad(data[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1]))
        coefs = schedule(t)
        expected = coefs.sigma**2 / coefs.alpha * slope
        torch.testing.assert_close(field.posterior_variance(x, t), expected)


@pytest.mark.parametrize("name", NAMES)
def test_readings_agree_with_each_other(name: str) -> None:
    """x_t = alpha D + sigma E, u = alpha' D + sigma' E, s = -E/sigma, whatever the posterior."""
    field = build(name, LINEAR)
    x, t = normal(5, *field.shape), torch.linspace(0.0, 0.95, 5).double()
    estimate, clock = field(x, t), t[:, None]
    torch.testing.assert_close(clock * estimate.data + (1.0 - clock) * estimate.noise, x)
    torch.testing.assert_close(estimate.data - estimate.noise, estimate.velocity)
    torch.testing.assert_close(-estimate.noise / (1.0 - clock), estimate.score)


@pytest.mark.parametrize("name", NAMES)
def test_draws_have_the_marginal(name: str) -> None:
    """E[log p_t] over draws beats that of draws shifted by a little, and E[score] = 0, E[x score] = -1 (Stein)."""
    field = build(name, LINEAR)
    for t in (0.0, 0.5, 1.0):
        x = field.sample(20_000, t, seeded())
        score = field(x, t).score
        error = 5.0 * score.std(0) / len(x) ** 0.5
        assert (score.mean(0).abs() < error).all()
        product = x * score
        assert ((product.mean(0) + 1.0).abs() < 5.0 * product.std(0) / len(x) ** 0.5).all()


@pytest.mark.parametrize("field", [
    oracles.gaussian(torch.tensor([0.3, -0.2]).double(), covariances(1, 2)[0], LINEAR),
    oracles.full_mixture(normal(3, 2), covariances(3, 2), None, LINEAR),
    oracles.gaussian_mixture(normal(3, 2), 0.4, None, LINEAR),
    oracles.empirical(normal(9, 2), LINEAR, std=0.3),
], ids=lambda field: type(field).__name__)  # fmt: skip
def test_densities_integrate_to_one(field: oracles.Oracle) -> None:
    axis = torch.linspace(-12.0, 12.0, 361, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    for t in (0.0, 0.5, 1.0):
        total = field.log_prob(grid, t).exp().sum() * (axis[1] - axis[0]) ** 2
        assert abs(float(total) - 1.0) < 1e-6


def test_the_same_data_in_other_words() -> None:
    """One Gaussian, one component, isotropic covariances, smoothed points, and products, each by its own formula."""
    means, x, t = normal(4, 2), normal(7, 2, seed=1), torch.linspace(0.0, 1.0, 7).double()
    cov = covariances(1, 2)
    spherical = (0.3**2 * torch.eye(2).double()).expand(4, 2, 2)
    diagonal = oracles.gaussian(means[0], torch.diag(torch.tensor([0.5, 0.2]).double()), LINEAR)
    parts = [
        oracles.gaussian(means[0, i : i + 1], torch.tensor([[c]]).double(), LINEAR) for i, c in enumerate((0.5, 0.2))
    ]
    pairs: list[tuple[oracles.Oracle, oracles.Oracle]] = [
        (oracles.gaussian(means[0], cov[0], LINEAR), oracles.full_mixture(means[:1], cov, None, LINEAR)),
        (oracles.gaussian_mixture(means, 0.3, None, LINEAR), oracles.full_mixture(means, spherical, None, LINEAR)),
        (oracles.gaussian_mixture(means, 0.3, None, LINEAR), oracles.empirical(means, LINEAR, std=0.3, block=3)),
        (diagonal, oracles.product(*parts)),
    ]
    for one, other in pairs:
        for name in READINGS:
            torch.testing.assert_close(getattr(one(x, t), name), getattr(other(x, t), name))
        torch.testing.assert_close(one.log_prob(x, t), other.log_prob(x, t))
        torch.testing.assert_close(one.posterior_variance(x, t), other.posterior_variance(x, t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_dtype_follows_the_state(name: str, dtype: torch.dtype) -> None:
    field = build(name, LINEAR)
    x = normal(3, *field.shape).to(dtype)
    for reading in READINGS:
        assert getattr(field(x, 0.5), reading).dtype == dtype
    assert field.log_prob(x, 0.5).dtype == dtype


@pytest.mark.parametrize(("call", "message"), [
    (lambda: oracles.empirical(torch.zeros(0, 2), LINEAR), "at least one point"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR, std=-1.0), "std"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR, block=0), "block"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR, torch.zeros(2, dtype=torch.long)), "labels"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR, torch.tensor([0, -1, 1])), "negative"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR)(torch.zeros(4, 3), 0.5), "shape"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR)(torch.zeros(4, 2), 0.5, y=torch.zeros(4)), "no labels"),
    (lambda: oracles.empirical(torch.zeros(3, 2), LINEAR, labels(3))(torch.zeros(4, 2), 0.5, y=7), "7"),
    (lambda: oracles.full_mixture(torch.zeros(3, 2), torch.zeros(3, 2), None, LINEAR), "covs"),
    (lambda: oracles.full_mixture(torch.zeros(1, 2), -torch.eye(2)[None], None, LINEAR), "semi-definite"),
    (lambda: oracles.product(build("gaussian", LINEAR)), "two"),
    (lambda: oracles.product(build("gaussian", LINEAR), build("full", pl.AffinePath(pl.VP()))), "one path"),
    (lambda: build("gaussian", LINEAR).class_log_prob(torch.zeros(1, 3).double(), 0.5), "no labels"),
])  # fmt: skip
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_empirical_field_has_gradients_after_sampling_in_another_dtype() -> None:
    """What is kept from a solve without gradients must not stand in the way of a later gradient."""
    field = oracles.empirical(torch.randn(20, 3).double(), pl.AffinePath(pl.Linear()), std=0.1)
    x = pl.sample(field, torch.randn(4, 3), steps=3).requires_grad_()
    field(x, 0.5).data.sum().backward()
    assert x.grad is not None
