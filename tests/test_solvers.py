"""Laws of the solvers: order, invariance, exact integrals, adaptivity, noise, grids. Peers stand in test_solver_parity."""

import itertools
import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.predictions import DATA, DISPLACEMENT, NOISE, VELOCITY
from pathline.solvers import LOG_SNR, RATIO, SHARE, Bound, EDMChurn, Multistep, Noise, SDEMultistep, Singlestep, grids
from pathline.solvers.exponential import density, node_weights
from pathline.solvers.integrate import run
from pathline.solvers.pairs import DOPRI5, TSIT5
from pathline.solvers.unrolled import unroll
from pathline.testing import laws, oracles

PATHS = {
    "linear": pl.AffinePath(pl.Linear()),
    "vp": pl.AffinePath(pl.VP()),
    "cosine": pl.AffinePath(pl.Cosine()),
    "edm": pl.AffinePath(pl.EDM()),
    "ddpm": pl.AffinePath(pl.DDPM.linear()),
}
LINEAR = PATHS["linear"]
FIXED = {name: s for name, s in pl.SOLVERS.items() if not s.stochastic and not s.adaptive}
MULTISTEP = {name: s for name, s in FIXED.items() if isinstance(s, Multistep)}
ADAPTIVE = {name: s for name, s in pl.SOLVERS.items() if s.adaptive}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(path: pl.AffinePath) -> Any:
    cov = torch.tensor([[0.5, 0.2], [0.2, 1.5]], dtype=torch.float64)
    return oracles.gaussian(torch.tensor([1.0, -1.0], dtype=torch.float64), cov, path)


def mixture(path: pl.AffinePath) -> Any:
    means = torch.tensor([[1.5, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    return oracles.gaussian_mixture(means, torch.tensor([0.6, 0.9], dtype=torch.float64), None, path)


FIELDS = {"gaussian": gaussian, "mixture": mixture}


# --------------------------------------------------------------------------------------------- order


@cache
def flow(path: str, data: str, first: float, last: float, fine: int) -> tuple[Tensor, list[Tensor]]:
    """Unevenly spaced times, and the states of the exact flow there: RK4 between them in small steps."""
    u = torch.linspace(0.0, 1.0, fine + 1, dtype=torch.float64)
    times = first + (last - first) * (u + 0.1 * torch.sin(2.0 * math.pi * u))
    field = FIELDS[data](PATHS[path])
    states = [field.sample(8, first, torch.Generator().manual_seed(1))]
    for t, s in itertools.pairwise(times):
        states.append(pl.SOLVERS["rk4"].step(field, states[-1], t, s, None)[0])
    return times, states


def error(solver: Any, name: str, data: str, prediction: Any, ends: tuple[float, float], steps: int) -> float:
    """RMS error after ``steps`` steps; a multistep method is fed the exact states until its history is full."""
    times, states = flow(name, data, *ends, 384)
    stride = 384 // steps
    grid = times[::stride]
    field = Bound(laws.exact_net(FIELDS[data](PATHS[name]), prediction))
    exact = solver.nodes - 1 if isinstance(solver, Multistep) else 0
    x, state = states[0], solver.start(field, states[0], grid, Noise())
    for i, (t, s) in enumerate(itertools.pairwise(grid)):
        x, state = solver.step(field, x, t, s, state)
        if i < exact:
            x = states[(i + 1) * stride]
    return float((x - states[-1]).pow(2).mean().sqrt())


CASES = {
    "linear": ("mixture", VELOCITY, (0.3, 0.7)),
    "cosine": ("gaussian", DATA, (0.35, 0.7)),
    "vp": ("gaussian", NOISE, (0.6, 0.9)),
    "edm": ("mixture", pl.edm_f(0.5), (0.6, 0.75)),
}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *itertools.product(FIXED, ("linear", "cosine")),
        *itertools.product(("rk4", "abm3", "lms", "dpm3", "unipc3", "dpmpp_3s"), ("vp", "edm")),
    ],
)
def test_measured_order_is_declared_order(name: str, path: str) -> None:
    solver, (data, prediction, ends) = FIXED[name], CASES[path]
    grids_ = (24, 48) if solver.one_step else (96, 192)
    errors = [error(solver, path, data, prediction, ends, steps) for steps in grids_]
    slope = math.log2(errors[0] / errors[1])
    assert slope > solver.order - 0.3, f"{slope:.2f} for {solver.order}"
    # two-node rules are a little better than they promise, e.g. the midpoint rule on a symmetric interval
    assert slope < solver.order + 1.3, f"{slope:.2f}: the declared order {solver.order} is too low"


def test_a_wrong_coefficient_is_seen() -> None:
    """The test above can fail: Heun's weights swapped for Euler's, and a two-node method called three-node."""
    wrong = pl.solvers.RungeKutta(pl.solvers.Tableau(((), (1.0,)), (0.45, 0.55), (0.0, 1.0)), 2)
    errors = [error(wrong, "linear", "mixture", VELOCITY, (0.3, 0.7), steps) for steps in (48, 96)]
    assert math.log2(errors[0] / errors[1]) < 1.5


@cache
def whole_flow() -> Tensor:
    """The linear path's exact flow of 16 points from noise to data."""
    return pl.integrate(mixture(LINEAR), normal(16, 2), "rk4", pl.times.power(1.5).grid(250))


@pytest.mark.parametrize(
    "name", [n for n, s in FIXED.items() if s.one_step or n in ("ab2", "abm1", "unipc2", "dpmpp_2m")]
)
def test_order_from_noise_to_data(name: str) -> None:
    """From t = 0 to t = 1 on the linear path, where log-SNR is infinite at both ends, the order is min(order, 2)."""
    field, x = mixture(LINEAR), normal(16, 2)
    errors = [
        float((pl.integrate(field, x, FIXED[name], torch.linspace(0, 1, n + 1).double()) - whole_flow()).pow(2).mean())
        for n in (40, 80)
    ]
    assert 0.5 * math.log2(errors[0] / errors[1]) > min(FIXED[name].order, 2) - 0.3


# ------------------------------------------------------------------------------------------- algebra


@pytest.mark.parametrize("path", PATHS)
def test_ddim_is_euler_in_sigma_over_alpha(path: str) -> None:
    """T37: dy/dr = E in y = x/alpha, r = sigma/alpha, typed here; and every one-node method is the same step."""
    schedule, field = PATHS[path].schedule, mixture(PATHS[path])
    grid = torch.linspace(0.05, 0.95, 12, dtype=torch.float64)
    c = schedule(grid)
    alpha = torch.as_tensor(c.alpha, dtype=torch.float64).expand(len(grid))
    r, x = c.sigma / alpha, normal(8, 2)
    y = x / alpha[0]
    for i in range(len(grid) - 1):
        y = y + (r[i + 1] - r[i]) * field(alpha[i] * y, grid[i]).noise
    expected = alpha[-1] * y
    one_node = (Multistep(row, clock, 1) for row in (DATA, NOISE, DISPLACEMENT) for clock in (LOG_SNR, RATIO, SHARE))
    for solver in (pl.SOLVERS["ddim"], SDEMultistep(1, renewal=0.0), *one_node):
        assert laws.base.gap(pl.integrate(field, x, solver, grid), expected) < 1e-12


@pytest.mark.parametrize("name", [*MULTISTEP, "dpmpp_2s", "dpmpp_3s"])
@pytest.mark.parametrize("path", ["linear", "vp", "edm"])
def test_trajectories_do_not_depend_on_what_the_net_predicts(name: str, path: str) -> None:
    grid = torch.linspace(0.1, 0.95, 9, dtype=torch.float64)
    exact = mixture(PATHS[path])
    x = exact.sample(6, 0.1, torch.Generator().manual_seed(2))
    ends = [pl.integrate(laws.exact_net(exact, p), x, name, grid) for p in pl.PREDICTIONS.values()]
    for end in ends[1:]:
        assert laws.base.gap(end, ends[0]) < 1e-10


@pytest.mark.parametrize("name", ["ab3", "abm3", "dpmpp_2m", "unipc3", "dpmpp_3s"])
def test_trajectories_do_not_depend_on_the_schedule(name: str) -> None:
    """T20: at the same log-SNR, paths differ by a scale alone, and clocks of log-SNR do not see it."""
    log_snr = torch.linspace(-3.0, 3.0, 10, dtype=torch.float64)
    ends = []
    for path in (LINEAR, PATHS["cosine"], PATHS["edm"]):
        grid = path.schedule.t_of_logsnr(log_snr)
        c = path.schedule(grid[[0, -1]])
        scale = (torch.as_tensor(c.alpha) ** 2 + c.sigma**2).sqrt()
        x = scale[0] * normal(6, 2)
        ends.append(pl.integrate(mixture(path), x, name, grid) / scale[1])
    assert laws.base.gap(ends[1], ends[0]) < 1e-9
    assert laws.base.gap(ends[2], ends[0]) < 1e-9


@pytest.mark.parametrize("h", [1e-3, 0.3, 4.0, 20.0])
@pytest.mark.parametrize(("row", "sign"), [(DATA, 1.0), (NOISE, -1.0)])
def test_integrals_against_phi_functions(row: Any, sign: float, h: float) -> None:
    """int e^{+-v} l_j(v) dv over a step, in closed form by integration by parts, done here in exact rationals of e^h."""
    from fractions import Fraction as F

    back = [F(0), F(-1, 2), F(-5, 4)]  # nodes in units of h behind the start
    width, kind = F(h), int(sign)
    moments = []  # int_0^1 r^k e^{kind h r} dr from the series: every term positive up to the sign of kind
    for k in range(3):
        term, total = F(1), F(0)
        for m in range(160):
            total += term / (m + k + 1)
            term = term * kind * width / (m + 1)
        moments.append(total)
    expected = []
    for j, node in enumerate(back):
        others = [v for i, v in enumerate(back) if i != j]
        scale = math.prod(node - v for v in others)
        a, b, c = F(1), -(others[0] + others[1]), others[0] * others[1]
        expected.append(float(-width * kind * (a * moments[2] + b * moments[1] + c * moments[0]) / scale * kind))
    nodes = torch.tensor([[float(v) * h for v in back]], dtype=torch.float64)
    ones = torch.ones(1, 3, dtype=torch.bool)
    start, stop = torch.zeros(1, dtype=torch.float64), torch.full((1,), h, dtype=torch.float64)
    weights = node_weights(density(row, LOG_SNR), nodes, ones, start, stop)[0]
    for ours, exact in zip(weights.tolist(), expected, strict=True):
        assert abs(ours - exact) < 1e-13 * max(map(abs, expected))


def test_ab_weights_are_the_classical_ones() -> None:
    """Equal steps on the linear path: (3, -1)/2, (23, -16, 5)/12, (55, -59, 37, -9)/24, and (9, 19, -5, 1)/24 to correct."""
    grid = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    bound = Bound(mixture(LINEAR))
    for name, table in (
        ("ab2", (1.5, -0.5)),
        ("ab3", (23 / 12, -16 / 12, 5 / 12)),
        ("ab4", (55 / 24, -59 / 24, 37 / 24, -9 / 24)),
    ):
        move = pl.SOLVERS[name].plan(bound, grid, None)[-1]
        assert move.predict.scale == pytest.approx(1.0, abs=1e-14)
        assert move.predict.weights == pytest.approx([w / 8 for w in table], abs=1e-14)
    corrected = pl.SOLVERS["abm3"].plan(bound, grid, None)[-1]
    assert corrected.redo is not None
    assert (corrected.share, *corrected.redo.weights) == pytest.approx([w / 192 for w in (9, 19, -5, 1)], abs=1e-14)


def test_nodes_too_close_together_are_left_out() -> None:
    """On steps that grow tenfold four nodes would weigh the past by thousands; what is used is a tame lower order."""
    grid = torch.tensor([0.0, 1e-4, 1e-3, 1e-2, 0.1, 0.5, 1.0], dtype=torch.float64)
    field, x = mixture(LINEAR), normal(16, 2)
    solver = pl.SOLVERS["ab4"]
    for move in solver.plan(Bound(field), grid, None):
        weights = torch.tensor(move.predict.weights)
        nodes = int((weights != 0.0).sum())
        assert weights.abs().sum() <= solver.largest**nodes * weights.sum() * (1.0 + 1e-9)
    equal = solver.plan(Bound(field), torch.linspace(0, 1, 9, dtype=torch.float64), None)[-1]
    assert all(w != 0.0 for w in equal.predict.weights)
    exact = pl.integrate(field, x, "rk4", torch.linspace(0, 1, 101))
    wild = pl.integrate(field, x, replace(solver, largest=math.inf), grid)
    assert float((pl.integrate(field, x, solver, grid) - exact).pow(2).mean()) < 0.3 * float(
        (wild - exact).pow(2).mean()
    )


def test_rows_must_be_constant() -> None:
    with pytest.raises(ValueError, match="row must be constant in time"):
        Multistep(pl.V, LOG_SNR, 2)
    with pytest.raises(ValueError, match="nodes must be at least 1"):
        Multistep(DATA, LOG_SNR, 0)
    with pytest.raises(ValueError, match="last must lie in"):
        Multistep(DATA, LOG_SNR, 2, last=3)


def test_no_affine_path_no_exponential_solver() -> None:
    field = mixture(LINEAR)
    field.path = object()
    with pytest.raises(TypeError, match="AffinePath"):
        pl.integrate(field, normal(2, 2), "ab2", torch.linspace(0, 1, 3))


# ------------------------------------------------------------------------------------------ stepping


def test_off_the_planned_grid_the_coefficients_are_made_anew() -> None:
    field, x, grid = mixture(LINEAR), normal(5, 2), torch.linspace(0.0, 1.0, 6, dtype=torch.float64)
    for name in ("ab3", "unipc3", "dpmpp_2s", "sde_dpmpp_2m"):
        solver, bound = pl.SOLVERS[name], Bound(field)
        times = [torch.tensor(t, dtype=torch.float64) for t in (0.1, 0.25, 0.5, 0.8)]
        planned, fresh = solver.start(bound, x, grid, Noise()), None
        a = b = x
        for t, s in itertools.pairwise(times):
            torch.manual_seed(0)
            a, planned = solver.step(bound, a, t, s, planned)
            torch.manual_seed(0)
            b, fresh = solver.step(bound, b, t, s, fresh)
        assert torch.equal(a, b), name


def test_a_step_leaves_its_state_alone() -> None:
    """Steps are functions: the same state twice gives the same step twice."""
    field, x = mixture(LINEAR), normal(5, 2)
    times = [torch.tensor(t, dtype=torch.float64) for t in (0.1, 0.2, 0.4, 0.5)]
    for name in (*MULTISTEP, *ADAPTIVE):
        solver, state, here = pl.SOLVERS[name], None, x
        for t, s in itertools.pairwise(times[:-1]):
            here, state = solver.step(field, here, t, s, state)
        first = solver.step(field, here, *times[-2:], state)[0]
        assert torch.equal(first, solver.step(field, here, *times[-2:], state)[0]), name


@pytest.mark.parametrize("name", ["rk4", "ab3", "abm2", "dpmpp_3m", "dpmpp_3s"])
def test_gradients_reach_the_grid(name: str) -> None:
    field, x = mixture(LINEAR), normal(3, 2)
    grid = torch.tensor([0.05, 0.2, 0.4, 0.7, 0.95], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(pl.integrate(field, x, name, grid).sum(), grid)
    for i in range(len(grid)):
        nudge = torch.zeros_like(grid)
        nudge[i] = 1e-5
        with torch.no_grad():
            up, down = (pl.integrate(field, x, name, grid + v).sum() for v in (nudge, -nudge))
        assert float(slope[i]) == pytest.approx(float((up - down) / 2e-5), rel=1e-5, abs=1e-7)


def test_inference_mode_changes_nothing() -> None:
    """There buffers are reused; outside they are not."""
    field, x, grid = mixture(PATHS["vp"]), normal(5, 2), torch.linspace(0.0, 1.0, 8, dtype=torch.float64)
    for name, solver in FIXED.items():
        with torch.inference_mode():
            inside = pl.integrate(field, x, solver, grid)
        assert laws.base.gap(inside, pl.integrate(field, x, solver, grid)) < 1e-14, name
        assert torch.equal(x, normal(5, 2)), name


def test_unrolled_is_the_same_and_compiles() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    field = pl.Field(lambda x, t: net(torch.cat([x, t.expand(len(x))[:, None]], 1)), LINEAR, VELOCITY)
    grid, x = torch.linspace(0, 1, 4), torch.randn(6, 2)
    with torch.no_grad():
        for name, solver in FIXED.items():
            whole = unroll(field, solver, grid)
            assert torch.allclose(whole(x), pl.integrate(field, x, solver, grid), atol=1e-6), name
        for name in ("heun", "abm2"):  # one graph each, whatever compiles it
            graph = torch.compile(unroll(field, name, grid), backend="eager", fullgraph=True)
            assert torch.allclose(graph(x), pl.integrate(field, x, name, grid), atol=1e-6), name
    for name in ("dopri5", "ancestral"):
        with pytest.raises(ValueError, match="unrolled"):
            unroll(field, name, grid)


def test_compiled_is_the_same() -> None:
    import shutil

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler here")
    field = pl.Field(lambda x, t: torch.tanh(x) - t.to(x.dtype) * x, LINEAR, VELOCITY)
    grid, x = torch.linspace(0, 1, 4), torch.randn(6, 2)
    with torch.no_grad():
        compiled = torch.compile(unroll(field, "ab2", grid), fullgraph=True)
        assert torch.allclose(compiled(x), pl.integrate(field, x, "ab2", grid), atol=1e-5)


# ------------------------------------------------------------------------------------------ adaptive


def stiff() -> Any:
    """dx/dt = -k x with a rate of each sample's own, as a condition: sample i costs what its k asks."""
    return pl.Field(lambda x, t, k: -k[:, None] * x, LINEAR, VELOCITY)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_every_sample_steps_for_itself(name: str) -> None:
    """One stiff sample among easy ones: every end and every cost is that of the sample solved alone."""
    rates = torch.tensor([1.0, 2.0, 300.0, 0.5, 5.0], dtype=torch.float64)
    x = normal(5, 2)
    together = pl.solve(stiff(), x, solver=name, k=rates)
    costs = []
    for i in range(5):
        alone = pl.solve(stiff(), x[i : i + 1], solver=name, k=rates[i : i + 1])
        assert torch.allclose(alone.x, together.x[i : i + 1], rtol=1e-12, atol=1e-14)
        costs.append(int(alone.counts.evaluations))
    assert together.counts.evaluations.tolist() == costs
    assert costs[2] > 5 * costs[0]
    assert together.evaluations == -(-sum(costs) // 5)
    done = together.counts
    assert torch.equal(done.evaluations, 2 + 6 * (done.accepted + done.rejected))
    assert torch.allclose(together.x, x * torch.exp(-rates)[:, None], atol=1e-4)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_error_follows_the_tolerance(name: str) -> None:
    field, x, reference = mixture(LINEAR), normal(16, 2), whole_flow()
    solver, last = pl.SOLVERS[name], math.inf
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        end = pl.integrate(field, x, replace(solver, rtol=tolerance, atol=tolerance), torch.tensor([0.0, 1.0]))
        worst = float((end - reference).abs().max())
        assert worst < 50.0 * tolerance
        assert worst < last
        last = worst


@pytest.mark.parametrize("name", ADAPTIVE)
def test_dense_output_costs_nothing(name: str) -> None:
    """States at asked times, to the tolerance, without a single further evaluation, in both directions."""
    mean, std = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.4, 1.7], dtype=torch.float64)
    field, z = oracles.gaussian(mean, torch.diag(std**2), LINEAR), normal(16, 2)
    solver = replace(pl.SOLVERS[name], rtol=1e-8, atol=1e-8)
    asked = torch.tensor([0.0, 0.01, 0.3, 0.31, 0.77, 1.0], dtype=torch.float64)
    for times in (asked, asked.flip(0)):
        exact = [t * mean + (t**2 * std**2 + (1.0 - t) ** 2).sqrt() * z for t in times]
        few = run(Bound(field), exact[0], solver, times[[0, -1]])
        many = run(Bound(field), exact[0], solver, times, record=True)
        assert torch.equal(few.counts.evaluations, many.counts.evaluations)
        assert torch.allclose(few.x, many.x, rtol=1e-12, atol=1e-13)
        for state, truth in zip(many.trajectory, exact, strict=True):
            assert float((state - truth).abs().max()) < 1e-6


@pytest.mark.parametrize("pair", [DOPRI5, TSIT5], ids=["dopri5", "tsit5"])
def test_order_conditions_of_the_pairs(pair: Any) -> None:
    """All 17 conditions of order 5 for the step, the 8 of order 4 for the embedded and the dense solutions."""
    n = len(pair.tableau.b)
    a = torch.tensor([[*row, *[0.0] * (n - len(row))] for row in pair.tableau.a], dtype=torch.float64)
    b, c, e = (torch.tensor(v, dtype=torch.float64) for v in (pair.tableau.b, pair.tableau.c, pair.error))
    assert torch.allclose(a.sum(1), c, atol=1e-14)
    assert tuple(pair.tableau.a[-1]) == pair.tableau.b[:-1]
    assert pair.tableau.b[-1] == 0.0  # the last stage is the first of the next step
    ac, ac2 = a @ c, a @ c**2
    order4 = [(c**0, 1), (c, 2), (c**2, 3), (ac, 6), (c**3, 4), (c * ac, 8), (ac2, 12), (a @ ac, 24)]
    order5 = [
        (c**4, 5), (c**2 * ac, 10), (ac**2, 20), (c * ac2, 15), (a @ c**3, 20), (c * (a @ ac), 30), (a @ (c * ac), 40),
        (a @ ac2, 60), (a @ (a @ ac), 120),
    ]  # fmt: skip
    for weight, value in order4 + order5:
        assert float(b @ weight) == pytest.approx(1.0 / value, abs=1e-14)
    for weight, _ in order4:
        assert float(e @ weight) == pytest.approx(0.0, abs=1e-14)
    assert abs(float(e @ c**4)) > 1e-5  # the estimate sees the fifth order
    dense = torch.tensor(pair.dense, dtype=torch.float64)
    degree = [1, 2, 3, 3, 4, 4, 4, 4]
    for theta in (0.2, 0.7, 1.0):
        at = dense @ torch.tensor([theta**k for k in (1, 2, 3, 4)], dtype=torch.float64)
        for (weight, value), k in zip(order4, degree, strict=True):
            assert float(at @ weight) == pytest.approx(theta**k / value, abs=1e-13)


def test_a_state_changed_between_steps_is_kept() -> None:
    """A user may move the states between two steps; nothing of the step before may undo that."""
    field = pl.Field(lambda x, t: torch.ones_like(x), LINEAR, VELOCITY)
    x, times = normal(4, 2), torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
    # a history of data or noise predictions is rightly disturbed; the displacement, here 1, is not
    still = [n for n, s in pl.SOLVERS.items() if not s.stochastic and getattr(s, "row", DISPLACEMENT) is DISPLACEMENT]
    for name in still:
        solver, bound = pl.SOLVERS[name], Bound(field)
        middle, state = solver.step(bound, x, times[0], times[1], solver.start(bound, x, times, Noise()))
        end, _ = solver.step(bound, middle + 1.0, times[1], times[2], state)
        assert torch.allclose(end, x + 1.8), name


@cache
def arrival(path: str) -> Tensor:
    """Where 8 points of noise end, by a fine solve."""
    return pl.sample(mixture(PATHS[path]), normal(8, 2), solver="rk4", grid=pl.times.power(1.5).grid(200))


@pytest.mark.parametrize("prediction", [DATA, NOISE, VELOCITY, pl.V])
@pytest.mark.parametrize("path", ["linear", "vp", "edm"])
def test_adaptive_from_end_to_end(path: str, prediction: Any) -> None:
    """Where the last velocity cannot be read the solver still arrives, at the answer of a fine solve."""
    exact = mixture(PATHS[path])
    solver = pl.solvers.tsit5(rtol=1e-6, atol=1e-6)
    end = pl.sample(laws.exact_net(exact, prediction), normal(8, 2), solver=solver)
    fine = arrival(path)
    # a noise prediction says nothing at alpha = 0: `sample` starts where it does, a thousandth later
    assert float((end - fine).abs().max()) < (2e-2 if path == "linear" and prediction is NOISE else 1e-4)


def test_adaptive_says_what_is_wrong() -> None:
    field, x = mixture(LINEAR), normal(4, 2)
    with pytest.raises(ValueError, match="chooses its own steps: set its tolerances"):
        pl.sample(field, x, solver="dopri5", evaluations=20)
    broken = pl.Field(lambda v, t: v * float("nan"), LINEAR, VELOCITY)
    with pytest.raises(RuntimeError, match=r"sample 0 stands at t=0 .*max_evaluations=100.*not finite"):
        pl.sample(broken, x, solver=pl.solvers.dopri5(max_evaluations=100))
    for wrong in ({"rtol": -1.0}, {"rtol": 0.0, "atol": 0.0}, {"max_evaluations": 3}):
        with pytest.raises(ValueError, match=r"rtol|max_evaluations"):
            pl.solvers.dopri5(**wrong)


def test_gradients_flow_through_adaptive_steps() -> None:
    rate = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    field = pl.Field(lambda x, t: -rate * x, LINEAR, VELOCITY)
    x = normal(3, 2).requires_grad_()
    end = pl.integrate(field, x, pl.solvers.dopri5(rtol=1e-9, atol=1e-9), torch.tensor([0.0, 0.4, 1.0]))
    in_x, in_rate = torch.autograd.grad(end.sum(), (x, rate))
    assert torch.allclose(in_x, torch.exp(-rate).expand_as(x), atol=1e-7)
    assert torch.allclose(in_rate, -(x * torch.exp(-rate)).sum(), atol=1e-7)


# ---------------------------------------------------------------------------------------- stochastic


class Unit(Noise):
    """Sample 0 is given no noise, sample k + 1 a one in its k-th draw: ends that are linear in the noise show its weights."""

    def __init__(self) -> None:
        self.k = 0

    def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        z = torch.zeros_like(x)
        self.k += 1
        z[self.k] = 1.0
        return z


def end_variance(solver: Any, path: pl.AffinePath, grid: Tensor, std: float, start_variance: float) -> float:
    """The exact variance of the end for one-dimensional data N(0, std²): no Monte Carlo."""
    field = oracles.gaussian(torch.zeros(1).double(), torch.tensor([[std**2]]).double(), path)
    batch = len(grid) + 2
    x = torch.zeros(batch, 1, dtype=torch.float64)
    x[-1] = 1.0
    end = pl.integrate(field, x, solver, grid, noise=Unit())[:, 0]
    return float((end[1:-1] ** 2).sum() + end[-1] ** 2 * start_variance)


@pytest.mark.parametrize(
    ("solver", "order"),
    [
        (SDEMultistep(1), 1),
        (SDEMultistep(1, renewal=lambda t: 2.0 * t), 1),
        (pl.SOLVERS["sde_dpmpp_2m"], 1),
        (SDEMultistep(2, renewal=0.3), 1),
        (EDMChurn(s_churn=8.0, s_min=0.0, s_max=1e9), 2),
    ],
    ids=["ancestral", "ancestral-of-t", "sde_dpmpp_2m", "sde-0.3", "edm_churn"],
)
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_weak_order_of_the_variance(solver: Any, order: int, path: str) -> None:
    c = PATHS[path].schedule(torch.tensor([0.2, 0.9], dtype=torch.float64))
    first, last = (c.alpha**2 * 0.25 + c.sigma**2).tolist()
    errors = []
    for steps in (40, 80):
        grid = torch.linspace(0.2, 0.9, steps + 1, dtype=torch.float64)
        errors.append(abs(end_variance(solver, PATHS[path], grid, 0.5, first) - last))
    assert math.log2(errors[0] / errors[1]) > order - 0.25
    assert errors[1] < 0.02


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("t", "s"), [(0.3, 0.5), (0.0, 0.4), (0.7, 1.0)])
def test_ancestral_step_is_the_posterior_of_the_chain(path: str, t: float, s: float) -> None:
    """q(x_s | x_t, x_1 = D) by conditioning the pair (x_s, x_t), x_t = (alpha_t/alpha_s) x_s + noise, as Gaussians do."""
    field, x = mixture(PATHS[path]), normal(4, 2)
    t_, s_ = (torch.tensor(v, dtype=torch.float64) for v in (t, s))
    (a_t, s_t), (a_s, s_s) = (
        (torch.as_tensor(v, dtype=torch.float64) for v in PATHS[path].schedule(u)[:2]) for u in (t_, s_)
    )
    link = a_t / a_s
    d = field(x, t_).data
    gain_ = link * s_s**2 / s_t**2  # Cov(x_s, x_t)/Var(x_t), both given x_1
    mean = a_s * d + gain_ * (x - a_t * d)
    std = (s_s**2 - gain_ * link * s_s**2).clamp(min=0.0).sqrt()
    z = normal(4, 2, seed=3)

    class Fixed(Noise):
        def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
            return z

    solver = pl.SOLVERS["ancestral"]
    state = solver.start(Bound(field), x, torch.stack([t_, s_]), Fixed())
    ours, _ = solver.step(field, x, t_, s_, state)
    assert laws.base.gap(ours, mean + std * z) < 1e-7  # a schedule's floor of sigma at t = 1


def test_no_renewal_is_the_flow_and_full_renewal_backwards_is_pure_noising() -> None:
    path = PATHS["vp"]
    field, x, grid = mixture(path), normal(5, 2), torch.linspace(0.1, 0.9, 7, dtype=torch.float64)
    flow_ = pl.integrate(field, x, Multistep(DATA, LOG_SNR, 2), grid)
    assert laws.base.gap(pl.integrate(field, x, SDEMultistep(2, renewal=0.0), grid), flow_) < 1e-13
    back = grid.flip(0)
    x = normal(len(grid) + 1, 2)
    ends = [pl.integrate(f(path), x, "sde_dpmpp_2m", back, noise=Unit()) for f in FIELDS.values()]
    assert laws.base.gap(*ends) < 1e-13  # the network is not asked
    c = path.schedule(grid[[0, -1]])
    assert laws.base.gap(ends[0][0], c.alpha[0] / c.alpha[1] * x[0]) < 1e-13


def test_stochastic_solvers_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="renewal must not be negative"):
        SDEMultistep(1, renewal=-0.1)
    with pytest.raises(ValueError, match="s_churn must not be negative"):
        EDMChurn(s_churn=-1.0)
    with pytest.raises(ValueError, match="s_max must be at least"):
        EDMChurn(s_min=2.0, s_max=1.0)


# ------------------------------------------------------------------------------------- grids, budget


def test_karras_grid_on_the_edm_clock_is_uniform() -> None:
    """Equation 5 of Karras et al. is the clock of `EDM`."""
    grid = pl.times.karras(pl.EDM()).grid(17)
    assert torch.allclose(grid, pl.times.uniform().grid(17), atol=1e-12)
    i = torch.arange(18, dtype=torch.float64)
    sigmas = (80.0 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80.0 ** (1 / 7))) ** 7
    assert torch.allclose(pl.EDM()(grid).sigma, sigmas, rtol=1e-9)


@pytest.mark.parametrize("path", ["linear", "edm"])
@pytest.mark.parametrize("name", ["abm2", "rk4", "dpmpp_2m"])
def test_fitted_grids_carry_over_to_new_noise(path: str, name: str) -> None:
    """On fresh noise no closed-form grid is much better, and uniform times are worse."""
    means = 3.0 * torch.tensor([[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]], dtype=torch.float64)
    field = oracles.gaussian_mixture(means, 0.4, None, PATHS[path])
    fitted = grids.fit(field, 8, (256, 2), solver=name, generator=torch.Generator().manual_seed(1))
    assert fitted.shape == (9,)
    assert fitted.dtype == torch.float64
    assert (fitted[0], fitted[-1]) == (0.0, 1.0)
    x = normal(256, 2, seed=9)
    exact = pl.sample(field, x, solver="rk4", grid=pl.times.power(1.5).grid(100))

    def miss(grid: Tensor) -> float:
        return float((pl.sample(field, x, solver=name, grid=grid) - exact).pow(2).mean().sqrt())

    closed = [
        law.grid(8) for law in (pl.times.uniform(), pl.times.cosine(), pl.times.shifted(0.5), pl.times.power(2.0))
    ]
    assert miss(fitted) < 1.1 * min(map(miss, closed))


def test_fitting_a_grid_says_what_is_wrong() -> None:
    for solver in ("dopri5", "ancestral"):
        with pytest.raises(ValueError, match="deterministic solver of fixed steps"):
            grids.fit(mixture(LINEAR), 4, (8, 2), solver=solver)
    with pytest.raises(ValueError, match="steps >= 1"):
        grids.fit(mixture(LINEAR), 0, (8, 2))
    with pytest.raises(TypeError, match="read by nothing"):
        grids.fit(mixture(LINEAR), 4, (8, 2), colour=3)


@pytest.mark.parametrize("name", [n for n in pl.SOLVERS if n not in ADAPTIVE])
def test_a_budget_is_kept(name: str) -> None:
    generator = torch.Generator().manual_seed(0) if pl.SOLVERS[name].stochastic else None
    for path in (LINEAR, PATHS["edm"]):
        solution = pl.solve(mixture(path), normal(3, 2), solver=name, evaluations=13, generator=generator)
        assert 13 - len(getattr(pl.SOLVERS[name], "stages", (1, 1, 1, 1))) < solution.evaluations <= 13


def test_a_singlestep_solver_needs_a_constant_row() -> None:
    with pytest.raises(ValueError, match="row must be constant"):
        Singlestep(VELOCITY, LOG_SNR, ((0.5, (0,)), (1.0, (1,))), 2)
