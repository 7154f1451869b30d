"""Training: resumption to the bit, checkpoints that survive damage, configs that refuse nonsense, runs that sample."""

import dataclasses
import hashlib
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import pytest
import torch
from torch import nn

import pathline as pl
from pathline.data import Dataset
from pathline.train import EMA, RECIPES, CheckpointError, DivergedError, Interrupted, Run, TrainConfig, Trainer, assess
from pathline.train import checkpoint as ckpt
from pathline.train.assemble import make_net, make_objective
from pathline.train.config import Settings, settings_from
from pathline.train.drawing import draw_in_shards
from pathline.train.names import CHECKPOINTS, LOG
from pathline.train.optim import Stepper, rate_at
from pathline.train.order import Batches, derive_seed
from pathline.train.spec import build, split_spec

TINY = {
    "data": "circles(n=200)",
    "net": "mlp(width=16, depth=2)",
    "steps": 24,
    "batch_size": 32,
    "log_every": 4,
    "checkpoint_every": 8,
    "warmup": 5,
}


def tiny(out, **changes) -> TrainConfig:
    return TrainConfig.from_dict({**TINY, "out": str(out), **changes})


def fit(config, **options) -> Run:
    return pl.fit(config, progress=False, **options)


def weights_of(path, step, file):
    return ckpt.load(path / CHECKPOINTS / f"step-{step:09d}").tensors[file]


def lines(run: Run) -> list[tuple]:
    return [(r["step"], r["loss"], r["lr"], r["grad_norm"]) for r in run.log]


class WithDropout(nn.Module):
    """A user's net: no base class, global randomness, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.SiLU(), nn.Linear(16, 2))

    def forward(self, x_t, t):
        return self.body(torch.cat([x_t, t.expand(len(x_t))[:, None]], 1))


def own_trainer(out, **options) -> Trainer:
    torch.manual_seed(3)
    data = torch.randn(100, 2, generator=torch.Generator().manual_seed(1)) * 5.0 + 2.0
    settings = {"steps": 12, "batch_size": 16, "log_every": 3, "checkpoint_every": 100, **options}
    resume = settings.pop("resume", False)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    return Trainer(
        net=WithDropout(), objective=objective, data=data, out=str(out), resume=resume, progress=False, **settings
    )


# --- the loop -------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    straight = fit(tiny(tmp_path / "a"))
    pl.train.loop.trainer_of(tiny(tmp_path / "b"), progress=False).fit(until=10)  # neither a log nor a saving step
    resumed = fit(tiny(tmp_path / "b"), resume=True)
    for file in ("net", "ema", "optimizer", "randomness", "progress"):
        one, two = weights_of(tmp_path / "a", 24, file), weights_of(tmp_path / "b", 24, file)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), file
    assert lines(straight) == lines(resumed)
    assert len(lines(straight)) == 6


def test_resumption_restores_the_global_randomness_and_buffers_of_a_users_net(tmp_path):
    own_trainer(tmp_path / "a").fit()
    own_trainer(tmp_path / "b").fit(until=7)
    own_trainer(tmp_path / "b", resume=True).fit()
    one, two = weights_of(tmp_path / "a", 12, "net"), weights_of(tmp_path / "b", 12, "net")
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert "body.1.running_mean" in one


def test_training_leaves_the_global_randomness_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trainer = pl.train.loop.trainer_of(tiny(tmp_path, steps=3), progress=False)
    trainer.fit()
    assert torch.equal(torch.rand(3), expected)


def test_every_setting_of_a_resumed_run_is_kept_but_the_free_ones(tmp_path):
    pl.train.loop.trainer_of(tiny(tmp_path), progress=False).fit(until=8)
    with pytest.raises(ValueError, match=r"resume cannot change lr from 0.001 to 0.5"):
        fit(tiny(tmp_path, lr=0.5), resume=True)
    with pytest.raises(ValueError, match="resume cannot change batch_size"):
        fit(tiny(tmp_path, batch_size=31), resume=True)
    assert fit(tiny(tmp_path, steps=30, keep=1), resume=True).step == 30


def test_an_existing_folder_is_refused_before_any_work(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="--resume"):
        pl.train.loop.trainer_of(tiny(tmp_path))
    with pytest.raises(FileExistsError, match="holds no run"):
        pl.train.loop.trainer_of(tiny(tmp_path), overwrite=True)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        pl.train.loop.trainer_of(tiny(tmp_path), resume=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["note.txt"]


def test_overwriting_deletes_the_run_and_nothing_else(tmp_path):
    fit(tiny(tmp_path, steps=8))
    (tmp_path / "note.txt").write_text("mine")
    run = fit(tiny(tmp_path, steps=4), overwrite=True)
    assert run.step == 4
    assert Run.open(tmp_path).step == 4
    assert [r["step"] for r in run.log] == [4]
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    fit(tiny(tmp_path, keep=2))
    names = [p.name for p in sorted((tmp_path / CHECKPOINTS).iterdir())]
    assert names == ["step-000000016", "step-000000024"]


class Exploding:
    """An objective that is finite up to a step."""

    def __init__(self, objective, good: int) -> None:
        self.objective, self.left = objective, good + 1  # and the first batch that is tried before training

    def __call__(self, net, x_1, **given):
        self.left -= 1
        loss = self.objective(net, x_1, **given)
        return loss if self.left >= 0 else loss * float("nan")


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    config = tiny(tmp_path, skip_limit=5)
    trainer = pl.train.loop.trainer_of(config, progress=False)
    trainer.objective = Exploding(trainer.objective, 9)
    trainer.objective.left -= 1
    with pytest.raises(DivergedError, match=r"7 steps in a row were skipped.*limit is 5 at step 16 .*step-000000008"):
        trainer.fit()
    kept = ckpt.load_latest(tmp_path / CHECKPOINTS)
    assert kept.step == 8
    assert all(value.isfinite().all() for value in kept.tensors["net"].values())
    assert fit(config, resume=True).step == 24


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    trainer = pl.train.loop.trainer_of(tiny(tmp_path, log_every=100), progress=False)
    trainer.fit(until=8)
    with torch.no_grad():
        next(trainer.net.parameters()).fill_(float("inf"))
    trainer.step = 9
    with pytest.raises(DivergedError, match="not finite"):
        trainer._save(type("NoLog", (), {"write": lambda self, **record: None})())
    assert ckpt.load_latest(tmp_path / CHECKPOINTS).step == 8


def test_sigterm_saves_and_leaves_with_its_code(tmp_path):
    code = textwrap.dedent(f"""
        import sys
        import pathline as pl
        from pathline.train import Interrupted, TrainConfig
        config = TrainConfig.from_dict({ {**TINY, "out": str(tmp_path / "run"), "steps": 10**6, "log_every": 1}!r})
        try:
            pl.fit(config, progress=False)
        except Interrupted as error:
            print(error)
            sys.exit(error.code)
    """)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    log = tmp_path / "run" / LOG
    until = time.monotonic() + 60
    while time.monotonic() < until and not (log.is_file() and log.read_text().count("\n") > 5):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    step = Run.open(tmp_path / "run").step
    assert step > 4
    assert f"stopped at step {step} of 1000000; saved" in told


def test_ctrl_c_is_an_interruption_that_can_be_resumed(tmp_path):
    config = tiny(tmp_path, time_bins=0)  # an objective of the user's does not tell its times
    trainer = pl.train.loop.trainer_of(config, progress=False)
    objective, calls = trainer.objective, []

    def pressing(net, x_1, **given):
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return objective(net, x_1, **given)

    trainer.objective = pressing
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="stopped at step 6 of 24") as told:
        trainer.fit()
    assert told.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before
    straight = fit(tiny(tmp_path / "straight", time_bins=0))
    assert lines(fit(config, resume=True)) == lines(straight)


def test_training_approaches_the_exact_field(tmp_path):
    """Gaussian data: after training the field is nearer to the exact one than the untrained net by far."""
    data = torch.tensor([3.0, -1.0]) + 0.5 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
    path = pl.AffinePath(pl.Linear())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = pl.nets.MLP(2, 32, 2)
    trainer = Trainer(
        net=net, objective=pl.Matching(path, pl.VELOCITY), data=data, out=str(tmp_path), steps=200, batch_size=256,
        lr=5e-3, ema=0.98, held_out=0.0, standardize="none", progress=False,
    )  # fmt: skip
    exact = pl.testing.oracles.gaussian(torch.tensor([3.0, -1.0]), 0.25 * torch.eye(2), path)
    x_t, t = exact.sample(500, 0.5, torch.Generator().manual_seed(2)), torch.full((500,), 0.5)
    wanted = exact(x_t, t).velocity

    def error(field) -> float:
        return (field(x_t, t).velocity - wanted).square().mean().item()

    before = error(pl.Field(net, path, pl.VELOCITY))
    after = error(trainer.fit().field)
    assert after < 0.05 * before


# --- parts of the loop ----------------------------------------------------------------------------------------------


def test_ema_is_the_weighted_mean_of_all_weights():
    """Unrolled: average_K = sum_k (1 - d_k) prod_{j > k} d_j w_k + prod_j d_j w_0, with d_k = min(d, k/(k + 9))."""
    net = nn.Linear(3, 2).double()
    ema = EMA(net, 0.5)
    start = net.weight.detach().clone()
    history = []
    for k in range(1, 15):
        with torch.no_grad():
            net.weight.add_(torch.randn(2, 3, generator=torch.Generator().manual_seed(k), dtype=torch.float64))
        history.append(net.weight.detach().clone())
        ema.update(k)
    decays = [0.1, 2 / 11, 0.25, 4 / 13, 5 / 14, 0.4, 7 / 16, 8 / 17, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    expected = math.prod(decays) * start
    for k, value in enumerate(history):
        expected = expected + (1 - decays[k]) * math.prod(decays[k + 1 :]) * value
    torch.testing.assert_close(ema.net.weight, expected, rtol=1e-12, atol=1e-12)
    assert not ema.net.weight.requires_grad


def test_ema_copies_buffers_and_is_off_at_zero():
    net = nn.BatchNorm1d(4)
    ema = EMA(net, 0.0)
    net(torch.randn(10, 4) + 3.0)
    with torch.no_grad():
        net.weight.fill_(7.0)
    ema.update(1)
    assert torch.equal(ema.net.running_mean, net.running_mean)
    assert int(ema.net.num_batches_tracked) == 1
    assert torch.equal(ema.net.weight, net.weight)


def test_learning_rate_in_closed_form():
    settings = Settings(steps=110, warmup=10, lr=0.4, lr_end=0.1)
    rates = [rate_at(k, settings) for k in range(110)]
    torch.testing.assert_close(rates[:10], [0.04 * (k + 1) for k in range(10)])
    assert rates[10] == pytest.approx(0.4)  # u = 0
    assert rates[60] == pytest.approx(0.4 * 0.55)  # u = 1/2: (e + 1)/2
    assert rates[35] == pytest.approx(0.4 * (0.1 + 0.9 * (2 + math.sqrt(2)) / 4))  # u = 1/4: cos(pi/4)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] > 0.04
    flat = Settings(steps=110, warmup=0, lr=0.4, decay="constant")
    assert {rate_at(k, flat) for k in range(110)} == {0.4}


def test_clipping_bounds_the_step_and_weight_decay_spares_biases():
    net = nn.Linear(4, 4)
    stepper = Stepper(net, Settings(clip=0.5, lr=1.0, weight_decay=0.1, warmup=0), torch.device("cpu"))
    decays = {g["params"][0].ndim: g["weight_decay"] for g in stepper.optimizer.param_groups}
    assert decays == {2: 0.1, 1: 0.0}
    seen = []
    stepper.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in net.parameters()])))
    )
    norm = stepper(100.0 * net(torch.randn(8, 4)).square().sum(), 0)
    assert norm > 0.5
    assert float(seen[0]) == pytest.approx(0.5, rel=1e-4)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize(("n", "batch"), [(10, 3), (10, 10), (7, 16), (5, 5)])
def test_each_epoch_sees_each_sample_once_in_an_order_of_its_own(n, batch):
    batches = Batches(torch.arange(float(n))[:, None], torch.arange(n), batch, seed=4)
    steps = 3 * n
    stream = torch.cat([batches.indices(k) for k in range(steps)])
    epochs = stream.reshape(-1, n) if len(stream) % n == 0 else stream[: len(stream) // n * n].reshape(-1, n)
    assert all(sorted(epoch.tolist()) == list(range(n)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1
    fresh = Batches(batches.x, batches.y, batch, seed=4)  # any step, in any order, without a past
    assert all(torch.equal(fresh.indices(k), batches.indices(k)) for k in (steps - 1, 0, steps // 2))
    x, y = batches(2)
    assert torch.equal(x[:, 0].long(), y)


def test_seeds_of_different_purposes_differ():
    found = {derive_seed(seed, what, k) for seed in range(20) for what in ("order", "noise") for k in range(20)}
    assert len(found) == 800
    assert all(0 <= seed < 2**32 for seed in found)


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with two checkpoints; copied before it is damaged."""
    path = tmp_path_factory.mktemp("trained") / "run"
    return fit(tiny(path, steps=16)).path


@pytest.fixture
def damaged(trained, tmp_path):
    import shutil

    return shutil.copytree(trained, tmp_path / "run")


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def reseal(manifest, **changes):
    body = {k: v for k, v in json.loads(manifest.read_text()).items() if k != "sha256"} | changes
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    manifest.write_text(json.dumps({"sha256": digest, **body}))


DAMAGE = {
    "one byte short": ("ema.safetensors", truncate, "ema.safetensors is damaged: it has"),
    "one bit flipped": ("net.safetensors", flip, "net.safetensors is damaged: its checksum"),
    "file gone": ("optimizer.safetensors", lambda p: p.unlink(), "optimizer.safetensors is missing"),
    "manifest cut": ("manifest.json", truncate, "manifest.json is damaged"),
    "manifest gone": ("manifest.json", lambda p: p.unlink(), "manifest.json is missing"),
    "manifest altered": (
        "manifest.json",
        lambda p: p.write_text(p.read_text().replace('"lr": 0.001', '"lr": 0.002')),
        "manifest.json is damaged: its checksum",
    ),
    "another format": ("manifest.json", lambda p: p.write_text('{"format": "other"}'), "no manifest of a pathline"),
    "a newer version": ("manifest.json", lambda p: reseal(p, version=99), "has checkpoint version 99"),
    "a path outside": (
        "manifest.json",
        lambda p: reseal(p, files={"../../secret": {"bytes": 1, "sha256": ""}}),
        "a file outside its checkpoint",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damaged, case):
    name, harm, message = DAMAGE[case]
    newest = damaged / CHECKPOINTS / "step-000000016"
    harm(newest / name)
    with pytest.raises(CheckpointError, match=message):
        Run.open(damaged, step=16)
    with pytest.warns(UserWarning, match=f"{message}.*going back to step-000000008"):
        run = Run.open(damaged)
    assert run.step == 8
    harm(damaged / CHECKPOINTS / "step-000000008" / name)
    with pytest.raises(CheckpointError):
        Run.open(damaged)


def test_training_falls_back_too_and_replaces_the_damaged_checkpoint(damaged):
    flip(damaged / CHECKPOINTS / "step-000000016" / "net.safetensors")
    with pytest.warns(UserWarning, match="going back to step-000000008"):
        fit(tiny(damaged, steps=16), resume=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Run.open(damaged).step == 16


def test_no_checkpoint_and_foreign_folders_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        Run.open(tmp_path)
    (tmp_path / CHECKPOINTS / "step-000000003").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no checkpoint of pathline"):
        Run.open(tmp_path)


def test_leftovers_of_a_crash_are_ignored_and_swept(damaged):
    folder = damaged / CHECKPOINTS
    (folder / ".step-000000099.writing").mkdir()
    (folder / ".step-000000099.writing" / "net.safetensors").write_bytes(b"half")
    assert Run.open(damaged).step == 16
    fit(tiny(damaged, steps=20), resume=True)
    assert [p for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_checkpoint_of_another_net_is_refused(trained):
    with pytest.raises(CheckpointError, match="of another net"):
        Run.open(trained, net=pl.nets.MLP(2, 17, 2, num_classes=2))
    with pytest.raises(CheckpointError, match="of another net: it lacks"):
        Run.open(trained, net=pl.nets.MLP(2, 16, 3, num_classes=2))


def test_tied_weights_survive(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    ckpt.save(tmp_path, 1, {"net": {"a": weight, "b": weight, "c": weight.T}}, {}, keep=1)
    found = ckpt.load(tmp_path / "step-000000001").tensors["net"]
    assert torch.equal(found["a"], weight)
    assert torch.equal(found["b"], weight)
    assert torch.equal(found["c"], weight.T)


def test_nothing_pickled_is_written_or_read(trained):
    suffixes = {p.suffix for p in trained.rglob("*") if p.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".yaml", ".lock"}
    source = (pl.train.__path__[0], pl.cli.__path__[0] if hasattr(pl, "cli") else pl.train.__path__[0])
    for folder in source:
        for name in os.listdir(folder):
            if name.endswith(".py"):
                with open(os.path.join(folder, name)) as file:
                    text = file.read()
                assert "torch.load(" not in text
                assert "torch.save(" not in text
                assert "pickle" not in text.replace("allow_pickle=False", "")


def test_a_log_line_cut_by_a_crash_harms_no_other(damaged):
    log = damaged / LOG
    before = Run.open(damaged).log
    with log.open("a") as file:
        file.write('{"step": 17, "lo')
    fit(tiny(damaged, steps=20), resume=True)
    after = Run.open(damaged).log
    assert after[: len(before)] == before
    assert [r["step"] for r in after] == [4, 8, 12, 16, 20]


# --- configs --------------------------------------------------------------------------------------------------------


def test_yaml_round_trip(tmp_path):
    config = tiny(
        "x", clip=None, betas=(0.8, 0.9), times="logit_normal(-0.4, 1)", sampling={"solver": "rk4", "steps": 3}
    )
    config.save(tmp_path / "c.yaml")
    assert TrainConfig.load(tmp_path / "c.yaml") == config
    assert TrainConfig.from_dict(config.to_dict()) == config


def test_every_recipe_resolves_and_round_trips(tmp_path):
    for name, recipe in RECIPES.items():
        config = recipe(out=str(tmp_path / name))
        config.save(tmp_path / f"{name}.yaml")
        assert TrainConfig.load(tmp_path / f"{name}.yaml") == config
        if name not in ("digits", *pl.data.TOYS):  # images that may be missing: test_recipes.py has stand-ins
            continue
        data = pl.data.load(split_spec("data", config.data)[0])
        net = make_net(config.net, data, labels=config.labels, seed=0)
        loss = make_objective(config)(net, data.x[:4], y=data.y[:4] if config.labels else None)
        assert loss.isfinite()


def test_yaml_numbers_without_a_dot_are_read_as_meant(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1e-3\nsteps: 7\nclip: null\n")
    config = TrainConfig.load(tmp_path / "c.yaml")
    assert (config.lr, config.steps, config.clip) == (1e-3, 7, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", "unknown config 'stepz': did you mean 'steps'"),
        ("sampling: {solvr: heun}", "unknown sampling setting 'solvr': did you mean 'solver'"),
        ("steps: many", "steps must be int, got 'many'"),
        ("lr: -1", "lr must be positive and finite, got -1"),
        ("labels: 1", "labels must be bool, got 1"),
        ("decay: cosin", "decay must be 'cosine' or 'constant' or 'linear' or 'inverse_sqrt', got 'cosin'"),
        ("[1, 2]", "must hold a mapping"),
        ("a: [", "is no readable YAML"),
        ("!!python/object/apply:os.system ['true']", "is no readable YAML"),
    ],
)
def test_a_bad_config_file_is_one_clear_error(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises((ValueError, TypeError), match=message.replace("(", r"\(")) as told:
        TrainConfig.load(tmp_path / "c.yaml")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "moonz"}, "unknown data set 'moonz': did you mean 'moons'"),
        ({"data": "moons(nois=1)"}, "takes no option 'nois'"),
        ({"net": "mpl"}, "unknown net 'mpl': did you mean 'mlp'"),
        ({"net": "mlp(widht=3)"}, "no option 'widht': did you mean 'width'"),
        ({"net": "dit"}, "use mlp"),
        ({"schedule": "liner"}, "unknown schedule 'liner': did you mean 'linear'"),
        ({"schedule": "ve"}, "schedule 've'"),
        ({"prediction": "velocit"}, "did you mean 'velocity'"),
        ({"prediction": "data(3)"}, "takes no options"),
        ({"loss_in": "nois"}, "did you mean 'noise'"),
        ({"times": "logit_norml(0, 1)"}, "did you mean 'logit_normal'"),
        ({"times": "logit_normal(0, -1)"}, "std must be positive"),
        ({"weight": "edn"}, "did you mean 'edm'"),
        ({"coupling": "indepndent"}, "did you mean 'independent'"),
        ({"sampling": {"solver": "huen"}}, "did you mean 'heun'"),
        ({"sampling": {"grid": "karas"}}, "did you mean 'karras'"),
        ({"precision": "fp16", "cpu": True}, "needs a GPU"),
    ],
)
def test_names_are_resolved_before_any_work(tmp_path, change, message):
    with pytest.raises((ValueError, TypeError), match=message.replace("(", r"\(")):
        pl.train.loop.trainer_of(tiny(tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


def test_specs_hold_literals_and_run_nothing():
    assert split_spec("net", "dit(patch=2, size=[8, 8], act=relu)") == (
        "dit",
        [],
        {"patch": 2, "size": [8, 8], "act": "relu"},
    )
    assert split_spec("data", "8gaussians") == ("8gaussians", [], {})
    for text in ("mlp(width=(", "mlp(**{'a': 1})", "mlp(width=1+x)", "mlp(a.b)", "a(1)(2)", "x" * 3000, "", "()"):
        with pytest.raises(ValueError, match="net"):
            split_spec("net", text)
    inner = split_spec("net", "f(x=__import__('os').system('true'))")  # only text, for a registry to refuse
    assert inner[2]["x"] == "__import__('os').system('true')" if inner else True


def test_a_shifted_law_names_its_base():
    law = pl.train.assemble.make_times("shifted(3, logit_normal(0.5, 1))", pl.Linear())
    wanted = pl.times.shifted(3, pl.times.logit_normal(0.5, 1))
    u = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(law.quantile(u), wanted.quantile(u))
    assert build("time law", "karras(sigma_max=10.0)", pl.TIMES, schedule=pl.VP()).name.startswith("karras(VP(")


def test_unknown_settings_of_the_trainer_are_told():
    with pytest.raises(ValueError, match="unknown setting 'step': did you mean 'steps'"):
        settings_from({"step": 3})
    with pytest.raises(ValueError, match="unknown setting 'batchsize'"):
        own_trainer("unused", batchsize=3)


# --- data and nets that do not fit ----------------------------------------------------------------------------------


def labelled(n=60, classes=3):
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return Dataset(x=x, y=torch.arange(n) % classes, name="toy", class_names=tuple("abcdefgh"[:classes]))


def plain_trainer(out, data, net=None, **settings):
    net = pl.nets.MLP(2, 8, 1) if net is None else net
    objective = settings.pop("objective", None) or pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    return Trainer(net=net, objective=objective, data=data, out=str(out), progress=False, **{"steps": 2, **settings})


class Reshaping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x_t, t):
        return self.weight * x_t[:, :1]


def bad_points(value):
    x = torch.randn(20, 2)
    x[3, 1] = value
    return x


@pytest.mark.parametrize(
    ("data", "net", "message"),
    [
        (bad_points(float("nan")), None, "1 of 20 samples of data have NaN"),
        (bad_points(float("inf")), None, "NaN or infinity"),
        (torch.randn(20, 3), None, "x_t must hold 2 numbers"),
        (torch.zeros(20, 2, dtype=torch.int64), None, "floating tensor"),
        ([[1.0, 2.0]], None, "data must be"),
        ((torch.randn(20, 2), torch.rand(20)), None, "labels must be an integer tensor"),
        ((torch.randn(20, 2), torch.arange(20) - 1), None, "labels y must lie in 0"),
        (labelled(), pl.nets.MLP(2, 8, 1, num_classes=2), "labels go up to 2, but the net has num_classes=2"),
        (labelled(), pl.nets.MLP(2, 8, 1), "takes no condition"),
        (labelled(), WithDropout(), "y= is read by nothing"),
        (torch.randn(20, 2), Reshaping(), "net must return the shape of x_t"),
        (torch.randn(20, 2), nn.ReLU(), "with weights to train"),
        (torch.randn(20, 2), lambda x, t: x, "torch.nn.Module"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(tmp_path, data, net, message):
    with pytest.raises((ValueError, TypeError), match=message.replace("(", r"\(")):
        plain_trainer(tmp_path / "run", data, net)
    assert not (tmp_path / "run").exists()


def test_an_objective_that_is_not_finite_or_no_scalar_is_refused(tmp_path):
    with pytest.raises(ValueError, match="before any training"):
        plain_trainer(tmp_path / "r", torch.randn(20, 2), objective=lambda net, x, **k: x.sum() * float("nan"))
    with pytest.raises(TypeError, match="scalar"):
        plain_trainer(tmp_path / "r", torch.randn(20, 2), objective=lambda net, x, **k: x)


# --- runs -----------------------------------------------------------------------------------------------------------


def test_samples_depend_on_their_seed_and_on_no_batch(trained):
    run = Run.open(trained)
    together = run.sample(7, steps=4)
    torch.testing.assert_close(run.sample(7, steps=4, batch_size=2), together, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        run.sample(3, steps=4, seed=2, y=run.labels(7)[2:5]), together[2:5], rtol=1e-5, atol=1e-6
    )
    assert torch.equal(run.sample(7, steps=4), together)
    assert not torch.equal(run.sample(7, steps=4, seed=1), together)


def test_samples_in_half_precision_are_near_and_densities_are_whole(trained, tmp_path):
    whole, half = Run.open(trained), Run.open(trained, precision="bf16")
    apart = (half.sample(50, steps=4) - whole.sample(50, steps=4)).abs()
    assert 0.0 < apart.max() < 0.1  # bf16 has 8 bits
    states = half.trajectory(50, steps=4).trajectory
    assert states is not None
    assert states.dtype == torch.float32
    x = torch.randn(3, 2)
    assert torch.equal(half.field(x, 0.5, y=half.labels(3)).velocity, whole.field(x, 0.5, y=whole.labels(3)).velocity)
    drawn = [draw_in_shards(run, tmp_path, 4, steps=4).recipe for run in (whole, half)]
    assert drawn[0] != drawn[1]  # or samples of one would pass for those of the other
    for name, match in (("fp16", "needs a GPU"), ("half", "one of no, bf16, fp16")):
        with pytest.raises(ValueError, match=match):
            Run.open(trained, precision=name)


def test_a_reopened_run_is_the_run_that_was_trained(tmp_path):
    fresh = fit(tiny(tmp_path))
    again = Run.open(tmp_path)
    assert torch.equal(fresh.sample(5, steps=3), again.sample(5, steps=3))
    assert again.config == fresh.config
    assert (again.step, again.shape, again.class_names) == (24, (2,), ("0", "1"))
    ours, theirs = fresh.data, again.data
    assert torch.equal(ours.train.x, theirs.train.x)
    assert torch.equal(ours.held_out.x, theirs.held_out.x)
    rows = {tuple(row) for row in ours.train.x.tolist()}
    assert not rows & {tuple(row) for row in ours.held_out.x.tolist()}


def test_samples_come_in_the_units_of_the_data(tmp_path):
    """A net of zero velocity returns its noise, so samples are mean + std · noise, per feature."""
    data = torch.tensor([100.0, -3.0]) + torch.tensor([7.0, 0.01]) * torch.randn(500, 2)
    net = pl.nets.MLP(2, 4, 1)
    run = plain_trainer(tmp_path, data, net, held_out=0.0).run()
    with torch.no_grad():
        for weight in run.net.parameters():
            weight.zero_()
    z = pl.sample(run.field, (50, 2), seeds=range(50), steps=2)
    torch.testing.assert_close(
        run.sample(50, steps=2), data.mean(0) + data.std(0, correction=0) * z, rtol=1e-4, atol=1e-4
    )


def test_whole_levels_are_clipped_and_rounded(tmp_path):
    images = torch.randint(0, 17, (40, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    data = Dataset(x=images, name="grey", image=True, levels=17)
    net = pl.nets.DiT(4, 1, patch=2, width=8, depth=1, heads=2)
    x = plain_trainer(tmp_path, data, net).run().sample(20, steps=2)
    assert torch.equal(x, x.round())
    assert x.min() >= 0.0
    assert x.max() <= 16.0


def test_labels_in_turn_by_default_and_checked(trained):
    run = Run.open(trained)
    assert run.labels(5).tolist() == [0, 1, 0, 1, 0]
    assert run.labels(3, 1).tolist() == [1, 1, 1]
    assert run.labels(2, [-1, 0]).tolist() == [-1, 0]
    for y, message in ((2, "0 … 1"), (-2, "0 … 1"), ([0, 1], "one label or 3"), (0.5, "whole numbers")):
        with pytest.raises((ValueError, TypeError), match=message):
            run.labels(3, y)
    with pytest.raises(ValueError, match="n and batch_size must be at least 1"):
        run.sample(0)


def test_guidance_of_one_is_none_and_costs_none(trained):
    run = Run.open(trained)
    assert torch.equal(run.sample(4, steps=3, guidance=1.0), run.sample(4, steps=3))
    assert not torch.equal(run.sample(4, steps=3, guidance=3.0), run.sample(4, steps=3))
    assert run.trajectory(4, steps=3, guidance=1.0).network_evaluations == 6


def test_sampling_defaults_of_the_run_are_used_and_overridden(tmp_path):
    run = fit(tiny(tmp_path, steps=2, sampling={"solver": "euler", "evaluations": 5, "grid": "cosine"}))
    solution = run.trajectory(2)
    assert (solution.steps, solution.evaluations) == (5, 5)
    assert float(solution.times[1]) == pytest.approx(math.sin(math.pi / 10) ** 2)
    assert run.trajectory(2, steps=3).steps == 3
    assert run.trajectory(2, grid=torch.tensor([0.0, 0.5, 1.0])).steps == 2
    with pytest.raises(ValueError, match="not both"):
        run.sample(2, steps=3, evaluations=6)


def test_a_run_of_ones_own_net_is_reopened_with_it(tmp_path):
    run = own_trainer(tmp_path).fit()
    expected = run.sample(4, steps=3)
    with pytest.raises(ValueError, match=r"own net .*WithDropout"):
        Run.open(tmp_path)
    again = Run.open(tmp_path, net=WithDropout(), objective=run.objective)
    torch.testing.assert_close(again.sample(4, steps=3), expected)
    with pytest.raises(ValueError, match="your own objective"):
        _ = Run.open(tmp_path, net=WithDropout()).field
    with pytest.raises(ValueError, match="from Python objects"):
        _ = again.config


def test_changed_data_are_noticed(tmp_path):
    import numpy as np

    x = torch.randn(50, 2).numpy()
    np.save(tmp_path / "mine.npy", x)
    run_path = tmp_path / "run"
    fit(tiny(run_path, data=str(tmp_path / "mine.npy"), steps=2))
    np.save(tmp_path / "mine.npy", x + 1.0)
    with pytest.raises(ValueError, match="have changed"):
        _ = Run.open(run_path).data
    with pytest.raises(ValueError, match="not those that"):
        fit(tiny(run_path, data=str(tmp_path / "mine.npy"), steps=4), resume=True)


def test_a_run_is_measured_against_its_held_out_part(tmp_path):
    run = fit(tiny(tmp_path, steps=4, held_out=0.3))
    with pytest.raises(TypeError, match=r"write \['fd'\]"):
        assess(run, n=40, metrics="fd")
    found = assess(run, n=40, metrics=["sliced_w2"], steps=2)
    assert found.report["sliced W2"].n == 30
    assert found.samples.shape == (40, 2)
    assert found.report.agreement.n == 40
    assert (tmp_path / "classifier").is_dir()
    bare = dataclasses.replace(run, settings=tiny(tmp_path, held_out=0.0))
    with pytest.raises(ValueError, match="held out no data"):
        assess(bare)


def test_half_precision_on_the_cpu_trains(tmp_path):
    run = fit(tiny(tmp_path, steps=4, precision="bf16", cpu=True))
    assert all(p.dtype == torch.float32 for p in run.net.parameters())
    assert math.isfinite(run.log[-1]["loss"])
