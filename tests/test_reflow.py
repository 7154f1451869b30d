"""Reflow: pairs in shards that survive interruption, straighter paths, one step as good as many (theory T32)."""

import json

import pytest
import torch

import pathline as pl
from pathline.train import Run, TrainConfig, generated, reflow, straightness
from pathline.train.generated import generate_pairs, load_generated
from pathline.train.loop import trainer_of
from pathline.train.names import PAIRS

TINY = {
    "data": "moons(n=3000)", "labels": False, "net": "mlp(width=64, depth=2)", "steps": 400, "batch_size": 128,
    "lr": 8e-3, "ema": 0.98, "warmup": 5, "log_every": 100, "checkpoint_every": 1000,
}  # fmt: skip


@pytest.fixture(scope="module")
def curved(tmp_path_factory) -> Run:
    return pl.fit(
        TrainConfig.from_dict({**TINY, "out": str(tmp_path_factory.mktemp("reflow") / "moons")}), progress=False
    )


@pytest.fixture(scope="module")
def straight(curved) -> "pl.train.Reflowed":
    return reflow(curved, pairs=6000, steps=12, progress=False)


def test_paths_become_straight_and_one_step_does_what_many_do(curved, straight):
    before, after = straight.before, straight.after
    assert after["curvature"] < 0.25 * before["curvature"]
    assert after["crossing"] <= before["crossing"]
    assert after["one-step miss"] < 0.5 * before["one-step miss"]
    assert after["path energy"] < before["path energy"]
    assert after["W2, one step"] < 0.6 * before["W2, one step"]
    told = json.loads((straight.run.path / "reflow.json").read_text())
    assert told["before"] == before
    assert straight.run.path == curved.path.with_name("moons-reflow")
    assert "curvature" in str(straight)


def test_ends_are_kept_while_paths_change(curved, straight):
    """The straightened flow draws as well as the old one, and carries the same noise to nearly the same place."""
    real = pl.data.moons(1000, generator=torch.Generator().manual_seed(9)).x
    old, new = (pl.metrics.wasserstein2(run.sample(1000), real) for run in (curved, straight.run))
    assert new < 1.5 * old
    one, two = curved.sample(300, seed=5), straight.run.sample(300, seed=5)
    assert (one - two).square().sum(1).mean().sqrt() < 0.35


def test_a_reflowed_run_opens_resumes_and_reflows_again(straight, tmp_path):
    run = Run.open(straight.run.path)
    assert torch.equal(run.sample(10), straight.run.sample(10))
    assert run.config.pairs == str(straight.run.path / PAIRS)
    again = reflow(
        run, out=tmp_path / "again", pairs=600, steps=4, training={"steps": 30}, measure=False, progress=False
    )
    assert again.run.config.start == str(run.path)
    config = again.run.config.replace(out=str(tmp_path / "b"))
    trainer_of(config, progress=False).fit(until=13)
    resumed = pl.fit(config, resume=True, progress=False)
    for one, two in zip(again.run.net.parameters(), resumed.net.parameters(), strict=True):
        assert torch.equal(one, two)


def test_distillation_trains_the_single_step(straight, tmp_path):
    found = reflow(straight.run, out=tmp_path / "one", pairs=3000, steps=8, distill=True, training={"steps": 200},
                   progress=False)  # fmt: skip
    assert found.run.settings.sampling.solver == "euler"
    assert found.run.trajectory(3).evaluations == 1
    pairs = load_generated(tmp_path / "one" / PAIRS)

    def miss(run: Run) -> float:
        one = pl.sample(run.field, pairs.x_0[:1000], solver="euler", steps=1)
        return float((one - pairs.x_1[:1000]).square().mean())

    assert miss(found.run) < 0.8 * miss(straight.run)
    assert set(found.after) == {"W2, one step"}
    with pytest.raises(ValueError, match="is distilled"):
        reflow(found.run, out=tmp_path / "two", pairs=10, progress=False)


def test_pairs_are_the_ends_of_the_flow(curved, tmp_path):
    pairs = generate_pairs(curved, tmp_path, 50, solver="rk4", steps=20)
    torch.testing.assert_close(
        pairs.x_1, pl.sample(curved.field, pairs.x_0, solver="rk4", steps=20), rtol=1e-5, atol=1e-5
    )


def test_generation_makes_what_is_missing_and_nothing_else(curved, tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "SHARD", 64)
    whole = generate_pairs(curved, tmp_path, 300, solver="euler", steps=3)
    assert len(whole) == 300
    assert len(list(tmp_path.glob("pairs-*.safetensors"))) == 5
    made, solve_one = [], generated._solve
    monkeypatch.setattr(generated, "_solve", lambda run, k, *rest: made.append(k) or solve_one(run, k, *rest))
    (tmp_path / "pairs-00001.safetensors").unlink()
    file = tmp_path / "pairs-00003.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"pairs-00001\.safetensors is missing or damaged"):
        load_generated(tmp_path)
    again = generate_pairs(curved, tmp_path, 300, solver="euler", steps=3)
    assert made == [1, 3]
    assert torch.equal(again.x_1, whole.x_1)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match="pairs with another sampling"):
        generate_pairs(curved, tmp_path, 300, solver="euler", steps=4)


def test_conditional_pairs_carry_their_labels(tmp_path):
    config = TrainConfig.from_dict(
        {**TINY, "labels": True, "steps": 10, "net": "mlp(width=8)", "out": str(tmp_path / "run")}
    )
    run = pl.fit(config, progress=False)
    pairs = generate_pairs(run, tmp_path / "pairs", 20, steps=2, guidance=2.0)
    assert pairs.y is not None
    assert pairs.y.tolist() == [0, 1] * 10
    asked = pl.sample(run.field, pairs.x_0, solver="heun", steps=2, guidance=2.0, y=pairs.y)
    torch.testing.assert_close(pairs.x_1, asked, rtol=1e-5, atol=1e-5)


def test_a_flow_between_data_sets_is_reflowed_from_its_source(tmp_path):
    config = TrainConfig.from_dict(
        {**TINY, "steps": 20, "source": "8gaussians(n=100)", "out": str(tmp_path / "run"), "held_out": 0.2}
    )
    run = pl.fit(config, progress=False)
    found = reflow(run, pairs=100, steps=2, training={"steps": 5}, measure=False, progress=False)
    pairs = load_generated(found.run.path / PAIRS)
    assert run.origin is not None
    points = run.origin.standardizer.transform(run.origin.train.x)
    torch.testing.assert_close(pairs.x_0[:80], points)
    torch.testing.assert_close(pairs.x_0[80:], points[:20])
    assert found.run.sample(4).shape == (4, 2)


def test_straightness_of_straight_and_curved_paths(curved):
    """u = x_1 - x_0 at constant speed has no curvature; of a trained field energy exceeds the squared way, and one step misses."""
    found = straightness(curved, 300)
    assert found["curvature"] > 0.05
    assert found["one-step miss"] > 0.05

    class Translation(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, x_t, t):
            return torch.full_like(x_t, 2.0) + self.weight

    from dataclasses import replace

    even = straightness(replace(curved, net=Translation()), 50)
    assert even["path energy"] == pytest.approx(8.0, rel=1e-5)
    assert abs(even["curvature"]) < 1e-5
    assert even["length ratio"] == pytest.approx(1.0, rel=1e-5)
    assert even["crossing"] == 0.0
    assert even["one-step miss"] < 1e-5


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"bridge": "brownian(1.0)"}, {}, "without noise of its own"),
        ({"schedule": "edm", "prediction": "edm_f"}, {}, "train with --schedule linear"),
        ({"prediction": "noise", "loss_in": "velocity"}, {"distill": True}, "says nothing at t = 0"),
        ({}, {"solver": "euler_maruyama"}, "deterministic solver"),
        ({}, {"pairs": 1}, "at least 2"),
    ],
    ids=["bridge", "edm", "noise", "stochastic", "one"],
)
def test_what_cannot_be_reflowed_is_refused(tmp_path, changes, options, told):
    run = pl.fit(TrainConfig.from_dict({**TINY, "steps": 2, "out": str(tmp_path / "run"), **changes}), progress=False)
    with pytest.raises(ValueError, match=told):
        reflow(run, **{"pairs": 10, "steps": 2, "progress": False, **options})
    assert not list(tmp_path.glob("run-*/checkpoints"))


def test_command_line(curved, tmp_path, capsys):
    from pathline.cli import main

    words = ["reflow", str(curved.path), "--out", str(tmp_path / "r"), "--pairs", "200", "--solver-steps", "2"]
    assert main([*words, "--steps", "10"]) == 0
    told = capsys.readouterr().out
    assert "curvature" in told
    assert "W2, one step" in told
    assert main([*words, "--steps", "10"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["reflow", str(curved.path), "--rounds", "2", "--out", "x"]) == 2
