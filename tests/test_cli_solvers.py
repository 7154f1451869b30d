"""`pathline tune` and `pathline compare`: from a run to a solver that fits it, and back into `pathline sample`."""

import json

import numpy as np
import pytest

from pathline.cli import main
from pathline.solvers import load_solver

QUICK = ["--steps", "30", "--batch-size", "64", "--net", "mlp(width=16, depth=2)", "--warmup", "1", "--lr", "0.01"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("run") / "moons")
    words = ["train", "moons", "--data", "moons(n=400)", "--out", folder, *QUICK, "--no-evaluate", "--no-samples"]
    assert main(words) == 0
    return folder


def test_tune_writes_a_solver_that_sample_takes(run: str, capsys) -> None:
    assert main(["tune", run, "--evaluations", "3", "--samples", "64", "--held-out", "32", "--iterations", "6"]) == 0
    told = capsys.readouterr().out
    assert "best untuned" in told
    file = f"{run}/solvers/tuned3.json"
    assert load_solver(file).info["evaluations"] == 3
    assert main(["sample", run, "--n", "20", "--solver", file, "--no-picture"]) == 0
    assert np.load(f"{run}/samples.npz")["x"].shape == (20, 2)
    assert main(["tune", run, "--list"]) == 0
    assert "tuned3" in capsys.readouterr().out


def test_an_existing_solver_is_not_replaced_by_accident(run: str, capsys) -> None:
    assert main(["tune", run, "--evaluations", "2", "--samples", "32", "--held-out", "16", "--iterations", "6"]) == 0
    assert main(["tune", run, "--evaluations", "2"]) == 2
    assert "give another --name, or --overwrite" in capsys.readouterr().err


def test_compare_recommends_and_keeps_its_table(run: str, capsys) -> None:
    words = ["compare", run, "--budgets", "4", "8", "--samples", "32", "--solvers", "euler", "heun", "ab2", "abm2"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "at 4 evaluations use" in told
    assert "at 8 evaluations use" in told
    with open(f"{run}/compare.json") as file:
        rows = json.load(file)["rows"]
    assert {row["solver"] for row in rows} >= {"euler", "heun", "ab2", "abm2"}
    euler = {row["evaluations"]: row["error"] for row in rows if row["solver"] == "euler"}
    assert euler[8] < euler[4]


def test_unknown_names_are_told(run: str, capsys) -> None:
    assert main(["compare", run, "--solvers", "huen"]) != 0
    assert "did you mean 'heun'" in capsys.readouterr().err
    assert main(["sample", run, "--solver", "nowhere.json"]) != 0
    assert "no solver file at nowhere.json" in capsys.readouterr().err
