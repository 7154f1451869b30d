"""The command line: help that helps, errors in one line, and the way from data to samples."""

import json
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from pathline.cli import COMMANDS, main
from pathline.cli.parsing import UsageError, flags, parse
from pathline.train import RECIPES, Interrupted, Run, Sampling, TrainConfig
from pathline.train.names import PRODUCTS

QUICK = ["--steps", "4", "--batch-size", "16", "--net", "mlp(width=8, depth=1)", "--log-every", "2", "--warmup", "1"]
SILENT = ["--no-evaluate", "--no-samples"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of labelled points with everything that `train` makes."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    sampling = ["--sampling.steps", "2", "--labels"]
    assert main(["train", "circles", "--data", "circles(n=120)", "--out", str(folder), *QUICK, *sampling, *SILENT]) == 0
    return folder


def one_line(capsys, words, code) -> str:
    """The only line on stderr of a call that fails with ``code``."""
    assert main(words) == code
    told = capsys.readouterr().err
    assert told.count("\n") == 1, told
    assert "Traceback" not in told
    return told


# --- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_names_every_command_and_how_to_start(capsys, words):
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert all(f"  {name} " in told.out for name in COMMANDS)
    assert "pathline train moons" in told.out
    assert len(told.out.splitlines()) < 30


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples(capsys, command):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert "examples:" in told
    assert f"  pathline {command} " in told


def test_the_help_of_train_names_every_recipe(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in RECIPES)
    assert "--sampling.guidance" in told


def test_the_module_is_the_command():
    call = [sys.executable, "-m", "pathline", "--version"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"pathline \d+\.\d+\.\d+\n", done.stdout)


def test_commands_are_not_imported_before_they_are_called():
    code = "import sys, pathline.cli; sys.exit(any(m in sys.modules for m in ('tyro', 'accelerate', 'pathline.cli.train')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["trian"], 2, "unknown command 'trian': did you mean 'train'?"),
        (["--verbose"], 2, "unknown option '--verbose'"),
        (["train"], 2, "say what to train"),
        (["train", "moonz"], 2, "did you mean 'moons'?"),
        (["train", "moons", "--stepz", "3"], 2, "unknown option --stepz: did you mean --steps?"),
        (["train", "moons", "--sampling.solvr=heun"], 2, "did you mean --sampling.solver?"),
        (["train", "moons", "--steps", "abc"], 2, "--steps"),
        (["train", "moons", "--steps"], 2, "--steps"),
        (["train", "moons", "--steps", "-4"], 2, "steps must be at least 1, got -4"),
        (["train", "moons", "--decay", "cosin"], 2, "cosin"),
        (["train", "moons", "--times", "logit_norml"], 1, "did you mean 'logit_normal'?"),
        (["train", "moons", "--net", "mlp(widht=3)"], 1, "did you mean 'width'?"),
        (["train", "moons", "--sampling.solver", "huen"], 1, "did you mean 'heun'?"),
        (["train", "points.npz"], 2, "pathline train --data points.npz"),
        (["train", "--data", "none.npz"], 1, "no file none.npz"),
        (["train", "--config", "none.yaml"], 1, "no config file none.yaml"),
        (["train", "moons", "--config", "c.yaml"], 2, "not both"),
        (["train", "moons", "--resume"], 1, "nothing to resume"),
        (["train", "moons", "extra"], 2, "extra"),
        (["sample"], 2, "RUN"),
        (["sample", "nowhere"], 1, "no run folder nowhere"),
        (["evaluate", "nowhere"], 1, "no run folder nowhere"),
        (["plot", "nowhere", "lose"], 1, "did you mean 'loss'?"),
    ],
)
def test_a_mistake_is_told_in_one_line(capsys, here, words, code, message):
    assert message in one_line(capsys, words, code)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Interrupted("stopped at step 3; saved it", signal.SIGTERM), 143, "stopped at step 3; saved it"),
        (Interrupted("stopped at step 3; saved it", signal.SIGINT), 130, "stopped at step 3; saved it"),
        (KeyboardInterrupt(), 130, "stopped"),
        (RuntimeError("two\nlines"), 1, "error: two lines"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero (--debug shows where)"),
    ],
)
def test_what_stops_a_command_is_told_with_its_code(capsys, monkeypatch, error, code, message):
    def stop(words):
        raise error

    monkeypatch.setitem(sys.modules, "pathline.cli.stopping", SimpleNamespace(main=stop))
    monkeypatch.setitem(COMMANDS, "stopping", ("pathline.cli.stopping", "stops"))
    assert message in one_line(capsys, ["stopping"], code)


def test_debug_shows_the_traceback(here):
    with pytest.raises(FileNotFoundError):
        main(["sample", "nowhere", "--debug"])


def test_data_with_nan_leave_no_folder(capsys, here):
    x = np.random.default_rng(0).normal(size=(30, 2))
    x[4, 1] = np.nan
    np.savez("bad.npz", x=x)
    assert "NaN" in one_line(capsys, ["train", "--data", "bad.npz", *QUICK], 1)
    assert [p.name for p in here.iterdir()] == ["bad.npz"]


def test_labels_out_of_range_are_told(capsys, here, run_folder):
    np.savez("bad.npz", x=np.zeros((30, 2)), y=np.full(30, -3))
    assert "labels" in one_line(capsys, ["train", "--data", "bad.npz", *QUICK], 1)
    assert "0 … 1" in one_line(capsys, ["sample", str(run_folder), "--y", "2"], 1)


def test_what_samples_cannot_be_is_told(capsys, run_folder):
    folder = str(run_folder)
    assert "not both" in one_line(capsys, ["sample", folder, "--n", "3", "--per-class", "2"], 2)
    assert "not both" in one_line(capsys, ["sample", folder, "--steps", "3", "--evaluations", "9"], 1)
    assert "did you mean 'heun'?" in one_line(capsys, ["sample", folder, "--solver", "huen"], 1)
    assert ".npz" in one_line(capsys, ["sample", folder, "--out", "x.png"], 2)
    assert "step-000000099" in one_line(capsys, ["sample", folder, "--checkpoint", "99"], 1)
    assert "no average '0.9'" in one_line(capsys, ["sample", folder, "--average", "0.9"], 1)
    assert "needs a GPU" in one_line(capsys, ["sample", folder, "--precision", "fp16", "--cpu"], 1)
    assert "--precision bf16" in one_line(capsys, ["sample", folder, "--encode", "moons", "--precision", "bf16"], 2)
    assert "film shows images" in one_line(capsys, ["plot", folder, "film"], 2)


def test_an_existing_run_is_refused_resumed_and_overwritten(capsys, here):
    call = ["train", "moons", "--data", "moons(n=100)", "--out", "run", *QUICK, *SILENT]
    assert main(call) == 0
    capsys.readouterr()
    assert "--resume" in one_line(capsys, call, 1)
    assert main(["train", "--out", "run", "--resume", "--steps", "6", *SILENT]) == 0
    assert Run.open("run").step == 6
    assert (
        main(["train", "moons", "--out", "run", "--resume", *SILENT]) == 0
    )  # the run's own settings, not the recipe's
    assert Run.open("run").config.data == "moons(n=100)"
    capsys.readouterr()
    assert "resume cannot change lr" in one_line(capsys, ["train", "--out", "run", "--resume", "--lr", "1"], 1)
    assert main([*call, "--overwrite"]) == 0
    assert Run.open("run").step == 4


def test_a_damaged_run_warns_in_one_line_and_goes_on(capsys, here):
    call = ["train", "moons", "--data", "moons(n=100)", "--out", "run", *QUICK, *SILENT, "--checkpoint-every", "2"]
    assert main(call) == 0
    (here / "run/checkpoints/step-000000004/ema.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert main(["sample", "run", "--n", "3", "--no-picture"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "pathline:" in line]
    assert len(told) == 1
    assert "warning: " in told[0]
    assert "ema.safetensors is damaged" in told[0]


# --- the way through ------------------------------------------------------------------------------------------------


def test_ones_own_file_from_data_to_report(capsys, here):
    rng = np.random.default_rng(0)
    np.savez("mine.npz", x=rng.normal(5.0, 2.0, size=(200, 3)), y=rng.integers(0, 2, 200))
    held = ["--held-out", "0.3", "--sampling.steps", "2"]
    assert main(["train", "--data", "mine.npz", *QUICK, *held, "--no-evaluate"]) == 0
    told = capsys.readouterr().out
    assert "140 samples of shape (3,) to train on, 60 held out, 2 classes" in told
    found = {p.name for p in (here / "runs/mine").iterdir()}
    assert found == {"config.yaml", "run.lock", "log.jsonl", "checkpoints", "samples.npz", "samples.png", "report.html"}
    assert found - {"run.lock"} < set(PRODUCTS)  # the lock outlives an overwritten run
    assert all(f"runs/mine/{name}" in told for name in ("samples.npz", "samples.png", "report.html"))
    assert "<html" in (here / "runs/mine/report.html").read_text()[:200]


def test_evaluate_prints_and_keeps_the_table(capsys, run_folder):
    assert (
        main(["evaluate", str(run_folder), "--n", "12", "--metrics", "sliced_w2", "--steps", "1", "--solver", "euler"])
        == 0
    )
    assert "| sliced W2" in capsys.readouterr().out
    rows = json.loads((run_folder / "metrics.json").read_text())["rows"]
    assert {row["name"] for row in rows} >= {"sliced W2", "nearest-neighbour ratio"}


def test_an_unknown_metric_is_told_before_samples_are_drawn(capsys, run_folder, monkeypatch):
    monkeypatch.setattr(Run, "sample", lambda *args, **options: pytest.fail("samples were drawn"))
    assert "unknown metric 'agreement'" in one_line(capsys, ["evaluate", str(run_folder), "--metrics", "agreement"], 1)


def test_samples_are_written_whole_reproducible_and_by_class(capsys, here, run_folder):
    call = ["sample", str(run_folder), "--no-picture", "--steps", "2"]
    assert main([*call, "--per-class", "3", "--out", "a.npz"]) == 0
    assert main([*call, "--per-class", "3", "--out", "b.npz", "--batch", "4"]) == 0
    assert main([*call, "--n", "2", "--seed", "4", "--y", "0", "1", "--out", "c.npz"]) == 0
    a, b, c = (np.load(f"{name}.npz") for name in "abc")
    assert a["x"].shape == (6, 2)
    assert sorted(a["y"].tolist()) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_allclose(a["x"], b["x"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(a["x"][4:6], c["x"], rtol=1e-5, atol=1e-5)
    assert sorted(p.name for p in here.iterdir()) == ["a.npz", "b.npz", "c.npz"]
    assert main([*call, "--y", "1", "--n", "5", "--out", "d.npz"]) == 0
    assert np.load("d.npz")["y"].tolist() == [1] * 5
    assert main([*call, "--y", "-1", "--n", "2", "--out", "e.npz"]) == 0
    assert np.load("e.npz")["y"].tolist() == [-1, -1]


def test_guidance_and_solver_reach_the_sampler(here, run_folder):
    base = ["sample", str(run_folder), "--no-picture", "--n", "4"]
    assert main([*base, "--out", "a.npz"]) == 0
    for k, more in enumerate(
        (
            ["--guidance", "4"],
            ["--solver", "euler"],
            ["--evaluations", "8"],
            ["--grid", "shifted(3)"],
            ["--precision", "bf16"],
        )
    ):
        assert main([*base, *more, "--out", f"{k}.npz"]) == 0
        assert not np.allclose(np.load(f"{k}.npz")["x"], np.load("a.npz")["x"]), more


def test_pictures_are_drawn_where_they_fit(capsys, run_folder):
    assert main(["plot", str(run_folder), "loss", "field", "--n", "20"]) == 0
    told = capsys.readouterr().out
    for name in ("loss.png", "field.png"):
        assert (run_folder / name).read_bytes().startswith(b"\x89PNG")
        assert str(run_folder / name) in told


def test_a_config_file_counts_less_than_the_command_line(here):
    TrainConfig(data="moons(n=100)", steps=50, net="mlp(width=8, depth=1)", batch_size=16, seed=3).save("c.yaml")
    assert main(["train", "--config", "c.yaml", "--steps", "3", "--out", "run", *SILENT]) == 0
    config = Run.open("run").config
    assert (config.steps, config.seed, config.batch_size) == (3, 3, 16)
    assert TrainConfig.load("run/config.yaml") == config


# --- parsing --------------------------------------------------------------------------------------------------------


def test_every_field_is_a_flag():
    known = flags(TrainConfig)
    assert {"--batch-size", "--sampling.solver", "--labels", "--no-labels"} <= set(known)
    assert all(f"--sampling.{name}" in known for name in Sampling.__dataclass_fields__)


def test_parsing_keeps_the_defaults_it_is_given():
    default = TrainConfig(steps=7, sampling=Sampling(solver="euler"))
    found = parse(TrainConfig, ["--lr=0.5", "--sampling.steps", "9"], prog="x", about="", default=default)
    assert found == default.replace(lr=0.5, sampling={"solver": "euler", "steps": 9})
    assert parse(TrainConfig, ["--clip", "None"], prog="x", about="").clip is None
    with pytest.raises(UsageError, match="clip must be positive"):
        parse(TrainConfig, ["--clip", "-1"], prog="x", about="")
