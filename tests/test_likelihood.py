"""Likelihood and encoding (theory T7) against closed forms."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pathline as pl
from pathline.likelihood import DIVERGENCES, bits_per_dim, divergence, encode, log_prob
from pathline.likelihood.quadrature import FINE, interval_weights
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
EIGHT = oracles.eight_gaussians(LINEAR)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def gaussian(shape: tuple[int, ...], path: pl.AffinePath = LINEAR) -> oracles.Gaussian:
    size = math.prod(shape)
    a = normal(size, size, seed=3) / size**0.5
    return oracles.gaussian(normal(*shape, seed=4), a @ a.T + 0.2 * torch.eye(size, dtype=a.dtype), path)


def matrix_field(a: Tensor, shape: tuple[int, ...] = ()) -> pl.Field:
    """u(x, t) = cos(t) A x, whose divergence is cos(t) tr A."""

    def net(x: Tensor, t: Tensor) -> Tensor:
        clock = torch.cos(t).reshape(-1, *(1,) * (x.ndim - 1)) if t.ndim else torch.cos(t)
        return clock * (x.reshape(len(x), -1) @ a.T).reshape(x.shape)

    return pl.Field(net, LINEAR, pl.VELOCITY)


def rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


# --- divergence ---


@pytest.mark.parametrize("method", list(DIVERGENCES))
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 2, 3), (1, 2, 3, 2)], ids=str)
def test_the_divergence_of_a_linear_field_is_its_trace(shape: tuple[int, ...], method: str) -> None:
    size = math.prod(shape)
    a = normal(size, size, seed=1)
    if method != "exact":
        a = torch.diag(a.diag())  # for which one Rademacher probe has no variance
    field, x = matrix_field(a), normal(4, *shape)
    for t in (0.3, torch.linspace(0.0, 1.0, 4).double()):
        expected = torch.as_tensor(t).cos().double().expand(4) * a.trace()
        probes = {} if method == "exact" else {"probes": 3}
        if method == "hutch++" and size < 2:
            continue  # nothing is left beside the sketch
        if method == "hutch++":  # a projection mixes the entries again: exact only for multiples of the identity
            field, expected = (
                matrix_field(torch.eye(size, dtype=a.dtype)),
                torch.as_tensor(t).cos().double().expand(4) * size,
            )
            probes = {"probes": 3 * size}  # the sketch spans the space
        torch.testing.assert_close(divergence(field, x, t, method=method, **probes), expected)


def test_blocks_of_cotangents_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    field, x = gaussian((2, 3)), normal(4, 2, 3)
    whole = divergence(field, x, 0.4)
    for numbers in (1, 50):
        monkeypatch.setattr("pathline.likelihood.traces.COTANGENTS", numbers)
        torch.testing.assert_close(divergence(field, x, 0.4), whole)


@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased_with_the_known_variance(noise: str) -> None:
    """Mean tr A; variance 2 |S|² for Gaussian probes and 2 (|S|² - |diag S|²) for Rademacher, S = (A + A^T)/2."""
    a, n = normal(6, 6), 40_000
    symmetric = 0.5 * (a + a.T)
    square = symmetric.square().sum() - (symmetric.diag().square().sum() if noise == "rademacher" else 0.0)
    drawn = divergence(matrix_field(a), normal(n, 6), 0.0, method="hutchinson", noise=noise, generator=seeded())
    variance = float(2.0 * square)
    assert float(drawn.mean()) == pytest.approx(float(a.trace()), abs=5.0 * (variance / n) ** 0.5)
    assert float(drawn.var()) == pytest.approx(variance, rel=0.08)
    four = divergence(
        matrix_field(a), normal(n, 6), 0.0, method="hutchinson", noise=noise, probes=4, generator=seeded()
    )
    assert float(four.var()) == pytest.approx(variance / 4.0, rel=0.08)


def test_hutch_plus_plus_is_unbiased_and_exact_at_low_rank() -> None:
    low = normal(12, 2) @ normal(2, 12, seed=1)
    x = normal(2000, 12)
    drawn = divergence(matrix_field(low), x, 0.0, method="hutch++", probes=6, generator=seeded())
    torch.testing.assert_close(drawn, low.trace().expand(2000))
    full = low + 0.1 * normal(12, 12, seed=2)
    drawn = divergence(matrix_field(full), x, 0.0, method="hutch++", probes=6, generator=seeded())
    plain = divergence(matrix_field(full), x, 0.0, method="hutchinson", probes=6, generator=seeded())
    assert float(drawn.mean()) == pytest.approx(float(full.trace()), abs=5.0 * float(drawn.std()) / 2000**0.5)
    assert float(drawn.std()) < 0.4 * float(plain.std())


def test_oracles_know_their_divergence_otherwise() -> None:
    """div u = alpha' div D + sigma' div E with alpha div D = (alpha²/sigma²) tr Cov and x = alpha D + sigma E."""
    x, t = normal(6, 2), torch.linspace(0.1, 0.95, 6).double()
    slope = t / (1.0 - t) ** 2 * EIGHT.posterior_variance(x, t)  # div D
    expected = slope - (2.0 - t * slope) / (1.0 - t)
    torch.testing.assert_close(divergence(EIGHT, x, t), expected)


@pytest.mark.parametrize("net", [
    pl.nets.DiT(8, 1, patch=4, width=16, depth=1, heads=2),
    nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Unflatten(1, (1, 8, 8))),
], ids=["attention", "in place"])  # fmt: skip
def test_any_network_has_a_divergence(net: nn.Module) -> None:
    for weight in net.parameters():
        nn.init.normal_(weight, std=0.3, generator=seeded())
    net.eval()
    field = pl.Field(net if isinstance(net, pl.nets.DiT) else lambda x, t: net(x), LINEAR, pl.VELOCITY)
    x = normal(2, 1, 8, 8, dtype=torch.float32).requires_grad_()
    u = field(x, 0.4).velocity.flatten(1)
    rows = [torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)[0].flatten(1)[:, i] for i in range(64)]
    expected = torch.stack(rows).sum(0)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(divergence(field, x.detach(), 0.4), expected, rtol=1e-4, atol=1e-5)


# --- log p ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 3)], ids=str)
def test_gaussian_data_at_every_rank(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    field = gaussian(shape)
    x = field.sample(5, 1.0, seeded()).to(dtype)
    truth = field.log_prob(x.double())
    for options in ({}, {"solver": "rk4", "steps": 64}, {"solver": "ab3", "steps": 128}):
        found = log_prob(field, x, **options)
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), truth, rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize(("options", "bound"), [
    ({"solver": pl.solvers.dopri5(rtol=1e-8, atol=1e-8)}, 1e-6),
    ({}, 1e-3),
    ({"solver": "rk4", "steps": 100}, 1e-5),
    ({"solver": "heun", "steps": 200}, 2e-3),
    ({"solver": "abm3", "evaluations": 128}, 2e-4),
    ({"solver": "ddim", "steps": 400}, 5e-2),
    ({"solver": "unipc", "steps": 200}, 2e-3),
], ids=lambda v: str(v) if isinstance(v, float) else "-".join(str(o) for o in v.values())[:24] or "default")  # fmt: skip
def test_eight_gaussians(options: dict, bound: float) -> None:
    x = EIGHT.sample(64, 1.0, seeded())
    assert rms(log_prob(EIGHT, x, **options) - EIGHT.log_prob(x)) < bound


@pytest.mark.parametrize(
    ("schedule", "bound"), [(pl.EDM(), 5e-3), (pl.VE(0.01, 80.0), 5e-3), (pl.VP(), 2e-3), (pl.Trig(), 1e-4)], ids=repr
)
def test_every_path_has_its_own_prior(schedule: pl.Schedule, bound: float) -> None:
    """Also those that stop at sigma_1 > 0 or start at sigma_0 != 1; the rest is what the source N(0, sigma_0²) leaves out."""
    field = oracles.eight_gaussians(pl.AffinePath(schedule))
    x, ends = field.sample(32, 1.0, seeded()), []

    def nothing(x_0: Tensor) -> Tensor:
        ends.append(x_0)
        return torch.zeros(len(x_0), dtype=x_0.dtype)

    solver = pl.solvers.dopri5(rtol=1e-7, atol=1e-7)
    change, truth = log_prob(field, x, solver=solver, source=nothing), field.log_prob(x)
    # with the exact density of the start, nothing is left out
    assert rms(change + field.log_prob(ends[0], 0.0) - truth) < 1e-5
    assert rms(log_prob(field, x, solver=solver) - truth) < bound


@pytest.mark.parametrize("prediction", [pl.DATA, pl.NOISE, pl.VELOCITY, pl.V], ids=repr)
def test_every_prediction(prediction: pl.Prediction) -> None:
    """Also where no velocity can be read at an end: data prediction at t = 1, noise prediction at t = 0."""
    exact = gaussian((2,))
    field = pl.Field(lambda x, t: exact(x, t).read(prediction), LINEAR, prediction)
    x = exact.sample(16, 1.0, seeded())
    for options in ({}, {"solver": "rk4", "steps": 100}):
        assert rms(log_prob(field, x, **options) - exact.log_prob(x)) < 0.02


def test_conditions_and_guidance() -> None:
    y = torch.arange(16) % 8
    x = EIGHT.sample(16, 1.0, seeded(), y=y)
    truth = EIGHT.log_prob(x, 1.0, y=y)
    for options in ({}, {"solver": "rk4", "steps": 64}):
        assert rms(log_prob(EIGHT, x, y=y, **options) - truth) < 1e-3
        assert rms(log_prob(pl.CFG(1.0)(EIGHT), x, y=y, **options) - truth) < 1e-3
        assert rms(log_prob(EIGHT, x, y=int(y[0]), **options)[:1] - truth[:1]) < 1e-3


@pytest.mark.parametrize("solver", ["dopri5", "rk4"])
@pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased(noise: str, solver: str) -> None:
    field = gaussian((4,))
    x = field.sample(1, 1.0, seeded())
    many = log_prob(field, x.expand(4000, 4), divergence="hutchinson", noise=noise, solver=solver, seeds=range(4000))
    exact = float(field.log_prob(x))
    assert float(many.std()) > 0.01
    assert float(many.mean()) == pytest.approx(exact, abs=5.0 * float(many.std()) / 4000**0.5 + 1e-3)
    # a sample's directions are its own
    alone = log_prob(field, x, divergence="hutchinson", noise=noise, solver=solver, seeds=[7])
    torch.testing.assert_close(alone, many[7:8], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"solver": "rk4", "steps": 40}], ids=["adaptive", "fixed"])
def test_gradients(options: dict) -> None:
    """To the point it is the score; to a parameter, the closed-form derivative of N(m, s²)."""
    field = gaussian((3,))
    x = field.sample(4, 1.0, seeded()).requires_grad_()
    (gradient,) = torch.autograd.grad(log_prob(field, x, differentiable=True, **options).sum(), x)
    torch.testing.assert_close(gradient, field(x, 1.0).score.detach(), rtol=2e-3, atol=2e-3)
    assert not log_prob(field, x, **options).requires_grad

    mean = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    learned = pl.Field(
        lambda z, t: oracles.Gaussian(mean, 0.25 * torch.eye(1).double(), LINEAR).evaluate(z, t).velocity,
        LINEAR,
        pl.VELOCITY,
    )
    point = torch.tensor([[1.2]]).double()
    (slope,) = torch.autograd.grad(log_prob(learned, point, differentiable=True, **options).sum(), mean)
    assert float(slope) == pytest.approx((1.2 - 0.5) / 0.25, rel=2e-3)


def test_networks_are_evaluated_in_eval_mode_and_left_alone() -> None:
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2)).train()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.net(x)

    field, x = pl.Field(Net(), LINEAR, pl.VELOCITY), normal(4, 2, dtype=torch.float32)
    assert torch.equal(log_prob(field, x, solver="heun"), log_prob(field, x, solver="heun"))
    assert net.training
    with torch.inference_mode():
        inside = x.clone()
    torch.testing.assert_close(log_prob(field, inside, solver="heun"), log_prob(field, x, solver="heun"))


# --- encoding ---


@pytest.mark.parametrize(
    "field", [EIGHT, gaussian((2, 3)), oracles.eight_gaussians(pl.AffinePath(pl.VP()))], ids=["eight", "images", "vp"]
)
def test_encode_then_decode(field: oracles.Oracle) -> None:
    x_1 = field.sample(16, 1.0, seeded())
    tight = pl.solvers.dopri5(rtol=1e-9, atol=1e-9)
    x_0 = encode(field, x_1, solver=tight)
    torch.testing.assert_close(pl.sample(field, x_0, solver=tight), x_1, rtol=1e-5, atol=1e-5)


def test_the_code_of_gaussian_data_is_whitened() -> None:
    """x_0 = L^-1 (x_1 - m) up to a rotation: |x_0|² is the Mahalanobis distance, along the whole flow."""
    field = gaussian((4,))
    x_1 = field.sample(32, 1.0, seeded())
    x_0 = encode(field, x_1, solver="rk4", steps=200)
    distance = ((x_1 - field.mean) @ field.axes).square() / field.variances
    torch.testing.assert_close(x_0.square().sum(1), distance.sum(1), rtol=1e-4, atol=1e-4)


def test_edm_encodes_in_units_of_the_source() -> None:
    field = oracles.eight_gaussians(pl.AffinePath(pl.EDM()))
    x_1 = field.sample(200, 1.0, seeded())
    x_0 = encode(field, x_1)
    assert float(x_0.std()) == pytest.approx(1.0, abs=0.15)
    x_1 = x_1[:16]
    tight, times = pl.solvers.dopri5(rtol=1e-8, atol=1e-8), torch.tensor([0.0, 1.0])
    back = pl.integrate(field, 80.0 * encode(field, x_1, solver=tight), tight, times)
    torch.testing.assert_close(back, x_1, rtol=1e-4, atol=1e-4)


# --- quadrature ---


@pytest.mark.parametrize("n", [1, 2, 3, 8, 24, 60])
def test_the_quadrature_is_exact_for_polynomials_on_any_grid(n: int) -> None:
    inner = torch.rand(n - 1, generator=seeded(), dtype=torch.float64).sort().values * 0.8 + 0.1
    times = torch.cat([torch.zeros(1).double(), inner, torch.ones(1).double()])
    for grid in (times, times.flip(0)):
        weights = interval_weights(grid).sum(0)
        for power in range(min(n, 3 if n < FINE else 5) + 1):
            exact = (grid[-1] ** (power + 1) - grid[0] ** (power + 1)) / (power + 1)
            torch.testing.assert_close((weights * grid**power).sum(), exact, rtol=1e-6, atol=1e-8)


# --- the correction of what the steps miss ---


@pytest.mark.parametrize("solver", ["euler", "ab2", "heun"])
def test_the_score_correction_finds_the_density_along_a_way_that_leaves_the_flow(solver: str) -> None:
    x = EIGHT.sample(128, 1.0, seeded())
    truth = EIGHT.log_prob(x)
    plain, corrected = (
        float((log_prob(EIGHT, x, solver=solver, evaluations=32, correction=name) - truth).square().mean().sqrt())
        for name in ("none", "score")
    )
    assert corrected < 0.1 * plain


def test_the_score_correction_is_the_first_order_term_of_the_defect() -> None:
    """Euler's log p converges at order 1; corrected, at order 2 or more."""
    field = gaussian((3,))
    x = field.sample(64, 1.0, seeded())
    truth = field.log_prob(x)
    errors = [
        float((log_prob(field, x, solver="euler", steps=n, correction="score") - truth).square().mean().sqrt())
        for n in (32, 64)
    ]
    assert errors[0] / errors[1] > 3.5


def test_the_correction_is_refused_where_steps_are_chosen() -> None:
    with pytest.raises(ValueError, match="solvers on a grid"):
        log_prob(EIGHT, normal(4, 2), correction="score")
    with pytest.raises(ValueError, match="correction"):
        log_prob(EIGHT, normal(4, 2), solver="heun", correction="scores")


# --- bits per dimension ---


@pytest.mark.parametrize(
    ("path", "solver"),
    [
        (LINEAR, {"solver": "dopri5"}),
        (pl.AffinePath(pl.VP()), {"solver": "heun", "steps": 24, "grid": pl.times.cosine()}),
    ],
    ids=["linear", "vp"],
)
def test_bits_by_the_noise_of_the_path_are_those_of_a_discrete_law(
    path: pl.AffinePath, solver: dict[str, object]
) -> None:
    """Three pairs of levels with odds 1/2, 1/4, 1/4: -log2 P(x)/2 each, and never less on average."""
    points = torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [0.0, -1.0], [1.0, 0.5]]).double()
    field = oracles.empirical(points, path)
    found = bits_per_dim(field, points, levels=5, dequantise="path", draws=8, generator=seeded(), **solver)
    truth = torch.tensor([0.5, 0.5, 1.0, 1.0]).double()
    assert bool((found.per_sample > truth - 0.01).all())
    assert float((found.per_sample - truth).mean()) < 0.15  # a level is read wrong now and then


def test_bits_by_the_noise_of_the_path_refuse_times() -> None:
    with pytest.raises(ValueError, match="a law as grid"):
        bits_per_dim(EIGHT, torch.ones(2, 2), levels=3, dequantise="path", grid=torch.linspace(0, 1, 9), solver="heun")


def test_bits_per_dim_of_known_levels() -> None:
    """A fine grid on smooth data: the bound meets -log2 P(level), P by the normal distribution function."""
    field = oracles.gaussian(torch.zeros(2).double(), 0.09 * torch.eye(2).double(), LINEAR)
    levels, low, high = 17, -1.5, 1.5
    delta = (high - low) / (levels - 1)
    x = field.sample(200, 1.0, seeded()).clamp(low, high)
    x = ((x - low) / delta).round() * delta + low
    standard = torch.distributions.Normal(torch.zeros(()).double(), 0.3)
    mass = standard.cdf(x + 0.5 * delta) - standard.cdf(x - 0.5 * delta)
    exact = -torch.log2(mass).mean(1)
    # E_u of -log2 p(x + delta (u - 1/2)) - log2 delta in closed form: a quadratic
    spread = (x**2 + delta**2 / 12.0) / (2.0 * 0.09)
    bound = ((spread + 0.5 * math.log(2.0 * math.pi * 0.09) - math.log(delta)) / math.log(2.0)).mean(1)
    found = bits_per_dim(
        field, x, levels=levels, low=low, high=high, draws=20, generator=seeded(), solver="rk4", steps=24
    )
    assert found.draw_std is not None
    assert found.per_sample.shape == found.draw_std.shape == (200,)
    difference = found.per_sample - bound
    assert abs(float(difference.mean())) < 5.0 * float(difference.std()) / 200**0.5 + 1e-3
    assert float(difference.std()) == pytest.approx(float(found.draw_std.mean()) / 20**0.5, rel=0.3)
    assert found.mean > float(exact.mean()) - 5.0 * found.error
    assert found.mean == pytest.approx(float(exact.mean()), abs=0.05)
    assert found.error == pytest.approx(float(found.per_sample.std()) / 200**0.5)


def test_levels_of_a_flat_density() -> None:
    """Where the flow is the identity and the source is flat, 1/2 on [-1, 1], each of 256 levels costs log2 of 255 steps."""
    still = pl.Field(lambda x, t: 0.0 * x, LINEAR, pl.VELOCITY)
    x = (torch.arange(256).double() / 255.0 * 2.0 - 1.0)[:, None, None]

    def flat(x_0: Tensor) -> Tensor:
        return torch.full((len(x_0),), -math.log(2.0), dtype=x_0.dtype)

    found = bits_per_dim(still, x, levels=256, source=flat, solver="euler", steps=2)
    torch.testing.assert_close(found.per_sample, torch.full((256,), math.log2(255.0)).double())
    assert found.draw_std is None


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: log_prob(EIGHT, normal(2, 2), divergence="hutchison"), ValueError, "hutchinson"),
    (lambda: log_prob(EIGHT, normal(2, 2), divergence="hutchinson", noise="normal"), ValueError, "rademacher"),
    (lambda: log_prob(EIGHT, normal(2, 2), divergence="hutchinson", probes=0), ValueError, "probes"),
    (lambda: log_prob(EIGHT, normal(2, 2), divergence="hutch++", probes=2), ValueError, "at least 3"),
    (lambda: log_prob(EIGHT, normal(2, 2), generator=seeded()), ValueError, "exact divergence"),
    (lambda: log_prob(EIGHT, normal(2, 2), solver="euler_maruyama"), ValueError, "deterministic"),
    (lambda: log_prob(EIGHT, normal(2, 2), evaluations=50), ValueError, "adaptive"),
    (lambda: log_prob(EIGHT, normal(2, 2), z=torch.zeros(2)), TypeError, "z="),
    (lambda: log_prob(EIGHT, torch.zeros(2, 2, dtype=torch.long)), TypeError, "floating"),
    (lambda: bits_per_dim(EIGHT, normal(2, 2), levels=256), ValueError, "levels"),
    (lambda: bits_per_dim(EIGHT, torch.zeros(2, 2), levels=1), ValueError, "levels >= 2"),
    (lambda: encode(EIGHT, normal(2, 2), solver="edm_churn"), ValueError, "deterministic"),
])  # fmt: skip
def test_mistakes_are_named(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_grid_into_a_singular_end_is_refused() -> None:
    field = pl.Field(lambda x, t: EIGHT(x, t).data, LINEAR, pl.DATA)
    with pytest.raises(ValueError, match="t=1"):
        log_prob(field, normal(2, 2), solver="rk4", grid=torch.linspace(0.0, 1.0, 9))
