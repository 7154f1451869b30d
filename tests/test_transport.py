"""Energy, straightness and crossings of paths against closed forms."""

import math

import pytest
import torch
from scipy.integrate import quad

import pathline as pl
from pathline.metrics import crossing, measure_transport, path_energy, trajectory_energy, velocity_variance

PATH = pl.AffinePath(pl.Linear())
MEAN, STD, DIM = torch.tensor([3.0, -1.0], dtype=torch.float64), 0.5, 2


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal_source(n: int) -> torch.Tensor:
    """Points of N(0, I) whose mean and second moments are exact, so that quadratic closed forms hold to rounding."""
    x = torch.randn(n, DIM, generator=draw(), dtype=torch.float64)
    x = x - x.mean(0)
    return x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / n)).T


def independent_field() -> pl.BaseField:
    """The exact field of N(0, I) → N(m, s² I) with independent pairs."""
    return pl.testing.oracles.gaussian(MEAN, STD**2 * torch.eye(DIM).double(), PATH)


def optimal_field() -> pl.Field:
    """The field of the same two laws with optimal pairs, x_1 = m + s x_0: straight lines."""

    def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        x_0 = (x - t * MEAN) / (1.0 - t + t * STD)
        return MEAN + (STD - 1.0) * x_0

    return pl.Field(net, PATH, pl.VELOCITY)


def std_of(t: float) -> float:
    """The standard deviation of p_t along an axis."""
    return math.sqrt((t * STD) ** 2 + (1.0 - t) ** 2)


def slope_of(t: float) -> float:
    return (t * STD**2 - (1.0 - t)) / std_of(t)


OPTIMUM = float(MEAN.square().sum()) + DIM * (1.0 - STD) ** 2
"""W2² between N(0, I) and N(m, s² I)."""
ENERGY = float(MEAN.square().sum()) + DIM * quad(lambda t: slope_of(t) ** 2, 0.0, 1.0)[0]
"""The paths are t m + std_of(t) x_0."""


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_a_straight_optimal_field_has_the_energy_of_w2(steps: int) -> None:
    x_0 = normal_source(400)
    found = measure_transport(optimal_field(), x_0, MEAN + STD * x_0, steps=steps)
    assert found.path_energy == pytest.approx(OPTIMUM, rel=1e-9)
    assert found.w2_squared == pytest.approx(OPTIMUM, rel=1e-9)
    assert found.normalised_path_energy == pytest.approx(0.0, abs=1e-8)
    assert found.curvature == pytest.approx(0.0, abs=1e-8)
    assert found.length_ratio == pytest.approx(1.0, rel=1e-9)
    assert found.crossing == 0.0
    assert found.samples == 400


@pytest.mark.parametrize(
    ("solver", "steps", "error"), [("rk4", 200, 2e-5), ("euler", 100, 0.02), ("dopri5", 200, 2e-5)]
)
def test_the_energy_of_independent_pairs_is_the_closed_form(solver: str, steps: int, error: float) -> None:
    x_0 = normal_source(300)
    found = measure_transport(independent_field(), x_0, MEAN + STD * x_0, solver=solver, steps=steps)
    assert found.path_energy == pytest.approx(ENERGY, rel=error)
    assert found.displacement == pytest.approx(OPTIMUM, rel=error)  # the map of this flow is the optimal one
    assert found.normalised_path_energy == pytest.approx((ENERGY - OPTIMUM) / OPTIMUM, rel=50 * error)
    assert found.straightness == pytest.approx(ENERGY - OPTIMUM, rel=50 * error)
    assert found.length_ratio > 1.01
    assert path_energy(independent_field(), x_0, solver=solver, steps=steps) == found.path_energy


def test_euler_counts_the_velocities_that_it_used() -> None:
    """The published protocol: the left Riemann sum of |v|² along Euler's path."""
    field, x, total = independent_field(), normal_source(50), 0.0
    for k in range(10):
        v = field(x, k / 10).velocity
        total += float(v.square().sum(1).mean()) / 10
        x = x + v / 10
    assert path_energy(field, normal_source(50), steps=10) == pytest.approx(total, rel=1e-12)


def test_energy_converges_with_order_two_along_an_exact_path() -> None:
    gaps = []
    for steps in (10, 20, 40):
        times = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)
        path = torch.tensor([std_of(float(t)) for t in times])[:, None, None].double() * normal_source(20)
        gaps.append(ENERGY - float(MEAN.square().sum()) - float(trajectory_energy(path, times).mean()))
    assert all(gap > 0.0 for gap in gaps)
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.1)
    assert gaps[1] / gaps[2] == pytest.approx(4.0, rel=0.1)


def test_energy_does_not_depend_on_direction_or_rank() -> None:
    trajectory = torch.randn(6, 3, 2, 2, generator=draw()).double()
    times = torch.tensor([0.0, 0.1, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    energy = trajectory_energy(trajectory, times)
    assert energy.shape == (3,)
    assert torch.allclose(energy, trajectory_energy(trajectory.flip(0), times.flip(0)))
    assert torch.allclose(energy, trajectory_energy(trajectory.flatten(2), times))
    with pytest.raises(ValueError, match="rise or fall"):
        trajectory_energy(trajectory, times.sort(descending=True).values.roll(1))
    with pytest.raises(ValueError, match="states"):
        trajectory_energy(trajectory, times[:-1])


def test_crossing_counts_inversions_on_the_line() -> None:
    n = 40
    order = torch.randperm(n, generator=draw())
    inversions = sum(int(order[i] > order[j]) for i in range(n) for j in range(i + 1, n))
    points = torch.arange(n).double()[:, None]
    assert crossing(points, order.double()[:, None]) == pytest.approx(2 * inversions / (n * (n - 1)))
    assert crossing(points, points + 5.0) == 0.0
    assert crossing(points, -points) == 1.0


def test_crossing_of_couplings() -> None:
    """0 for optimal pairs in any dimension, about a half for independent ones."""
    x_0, x_1 = torch.randn(300, 5, generator=draw()), torch.randn(300, 5, generator=draw(1)) ** 3
    assert crossing(x_0, x_1) == pytest.approx(0.5, abs=0.03)
    assert crossing(x_0[pl.couplings.exact_ot()(x_0, x_1)], x_1) == 0.0
    assert crossing(torch.zeros(4, 2), torch.ones(4, 2)) == 0.0


def test_the_variance_of_the_direction_is_the_closed_form() -> None:
    """Independent pairs: Var(x_1 − x_0 | x_t) = 1 + s² − slope², D of them; optimal pairs: none."""
    x_0 = torch.randn(40_000, DIM, generator=draw(), dtype=torch.float64)
    x_1 = MEAN + STD * torch.randn(40_000, DIM, generator=draw(1), dtype=torch.float64)
    truth = DIM * quad(lambda t: 1.0 + STD**2 - slope_of(t) ** 2, 0.0, 1.0)[0]
    assert velocity_variance(independent_field(), x_0, x_1) == pytest.approx(truth, rel=0.02)
    assert velocity_variance(optimal_field(), x_0[:99], MEAN + STD * x_0[:99]) == pytest.approx(0.0, abs=1e-12)


def test_optimal_pairs_train_to_lower_energy() -> None:
    """A small net: exact pairs give paths whose energy is nearer to W2² than independent pairs do (T32)."""
    found = {}
    for name in ("independent", "exact_ot"):
        torch.manual_seed(0)
        net = pl.nets.MLP(dim=2, width=32, depth=2)
        objective = pl.Matching(PATH, pl.VELOCITY, coupling=pl.COUPLINGS[name]())
        optimiser = torch.optim.Adam(net.parameters(), 5e-3)
        g = draw(1)
        for _ in range(120):
            x_1 = pl.data.toys.moons(128, generator=g).x
            optimiser.zero_grad()
            objective(net, x_1, generator=g).backward()
            optimiser.step()
        x_0, real = torch.randn(500, 2, generator=draw(2)), pl.data.toys.moons(500, generator=draw(3)).x
        found[name] = measure_transport(objective.field(net), x_0, real)
    energy = {name: report.normalised_path_energy for name, report in found.items()}
    assert energy["exact_ot"] < 0.5 * energy["independent"]
    assert found["exact_ot"].curvature < 0.5 * found["independent"].curvature


def test_conditions_follow_their_paths_and_noise_is_refused() -> None:
    field = pl.testing.oracles.eight_gaussians(PATH)
    x_0 = torch.randn(24, 2, generator=draw(), dtype=torch.float64)
    y = torch.arange(24) % 8
    whole = path_energy(field, x_0, steps=20, y=y)
    parts = [path_energy(field, x_0[y == k], steps=20, y=k) for k in range(8)]
    assert whole == pytest.approx(sum(parts) / 8, rel=1e-9)
    with pytest.raises(ValueError, match="path energy is for paths of the ODE"):
        path_energy(field, x_0, solver="euler_maruyama", y=y)
    with pytest.raises(ValueError, match="as many x_0 as x_1"):
        crossing(x_0, x_0[:5])
    assert measure_transport(field, x_0, steps=5, y=y).normalised_path_energy is None
    assert measure_transport(field, x_0, steps=5, w2_squared=20.0, y=y).w2_squared == 20.0
