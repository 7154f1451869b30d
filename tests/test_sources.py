"""Any source: pairs, coupling made ahead, both standardisations, sampling from source points and back (T27-T31)."""

import os
import threading

import numpy as np
import pytest
import torch

import pathline as pl
from pathline.data import Dataset, toy
from pathline.train import Run, TrainConfig, Trainer, pairing
from pathline.train import checkpoint as ckpt
from pathline.train.assemble import standardizer_of
from pathline.train.config import Settings
from pathline.train.loop import trainer_of
from pathline.train.names import CHECKPOINTS
from pathline.train.pairing import Ahead, works_beside
from pathline.train.source import prepare_source

TINY = {
    "data": "moons(n=300)",
    "source": "8gaussians(n=400)",
    "labels": False,
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


def weights(path, step):
    return ckpt.load(path / CHECKPOINTS / f"step-{step:09d}").tensors["net"]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"coupling": "exact_ot"},
        {"source": None, "coupling": "exact_ot"},
        {"coupling": "sinkhorn(reg=0.5)", "bridge": "brownian(0.5)", "score_head": True},
        {"source": "moons(n=300, seed=7)", "paired": True},
        {"coupling": "prepared(block=64, rounds=2)"},
        {"source": None, "coupling": "semidiscrete"},
    ],
    ids=["source", "source_ot", "noise_ot", "bridge", "paired", "prepared", "semidiscrete"],
)
def test_resumption_is_exact_to_the_bit_whatever_is_paired(tmp_path, changes):
    fit(tiny(tmp_path / "a", **changes))
    trainer_of(tiny(tmp_path / "b", **changes), progress=False).fit(until=10)
    fit(tiny(tmp_path / "b", **changes), resume=True)
    one, two = weights(tmp_path / "a", 24), weights(tmp_path / "b", 24)
    assert all(torch.equal(one[key], two[key]) for key in one)
    run = Run.open(tmp_path / "b")
    x = run.sample(20, seed=3)
    assert torch.equal(x, run.sample(20, seed=3))
    torch.testing.assert_close(run.sample(5, seed=13), x[10:15], rtol=1e-4, atol=1e-4)


def test_pairs_made_ahead_equal_those_made_in_step(tmp_path):
    """The thread changes when pairs are made, not which: x_0 is the coupling of the step's own draw, each point once."""
    trainer = trainer_of(tiny(tmp_path, coupling="exact_ot"), progress=False)
    feed = trainer.feed.open(tmp_path, progress=False)
    assert isinstance(feed, Ahead)
    seen = [feed(step) for step in range(8)]
    late = trainer.feed.open(tmp_path, progress=False)(5)  # no past needed
    feed.close()
    assert torch.equal(late[0], seen[5][0])
    assert torch.equal(late[1]["x_0"], seen[5][1]["x_0"])
    points = trainer.feed.points
    assert points is not None
    for x_1, given in seen:
        drawn = (points[None] == given["x_0"][:, None]).all(-1)
        assert (drawn.sum(1) == 1).all()
        assert drawn.sum(0).max() == 1
        cost = torch.cdist(given["x_0"], x_1).square()
        mixed = cost.diagonal().sum()
        assert all(mixed <= cost.diagonal(k).sum() + cost.diagonal(k - 32).sum() + 1e-3 for k in range(1, 32))


def test_a_single_core_makes_the_same_pairs_without_a_thread(tmp_path, monkeypatch):
    feed = trainer_of(tiny(tmp_path, coupling="exact_ot"), progress=False).feed
    beside = feed.open(tmp_path, progress=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    assert not works_beside(torch.device("cpu"))
    assert works_beside(torch.device("cuda"))
    alone, threads = feed.open(tmp_path, progress=False), threading.active_count()
    for step in range(3):
        one = alone(step)
        assert threading.active_count() == threads
        assert alone.waited() > 0.0
        two = beside(step)
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1]["x_0"], two[1]["x_0"])
        threads = threading.active_count()
    beside.close()


@pytest.fixture
def beside(monkeypatch):
    """As where another core is free."""
    monkeypatch.setattr(pairing, "works_beside", lambda device: True)


@pytest.mark.usefixtures("beside")
def test_the_thread_makes_steps_in_turn_and_not_too_many_ahead():
    """Each step once, whatever a go is; never more than two goes ahead; large pairs in goes of the least size."""
    for numbers, most in ((1, pairing.MOST), (2**22, pairing.LEAST)):
        made = []

        def make(step, numbers=numbers, made=made):
            made.append(step)
            return torch.full((numbers,), float(step)), {"x_0": torch.full((numbers,), -float(step))}

        feed = Ahead(make, torch.device("cpu"))
        for step in range(40):
            x_1, given = feed(step)
            assert (x_1[0], given["x_0"][-1]) == (step, -step)
            assert max(made) <= step + 2 * most
        assert made == sorted(set(made))
        assert feed(7)[0][0] == 7  # a step out of turn
        assert feed(8)[0][0] == 8
        feed.close()
        assert feed(3)[0][0] == 3  # opened again
        feed.close()


@pytest.mark.usefixtures("beside")
def test_what_fails_in_the_thread_is_told_at_its_step():
    def make(step):
        if step == 3:
            raise ValueError("no pairs of step 3")
        return torch.tensor([step]), {}

    feed = Ahead(make, torch.device("cpu"))
    assert [int(feed(step)[0]) for step in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="step 3"):
        feed(3)
    assert int(feed(4)[0]) == 4
    feed.close()


@pytest.mark.usefixtures("beside")
def test_closing_does_not_wait_for_all_that_was_asked_for():
    made, begun, go = [], threading.Event(), threading.Event()

    def make(step):
        made.append(step)
        if step:
            begun.set()
            go.wait(10)
        return torch.tensor([step]), {}

    feed = Ahead(make, torch.device("cpu"))
    feed(0)
    assert begun.wait(10)
    threading.Timer(0.05, go.set).start()
    feed.close()
    assert made == [0, 1]


def test_a_coupled_objective_is_not_coupled_twice(tmp_path):
    calls = []

    class Counting:
        def __call__(self, x_0, x_1, y=None, generator=None):
            calls.append(1)
            return torch.arange(len(x_0)).flip(0)

    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY, coupling=Counting())
    data = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    run = Trainer(
        net=pl.nets.MLP(2, 8, 1),
        objective=objective,
        data=data,
        out=str(tmp_path),
        steps=80,
        held_out=0.0,
        batch_size=10,
        progress=False,
    ).fit()
    assert 80 <= len(calls) <= 80 + 2 * pairing.MOST
    assert run.objective is objective


def test_paired_rows_stay_together_through_division_and_batches(tmp_path):
    """data = 3 source + 1 by the row: every batch, and both held-out parts, keep that."""
    source = torch.randn(120, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(120) % 3
    data = Dataset(x=3 * source + 1, y=labels, class_names=("a", "b", "c"))
    trainer = Trainer(
        net=pl.nets.MLP(2, 8, 1, num_classes=3), objective=pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY),
        data=data, source=source, paired=True, out=str(tmp_path), steps=4, batch_size=16, progress=False, standardize="none",
    )  # fmt: skip
    assert trainer.origin is not None
    assert trainer.origin.held_out is not None
    assert trainer.parts.held_out is not None
    assert torch.equal(trainer.parts.held_out.x, 3 * trainer.origin.held_out.x + 1)
    feed = trainer.feed.open(tmp_path, progress=False)
    for step in range(20):
        x_1, given = feed(step)
        torch.testing.assert_close(x_1, 3 * given["x_0"] + 1)
    run = trainer.fit()
    assert run.origin is not None
    assert run.origin.paired


def test_both_sides_have_units_of_their_own(tmp_path):
    """Source at 100 ± 10, data at -5 ± 0.1: both are seen standardised, samples come out in the units of the data."""
    g = torch.Generator().manual_seed(0)
    source, data = 100 + 10 * torch.randn(500, 2, generator=g), -5 + 0.1 * torch.randn(500, 2, generator=g)
    trainer = Trainer(
        net=pl.nets.MLP(2, 32, 2), objective=pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY), data=data,
        source=source, out=str(tmp_path), steps=150, batch_size=128, lr=5e-3, ema=0.9, progress=False,
    )  # fmt: skip
    x_1, given = trainer.feed.first(128)
    for part in (x_1, given["x_0"]):
        assert part.mean().abs() < 0.3
        assert (part.std() - 1).abs() < 0.3
    run = trainer.fit()
    x = run.sample(200)
    assert (x.mean(0) + 5).abs().max() < 0.05
    assert (x.std(0) - 0.1).abs().max() < 0.04
    begin = 100 + 10 * torch.randn(50, 2, generator=g)
    carried = run.sample(50, x_0=begin, solver="rk4", steps=40)
    torch.testing.assert_close(run.encode(carried), begin, rtol=0, atol=0.3)
    solution = run.in_your_units(run.trajectory(10))
    assert solution.trajectory is not None
    assert run.origin is not None
    torch.testing.assert_close(solution.trajectory[0], run.origin.pick(0, 10).x, rtol=0, atol=1e-3)
    assert not run.has_density


def test_every_source_point_comes_once_before_any_comes_again():
    source = Dataset(x=torch.arange(50.0)[:, None].repeat(1, 2))
    origin = prepare_source(source, source, Settings(held_out=0.2), paired=False, fit=standardizer_of)
    first = origin.pick(0, 50).x[:, 0]
    assert sorted(first.tolist()) == list(range(50))
    assert origin.held_out is not None
    assert sorted(first[:10].tolist()) == sorted(origin.held_out.x[:, 0].tolist())
    assert torch.equal(origin.pick(50, 50).x[:, 0], first)
    assert torch.equal(origin.pick(7, 5).x[:, 0], first[7:12])


def test_transport_between_toys_reaches_the_data(tmp_path):
    """8 Gaussians to moons in a short run: nearer to moons than the source was by far."""
    run = fit(tiny(tmp_path, data="moons(n=3000)", source="8gaussians(n=3000)", coupling="exact_ot", steps=400,
                   batch_size=128, lr=5e-3, ema=0.98, net="mlp(width=64, depth=3)", log_every=100))  # fmt: skip
    real = toy("moons", n=500, seed=5).x
    far = pl.metrics.wasserstein2(toy("8gaussians", n=500, seed=6).x, real)
    assert pl.metrics.wasserstein2(run.sample(500), real) < 0.2 * far


def test_pairs_of_the_whole_set_are_fitted_once_and_kept(tmp_path):
    config = tiny(tmp_path, coupling="prepared(block=128, rounds=1)", held_out=0.0, labels=True, label_dropout=0.0)
    trainer = trainer_of(config, progress=False)
    feed = trainer.feed.open(tmp_path, progress=False)
    kept = (tmp_path / "coupling.safetensors").read_bytes()
    x_1, given = feed(0)
    batches = trainer.feed.batches
    for point, label in zip(x_1, given["y"], strict=True):  # labels follow their points
        row = (batches.x == point).all(1).nonzero()[0, 0]
        assert batches.y[row] == label
    assert (trainer.feed.open(tmp_path, progress=False)(0)[1]["x_0"] == given["x_0"]).all()
    assert (tmp_path / "coupling.safetensors").read_bytes() == kept
    with pytest.raises(TypeError, match="pairs a whole data set"):
        trainer.objective(trainer.net, x_1, y=given["y"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"paired": True}, "as many rows"),
        ({"source": None, "paired": True}, "paired needs a source"),
        ({"source": "moons(n=300)", "paired": True, "coupling": "exact_ot"}, "coupling already"),
        ({"source": "digits"}, "one shape"),
        ({"source": "nonsense"}, "unknown data set"),
        ({"bridge": "brownian(1.0)", "prediction": "data"}, "leave prediction at velocity"),
        ({"score_head": True}, "needs a bridge"),
        ({"bridge": "brown"}, "did you mean|brownian"),
    ],
    ids=lambda v: "" if isinstance(v, str) else "-".join(v),
)
def test_what_cannot_be_paired_is_refused_before_a_folder_is_made(tmp_path, changes, told):
    with pytest.raises(ValueError, match=told):
        trainer_of(tiny(tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


def test_a_changed_source_is_refused(tmp_path):
    file, out = tmp_path / "source.npy", tmp_path / "run"
    np.save(file, np.random.default_rng(0).standard_normal((200, 2)))
    trainer_of(tiny(out, source=str(file)), progress=False).fit(until=8)
    np.save(file, np.random.default_rng(1).standard_normal((200, 2)))
    with pytest.raises(ValueError, match="has changed"):
        Run.open(out).sample(3)
    with pytest.raises(ValueError, match="resume with the same source"):
        fit(tiny(out, source=str(file)), resume=True)
    assert Run.open(out).sample(3, x_0=torch.zeros(3, 2)).shape == (3, 2)  # points of your own need no file


def test_command_line_draws_from_points_and_carries_back(tmp_path, capsys):
    from pathline.cli import main

    run = fit(tiny(tmp_path / "run"))
    begin = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)) * 3
    np.save(tmp_path / "mine.npy", begin.numpy())
    out = str(tmp_path / "drawn.npz")
    words = ["sample", str(run.path), "--source", str(tmp_path / "mine.npy"), "--out", out, "--no-picture"]
    assert main([*words, "--solver", "rk4", "--steps", "60"]) == 0
    drawn = np.load(out)["x"]
    np.testing.assert_allclose(drawn, run.sample(30, x_0=begin, solver="rk4", steps=60).numpy(), atol=1e-5)
    np.save(tmp_path / "drawn.npy", drawn)
    assert main(["sample", str(run.path), "--encode", str(tmp_path / "drawn.npy")]) == 0
    np.testing.assert_allclose(np.load(run.path / "encoded.npz")["x"], begin.numpy(), atol=0.05)
    assert main([*words, "--per-class", "3"]) == 2
    assert "--n" in capsys.readouterr().err
    assert main(["plot", str(run.path), "source"]) == 0
    with pytest.raises(ValueError, match=r"x_0 must have shape \(3, 2\)"):
        run.sample(3, x_0=begin)


def test_digits_of_some_classes_can_be_source_and_data(tmp_path):
    three, both = pl.data.load("digits", classes=3), pl.data.load("digits", classes=(8, 3))
    whole = pl.data.load("digits")
    assert torch.equal(three.x, whole.x[whole.y == 3])
    assert torch.equal(both.x[both.y == 1], three.x)
    assert both.class_names == ("8", "3")
    with pytest.raises(ValueError, match="classes must be different ones"):
        pl.data.load("digits", classes=[3, 3])
    run = fit(
        tiny(
            tmp_path,
            data="digits(classes=8)",
            source="digits(classes=3)",
            net="dit(width=16, depth=1, heads=2)",
            steps=3,
        )
    )
    assert run.sample(4).shape == (4, 1, 8, 8)
    assert run.about["source"]["name"] == "digits-3"
    report = pl.train.pictures.source(run)
    assert report.figure is not None


def test_what_knows_only_noise_refuses_a_source(tmp_path, capsys):
    from pathline.cli import main

    run = fit(tiny(tmp_path / "run", steps=3))
    for words in (["verify", str(run.path)], ["tune", str(run.path), "--evaluations", "4"]):
        assert main(words) == 1
        assert "starts at 8gaussians" in capsys.readouterr().err


def test_waiting_for_pairs_is_told_in_the_log(tmp_path):
    """A coupling that is slower than the step: the share of time that steps waited stands beside their speed."""
    import time

    class Slow:
        def __call__(self, x_0, x_1, y=None, generator=None):
            time.sleep(0.02)
            return torch.arange(len(x_0))

    def train(out, coupling):
        objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY, coupling=coupling)
        data = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
        return Trainer(
            net=pl.nets.MLP(2, 8, 1), objective=objective, data=data, out=str(out), steps=20, batch_size=10, log_every=10,
            progress=False,
        ).fit()  # fmt: skip

    shares = [record["pairing_share"] for record in train(tmp_path / "slow", Slow()).log]
    assert all(0.2 < share <= 1.0 for share in shares)
    assert all("pairing_share" not in record for record in train(tmp_path / "plain", None).log)


def test_held_out_loss_is_taken_on_pairs_like_those_of_training(tmp_path):
    """The exact field of the coupling would be best under it: with OT pairs the held-out loss is far below independent ones."""
    from pathline.train.score import held_out_loss

    def loss(name, **changes):
        config = tiny(tmp_path / name, source=None, held_out=0.4, data="moons(n=600)", batch_size=128, **changes)
        return held_out_loss(trainer_of(config, progress=False))

    coupled, independent = loss("a", coupling="exact_ot"), loss("b")
    assert coupled is not None
    assert independent is not None
    assert coupled < 0.7 * independent
    assert loss("c", coupling="prepared") is None
