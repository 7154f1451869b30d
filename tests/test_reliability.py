"""What happens when things go wrong: kills, full disks, damaged files, strangers' files, gradients of no use."""

import errno
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import pathline as pl
from pathline.train import CheckpointError, DivergedError, LockedError, Run, TrainConfig, Trainer
from pathline.train import checkpoint as ckpt
from pathline.train.checks import make_folder
from pathline.train.config import Settings
from pathline.train.lock import LOCK, Lock, _take_by_name
from pathline.train.log import Log, read_log
from pathline.train.optim import Stepper

ROOT = Path(__file__).parents[1]


def tiny(out, **changes):
    return TrainConfig.from_dict(
        {"data": "circles(n=200)", "net": "mlp(width=16, depth=1)", "steps": 16, "batch_size": 32, "log_every": 4,
         "checkpoint_every": 8, "warmup": 5, "out": str(out), **changes}
    )  # fmt: skip


def fit(config, **options):
    return pl.fit(config, progress=False, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    return fit(tiny(path)).path


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


# ------------------------------------------------------------------------------------------ kills


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the benchmark forks")
def test_runs_killed_at_any_moment_end_with_the_same_bits():
    """Two runs, each killed up to twice, at random times and inside saves; `benchmarks/kill.py` does twenty."""
    script = ROOT / "benchmarks" / "kill.py"
    if not script.is_file():
        pytest.skip("the benchmarks are not part of the source distribution")
    told = subprocess.run(
        [sys.executable, str(script), "--runs", "2", "--kills", "2", "--seed", "3"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
    assert "2 of 2 runs identical" in told.stdout
    assert "after 0 kills" not in told.stdout


@pytest.mark.parametrize("place", range(0, 14, 2))
def test_a_save_cut_short_at_any_flush_or_rename_leaves_the_one_before(run, monkeypatch, place):
    """The calls that reach the disk fail from the n-th on, as if the process had died there."""
    before = ckpt.load_latest(run / "checkpoints")
    calls = [0]

    class Died(BaseException):
        pass

    def deadly(inner):
        def call(*arguments):
            calls[0] += 1
            if calls[0] > place:
                raise Died
            return inner(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, deadly(getattr(os, name)))
    tensors = {"net": {"w": torch.ones(3)}, "ema": {"w": torch.zeros(3)}, "optimizer": {}}
    try:
        ckpt.save(run / "checkpoints", 24, tensors, {}, keep=2)
        whole = True
    except Died:
        whole = False
    monkeypatch.undo()
    found = ckpt.load_latest(run / "checkpoints")
    assert found.step in (16, 24)
    if found.step == 16:
        assert not whole
        assert all(torch.equal(found.tensors["net"][k], v) for k, v in before.tensors["net"].items())
    else:
        assert torch.equal(found.tensors["net"]["w"], torch.ones(3))


def test_a_torn_last_line_is_cut_and_whole_lines_stay(tmp_path):
    path = tmp_path / "log.jsonl"
    whole = "".join(json.dumps({"step": k, "loss": 0.5, "long": "x" * 9000}) + "\n" for k in range(20))
    path.write_text(whole + '{"step": 99, "lo' + "y" * 100_000)
    log = Log(path)
    log.write(step=20, loss=0.25)
    log.close()
    assert path.read_text() == whole + '{"step": 20, "loss": 0.25}\n'
    path.write_text('{"step')
    Log(path).close()
    assert path.read_text() == ""
    assert read_log(path) == []


# ------------------------------------------------------------------------------------------ disks


def failing(number):
    def call(*arguments, **more):
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    ("number", "where", "message"),
    [
        (errno.ENOSPC, "fsync", "the disk is full: free some space; the last good checkpoint is .*step-000000016"),
        (errno.EROFS, "replace", "read-only: give another folder"),
        (errno.EACCES, "fsync", "change its permissions"),
    ],
)
def test_a_disk_that_refuses_is_told_and_the_old_checkpoints_stay(run, monkeypatch, number, where, message):
    monkeypatch.setattr(os, where, failing(number))
    with pytest.raises(CheckpointError, match=f"checkpoint of step 24 cannot be written.*{message}"):
        ckpt.save(run / "checkpoints", 24, {"net": {"w": torch.ones(3)}}, {}, keep=1)
    monkeypatch.undo()
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-000000008", "step-000000016"]


def test_too_little_space_is_seen_before_anything_is_written(run, monkeypatch):
    usage = shutil.disk_usage(run)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(CheckpointError, match=r"4 MiB are needed and 0 MiB are free.*the disk is full"):
        ckpt.save(run / "checkpoints", 24, {"net": {"w": torch.ones(1 << 20)}}, {}, keep=1)
    assert Run.open(run).step == 16


def test_a_run_on_a_full_disk_ends_with_the_reason_and_goes_on_later(tmp_path, monkeypatch):
    config, sync = tiny(tmp_path), ckpt._sync
    trainer = pl.train.loop.trainer_of(config, progress=False)

    def full(path):
        if "step-000000016" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(path)

    monkeypatch.setattr(ckpt, "_sync", full)
    with pytest.raises(CheckpointError, match=r"the disk is full.*step-000000008, --resume"):
        trainer.fit()
    monkeypatch.undo()
    assert fit(config, resume=True).step == 16


def test_a_folder_that_cannot_be_written_is_told_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match=r"cannot be written.*--out"):
        make_folder(tmp_path / "file" / "run")


# ------------------------------------------------------------------------------------------ one writer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_cannot_write_one_folder(tmp_path):
    reader, writer = os.pipe()
    other = os.fork()
    if not other:
        with Lock(tmp_path):
            os.write(writer, b"held")
            time.sleep(60)
        os._exit(0)
    try:
        assert os.read(reader, 4) == b"held"
        with pytest.raises(LockedError, match=f"is being written by process {other} on "):
            fit(tiny(tmp_path))
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    assert (tmp_path / LOCK).exists()  # the dead hold nothing
    assert fit(tiny(tmp_path)).step == 16


def test_a_lock_file_of_a_dead_process_is_taken_over_where_there_are_no_system_locks(tmp_path):
    path = tmp_path / LOCK
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        _take_by_name(path)
    path.write_text(json.dumps({"pid": 2**30, "host": socket.gethostname()}))
    os.close(_take_by_name(path))
    path.write_text(json.dumps({"pid": 2**30, "host": "elsewhere"}))  # cannot be looked at from here
    with pytest.raises(LockedError, match="on elsewhere"):
        _take_by_name(path)


def test_the_lock_is_let_go_after_a_failure(tmp_path):
    with pytest.raises(RuntimeError, match="inside"), Lock(tmp_path):
        raise RuntimeError("inside")
    with Lock(tmp_path):
        pass


# ------------------------------------------------------------------------------------------ gradients


def test_steps_without_a_finite_gradient_move_nothing_and_are_counted():
    net = nn.Linear(2, 1)
    stepper = Stepper(net, Settings(lr=0.1, warmup=0, skip_limit=3), torch.device("cpu"))
    x = torch.ones(4, 2)
    stepper(net(x).sum(), 0)
    before = [p.detach().clone() for p in net.parameters()]
    moments = {k: v.clone() for k, v in stepper.optimizer.state[net.weight].items()}
    for k, factor in enumerate((float("nan"), float("inf")), 1):
        loss = factor * net(x).sum()
        stepper(loss, k)
        assert float(stepper.kept(loss)) == 0.0
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))
    assert all(torch.equal(v, stepper.optimizer.state[net.weight][k]) for k, v in moments.items())
    assert (stepper.skipped, stepper.stuck) == (2, None)
    stepper(float("nan") * net(x).sum(), 3)
    assert stepper.stuck is not None
    stepper(net(x).sum(), 4)
    assert (stepper.skipped, stepper.stuck) == (3, None)
    assert not torch.equal(before[0], net.weight)


def test_spikes_are_skipped_when_asked_for():
    net = nn.Linear(2, 1)
    stepper = Stepper(net, Settings(lr=1e-3, warmup=0, clip=None, skip_above=5.0), torch.device("cpu"))
    x = torch.ones(4, 2)
    for k in range(30):
        stepper(net(x).sum(), k)
    before = net.weight.detach().clone()
    stepper(4.0 * net(x).sum(), 30)
    assert stepper.skipped == 0
    before = net.weight.detach().clone()
    stepper(20.0 * net(x).sum(), 31)
    assert stepper.skipped == 1
    assert torch.equal(before, net.weight)
    fresh = Stepper(net, Settings(skip_above=5.0), torch.device("cpu"))
    fresh.restore(json.loads(json.dumps(stepper.state())))
    assert fresh.state() == stepper.state()


class Sometimes:
    """An objective whose loss has no value at some steps."""

    def __init__(self, bad):
        self.inner, self.bad, self.calls = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY), bad, -10

    def __call__(self, net, x_1, **given):
        self.calls += 1
        return self.inner(net, x_1, **given) * (float("nan") if self.calls in self.bad else 1.0)


def test_a_bad_batch_now_and_then_does_not_end_a_run(tmp_path):
    def trainer(out, resume=False, begin=0, bad=frozenset({2, 5, 6}), steps=12):
        torch.manual_seed(0)
        data = pl.data.moons(200, generator=torch.Generator().manual_seed(1)).x
        objective = Sometimes(bad)
        made = Trainer(
            net=pl.nets.MLP(2, 8, 1), objective=objective, data=data, out=str(tmp_path / out),
            steps=steps, batch_size=16, log_every=4, checkpoint_every=100, progress=False, resume=resume,
        )  # fmt: skip
        objective.calls = begin - 1
        return made

    run = trainer("a").fit()
    assert [r.get("skipped", 0) for r in run.log] == [1, 2, 0]
    assert all(0.1 < r["loss"] < 10 for r in run.log)
    trainer("b").fit(until=6)
    resumed = trainer("b", resume=True, begin=6).fit()
    assert [(r["step"], r["loss"], r.get("skipped")) for r in resumed.log] == [
        (r["step"], r["loss"], r.get("skipped")) for r in run.log
    ]
    with pytest.raises(DivergedError, match="skipped for their gradients, the limit is 10"):
        trainer("c", bad=frozenset(range(3, 99)), steps=50).fit()


# ------------------------------------------------------------------------------------------ strangers' files


class Planted:
    """Unpickling it leaves a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_in_the_place_of_any_file_of_a_run_is_never_loaded(run, tmp_path):
    trace = tmp_path / "trace"
    poison = pickle.dumps(Planted(trace))
    zipped = tmp_path / "weights.pt"
    torch.save({"w": Planted(trace)}, zipped)
    newest = run / "checkpoints" / "step-000000016"
    for content in (poison, zipped.read_bytes()):
        for file in [*newest.iterdir(), run / "log.jsonl", run / "config.yaml"]:
            kept = file.read_bytes()
            file.write_bytes(content)
            manifest = newest / "manifest.json"
            if file.suffix == ".safetensors":  # even where its checksum fits
                told = {k: v for k, v in json.loads(manifest.read_text()).items() if k != "sha256"}
                told["files"][file.name] = {"bytes": len(content), "sha256": ckpt._digest(file)}
                sound = manifest.read_bytes()
                manifest.write_text(json.dumps({"sha256": ckpt._digest_of(told), **told}))
                with pytest.raises(CheckpointError):
                    ckpt.load(newest)
                manifest.write_bytes(sound)
            elif file == manifest:
                with pytest.raises(CheckpointError):
                    ckpt.load(newest)
            elif file.suffix == ".yaml":
                with pytest.raises(ValueError, match="no readable YAML"):
                    TrainConfig.load(file)
            else:
                assert read_log(file) == []
            file.write_bytes(kept)
    assert Run.open(run).step == 16
    assert not trace.exists()


def test_a_header_that_claims_too_much_is_refused_without_allocating(run):
    file = run / "checkpoints" / "step-000000016" / "ema.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    for content in (len(header).to_bytes(8, "little") + header, (2**62).to_bytes(8, "little") + header):
        file.write_bytes(content)
        manifest = file.parent / "manifest.json"
        told = {k: v for k, v in json.loads(manifest.read_text()).items() if k != "sha256"}
        told["files"][file.name] = {"bytes": len(content), "sha256": ckpt._digest(file)}
        manifest.write_text(json.dumps({"sha256": ckpt._digest_of(told), **told}))
        with pytest.raises(CheckpointError, match=r"ema\.safetensors cannot be read"):
            ckpt.load(file.parent)


def test_yaml_of_strangers_neither_runs_nor_unfolds(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n")
    with pytest.raises(ValueError, match="aliases"):
        TrainConfig.load(path)
    path.write_text(f"out: !!python/object/apply:builtins.open ['{tmp_path}/trace', 'w']\n")
    with pytest.raises(ValueError, match="no readable YAML"):
        TrainConfig.load(path)
    assert not (tmp_path / "trace").exists()
    path.write_text("#" * ((1 << 20) + 1))
    with pytest.raises(ValueError, match="at most 1048576"):
        TrainConfig.load(path)
