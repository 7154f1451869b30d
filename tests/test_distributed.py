"""Several processes: the same run as one, checkpoints that fit any number, failures that are everybody's, samples in shards.

`together` runs a case of this file in two processes over gloo: this file is started once as a script, which imports
everything and forks for each case.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import torch
from torch import nn

import pathline as pl
from pathline._draws import Draws
from pathline.data import Dataset
from pathline.train import LockedError, Run, TrainConfig, Trainer, drawing
from pathline.train import checkpoint as ckpt
from pathline.train.cost import count_cost
from pathline.train.drawing import draw_in_shards
from pathline.train.lock import Lock
from pathline.train.parallel import blocks_of, make_lean
from pathline.train.processes import ElsewhereError, Processes, share_of
from pathline.train.saving import claim

ROOT = Path(__file__).parents[1]
LIMIT = 300.0
"""Seconds after which a case counts as hung."""

# ------------------------------------------------------------------------------------------ two processes


def serve():
    """Read cases from the standard input, one JSON a line, and answer with what each process returned or raised."""
    import accelerate  # noqa: F401
    import torch.distributed.fsdp

    torch.set_num_threads(1)
    for line in sys.stdin:
        told = json.loads(line)
        print(json.dumps(_run(told["case"], Path(told["path"]), told["options"], told["count"])), flush=True)


def _run(case, path, options, count):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = {}
    for rank in range(count):
        child = os.fork()
        if not child:
            _child(case, path, options, rank, count, port)
        children[child] = rank
    begin, answers = time.monotonic(), [None] * count
    while children and time.monotonic() - begin < LIMIT:
        for child, rank in list(children.items()):
            if os.waitpid(child, os.WNOHANG)[0]:
                del children[child]
                told = path / f"{rank}.json"
                answers[rank] = json.loads(told.read_text()) if told.is_file() else {"error": "died"}
                told.unlink(missing_ok=True)
        time.sleep(0.01)
    for child, rank in children.items():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        answers[rank] = {"error": "hung"}
    return answers


def _child(case, path, options, rank, count, port):
    local = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in local.items()}, MASTER_ADDR="127.0.0.1")
    os.environ.pop("KMP_AFFINITY", None)
    try:
        answer = {"value": CASES[case](path, **options)}
    except BaseException as error:
        traceback.print_exc()
        answer = {"error": type(error).__name__, "message": str(error), "code": getattr(error, "code", None)}
    (path / f"{rank}.json").write_text(json.dumps(answer))
    sys.stderr.flush()
    os._exit(0)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """``together(case, path, **options)``: what each of two processes answered."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    noise = (tmp_path_factory.mktemp("serve") / "stderr").open("w+")
    server = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    def call(case, path, *, count=2, **options):
        path.mkdir(parents=True, exist_ok=True)
        order = {"case": case.__name__, "path": str(path), "options": options, "count": count}
        server.stdin.write(json.dumps(order) + "\n")
        server.stdin.flush()
        answers = json.loads(server.stdout.readline())
        if any(answer.get("error") in ("hung", "died") for answer in answers):
            noise.seek(0)
            raise AssertionError(f"{answers}\n{noise.read()[-4000:]}")
        return answers

    yield call
    server.stdin.close()
    server.wait(20)
    noise.close()


def values(answers):
    """What the processes returned; what they raised fails the test."""
    assert all("value" in answer for answer in answers), answers
    return [answer["value"] for answer in answers]


# ------------------------------------------------------------------------------------------ cases

TINY = {
    "data": "circles(n=200)", "net": "mlp(width=16, depth=2)", "steps": 20, "batch_size": 33, "log_every": 5,
    "checkpoint_every": 10, "warmup": 5, "lr": 0.01, "cpu": True, "ema_also": "power(0.1)",
}  # fmt: skip
"""An odd batch, so that processes and pieces have different numbers of rows; labels, some of them dropped."""
VARIANTS = {
    "plain": {},
    "accumulated": {"accumulate": 3},
    "sharded": {"shard": True, "ema_snapshots": 10, "keep_best": 1},
    "sharded transformer": {
        "data": "gray", "net": "dit(width=16, depth=2, heads=2)", "shard": True, "recompute": True, "batch_size": 8,
        "accumulate": 2, "dequantize": True,
    },
    "coupled": {"coupling": "exact_ot"},
    "coupled as a whole": {"coupling": "prepared"},
    "bridge from a source": {"source": "moons(n=200)", "bridge": "brownian(0.5)", "score_head": True},
    "read from a file": {"data": "file"},
}  # fmt: skip


def config(path, **changes):
    """`TINY` with changes; data "file" are read row by row, "gray" are small images of whole levels."""
    data = changes.get("data")
    if data in ("file", "gray"):
        changes["data"] = str(path.parent / f"{data}.npy" if data == "file" else path.parent / "gray.npz")
    return TrainConfig.from_dict({**TINY, **changes, "out": str(path)})


def write_data(path):
    import numpy as np

    rng = np.random.default_rng(0)
    np.save(path / "file.npy", rng.normal(size=(150, 3)).astype(np.float32))
    np.savez(path / "gray.npz", x=rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), y=rng.integers(0, 3, 60))


def fit(path, **changes):
    """Losses by the log, and the averaged weights, of a run."""
    resume = changes.pop("resume", False)
    run = pl.fit(config(path, **changes), progress=False, resume=resume)
    return told_of(run)


def told_of(run):
    weights = torch.cat([p.detach().double().flatten() for p in run.net.parameters()])
    return {
        "losses": [r["loss"] for r in run.log],
        "bins": [r.get("loss_by_t", []) for r in run.log],
        "weights": weights.tolist(),
    }


def variants(path, names):
    return {name: fit(path / name, **VARIANTS[name]) for name in names}


class Noisy(nn.Module):
    """Dropout, which draws from the global generator, a buffer, and weights that never get a gradient."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Dropout(0.2), nn.Linear(16, 2))
        self.spare = nn.Linear(2, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x_t, t):
        self.seen += 1.0
        return self.body(torch.cat([x_t, t.expand(len(x_t))[:, None]], 1))


def trainer_of_mine(path, *, resume=False, steps=20, own=False, seed=0, **changes):
    torch.manual_seed(int(os.environ.get("RANK", "0")) + seed)  # a user's script seeds or not: the first process counts
    matching = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)
    objective = (lambda net, x_1, generator: matching(net, x_1, generator=generator)) if own else matching
    data = pl.data.moons(200, generator=torch.Generator().manual_seed(1)).x
    return Trainer(
        net=Noisy(), objective=objective, data=data, out=str(path), resume=resume, progress=False,
        **{"steps": steps, "batch_size": 16, "log_every": 5, "checkpoint_every": 10, "warmup": 0, "cpu": True, **changes},
    )  # fmt: skip


def interrupted(path, own):
    """A run in one go, and one that stops half way, goes on in new objects; the weights of both."""
    whole = told_of(trainer_of_mine(path / "whole", own=own).fit())
    trainer_of_mine(path / "half", own=own).fit(until=10)
    return whole, told_of(trainer_of_mine(path / "half", resume=True, own=own, seed=5).fit())


def failing(path, where):
    """Something goes wrong in one process."""
    rank = int(os.environ["RANK"])
    long = {"steps": 4000, "checkpoint_every": 4000} if where == "stop" else {}  # they ask each other twice a second
    trainer = trainer_of_mine(path / where, **long)
    if where == "save" and rank == 0:
        sync = ckpt._sync

        def full(file):
            if "step-000000020" in str(file):
                raise OSError(28, "No space left on device")
            sync(file)

        ckpt._sync = full
    if where == "step" and rank == 1:
        trainer.objective = _raise
    if where == "stop" and rank == 1:
        kept = trainer.ema.update
        trainer.ema.update = lambda k: (os.kill(os.getpid(), signal.SIGTERM) if k == 3 else None, kept(k))
    trainer.fit()


def _raise(*given, **named):
    raise RuntimeError("one process cannot go on")


def refused(path, what):
    if what == "batch":
        trainer_of_mine(path / "new", batch_size=3, accumulate=2)
    elif what == "data":
        extra = int(os.environ["RANK"])
        Trainer(net=Noisy(), objective=_raise, data=torch.zeros(20 + extra, 2), out=str(path / "new"), cpu=True)
    elif what == "folder":
        trainer_of_mine(path)
    elif what == "muon":
        trainer_of_mine(path / "new", shard=True, optimizer="muon")


def draw(path, kill=False, **options):
    run = Run.open(path / "run")
    drawing.SHARD = 64
    if kill and os.environ["RANK"] == "1":  # dies after its first file
        from pathline.train.shards import Shards

        kept = Shards.write

        def deadly(self, k, tensors):
            kept(self, k, tensors)
            raise RuntimeError("killed")

        Shards.write = deadly
    draw_in_shards(run, path / "parts", processes=Processes.joined(cpu=True), steps=3, **options)


CASES = {case.__name__: case for case in (variants, fit, interrupted, failing, refused, draw)}

# ------------------------------------------------------------------------------------------ training


def close(a, b):
    """Each loss to 1e-4."""
    torch.testing.assert_close(torch.tensor(a), torch.tensor(b), rtol=1e-4, atol=1e-6)


def near(a, b):
    """Weights to 1e-3 in all: Adam's step of a gradient near 0 is a matter of rounding."""
    a, b = (torch.as_tensor(v, dtype=torch.float64).flatten() for v in (a, b))
    assert (a - b).norm() <= 1e-3 * b.norm()


def test_the_parts_of_a_batch_see_what_the_whole_sees():
    net = nn.Linear(2, 2)
    x_1, y = torch.randn(10, 2), torch.arange(10) % 3

    def model(x_t, t, y):
        return net(x_t) + t[:, None] * (y[:, None] + 1)

    bridge = pl.BridgePath(pl.Linear(), pl.paths.GAMMAS["brownian"](0.5))
    for objective in (
        pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY, label_dropout=0.5),
        pl.objectives.BridgeMatching(bridge, label_dropout=0.5),
    ):
        whole = objective.per_sample(model, x_1, y=y, generator=torch.Generator().manual_seed(3))
        found = []
        for mine in (slice(0, 6), slice(6, 10)):  # two processes, the pieces of each
            draws = Draws(torch.Generator().manual_seed(3), 10, mine)
            draws.begin()
            for piece in (slice(0, 3), slice(3, mine.stop - mine.start)):
                rows = slice(mine.start + piece.start, mine.start + piece.stop)
                found.append(objective.per_sample(model, x_1[rows], y=y[rows], generator=draws.part(piece)))
        torch.testing.assert_close(torch.cat(found), whole)
    with pytest.raises(ValueError, match=r"has 3 rows, 4 were asked for"):
        objective(model, x_1[:4], y=y[:4], generator=draws.part(slice(0, 3)))


@pytest.mark.parametrize(("total", "parts"), [(10, 3), (7, 7), (100, 8)])
def test_rows_are_shared_out_evenly(total, parts):
    slices = [share_of(total, k, parts) for k in range(parts)]
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(total))
    sizes = {s.stop - s.start for s in slices}
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.slow
def test_a_run_is_the_same_whatever_the_processes(together, tmp_path):
    """Losses, losses by time and averaged weights of one and of two processes, in every form of data and objective."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_data(tmp_path / folder)
    first, second = values(together(variants, tmp_path / "two", names=list(VARIANTS)))
    for name, told in VARIANTS.items():
        alone = fit(tmp_path / "one" / name, **{**told, "shard": False, "accumulate": 1, "recompute": False})
        assert first[name] == second[name], name
        close(first[name]["losses"], alone["losses"])
        near(first[name]["weights"], alone["weights"])
        for ours, theirs in zip(first[name]["bins"], alone["bins"], strict=True):
            assert [b is None for b in ours] == [b is None for b in theirs]
    one, two = (ckpt.load_latest(tmp_path / folder / "sharded" / "checkpoints") for folder in ("one", "two"))
    assert one.tensors.keys() == two.tensors.keys()
    for file in ("ema-power-0.1", "optimizer"):
        assert one.tensors[file].keys() == two.tensors[file].keys()
        for key, value in one.tensors[file].items():
            near(two.tensors[file][key], value)
    assert Run.open(tmp_path / "two" / "sharded", average="power(0.15)").step == 20  # from snapshots
    assert one.facts["score"] == pytest.approx(two.facts["score"], rel=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_with_any_number_of_processes(together, tmp_path):
    whole = values(together(fit, tmp_path / "whole"))[0]
    values(together(fit, tmp_path / "run", steps=20, shard=True))
    changed = {"steps": 30, "resume": True, "decay": "cosine"}
    alone = fit(tmp_path / "straight", steps=20)
    near(whole["weights"], alone["weights"])
    straight = fit(tmp_path / "straight", **changed)
    again = fit(tmp_path / "run", **changed)  # from two with shards to one
    close(again["losses"], straight["losses"])
    near(again["weights"], straight["weights"])
    back = values(together(fit, tmp_path / "whole", **changed, shard=True))[0]  # from two whole to two with shards
    near(back["weights"], straight["weights"])


@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_a_resumed_run_of_two_processes_equals_an_uninterrupted_one_to_the_bit(together, tmp_path, own):
    """Dropout and, where the objective is the user's, noise are drawn by each process for itself, and go on as well."""
    for whole, resumed in values(together(interrupted, tmp_path, own=own)):
        assert whole["weights"] == resumed["weights"]
        assert whole["losses"] == resumed["losses"]
    states = ckpt.load_latest(tmp_path / "whole" / "checkpoints").tensors["randomness"]
    assert not torch.equal(states["cpu"], states["cpu.1"])
    assert torch.equal(states["noise"], states["noise.1"]) == (not own)


@pytest.mark.slow
def test_a_failure_of_one_process_is_one_of_all_and_nobody_hangs(together, tmp_path):
    first, second = together(failing, tmp_path, where="save")
    assert first["error"] == "CheckpointError"
    assert "the disk is full" in first["message"]
    assert second["error"] == "ElsewhereError"
    assert "process 0 has failed: checkpoint of step 20" in second["message"]
    assert [p.name for p in ckpt.list_checkpoints(tmp_path / "save" / "checkpoints")] == ["step-000000010"]
    first, second = together(failing, tmp_path, where="step")
    assert second["message"] == "one process cannot go on"
    assert "error" in first  # its connection has ended
    answers = together(failing, tmp_path, where="stop")
    assert {answer["error"] for answer in answers} == {"Interrupted"}
    assert {answer["code"] for answer in answers} == {128 + signal.SIGTERM}
    step = int(ckpt.list_checkpoints(tmp_path / "stop" / "checkpoints")[0].name[-9:])
    assert 3 <= step < 4000
    assert all(f"stopped at step {step} of 4000" in answer["message"] for answer in answers)


@pytest.mark.slow
def test_what_cannot_be_is_refused_in_all_processes_before_any_work(together, tmp_path):
    (tmp_path / "something").write_text("")
    for what, messages in (
        ("batch", ["at least 4, one for each piece of 2 processes"] * 2),
        ("data", ["the data must be the same in all processes"] * 2),
        ("folder", ["exists and is not empty", "process 0 has failed: .* is not empty"]),
        ("muon", ["does not go with the optimiser muon"] * 2),
    ):
        answers = together(refused, tmp_path, what=what)
        for answer, message in zip(answers, messages, strict=True):
            with pytest.raises(AssertionError, match=message):
                raise AssertionError(answer["message"])
        assert not (tmp_path / "new").exists()


def test_one_process_has_nothing_to_share(tmp_path):
    with pytest.raises(ValueError, match="start several with torchrun"):
        fit(tmp_path, shard=True)
    alone = Processes(torch.device("cpu"))
    assert (alone.once(lambda: 3), alone.most(1.5), alone.rows(8)) == (3, [1.5], slice(0, 8))
    assert issubclass(ElsewhereError, RuntimeError)


# ------------------------------------------------------------------------------------------ restarts


def test_a_restart_goes_on_with_its_own_run_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "mine")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    fit(tmp_path / "run", steps=10)
    neither = {"resume": False, "overwrite": False}
    with pytest.raises(FileExistsError):  # the first start of another call
        claim(tmp_path / "run", **neither)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert claim(tmp_path / "run", **neither) == {"resume": True, "overwrite": False}
    assert claim(tmp_path / "run", resume=False, overwrite=True) == {"resume": True, "overwrite": False}
    for path in ckpt.list_checkpoints(tmp_path / "run" / "checkpoints"):
        ckpt._discard(path)
    assert claim(tmp_path / "run", **neither) == {"resume": False, "overwrite": True}  # nothing was saved yet
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "another")
    with pytest.raises(FileExistsError):
        claim(tmp_path / "run", **neither)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_distributed import config, pl
trainer = pl.train.loop.trainer_of(config(Path({out!r})), progress=False)
update = trainer.ema.update
def deadly(k):
    if k == 14 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    update(k)
trainer.ema.update = deadly
trainer.fit()
trainer.processes.leave()
"""


@pytest.mark.slow
def test_torchrun_starts_a_run_again_when_a_process_is_killed(together, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(tests=str(ROOT / "tests"), out=str(tmp_path / "run")))
    told = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--max-restarts", "1",
         "--monitor-interval", "0.1", str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    assert "SIGKILL" in told.stderr or "-9" in told.stderr
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"]) for e in events if e.get("event") in ("start", "resume")] == [
        ("start", 0),
        ("resume", 10),
    ]
    values(together(fit, tmp_path / "straight"))
    straight, killed = (Run.open(tmp_path / name) for name in ("straight", "run"))
    assert straight.step == killed.step == 20
    for a, b in zip(straight.net.parameters(), killed.net.parameters()):
        assert torch.equal(a, b)


# ------------------------------------------------------------------------------------------ lean


def test_recomputing_gives_the_same_gradients_and_keeps_less():
    def gradients(recompute):
        torch.manual_seed(0)
        net = pl.nets.DiT(8, 1, patch=2, width=16, depth=3, heads=2)
        for p in (net.modulation.weight, net.head.weight):
            nn.init.normal_(p, std=0.1)
        make_lean(net, pl.train.config.Settings(recompute=recompute), (1, 8, 8))
        assert len(blocks_of(net)) == 3
        kept = [0]

        def count(value):
            kept[0] += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            loss = net(torch.ones(2, 1, 8, 8), torch.rand(2)).square().sum()
        loss.backward()
        return kept[0], [p.grad for p in net.parameters()]

    (more, plain), (less, again) = gradients(False), gradients(True)
    torch.testing.assert_close(again, plain)
    assert less < 0.6 * more
    with pytest.raises(ValueError, match="MLP has none"):
        make_lean(pl.nets.MLP(2), pl.train.config.Settings(recompute=True), (2,))


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 3, padding=1)
        self.seen = []

    def forward(self, x_t, t):
        self.seen.append(x_t.is_contiguous(memory_format=torch.channels_last) and not x_t.is_contiguous())
        return self.layer(x_t) * t[:, None, None, None]


def test_pieces_and_layout_leave_the_run_as_it_is(tmp_path):
    data = Dataset(x=torch.randn(40, 2, 4, 4, generator=torch.Generator().manual_seed(0)), image=True)
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY)

    def trained(name, **changes):
        torch.manual_seed(0)
        net = Conv()
        run = Trainer(
            net=net, objective=objective, data=data, out=str(tmp_path / name), steps=6, batch_size=10, log_every=2,
            warmup=0, lr=0.01, cpu=True, progress=False, **changes,
        ).fit()  # fmt: skip
        return told_of(run), net.seen

    plain, seen = trained("plain")
    assert not any(seen)
    for name, changes in (("pieces", {"accumulate": 4}), ("layout", {"channels_last": True})):
        found, seen = trained(name, **changes)
        close(found["losses"], plain["losses"])
        near(found["weights"], plain["weights"])
        assert any(seen) == (name == "layout")
    with pytest.raises(ValueError, match="channels_last is for images"):
        fit(tmp_path / "flat", channels_last=True)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_is_the_same(tmp_path):
    compiled = fit(tmp_path / "compiled", steps=5, time_bins=0, compile=True)
    plain = fit(tmp_path / "plain", steps=5, time_bins=0)
    close(compiled["losses"], plain["losses"])
    near(compiled["weights"], plain["weights"])


@pytest.mark.parametrize(("width", "depth"), [(32, 2), (64, 3)])
def test_the_cost_of_a_step_is_counted_without_taking_it(width, depth):
    """Operations by the formula of the blocks; bytes kept and state by those of a real step."""
    torch.manual_seed(0)
    net = pl.nets.DiT(16, 3, patch=2, width=width, depth=depth, heads=2)
    cost = count_cost(net, (3, 16, 16))
    assert cost.flops == pytest.approx(72 * depth * 64 * width**2 + 12 * depth * 64**2 * width, rel=0.1)
    weights = {p.untyped_storage().data_ptr() for p in net.state_dict(keep_vars=True).values()}
    kept = {}

    def keep(value):
        if value.untyped_storage().data_ptr() not in weights:
            kept[value.untyped_storage().data_ptr()] = value
        return value

    from torch.nn.attention import SDPBackend, sdpa_kernel

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), sdpa_kernel(SDPBackend.MATH):
        net(torch.randn(4, 3, 16, 16), torch.rand(4)).sum().backward()
    assert sum(v.untyped_storage().nbytes() for v in kept.values()) == pytest.approx(4 * cost.kept, rel=0.1)
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.step()
    held = [*net.parameters(), *(p.grad for p in net.parameters())]
    held += [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    bare = cost.memory(0, averages=0)
    assert bare == pytest.approx(sum(v.numel() * v.element_size() for v in held), rel=1e-3)
    assert cost.kept_again < 0.7 * cost.kept
    both = {"processes": 4, "shard": True}
    assert cost.memory(8, **both, averages=0) == pytest.approx(bare / 4 + 2 * cost.kept)
    assert cost.memory(8, accumulate=2, half=True, averages=0) == pytest.approx(bare + 2 * cost.kept)
    assert cost.seconds(8, rate=1e9, processes=4, recompute=True) == pytest.approx(8 / 3 * cost.flops / 1e9)
    assert cost.traffic(**both) == pytest.approx(0.75 * 12 * cost.weights)


# ------------------------------------------------------------------------------------------ samples


@pytest.mark.slow
def test_samples_are_the_same_whoever_draws_them_and_go_on(together, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "SHARD", 64)
    fit(tmp_path / "run", steps=5, checkpoint_every=5)
    run = Run.open(tmp_path / "run")
    expected = run.sample(300, steps=3, seed=7)
    options = {"n": 300, "seed": 7, "batch_size": 64}

    def joined(shards):
        parts = [shards.read(k) for k in range(len(shards))]
        return torch.cat([p["x"] for p in parts]), torch.cat([p["y"] for p in parts])

    shards = draw_in_shards(run, tmp_path / "one", steps=3, **options)
    x, y = joined(shards)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(y, run.labels(300))
    answers = together(draw, tmp_path, kill=True, **options)
    assert {"RuntimeError"} <= {answer.get("error") for answer in answers}
    left = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "parts").glob("samples-*")}
    assert left
    values(together(draw, tmp_path, **options))
    for name, moment in left.items():
        assert (tmp_path / "parts" / name).stat().st_mtime_ns == moment  # kept
    drawn = type(shards)(tmp_path / "parts", "samples", json.loads((tmp_path / "parts" / "recipe.json").read_text()))
    torch.testing.assert_close(joined(drawn)[0], expected, rtol=1e-5, atol=1e-6)
    first = shards.path(0)
    first.write_bytes(first.read_bytes()[:-1])  # damaged: drawn again, and at the size that it was begun with
    assert shards.missing() == [0]
    again = draw_in_shards(run, tmp_path / "one", steps=3, **{**options, "batch_size": 100})
    assert again.recipe["shard"] == 64
    torch.testing.assert_close(joined(again)[0], expected, rtol=1e-5, atol=1e-6)
    other = draw_in_shards(run, tmp_path / "one", steps=3, **{**options, "seed": 8})
    assert not torch.equal(joined(other)[0], x)
    with Lock(tmp_path / "one"), pytest.raises(LockedError):
        draw_in_shards(run, tmp_path / "one", steps=3, **options)


def test_many_samples_of_the_command_line_are_drawn_in_shards(tmp_path, monkeypatch):
    import numpy as np

    from pathline.cli import main, sample

    fit(tmp_path / "run", steps=5, checkpoint_every=5)
    command = ["sample", str(tmp_path / "run"), "-n", "70", "--steps", "2", "--no-picture", "--cpu"]
    assert main(command) == 0
    whole = dict(np.load(tmp_path / "run" / "samples.npz"))
    monkeypatch.setattr(sample, "MANY", 50)
    monkeypatch.setattr(drawing, "SHARD", 32)
    assert main([*command, "--batch", "32"]) == 0
    parts = dict(np.load(tmp_path / "run" / "samples.npz"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        np.testing.assert_allclose(parts[name], value, rtol=1e-5, atol=1e-6)
        assert parts[name].dtype == value.dtype
    assert not (tmp_path / "run" / "samples.parts").exists()


if __name__ == "__main__":
    serve()
