"""Experiments: records and tables, each at its quick size, and what theory says must come out."""

import json
import math

import pytest
import torch

from pathline.cli import main
from pathline.experiments import EXPERIMENTS, Experiment, Options
from pathline.experiments.guiding import LABELS, MEANS, mixture
from pathline.experiments.jit_toy import embedding, plane
from pathline.experiments.nine import WEIGHTS, weight_gap
from pathline.experiments.subjects import recipe
from pathline.experiments.training import Yardstick


def counted(options):
    for size in (1, 10):
        for seed in options.seeds:
            yield {"size": size, "kind": "a", "seed": seed, "error": size + 0.1 * seed, "real": 0.5}


FAKE = Experiment(
    name="fake", question="How large?", measure=counted, by=("kind", "size"), values=("error", "real"), x="size", y="error",
    source="T0.", log="xy", floor="real",
)  # fmt: skip


def test_means_and_spreads_are_those_over_the_seeds(tmp_path):
    found = FAKE.run(Options(seeds=(0, 1, 2)))
    first, second = found.summaries()
    assert first.mean["error"] == pytest.approx(1.1)
    assert first.spread["error"] == pytest.approx(0.1)
    assert second.factors == {"kind": "a", "size": 10}
    table, data, picture = found.write(tmp_path / "fake")
    assert "| a    | 10   | 10.1 ± 0.1 | 0.5 ± 0 |" in table.read_text()
    assert "seeds 0, 1, 2" in table.read_text()
    stored = json.loads(data.read_text())
    assert len(stored["records"]) == 6
    assert stored["summaries"][0]["error"] == {"mean": pytest.approx(1.1), "sd": pytest.approx(0.1)}
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_was_measured_is_on_file_before_the_end(tmp_path):
    told = []

    def look(text):
        told.append(len(json.loads((tmp_path / "result.json").read_text())["records"]) if told else 0)

    FAKE.run(Options(seeds=(0, 1), say=look), folder=tmp_path)
    assert told == [0, 1, 2, 3]
    assert len(json.loads((tmp_path / "result.json").read_text())["records"]) == 4


def test_one_seed_has_no_spread_and_json_no_nan(tmp_path):
    found = FAKE.run(Options(seeds=(3,)))
    assert math.isnan(found.summaries()[0].spread["error"])
    assert "1.3 " in found.table()
    assert "±" not in found.table().split("mean ±")[0]
    assert "NaN" not in json.dumps(found.to_dict())


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(ValueError, match="seeds must be different"):
        Options(seeds=(1, 1))
    with pytest.raises(ValueError, match="no subject to choose, got 'digits'"):
        EXPERIMENTS["jit-toy"].run(Options(subject="digits"))
    with pytest.raises(ValueError, match="no recipe that can be trained: did you mean 'digits'"):
        recipe("digitz")
    with pytest.raises(ValueError, match="no folder nowhere"):
        EXPERIMENTS["guidance"].run(Options(subject="nowhere", quick=True))
    with pytest.raises(ValueError, match="images with labels"):
        EXPERIMENTS["nine"].run(Options(subject="moons", quick=True))


@pytest.mark.parametrize(("predicted", "space"), list(WEIGHTS))
def test_the_weights_of_the_nine_losses_are_those_of_the_paper(predicted, space):
    assert weight_gap(predicted, space, seed=0) < 1e-9


def test_the_plane_is_embedded_without_stretching():
    into = embedding(64, seed=1)
    torch.testing.assert_close(into.T @ into, torch.eye(2), atol=1e-6, rtol=0)
    points = plane(4000, seed=3)
    assert (points.mean(0)).abs().max() < 0.1
    assert points.std() == pytest.approx(1.0, abs=0.05)
    assert not torch.equal(plane(10, seed=3), plane(10, seed=4))


def test_the_yardstick_is_zero_for_the_real_part_and_keeps_trained_data_out():
    yardstick = Yardstick.of(recipe("digits", quick=True), quick=True)
    same = yardstick(yardstick.real.x, yardstick.real.y)
    assert yardstick.main == "FD"
    assert same["FD"] < 1e-3
    assert same["sliced W2"] == 0.0
    assert yardstick.floor()["FD"] > same["FD"]
    rows = {tuple(row.flatten().tolist()) for row in yardstick.train.x}
    assert not any(tuple(row.flatten().tolist()) in rows for row in yardstick.fresh.x[:20])


@pytest.fixture(scope="module")
def guided():
    found = EXPERIMENTS["guidance"].run(Options(seeds=(0, 1), quick=True))
    return {(s.factors["method"], s.factors["w"]): s.mean for s in found.summaries()}


def test_without_strength_every_guidance_draws_the_class_itself(guided):
    plain = guided["cfg", 1.0]
    for name in ("interval", "rescale", "cfg_zero", "apg", "autoguidance"):
        assert guided[name, 1.0] == pytest.approx(plain)
    assert set(LABELS.tolist()) == {0, 1, 2}
    assert len(MEANS) == len(LABELS) == len(mixture().weights)


def test_guidance_trades_recall_for_agreement(guided):
    assert guided["cfg", 3.0]["agreement"] > guided["cfg", 1.0]["agreement"]
    assert guided["cfg", 3.0]["recall"] < guided["cfg", 1.0]["recall"]


@pytest.mark.parametrize("name", ["jit-toy", "nine", "times", "schedules", "sde-vs-ode"])
def test_every_experiment_runs_at_its_quick_size(name, tmp_path, capsys):
    assert main(["experiment", name, "--quick", "--seeds", "0", "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / name / "result.json").read_text())
    assert told["quick"] is True
    assert told["records"]
    assert all(value is not None for value in told["records"][0].values())
    assert "the numbers mean nothing" in capsys.readouterr().out


def test_a_heavier_solver_needs_no_more_than_euler():
    found = EXPERIMENTS["solvers"].run(Options(seeds=(0,), quick=True))
    error = {(s.factors["solver"], s.factors["grid"]): s.mean["RMS error"] for s in found.summaries()}
    assert error["heun", "uniform"] < 0.2 * error["euler", "uniform"]
    assert error["ab2", "uniform"] < 0.2 * error["euler", "uniform"]


def test_an_unknown_experiment_is_told_with_the_nearest(capsys):
    assert main(["experiment", "jit_toy"]) == 2
    assert "did you mean 'jit-toy'" in capsys.readouterr().err
