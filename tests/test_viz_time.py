"""Pictures over time, and `pathline plot` of everything that it can draw."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import pathline as pl
from pathline import viz
from pathline.cli import main
from pathline.train import Run, TrainConfig, measured_pictures, pictures

G = torch.Generator


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Tiny runs in the plane, on the line, and of images, with the loss by time of each step."""
    root = tmp_path_factory.mktemp("runs")
    line = np.random.default_rng(0).normal(size=(200, 1)).astype("float32")
    np.save(root / "line.npy", line)
    cases = {
        "plane": {"data": "moons(n=200)", "net": "mlp(width=16, depth=2)"},
        "line": {"data": str(root / "line.npy"), "net": "mlp(width=16, depth=2)"},
        "images": {"data": "digits", "net": "dit(patch=4, width=16, depth=1, heads=2)"},
    }
    return {
        name: pl.fit(
            TrainConfig(out=str(root / name), steps=33, batch_size=64, warmup=0, log_every=16, cpu=True, **config),
            progress=False,
        )
        for name, config in cases.items()
    }


def test_over_time_puts_values_in_the_middle_of_bins() -> None:
    ax = viz.over_time(
        {"a": [1.0, None, 3.0], "b": [0.0, -1.0, 2.0]}, edges=[0.0, 0.2, 0.6, 1.0], level=2.0, level_label="x"
    )
    first, second, level = ax.get_lines()
    np.testing.assert_allclose(first.get_xdata(), [0.1, 0.4, 0.8])
    np.testing.assert_array_equal(first.get_ydata(), [1.0, np.nan, 3.0])
    assert second.get_label() == "b"
    assert level.get_ydata()[0] == 2.0
    logged = viz.over_time({"a": [1.0, 0.0, 3.0]}, log=True).get_lines()[0].get_ydata()
    assert np.isnan(logged[1])


@pytest.mark.parametrize(
    ("series", "words"),
    [({}, "at least one line"), ({"a": [1.0], "b": [1.0, 2.0]}, "one value for each of the 1 bins")],
)
def test_series_that_do_not_fit_are_refused(series: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        viz.over_time(series)


def test_loss_by_time_means_over_parts_of_the_training(tmp_path: Path) -> None:
    rows = [{"step": s, "loss": 1.0, "loss_by_t": [float(s), 2.0 * s, None if s < 8 else 1.0]} for s in range(1, 11)]
    ax = viz.loss_by_time(rows, stages=5)
    lines = ax.get_lines()
    assert len(lines) == 5
    np.testing.assert_allclose(lines[0].get_ydata(), [1.5, 3.0, np.nan])
    np.testing.assert_allclose(lines[-1].get_ydata(), [9.5, 19.0, 1.0])
    assert lines[-1].get_label() == "step 10"
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(map(json.dumps, rows)))
    np.testing.assert_allclose(viz.loss_by_time(log, stages=5).get_lines()[0].get_ydata(), lines[0].get_ydata())
    with pytest.raises(ValueError, match="time_bins"):
        viz.loss_by_time([{"step": 1, "loss": 1.0}])


def test_a_solution_as_background_shows_the_density_of_its_particles() -> None:
    """The ink of particles of a Gaussian flow is that of its exact density, up to the noise of counting."""
    field = pl.testing.oracles.gaussian(torch.tensor([1.0]), torch.tensor([[0.25]]), pl.AffinePath(pl.Linear()))
    solution = pl.solve(field, (20_000, 1), steps=16, generator=G().manual_seed(0))
    inks = [
        np.asarray(viz.phase_portrait(solution, background=b, limits=(-4.0, 4.0), paths=1).images[0].get_array())
        for b in (solution, field)
    ]
    assert np.abs(inks[0] - inks[1]).mean() < 0.03
    assert np.abs(inks[0] - inks[1][::-1]).mean() > 0.1
    with pytest.raises(ValueError, match="conditions"):
        viz.phase_portrait(solution, background=solution, y=1)


def test_points_of_a_solution_are_smoothed_on_demand() -> None:
    field = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
    solution = pl.solve(field, (500, 2), steps=8, generator=G().manual_seed(0))
    assert all(panel.images for panel in viz.snapshots(solution, smooth=True).child_axes)
    assert not any(panel.images for panel in viz.snapshots(solution).child_axes)
    with pytest.raises(ValueError, match="smooth is read by nothing"):
        viz.snapshots(field, smooth=True)


@pytest.mark.parametrize("name", ["plane", "line", "images"])
def test_every_kind_is_drawn_or_says_why_not(name: str, runs: dict[str, Run]) -> None:
    run = runs[name]
    drawn = set()
    for kind, draw in pictures.KINDS.items():
        if kind == "nfe" and name != "plane":  # many solves, and the same for every shape
            continue
        if (reason := pictures.misfit(kind, run)) is not None:
            assert str(run.path) in reason
            continue
        few = {"nfe": 8, "verify": 64, "straightness": 16, "density": 200, "phase": 200, "samples": 20}.get(kind, 4)
        assert len(viz.png(draw(run, n=few))) > 2_000
        drawn.add(kind)
    always = {"samples", "loss", "bins", "straightness", "verify"}
    own = {"plane": {"trajectories", "snapshots", "density", "field", "nfe"}, "line": {"phase"}, "images": {"film"}}
    assert drawn == always | own[name]


def test_the_command_draws_what_is_named_either_way(runs: dict[str, Run], capsys: pytest.CaptureFixture) -> None:
    run = runs["line"]
    assert main(["plot", str(run.path), "loss", "--kind", "phase", "bins"]) == 0
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()] == ["loss", "phase", "bins"]
    assert {"loss.png", "phase.png", "bins.png"} <= {path.name for path in run.path.iterdir()}
    assert main(["plot", str(run.path), "film"]) == 2
    assert main(["plot", str(run.path), "--kind", "fase"]) == 1
    assert "phase" in capsys.readouterr().err


def test_the_curve_of_a_comparison_is_the_best_grid_of_each_solver(runs: dict[str, Run]) -> None:
    run = runs["plane"]
    rows = [
        {"evaluations": n, "solver": solver, "grid": grid, "error": scale / n**order}
        for n in (4, 8, 16)
        for solver, order in (("euler", 1), ("heun", 2))
        for grid, scale in (("uniform", 2.0), ("cosine", 1.0))
    ]
    (run.path / measured_pictures.COMPARED).write_text(json.dumps({"rows": rows}))
    try:
        lines = {line.get_label(): line.get_ydata() for line in measured_pictures.nfe(run).get_lines()}
    finally:
        (run.path / measured_pictures.COMPARED).unlink()
    np.testing.assert_allclose(lines["heun"], [1 / 16, 1 / 64, 1 / 256])
    np.testing.assert_allclose(lines["euler"], [1 / 4, 1 / 8, 1 / 16])


def test_the_least_possible_loss_is_below_that_of_the_run(runs: dict[str, Run]) -> None:
    lines = {line.get_label(): line.get_ydata() for line in pictures.KINDS["verify"](runs["plane"], 200).get_lines()}
    train, least = lines["training data"], lines["least possible (training data)"]
    assert math.isfinite(float(np.sum(least)))
    assert float(np.mean(train)) > float(np.mean(least))
