"""Evaluations while training, early ends, trackers: they change no weight, survive, and are told of in time."""

import json
import os
import shutil
from typing import ClassVar

import pytest
import torch

import pathline as pl
from pathline.cli import main
from pathline.train import Run, TrainConfig
from pathline.train import trackers as tr
from pathline.train import watch as watching
from pathline.train.loop import trainer_of
from pathline.train.watch import metrics_for, read_evals


def tiny(out, **changes):
    return TrainConfig.from_dict(
        {"data": "circles(n=400)", "net": "mlp(width=16, depth=1)", "steps": 12, "batch_size": 32, "log_every": 4,
         "checkpoint_every": 5, "warmup": 2, "out": str(out), "sampling": {"steps": 4}, **changes}
    )  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(watching, "IMAGES", 40)
    monkeypatch.setattr(watching, "POINTS", 60)


def fit(config, **options):
    return pl.fit(config, progress=False, **options)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.net.state_dict().values(), b.net.state_dict().values()))


# ------------------------------------------------------------------------------------------ evaluations


def test_evaluations_change_no_weight_and_are_written_down(tmp_path):
    plain = fit(tiny(tmp_path / "plain"))
    before = torch.random.get_rng_state()
    run = fit(tiny(tmp_path / "run", eval_every=6))
    assert torch.equal(before, torch.random.get_rng_state())
    assert same(plain, run)
    told = read_evals(tmp_path / "run" / "evals" / "evals.jsonl")
    assert [line["step"] for line in told] == [6, 12]
    for line in told:
        assert {"held_out_loss", "w2", "w2_floor", "seconds"} <= line.keys()
        assert (tmp_path / "run" / "evals" / f"step-{line['step']:09d}.png").read_bytes().startswith(b"\x89PNG")
    assert "eval" not in (tmp_path / "run" / "log.jsonl").read_text()


def test_figures_are_those_of_the_averaged_weights_on_held_out_data(tmp_path):
    run = fit(tiny(tmp_path, eval_every=12, checkpoint_every=100))
    (told,) = read_evals(tmp_path / "evals" / "evals.jsonl")
    found = pl.metrics.evaluate(
        Run.open(tmp_path).sample(watching.POINTS), run.data.held_out.x, metrics=["w2"], splits=watching.SPLITS,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert told["w2"] == pytest.approx(found["W2"].value, rel=1e-5)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["held_out_loss"] for line in log if "held_out_loss" in line] == [told["held_out_loss"]]


def test_metrics_fit_the_data():
    assert metrics_for((2,), labelled=None) == ("w2",)
    assert metrics_for((300,), labelled=None) == ("sliced_w2",)
    assert metrics_for((1, 8, 8), labelled=10) == ("fd", "sliced_w2")


def test_labelled_images_are_judged_by_features(tmp_path):
    digits = pl.data.load("digits").subset(range(300))
    net = pl.nets.DiT(image_size=8, channels=1, patch=4, width=16, depth=1, heads=2, num_classes=10)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    run = pl.Trainer(
        net=net, objective=objective, data=digits, out=str(tmp_path), steps=2, eval_every=2, progress=False
    ).fit()  # fmt: skip
    (told,) = read_evals(tmp_path / "evals" / "evals.jsonl")
    assert told["fd"] > told["fd_floor"] > 0.0
    assert told["sliced_w2"] > 0.0
    assert (run.path / "classifier").is_dir()  # which the evaluation at the end uses again


def test_a_run_without_held_out_data_still_shows_its_samples(tmp_path):
    fit(tiny(tmp_path, held_out=0.0, eval_every=12))
    (told,) = read_evals(tmp_path / "evals" / "evals.jsonl")
    assert told.keys() == {"step", "seconds", "time"}
    assert (tmp_path / "evals" / "step-000000012.png").is_file()


def test_a_line_that_a_crash_cut_is_mended_and_the_last_word_counts(tmp_path):
    path = tmp_path / "evals.jsonl"
    path.write_text('{"step": 4, "w2": 1.0}\n{"step": 8, "w2": 2.0}\n{"step": 4, "w2": 3.0}\nnonsense\n{"step": 12, "w')
    assert [(line["step"], line["w2"]) for line in read_evals(path)] == [(4, 3.0), (8, 2.0)]
    assert read_evals(tmp_path / "none") == []


# ------------------------------------------------------------------------------------------ early ends


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations whose figures are given by step."""
    from pathline import viz

    figure = viz.samples(torch.randn(8, 2))
    monkeypatch.setattr(viz, "save", lambda shown, path: path.write_bytes(b""))  # drawing takes most of the time

    def script(values):
        monkeypatch.setattr(watching.Watch, "_measure", lambda self: (dict(values[self.trainer.step]), figure))

    return script


def values_of(name, *figures):
    return {2 * (k + 1): {name: figure} for k, figure in enumerate(figures)}


def test_training_ends_when_nothing_improves_and_the_best_is_returned_and_kept(tmp_path, scripted):
    scripted(values_of("w2", 5.0, 3.0, 4.0, 3.0, 1.0, 1.0))  # 3.0 again is no improvement
    run = fit(tiny(tmp_path, eval_every=2, stop_after=2, stop_on="w2", keep=1))
    assert run.step == 4
    assert same(run, Run.open(tmp_path, step="best"))
    assert Run.open(tmp_path).step == 8
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["step"]) == ("stopped", 8)
    assert "3 at step 4" in last["what"]


def test_a_run_that_goes_on_improving_is_trained_to_its_end(tmp_path, scripted):
    scripted(values_of("held_out_loss", 6.0, 5.0, 5.5, 4.0, 4.5, 3.0))
    run = fit(tiny(tmp_path, eval_every=2, stop_after=2))
    assert run.step == 12


def test_of_some_metrics_more_is_better_and_nan_is_never(tmp_path, scripted):
    scripted(values_of("density_coverage", 0.2, float("nan"), 0.5, 0.4, float("nan"), 0.9))
    assert fit(tiny(tmp_path, eval_every=2, stop_after=2, stop_on="density_coverage")).step == 6


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path, scripted):
    figures = (5.0, 3.0, 4.0, 2.9, 3.0, 3.1)
    config = tiny(tmp_path / "whole", eval_every=2, stop_after=2, stop_on="w2", steps=40)
    scripted(values_of("w2", *figures, *figures))
    whole = fit(config)
    trainer = trainer_of(config.replace(out=str(tmp_path / "cut")), progress=False)
    trainer.fit(until=5)
    with (tmp_path / "cut" / "evals" / "evals.jsonl").open("a") as file:  # evaluated, but killed before it was saved
        file.write(json.dumps({"step": 6, "w2": 0.1}) + "\n" + '{"step"')
    resumed = fit(config.replace(out=str(tmp_path / "cut")), resume=True)
    assert whole.step == resumed.step == 8
    assert same(whole, resumed)
    assert same(Run.open(tmp_path / "whole"), Run.open(tmp_path / "cut"))
    assert [(line["step"], line["w2"]) for line in read_evals(tmp_path / "cut" / "evals" / "evals.jsonl")] == [
        (2 * (k + 1), figure) for k, figure in enumerate(figures)
    ]
    again = fit(config.replace(out=str(tmp_path / "cut")), resume=True)  # it has ended: nothing is trained
    assert again.step == 8
    assert Run.open(tmp_path / "cut").step == 12


@pytest.mark.parametrize(("changes", "message"), [
    ({"stop_after": 2}, "stop_after must be 0 without eval_every"),
    ({"eval_every": 2, "stop_after": 1, "stop_on": "w3"}, "unknown metric stop_on 'w3'"),
    ({"eval_every": 2, "stop_after": 1, "held_out": 0.0}, "at least 20 held-out samples"),
    ({"eval_every": -1}, "eval_every must be at least 0"),
    ({"track": ["tensorbord"]}, "did you mean 'tensorboard'"),
    ({"track": ["wandb", "wandb"]}, "names wandb twice"),
], ids=["alone", "metric", "none held out", "negative", "tracker", "twice"])  # fmt: skip
def test_what_cannot_be_is_refused_before_any_work(tmp_path, monkeypatch, changes, message):
    monkeypatch.setattr(tr, "find_spec", lambda name, *more: object())
    with pytest.raises(ValueError, match=message):
        trainer_of(tiny(tmp_path / "run", **changes), progress=False)
    assert not (tmp_path / "run").exists()


def test_an_objective_of_ones_own_cannot_be_sampled_while_it_trains(tmp_path):
    with pytest.raises(ValueError, match="does not tell how"):
        pl.Trainer(
            net=pl.nets.MLP(2, 8, 1), objective=lambda net, x_1, **rest: net(x_1, x_1[:, 0]).square().mean(),
            data=torch.randn(100, 2), out=str(tmp_path / "run"), steps=2, eval_every=2, progress=False,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


# ------------------------------------------------------------------------------------------ trackers


def test_tensorboard_has_the_numbers_of_the_log_and_the_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain = fit(tiny(tmp_path / "plain"))
    config = tiny(tmp_path / "run", eval_every=6, track=["tensorboard"])
    trainer_of(config, progress=False).fit(until=6)
    assert same(plain, fit(config, resume=True))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert losses == pytest.approx({line["step"]: line["loss"] for line in plain.log}, rel=1e-6)
    told = read_evals(tmp_path / "run" / "evals" / "evals.jsonl")
    assert [event.value for event in events.Scalars("eval/w2")] == pytest.approx(
        [line["w2"] for line in told], rel=1e-6
    )
    assert [event.step for event in events.Images("eval/samples")] == [6, 12]
    assert b"circles" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_a_missing_package_is_told_with_the_extra_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tr, "find_spec", lambda name, *more: None)
    for name, extra in (("tensorboard", r"pathline\[track\]"), ("trackio", "trackio"), ("mlflow", "mlflow")):
        with pytest.raises(ImportError, match=f"{name}.*missing: pip install '{extra}'"):
            trainer_of(tiny(tmp_path / "run", track=[name]), progress=False)
    monkeypatch.chdir(tmp_path)
    assert main(["train", "circles", "--track", "tensorboard", "wandb", "--steps", "2"]) == 1
    assert "pip install 'pathline[track]'" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


class Recorded:
    """In place of a tracker of accelerate."""

    requires_logging_directory = False
    made: ClassVar[list] = []

    def __init__(self, project, **options):
        self.project, self.options, self.lines, self.images, self.mode = project, options, [], [], None
        self.fails = options.get("name") == "fails"
        Recorded.made.append(self)

    def start(self):
        self.mode = os.environ.get("WANDB_MODE")

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None):
        if self.fails:
            raise OSError("no space")
        self.lines.append((step, values))

    def log_images(self, values, step=None):
        self.images.append((step, {name: pixels.shape for name, pixels in values.items()}))

    def finish(self):
        self.lines.append("finished")


@pytest.fixture
def recorded(monkeypatch):
    from accelerate import tracking

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorded)
    monkeypatch.setattr(tr, "find_spec", lambda name, *more: object())
    monkeypatch.delenv("WANDB_MODE", raising=False)
    Recorded.made = []
    yield Recorded.made
    os.environ.pop("WANDB_MODE", None)


def test_other_trackers_are_those_of_accelerate_and_stay_off_the_network(tmp_path, recorded, monkeypatch):
    fit(tiny(tmp_path / "run", eval_every=12, track=["wandb"]))
    (made,) = recorded
    assert made.mode == "offline"
    assert made.options == {"name": "run", "dir": str(tmp_path / "run")}
    assert made.config["net"] == "mlp(width=16, depth=1)"
    assert made.config["sampling.steps"] == 4
    steps = [step for step, values in (line for line in made.lines if line != "finished") if "train/loss" in values]
    assert steps == [4, 8, 12]
    assert made.lines[-1] == "finished"
    ((step, images),) = made.images
    assert step == 12
    assert images["eval/samples"][0] == 1
    assert images["eval/samples"][-1] == 3
    monkeypatch.setenv("WANDB_MODE", "online")  # what the user says counts
    fit(tiny(tmp_path / "online", track=["wandb"]))
    assert recorded[-1].mode == "online"


def test_a_tracker_that_fails_is_left_out_and_training_goes_on(tmp_path, recorded):
    with pytest.warns(UserWarning, match="tracker wandb failed and is left out"):
        run = fit(tiny(tmp_path / "fails", track=["wandb"]))
    assert same(run, fit(tiny(tmp_path / "plain")))


def test_scalars_of_a_record():
    found = tr.scalars_of({"step": 3, "time": 9.0, "loss": 1, "by": [0.5, None], "event": "x", "fine": True}, "train")
    assert found == {"train/loss": 1.0, "train/by/0": 0.5}


def test_overwriting_deletes_evaluations_and_a_resumed_run_may_track_anew(tmp_path, recorded):
    fit(tiny(tmp_path / "run", eval_every=6))
    fit(tiny(tmp_path / "run"), overwrite=True)
    assert not (tmp_path / "run" / "evals").exists()
    shutil.copytree(tmp_path / "run", tmp_path / "more")
    assert fit(tiny(tmp_path / "more", steps=14, eval_every=7, track=["wandb"]), resume=True).step == 14
