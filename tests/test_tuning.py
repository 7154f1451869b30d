"""Fitted solvers: they contain the classical ones, beat them on noise they have not seen, and survive the disk."""

import json
import re

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.solvers.course import follow
from pathline.solvers.fitting import normal_equations
from pathline.solvers.frontier import REST, doubled, endpoint, reference, rms
from pathline.solvers.nonstationary import NonStationary, clock_of, load_solver
from pathline.solvers.unknowns import Misses, Problem, Shape, adams_bashforth, pack
from pathline.testing import oracles
from pathline.testing.laws import exact_net

LINEAR = pl.AffinePath(pl.Linear())


def noise(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_fitted(times: Tensor, rows: list[Tensor]) -> NonStationary:
    return NonStationary(
        clock=tuple(times.tolist()), a=(1.0,) * len(times), b=tuple(tuple(row.tolist()) for row in rows)
    )


@pytest.mark.parametrize(("order", "name"), [(1, "euler"), (2, "ab2"), (3, "ab3")])
def test_adams_bashforth_is_contained(order: int, name: str) -> None:
    """The rows of b derived from the times reproduce the multistep solver of the registry on the linear path."""
    r = torch.linspace(0.0, 1.0, 8, dtype=torch.float64)[
        :-1
    ]  # steps that grow fast would make the classical one leave nodes out
    fitted = as_fitted(r, adams_bashforth(r, torch.zeros(()).double(), order))
    field = oracles.eight_gaussians(LINEAR)
    grid = torch.cat([r, torch.ones(1).double()])
    classical = pl.integrate(field, noise(32), name, grid)
    torch.testing.assert_close(pl.sample(field, noise(32), solver=fitted), classical, rtol=1e-6, atol=1e-6)


def test_a_fitted_solver_serves_every_schedule() -> None:
    """T20: the same times and coefficients give the same endpoints whatever schedule the field is written in."""
    r = torch.linspace(0.02, 0.9, 6, dtype=torch.float64)
    fitted = as_fitted(r, adams_bashforth(r, torch.zeros(()).double(), 2))
    ends = []
    for schedule in (pl.Linear(), pl.Trig()):
        field = exact_net(oracles.eight_gaussians(pl.AffinePath(schedule)), pl.DATA)
        assert float(clock_of(schedule, torch.zeros(()).double())[0]) == 0.0
        ends.append(pl.sample(field, noise(16), solver=fitted))
    torch.testing.assert_close(ends[0], ends[1])


@pytest.mark.parametrize("what", ["all", "times"])
def test_derivatives_along_every_unknown_for_a_network_elsewhere(what: str) -> None:
    """The unknowns live on the CPU, the states where the network is; a tensor without values gets as far as the way back."""
    field = pl.Field(pl.nets.MLP(2, 16, 1).to("meta"), LINEAR, pl.VELOCITY)
    x = torch.empty(8, 2, device="meta")
    times = torch.tensor([0.1, 0.4, 0.7], dtype=torch.float64)
    unknowns = pack(times, adams_bashforth(times, torch.zeros(()).double(), 2), 0.0)
    with pytest.raises(NotImplementedError, match="copy out of meta"):
        normal_equations(Problem(field, x, x, {}, 3, 4), unknowns, Shape(what, 2), torch.arange(4), torch.ones(8))


@pytest.mark.parametrize("schedule", [pl.Linear(), pl.EDM()])
def test_the_course_is_the_exact_flow(schedule: pl.Schedule) -> None:
    """Of a Gaussian the flow is known: each coordinate stays at its quantile (T4), so y = (alpha m + s(t) z)/(alpha + sigma)."""
    mean, scale = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.4, 1.7]).double()
    path = pl.AffinePath(schedule)
    field = oracles.gaussian(mean, torch.diag(scale**2), path)

    def place(r: float, z: Tensor) -> Tensor:
        return (r * mean + (r**2 * scale**2 + (1 - r) ** 2).sqrt() * z) if r < 1.0 else mean + scale * z

    first, unit = float(clock_of(schedule, torch.zeros(()).double())[0]), noise(16)
    z = (unit * (1 - first) - first * mean) / (first**2 * scale**2 + (1 - first) ** 2).sqrt()
    course = follow(field, unit, place(1.0, z), {}, 7)
    assert course is not None
    assert bool(course.trusted.all())
    for r in (first + 0.01, 0.3, 0.77, 0.95, 0.9979):
        y, slope = course.at(torch.tensor(r, dtype=torch.float64))
        torch.testing.assert_close(y, place(r, z), rtol=0.0, atol=1e-4)
        change = (place(r + 1e-5, z) - place(r - 1e-5, z)) / 2e-5
        torch.testing.assert_close(slope, change, rtol=0.0, atol=5e-3)


@pytest.mark.parametrize("prediction", ["noise", "data"])
@pytest.mark.parametrize("name", pl.SCHEDULES)
def test_courses_are_followed_on_every_schedule(name: str, prediction: str) -> None:
    """Noise prediction says nothing at the start of some, data prediction at the end."""
    path = pl.AffinePath(pl.SCHEDULES[name](0.01, 50.0) if name == "ve" else pl.SCHEDULES[name]())
    field = exact_net(oracles.eight_gaussians(path), pl.PREDICTIONS[prediction])
    with torch.no_grad():
        truth, _ = reference(field, noise(32), {}, tolerance=1e-3)
        course = follow(field, noise(32), truth, {}, 32)
    assert course is not None
    assert bool(course.trusted.all())


def test_a_course_that_ends_elsewhere_is_not_trusted() -> None:
    field = oracles.eight_gaussians(LINEAR)
    truth, _ = reference(field, noise(32), {})
    assert follow(field, noise(32), truth.flip(0), {}, 32) is None
    truth[3] = -truth[3]
    course = follow(field, noise(32), truth, {}, 32)
    assert course is not None
    assert course.trusted.tolist() == [float(i != 3) for i in range(32)]


def test_what_is_missed_on_the_way_has_the_derivative_of_its_change() -> None:
    """The true state moves as the clock at which it is looked up does."""
    field = oracles.eight_gaussians(LINEAR)
    truth, _ = reference(field, noise(8), {})
    problem = Problem(field, noise(8), truth, {}, 3, 8).on_the_way()
    assert problem is not None
    times = torch.tensor([0.1, 0.4, 0.7], dtype=torch.float64)
    unknowns, shape = pack(times, adams_bashforth(times, torch.zeros(()).double(), 2), 0.0), Shape("all", 2)
    matrix = torch.func.jacfwd(Misses(problem, shape, unknowns))(unknowns)
    assert matrix.shape == (8, 3, 2, len(unknowns))
    for k in range(len(unknowns)):
        move = 1e-4 * torch.eye(len(unknowns))[k].double()
        after, before = (Misses(problem, shape, u)(u) for u in (unknowns + move, unknowns - move))
        torch.testing.assert_close(matrix[..., k], (after - before) / 2e-4, rtol=0.0, atol=2e-3)


@pytest.mark.parametrize("method", ["gauss_newton", "adam"])
def test_tuning_beats_every_untuned_solver_on_held_out_noise(method: str) -> None:
    field = oracles.gaussian_mixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).double(), 0.7, None, LINEAR)
    tuned = pl.tune(field, 3, x_0=noise(1536), samples=512, method=method, iterations={"adam": 60}.get(method, 6))
    assert tuned.info["error"] < 0.7 * tuned.info["baseline_error"]
    fresh = noise(1024, seed=9)
    truth, _ = reference(field, fresh, {})
    solution = pl.solve(field, fresh, solver=tuned)
    assert solution.evaluations == 3
    assert rms(solution.x - truth) == pytest.approx(tuned.info["error"], rel=0.6)
    assert solution.trajectory is not None
    assert solution.trajectory.shape == (4, 1024, 2)


@pytest.mark.parametrize("what", ["times", "coefficients"])
def test_parts_of_the_fit(what: str) -> None:
    field = oracles.eight_gaussians(LINEAR)
    start = pl.tune(field, 3, x_0=noise(160), samples=96, what=what, iterations=1)
    more = pl.tune(field, 3, x_0=noise(160), samples=96, what=what, iterations=5)
    assert more.info["what"] == what
    assert more.info["error"] < 1.05 * start.info["error"]
    assert more.info["error"] < 0.8 * more.info["baseline_error"]
    if what == "times":
        assert more.a == (1.0, 1.0, 1.0)
    else:
        assert more.a != (1.0, 1.0, 1.0)


def test_guidance_conditions_and_foreign_networks() -> None:
    exact = oracles.gaussian_mixture(
        torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).double(), 0.5, None, pl.AffinePath(pl.VP()), labels=torch.arange(2)
    )
    field = exact_net(exact, pl.NOISE)
    y = torch.tensor([0, 1])
    tuned = pl.tune(field, 4, x_0=noise(128), samples=64, guidance=2.0, y=y, iterations=4)
    assert tuned.info["error"] < tuned.info["baseline_error"]
    x = pl.sample(field, noise(8, 3), solver=tuned, guidance=2.0, y=y.repeat(4))
    assert float((x[::2, 0] > 0).double().mean()) == 1.0


def test_paths_that_stop_short_need_no_extra_evaluation() -> None:
    field = oracles.eight_gaussians(pl.AffinePath(pl.EDM()))
    tuned = pl.tune(field, 5, x_0=noise(160), samples=128, iterations=4)
    assert pl.solve(field, noise(8), solver=tuned).evaluations == 5
    assert tuned.info["error"] < tuned.info["baseline_error"]


def test_a_network_is_tuned_through_forward_mode_and_adam() -> None:
    torch.manual_seed(0)
    field = pl.Field(pl.nets.MLP(2, width=16, depth=2), LINEAR, pl.VELOCITY)
    for method in ("auto", "adam"):
        tuned = pl.tune(field, 3, shape=(2,), samples=64, held_out=32, method=method, iterations=3)
        assert tuned.info["error"] < 1.0
        assert tuned.info["method"] == ("gauss_newton" if method == "auto" else method)


def test_auto_fits_large_networks_to_few_particles_unless_told_otherwise() -> None:
    found = []
    for width, samples in ((1024, None), (1024, 130), (16, None)):
        field = pl.Field(pl.nets.MLP(2, width=width, depth=2), LINEAR, pl.VELOCITY)
        tuned = pl.tune(field, 2, shape=(2,), samples=samples, held_out=8, iterations=1)
        assert tuned.info["method"] == "gauss_newton"
        assert tuned.info["held_out"] == 8
        found.append(tuned.info["samples"])
    assert found == [256, 130, 1024]


def test_reference_is_converged() -> None:
    field = oracles.eight_gaussians(LINEAR)
    truth, moved = reference(field, noise(64), {}, tolerance=1e-6)
    finer = endpoint(field, noise(64), pl.SOLVERS["rk4"], pl.times.cosine().grid(1500), {})
    assert rms(truth - finer) < 5 * moved + 1e-7


def test_endpoints_that_do_not_converge_are_given_up_and_told() -> None:
    """x_1 read as 1.05 x: x grows like (1 - t)^-0.05, and moves as far at every halving of the steps."""
    calls = 0

    def net(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return 1.05 * x

    field = pl.Field(net, LINEAR, pl.DATA)
    _, moved = doubled(lambda solver, times: endpoint(field, noise(8), solver, times, {}), 1e-6, 16, 1024)
    assert moved > 1e-3
    assert calls < 2000, "all doublings up to 1,024 steps would take 8,000 evaluations"


def test_the_reference_of_a_field_without_endpoints_is_its_data_where_little_noise_is_left() -> None:
    """As above, x_t = (1 - t)^-0.05 x_0: its data prediction where sigma/alpha = 0.02 converges, to 1.05 x_t."""
    field = pl.Field(lambda x, t: 1.05 * x, LINEAR, pl.DATA)
    ends, moved = reference(field, noise(8), {}, tolerance=1e-6)
    assert moved < 1e-6 * rms(ends)
    torch.testing.assert_close(ends, 1.05 * (REST / (1 + REST)) ** -0.05 * noise(8), rtol=1e-5, atol=0)


def test_saved_and_loaded(tmp_path) -> None:
    r = torch.linspace(0.0, 0.8, 4, dtype=torch.float64)
    fitted = as_fitted(r, adams_bashforth(r, torch.zeros(()).double(), 2))
    fitted.save(tmp_path / "solver.json")
    loaded = pl.load_solver(tmp_path / "solver.json")
    assert (loaded.clock, loaded.a, loaded.b) == (fitted.clock, fitted.a, fitted.b)
    assert [path.name for path in tmp_path.iterdir()] == ["solver.json"]


def test_a_solver_that_lost_is_not_saved(tmp_path) -> None:
    lost = NonStationary(
        clock=(0.0,), a=(1.0,), b=((1.0,),), info={"error": 0.5, "baseline_error": 0.4, "baseline": "ab2 on uniform"}
    )
    with pytest.raises(ValueError, match=r"not saved: error 0.5 .* ab2 on uniform"):
        lost.save(tmp_path / "solver.json")
    assert not list(tmp_path.iterdir())


GOOD = {"format": "pathline-solver", "version": 1, "clock": [0.0], "a": [1.0], "b": [[1.0]], "info": {}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not a solver file, or a damaged one"),
        (json.dumps([1]), "not a solver file of this package"),
        (json.dumps({**GOOD, "version": 9}), "has version 9"),
        (json.dumps({**GOOD, "b": [[1.0, 2.0]]}), "damaged.*rows b"),
        (json.dumps({**GOOD, "clock": [1.5]}), "clock must lie in"),
        (json.dumps({**GOOD, "a": [float("nan")]}), "finite"),
        (json.dumps({**GOOD, "a": "x"}), "damaged"),
    ],
)
def test_damaged_files(tmp_path, content: str, words: str) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        load_solver(tmp_path / "s.json")


def test_clear_errors(tmp_path) -> None:
    field = oracles.eight_gaussians(LINEAR)
    fitted = as_fitted(torch.tensor([0.0, 0.5]), [torch.ones(1), torch.ones(2)])
    for call, words in (
        (lambda: pl.tune(field, 0, shape=(2,)), "evaluations must be a positive integer, got 0"),
        (lambda: pl.tune(field, 3), "give one of shape, x_0, target"),
        (lambda: pl.tune(field, 3, shape=(2,), what="time"), "did you mean 'times'"),
        (lambda: pl.tune(field, 3, shape=(2,), method="newton"), "unknown method"),
        (lambda: pl.sample(field, (2, 2), solver=fitted, steps=5), "brings its own grid of 2 steps"),
        (lambda: load_solver(tmp_path / "none.json"), "no solver file"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_one_bar_tells_of_the_whole_fit(capsys: pytest.CaptureFixture[str]) -> None:
    field = oracles.eight_gaussians(LINEAR)
    pl.tune(field, 3, shape=(2,), samples=64, held_out=16, iterations=2, progress=True)
    shown = re.findall(r"([a-z ]+): +(\d+)%", capsys.readouterr().err)
    assert [*dict(shown)] == ["converged end points", "untuned solvers", "starting points", "fit"]
    shares = [int(share) for _, share in shown]
    assert shares == sorted(shares)
    assert shares[-1] > 90
