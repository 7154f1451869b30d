"""Processes, stochastic solvers and Brownian trees against closed forms of theory T5, T6, T14, T15, T22, T24."""

import functools
import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.solvers import Noise, Solver
from pathline.solvers.base import Bound
from pathline.solvers.brownian import BrownianTree
from pathline.solvers.processes import (
    SDE,
    BrownianMotion,
    GeometricBrownianMotion,
    Langevin,
    Noising,
    OrnsteinUhlenbeck,
    Process,
    Reversed,
    sub_vp,
)
from pathline.solvers.sde import ETAS, EulerMaruyama, Family, ProcessField, StochasticHeun
from pathline.solvers.simulate import simulate
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
METHODS = ("euler_maruyama", "heun")
OU = OrnsteinUhlenbeck(theta=1.3, g=0.8)
GBM = GeometricBrownianMotion(mu=0.7, g=0.5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=torch.float64)


def slope(steps: list[int], errors: list[float]) -> float:
    """The order: the slope of log error over log step size."""
    x, y = -torch.log(torch.tensor(steps).double()), torch.log(torch.tensor(errors).double())
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


class Given(Noise):
    """Increments that are chosen, not drawn."""

    def __init__(self, value: float) -> None:
        self.value = value

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


def gauss_hermite(count: int = 5) -> tuple[Tensor, Tensor]:
    """Nodes and weights with sum w f(z) = E f(z), z ~ N(0, 1), for polynomials f of degree below 2 count."""
    jacobi = torch.diag(torch.arange(1.0, count).double().sqrt(), 1)
    nodes, vectors = torch.linalg.eigh(jacobi + jacobi.T)
    return nodes, vectors[0] ** 2


def step_with(solver: Solver, field: Bound, x: Tensor, t: Tensor, s: Tensor, z: float) -> Tensor:
    return solver.step(field, x, t, s, solver.start(field, x, torch.stack([t, s]), Given(z)))[0]


def moments(solver: Solver, process: Process, times: Tensor) -> tuple[float, float]:
    """E X and E X² of the numerical chain from X = 1, without sampling, for a process linear in X.

    One step is X' = a(z) X + b(z) with polynomials a and b of the normal z, whose moments a quadrature knows.
    """
    field = Bound(ProcessField(process))
    nodes, weights = gauss_hermite()
    first, second = 1.0, 1.0
    for t, s in pairwise(times):
        values = torch.stack(
            [step_with(solver, field, torch.tensor([[0.0], [1.0]]).double(), t, s, float(z))[:, 0] for z in nodes]
        )
        b, a = values[:, 0], values[:, 1] - values[:, 0]
        mean = [float((weights * part).sum()) for part in (a**2, 2.0 * a * b, b**2, a, b)]
        second = mean[0] * second + mean[1] * first + mean[2]
        first = mean[3] * first + mean[4]
    return first, second


# --- closed forms ---


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("process", "mean", "second"), [
    (OU, OU.mean(ones(1), 1.0), OU.mean(ones(1), 1.0) ** 2 + OU.variance(1.0)),
    (GBM, GBM.mean(ones(1), 1.0), GBM.second_moment(ones(1), 1.0)),
], ids=["ou", "gbm"])  # fmt: skip
def test_weak_order(process: Process, mean: Tensor, second: Tensor, method: str) -> None:
    solver = EulerMaruyama() if method == "euler_maruyama" else StochasticHeun()
    steps = [16, 32, 64, 128]
    found = [moments(solver, process, torch.linspace(0.0, 1.0, n + 1).double()) for n in steps]
    for exact, values in ((mean, [f for f, _ in found]), (second, [s for _, s in found])):
        assert slope(steps, [abs(v - float(exact)) for v in values]) == pytest.approx(solver.order, abs=0.15)


@functools.cache
def on_one_path(process: Process) -> tuple[BrownianTree, Tensor, Tensor]:
    """A tree, X_0, and the exact X_1 of its paths."""
    tree, x_0 = BrownianTree(range(400)), ones(400, 2)
    if isinstance(process, GeometricBrownianMotion):
        return tree, x_0, process.exact(x_0, 1.0, tree.at(x_0, 1.0))
    # X_1 = e^-theta X_0 + g W_1 - g theta int e^{-theta(1 - s)} W_s ds, by parts and the trapezoidal rule
    nodes = torch.linspace(0.0, 1.0, 513, dtype=torch.float64)
    weight = torch.exp(-OU.theta * (1.0 - nodes)) / 512.0
    weight[0], weight[-1] = weight[0] / 2.0, weight[-1] / 2.0
    area = sum(w * tree.at(x_0, s) for w, s in zip(weight, nodes))
    return tree, x_0, OU.mean(x_0, 1.0) + OU.g * (tree.at(x_0, 1.0) - OU.theta * area)


@pytest.mark.parametrize(("method", "process", "order"), [
    ("euler_maruyama", GBM, 0.5), ("heun", GBM, 1.0), ("euler_maruyama", OU, 1.0), ("heun", OU, 1.0),
], ids=str)  # fmt: skip
def test_strong_order(method: str, process: Process, order: float) -> None:
    """Against the exact solution of the same Brownian path, which the tree refines."""
    tree, x_0, exact = on_one_path(process)
    steps = [4, 8, 16, 32]
    errors = []
    for n in steps:
        x = simulate(process, x_0, torch.linspace(0.0, 1.0, n + 1), method=method, noise=tree, record=False).x
        errors.append(float((x - exact).square().mean().sqrt()))
    assert slope(steps, errors) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("h", [0.1, 0.5, 1.0])
def test_euler_maruyama_settles_at_its_biased_variance(h: float) -> None:
    """g²/(2 theta - theta² h), not g²/(2 theta): by the chain's own moments, and by simulation."""
    biased = OU.g**2 / (2.0 * OU.theta - OU.theta**2 * h)
    first, second = moments(EulerMaruyama(), OU, torch.arange(0.0, 201.0).double() * h)
    assert second - first**2 == pytest.approx(biased, rel=1e-9)
    x = simulate(OU, torch.zeros(50_000, 1), torch.arange(0.0, 31.0) * h, generator=seeded(), record=False).x
    assert float(x.var()) == pytest.approx(biased, rel=5.0 * (2.0 / 50_000) ** 0.5)


def test_brownian_motion() -> None:
    motion = BrownianMotion(g=0.7)
    solution = simulate(motion, torch.ones(40_000, 1), [0.0, 0.5, 2.0], generator=seeded())
    assert solution.trajectory is not None
    for i, t in enumerate((0.0, 0.5, 2.0)):
        assert float(solution.trajectory[i].var()) == pytest.approx(float(motion.variance(t)), rel=0.05, abs=1e-9)
        assert float(solution.trajectory[i].mean()) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_langevin_keeps_its_density(method: str) -> None:
    """T6, with variance and kurtosis: a wrong factor of the drift leaves the mean alone."""
    density = oracles.gaussian_mixture(torch.tensor([[-1.5], [1.5]]).double(), 0.6, None, LINEAR)
    x = density.sample(8000, 1.0, seeded())
    process = Langevin(density.log_prob, g=1.1)
    end = simulate(process, x, torch.linspace(0.0, 1.0, 31), method=method, generator=seeded(1), record=False).x
    assert moments_of(end) == pytest.approx(moments_of(x), abs=0.15)
    wrong = SDE(lambda z, t: 2.0 * process.drift(z, t), process.g)
    end = simulate(wrong, x, torch.linspace(0.0, 1.0, 31), method=method, generator=seeded(1), record=False).x
    assert moments_of(end) != pytest.approx(moments_of(x), abs=0.15)


def moments_of(x: Tensor) -> list[float]:
    """Mean, variance and kurtosis."""
    centred = x - x.mean()
    variance = centred.square().mean()
    return [float(x.mean()), float(variance), float((centred**4).mean() / variance**2)]


# --- the family of T14 ---

PAIR = oracles.gaussian_mixture(torch.tensor([[-1.0], [1.4]]).double(), 0.35, torch.tensor([1.0, 2.0]), LINEAR)


@pytest.mark.parametrize("solver", [EulerMaruyama, StochasticHeun], ids=lambda s: s.__name__)
@pytest.mark.parametrize("eta", [*ETAS, 2.0, lambda t: t * (1.0 - t)], ids=[*ETAS, "2", "function"])
def test_every_eta_has_the_marginals_of_the_flow(eta, solver: Callable[..., Solver]) -> None:
    x_1 = pl.sample(PAIR, (8000, 1), solver=solver(eta=eta), steps=96, generator=seeded()).double()
    assert moments_of(x_1) == pytest.approx(moments_of(PAIR.sample(200_000, 1.0, seeded(1))), abs=0.1)


def test_a_missing_half_is_caught() -> None:
    """dx = (u + g² s) dt + g dW, the diffusion coefficient mistaken for its half square, must not pass as T14."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        estimate = PAIR(x, t)
        return estimate.velocity + 2.0 * (1.0 - t) * estimate.score

    wrong = SDE(drift, lambda t: (2.0 * (1.0 - t)) ** 0.5)
    x_0 = torch.randn(8000, 1, generator=seeded(), dtype=torch.float64)
    x_1 = simulate(wrong, x_0, torch.linspace(0.0, 0.999, 97), generator=seeded(1), record=False).x
    assert moments_of(x_1) != pytest.approx(moments_of(PAIR.sample(200_000, 1.0, seeded(1))), abs=0.1)


@pytest.mark.parametrize(("solver", "order"), [(EulerMaruyama, 1.0), (StochasticHeun, 2.0)])
@pytest.mark.parametrize("eta", ["zero", "churn", "sigma", "reverse"])
def test_order_of_the_marginals(eta: str, solver: Callable[..., Solver], order: float) -> None:
    """Mean and variance of a Gaussian flow's chain, without sampling: each step is a X + b + c z."""
    field = Bound(
        oracles.gaussian(torch.tensor([2.0]).double(), torch.tensor([[0.25]]).double(), pl.AffinePath(pl.Trig()))
    )
    steps, errors = [24, 48, 96], []
    for n in steps:
        grid = torch.linspace(0.0, 1.0, n + 1, dtype=torch.float64)
        mean, variance = 0.0, 1.0
        for t, s in pairwise(grid):
            points = torch.tensor([[0.0], [1.0]]).double()
            still = step_with(solver(eta=eta), field, points, t, s, 0.0)[:, 0]
            moved = step_with(solver(eta=eta), field, points, t, s, 1.0)[:, 0]
            a, b, c = float(still[1] - still[0]), float(still[0]), float(moved[0] - still[0])
            mean, variance = a * mean + b, a**2 * variance + c**2
        errors.append(abs(mean - 2.0) + abs(variance - 0.25))
    # beside t = 1 the named rates vanish with sigma, which costs a logarithm
    assert slope(steps, errors) > order - 0.25


@pytest.mark.parametrize("solver", [EulerMaruyama, StochasticHeun], ids=lambda s: s.__name__)
def test_backwards_it_encodes(solver: Callable[..., Solver]) -> None:
    x_1 = PAIR.sample(8000, 1.0, seeded())
    grid = torch.linspace(1.0, 0.0, 97)
    x_0 = pl.integrate(PAIR, x_1, solver(eta="sigma"), grid, noise=Noise(seeded(1)))
    assert moments_of(x_0) == pytest.approx([0.0, 1.0, 3.0], abs=0.15)


# --- noising and its reversal ---


@pytest.mark.parametrize("s", [0.01, 0.3, 0.9])
def test_noising_coefficients(s: float) -> None:
    """VP: -beta/2 x and beta; VE: d sigma²/ds; sub-VP: beta (1 - exp(-2 B))."""
    time, x = torch.tensor(s).double(), ones(3, 2)
    beta = 0.1 + (20.0 - 0.1) * s
    total = 0.1 * s + 0.5 * (20.0 - 0.1) * s**2
    vp, sub = Noising(pl.VP()), Noising(sub_vp())
    torch.testing.assert_close(vp.drift(x, time), -0.5 * beta * x)
    assert float(vp.diffusion(x, time)) ** 2 == pytest.approx(beta)
    torch.testing.assert_close(sub.drift(x, time), -0.5 * beta * x)
    assert float(sub.diffusion(x, time)) ** 2 == pytest.approx(beta * -math.expm1(-2.0 * total))
    ve, rate = Noising(pl.VE(0.01, 50.0)), math.log(50.0 / 0.01)
    assert ve.drift(x, time).abs().max() == 0.0
    assert float(ve.diffusion(x, time)) ** 2 == pytest.approx(2.0 * rate * (0.01 * math.exp(rate * s)) ** 2)


@pytest.mark.parametrize(
    "schedule",
    [pl.VP(), pl.VE(0.01, 5.0), sub_vp(), pl.Linear(), pl.Trig()],
    ids=["vp", "ve", "sub_vp", "linear", "trig"],
)
def test_noising_has_the_marginals_of_its_schedule(schedule: pl.Schedule) -> None:
    """Of N(alpha x_1, sigma²): d log alpha/ds = f and d sigma²/ds = 2 f sigma² + g², slopes by central differences."""
    process, s, h = Noising(schedule), torch.linspace(0.05, 0.95, 19, dtype=torch.float64), 1e-5
    (before, now, after) = (schedule(1.0 - s - d) for d in (-h, 0.0, h))
    f = process.drift(ones(19, 1), s)[:, 0]
    square = torch.as_tensor(process.diffusion(ones(19, 1), s)).flatten() ** 2
    log_slope = (torch.log(torch.as_tensor(after.alpha)) - torch.log(torch.as_tensor(before.alpha))) / (2.0 * h)
    torch.testing.assert_close(f, log_slope.expand(19).to(f), rtol=1e-5, atol=1e-7)
    slope_of_square = (after.sigma**2 - before.sigma**2) / (2.0 * h)
    torch.testing.assert_close(2.0 * f * now.sigma**2 + square, slope_of_square, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("schedule", [pl.VP(), pl.Trig()], ids=repr)
def test_the_reversal_is_a_member_of_the_family(schedule: pl.Schedule, noise: float) -> None:
    """T15: reversing the noising process is T14 with eta = k² sigma² lambda'; k = 0 is the flow itself."""
    path = pl.AffinePath(schedule)
    field = oracles.gaussian_mixture(torch.randn(4, 2, generator=seeded()).double(), 0.4, None, path)
    reverse = Reversed(process=Noising(schedule), score=lambda x, s: field(x, 1.0 - s).score, noise=noise)
    x = torch.randn(6, 2, generator=seeded(1), dtype=torch.float64)
    for t in (0.1, 0.5, 0.95):
        time = torch.tensor(t).double()
        c = schedule(time)
        eta = float(noise**2 * c.sigma**2 * (c.dalpha / c.alpha - c.dsigma / c.sigma))
        family = Family(field=field, eta=eta)
        torch.testing.assert_close(reverse.drift(x, time), family.drift(x, time))
        assert float(reverse.diffusion(x, time)) == pytest.approx(float(family.diffusion(x, time)), abs=1e-12)
    if noise == 0.0:
        torch.testing.assert_close(reverse.drift(x, time), field(x, time).velocity)
    if noise == 1.0:
        named = Family(field=field, eta="reverse")
        torch.testing.assert_close(reverse.drift(x, time), named.drift(x, time))


def test_a_vp_process_is_reversed_by_simulation() -> None:
    path = pl.AffinePath(pl.VP())
    field = oracles.gaussian_mixture(torch.tensor([[-1.0], [1.4]]).double(), 0.35, None, path)
    x_1 = field.sample(8000, 1.0, seeded())
    forward = simulate(Noising(pl.VP()), x_1, torch.linspace(0.0, 1.0, 129), generator=seeded(1), record=False).x
    assert moments_of(forward) == pytest.approx([0.0, 1.0, 3.0], abs=0.12)
    reverse = Reversed(process=Noising(pl.VP()), score=lambda x, s: field(x, 1.0 - s).score)
    back = simulate(reverse, forward, torch.linspace(0.0, 0.999, 129), generator=seeded(2), record=False).x
    assert moments_of(back) == pytest.approx(moments_of(x_1), abs=0.12)


# --- noise ---


def test_the_tree_is_brownian() -> None:
    tree, x = BrownianTree(range(6000), start=-1.0, end=2.0), torch.zeros(6000, 4, dtype=torch.float64)
    times = [-0.9, -0.25, 0.1, 0.5, 1.7, 2.0]
    paths = torch.stack([tree.at(x, t) for t in times]).flatten(1)
    covariance = paths @ paths.T / paths.shape[1]
    expected = torch.tensor([[min(a, b) + 1.0 for a in times] for b in times]).double()
    assert ((covariance - expected).abs() < 5.0 * expected.diag().max() * (2.0 / paths.shape[1]) ** 0.5).all()
    for path in paths:
        assert moments_of(path)[2] == pytest.approx(3.0, abs=5.0 * (24.0 / paths.shape[1]) ** 0.5)
    entries = tree.at(x, 2.0) / 3.0**0.5
    assert (entries.T @ entries / 6000 - torch.eye(4)).abs().max() < 5.0 * (2.0 / 6000) ** 0.5
    lagged = (entries[1:] * entries[:-1]).mean()
    assert abs(float(lagged)) < 5.0 / 24_000**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_tree_is_the_same_under_refinement(dtype: torch.dtype) -> None:
    x = torch.zeros(3, 2, 2, dtype=dtype)
    grids = [torch.linspace(0.0, 1.0, n + 1, dtype=torch.float64) for n in (1, 2, 7, 16, 25)]
    ends = []
    for grid in grids:
        tree = BrownianTree([5, 6, 7])
        steps = [tree.normal(x, t, s) * (s - t) ** 0.5 for t, s in pairwise(grid)]
        ends.append(torch.stack(steps).sum(0))
    for end in ends:
        torch.testing.assert_close(end, ends[0], rtol=1e-5, atol=1e-5)
    # whatever was asked before, and in whatever order
    tree = BrownianTree([5, 6, 7])
    late_first = [tree.at(x, t) for t in (0.9, 0.3, 0.6)]
    tree = BrownianTree([5, 6, 7])
    assert all(torch.equal(a, tree.at(x, t)) for a, t in zip(late_first[::-1], (0.6, 0.3, 0.9)))
    # W_s - W_t = -(W_t - W_s)
    torch.testing.assert_close(tree.normal(x, grids[2][1], grids[2][2]), -tree.normal(x, grids[2][2], grids[2][1]))


@pytest.mark.parametrize("make", [
    lambda ids: BrownianTree(ids), lambda ids: Noise(seeds=list(ids)),
], ids=["tree", "streams"])  # fmt: skip
def test_a_sample_has_a_stream_of_its_own(make: Callable[[list[int]], Noise]) -> None:
    x = torch.randn(4, 3, generator=seeded())
    times = torch.linspace(0.0, 1.0, 9)
    together = simulate(OU, x, times, noise=make([3, 1, 4, 1])).x
    alone = simulate(OU, x[2:3], times, noise=make([4])).x
    assert torch.equal(together[2:3], alone)
    # the same seed, the same path; another seed, another path
    shifts = together - simulate(OU, x, times, noise=Given(0.0)).x
    torch.testing.assert_close(shifts[1], shifts[3])
    assert (shifts[0] - shifts[1]).abs().min() > 1e-3


def test_a_generator_grows_a_tree_that_does_not_depend_on_the_batch() -> None:
    x = torch.zeros(5, 2)
    one, other = (BrownianTree(generator=seeded(3)) for _ in range(2))
    assert torch.equal(one.at(x, 0.3)[:2], other.at(x[:2], 0.3))
    assert not torch.equal(one.at(x, 0.3), BrownianTree(generator=seeded(4)).at(x, 0.3))


# --- the interface ---


def test_sde_knows_whether_its_noise_is_additive() -> None:
    assert SDE(lambda x, t: -x, 0.5).additive
    assert SDE(lambda x, t: -x, lambda t: t).additive
    assert not SDE(lambda x, t: -x, lambda x, t: x).additive
    with pytest.raises(TypeError, match="g must be"):
        SDE(lambda x, t: -x, lambda a, b, c: a)


@pytest.mark.parametrize("method", METHODS)
def test_one_process_in_other_words(method: str) -> None:
    """The same drift and noise as numbers, functions of time, and functions of the state."""
    x, times = torch.randn(5, 2, generator=seeded()).double(), torch.linspace(0.0, 1.0, 9)
    ends = [
        simulate(process, x, times, method=method, noise=BrownianTree(range(5))).x
        for process in (
            OU,
            SDE(OU.drift, OU.g),
            SDE(OU.drift, lambda t: OU.g + 0.0 * t),
            SDE(OU.drift, lambda z, t: torch.full_like(z, OU.g)),
        )
    ]
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0])


def test_simulate_records_and_counts() -> None:
    x = torch.zeros(4, 2)
    solution = simulate(OU, x, [0.0, 0.5, 2.0, 3.0], method="heun", seeds=[1, 2, 3, 4])
    assert solution.trajectory is not None
    assert solution.trajectory.shape == (4, 4, 2)
    assert torch.equal(solution.trajectory[-1], solution.x)
    assert (solution.steps, solution.evaluations) == (3, 6)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0, 0.0]), "rise"),
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0]), "times"),
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0, 1.0], method="huen"), "heun"),
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0, 1.0], method=pl.SOLVERS["rk4"]), "stochastic"),
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0, 1.0], seeds=[1, 2], generator=seeded()), "one of"),
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0, 2.0], noise=BrownianTree([1, 2])), "end="),
    (lambda: simulate(OU, torch.zeros(2, 1), [0.0, 1.0], noise=BrownianTree([1])), "one entry per sample"),
    (lambda: BrownianTree([1], start=1.0, end=0.0), "start < end"),
    (lambda: OrnsteinUhlenbeck(theta=0.0), "theta"),
    (lambda: Reversed(process=GBM, score=lambda x, t: x), "time alone"),
    (lambda: EulerMaruyama(eta=-1.0), "negative"),
    (lambda: StochasticHeun(eta="revers"), "reverse"),
])  # fmt: skip
def test_mistakes_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_process_has_nothing_but_a_drift() -> None:
    still = ProcessField(OU)
    torch.testing.assert_close(  # without noise it is an ordinary differential equation
        pl.integrate(still, ones(2, 1), "rk4", torch.linspace(0.0, 1.0, 17)),
        OU.mean(ones(2, 1), 1.0),
        rtol=1e-5,
        atol=0.0,
    )
    with pytest.raises(TypeError, match="velocity"):
        _ = still(torch.zeros(2, 1), 0.5).data
    with pytest.raises(TypeError, match="Process"):
        simulate(PAIR, torch.zeros(2, 1), [0.0, 1.0])  # pyright: ignore[reportArgumentType]
