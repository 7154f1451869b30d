"""Averages of weights, the optimisers behind them, and lengths made after training."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import pathline as pl
from pathline.train import OPTIMIZERS, Run, TrainConfig, Trainer, reconstruct
from pathline.train.averages import Averages, mixture, overlap
from pathline.train.bins import TimeBins
from pathline.train.config import Settings
from pathline.train.ema import EMA, Exponential, Power, make_laws
from pathline.train.optim import Stepper, rate_at
from pathline.train.optimizers import Together, decays


def wander(net, k):
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * k + i), dtype=p.dtype))


# ------------------------------------------------------------------------------------------ laws


@pytest.mark.parametrize("sigma_rel", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_gamma_has_the_told_relative_width(sigma_rel):
    """The profile's standard deviation, integrated numerically over [0, 1]."""
    gamma = Power(sigma_rel).gamma
    tau = (np.arange(2_000_000) + 0.5) / 2_000_000
    weight = (gamma + 1) * tau**gamma / 2_000_000
    mean = (weight * tau).sum()
    assert weight.sum() == pytest.approx(1.0, rel=1e-6)
    assert math.sqrt((weight * (tau - mean) ** 2).sum()) == pytest.approx(sigma_rel, rel=1e-5)


def test_the_power_average_weighs_step_k_by_the_integral_of_its_profile():
    """Unrolled, the weight of step k of n is (k/n)^(gamma+1) - ((k-1)/n)^(gamma+1), and none is left for the start."""
    net = nn.Linear(2, 1).double()
    ema, history = EMA(net, Power(0.1)), []
    for k in range(1, 21):
        wander(net, k)
        history.append(net.weight.detach().clone())
        ema.update(k)
    power = Power(0.1).gamma + 1
    expected = sum(((k / 20) ** power - ((k - 1) / 20) ** power) * w for k, w in enumerate(history, 1))
    torch.testing.assert_close(ema.net.weight, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("law", [Exponential(0.97), Power(0.1)], ids=["exponential", "power"])
def test_rarer_updates_keep_the_horizon(law):
    """On weights that stand still between updates both schedules agree exactly."""
    net = nn.Linear(3, 3).double()
    often, rarely = EMA(net, law), EMA(net, law, every=4)
    for k in range(1, 41):
        if k % 4 == 1:
            wander(net, k)
        often.update(k)
        rarely.update(k)
    torch.testing.assert_close(often.net.weight, rarely.net.weight, rtol=1e-10, atol=1e-12)


def test_lists_of_averages_are_read_and_checked():
    laws = make_laws("0.99, power(0.05), exponential(0.5)")
    assert laws == (Exponential(0.99), Power(0.05), Exponential(0.5))
    assert make_laws("") == ()
    for text, message in (
        ("1.5", r"must lie in \[0, 1\)"), ("power(0.5)", r"must lie in \(0, 0.2887\]"), ("0.9, 0.9", "listed twice"),
        ("pover(0.1)", "did you mean 'power'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            Settings(ema_also=text)


# ------------------------------------------------------------------------------------------ any length afterwards


def test_the_overlap_of_profiles_is_their_integral():
    tau = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    for t_a, s_a, t_b, s_b in ((1.0, 0.05, 1.0, 0.1), (0.3, 0.1, 0.9, 0.05), (0.9, 0.2, 0.3, 0.05)):
        profiles = []
        for t, s in ((t_a, s_a), (t_b, s_b)):
            g = Power(s).gamma
            profiles.append(torch.where(tau <= t, (g + 1) * tau**g / t ** (g + 1), torch.zeros_like(tau)))
        numbers = [torch.tensor(v, dtype=torch.float64) for v in (t_a, Power(s_a).gamma, t_b, Power(s_b).gamma)]
        assert float(overlap(*numbers)) == pytest.approx(float((profiles[0] * profiles[1]).mean()), rel=1e-4)


def test_a_stored_snapshot_is_reconstructed_exactly():
    weights = mixture([50, 100, 100], [0.05, 0.05, 0.1], 100, 0.1)
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), atol=1e-8, rtol=0)


@pytest.mark.parametrize("sigma_rel", [0.04, 0.07, 0.15, 0.2])
def test_reconstruction_equals_tracking_it_directly(tmp_path, sigma_rel):
    """400 steps of a drifting random walk, 20 snapshots of two averages: any other length to within 1 % of the drift."""
    net = nn.Linear(8, 8)
    kept, tracked = Averages(net, "", snapshots=20), EMA(net, Power(sigma_rel))
    start = net.weight.detach().clone()
    for k in range(1, 401):
        with torch.no_grad():
            net.weight.add_(0.02 + 0.05 * torch.randn(8, 8, generator=torch.Generator().manual_seed(k)))
        kept.update(k)
        kept.store(tmp_path, k)
        tracked.update(k)
    made = reconstruct(tmp_path, sigma_rel)
    moved = (net.weight - start).norm()
    error = (made["weight"] - tracked.net.weight).norm() / moved
    others = [(average.net.weight - tracked.net.weight).norm() / moved for average in kept.all]
    assert error < 0.01
    assert error < 0.3 * min(others)
    assert reconstruct(tmp_path, sigma_rel, step=200)["weight"].sub(made["weight"]).norm() / moved > 0.2


def tiny(out, **changes):
    return TrainConfig.from_dict(
        {"data": "circles(n=200)", "net": "mlp(width=16, depth=1)", "steps": 24, "batch_size": 32, "log_every": 8,
         "checkpoint_every": 8, "warmup": 5, "out": str(out), **changes}
    )  # fmt: skip


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_a_run_is_opened_with_any_of_its_averages(tmp_path):
    run = pl.fit(tiny(tmp_path / "a", ema_also="0.5, power(0.1)", ema_snapshots=4), progress=False)
    main, fast, power = (weights(Run.open(tmp_path / "a", average=name).net) for name in (None, "0.5", "power(0.1)"))
    assert torch.equal(main, weights(run.net))
    made = weights(Run.open(tmp_path / "a", average="power(0.15)").net)
    stored = weights(Run.open(tmp_path / "a", average="power(0.1)").net)
    assert torch.equal(power, stored)
    distances = [float((a - b).norm()) for a, b in ((main, fast), (fast, power), (power, made))]
    assert min(distances) > 1e-4
    with pytest.raises(ValueError, match=r"keeps no average '0.7': it has 0.5, power-0.1"):
        Run.open(tmp_path / "a", average="0.7")
    pl.fit(tiny(tmp_path / "b", steps=2), progress=False)
    with pytest.raises(FileNotFoundError, match="ema_snapshots"):
        Run.open(tmp_path / "b", average="power(0.1)")


def test_all_averages_survive_resumption(tmp_path):
    options = {"ema_also": "0.5, power(0.1)", "ema_snapshots": 6, "ema_every": 2}
    pl.fit(tiny(tmp_path / "a", **options), progress=False)
    pl.train.loop.trainer_of(tiny(tmp_path / "b", **options), progress=False).fit(until=11)
    pl.fit(tiny(tmp_path / "b", **options), resume=True, progress=False)
    for name in (None, "0.5", "power(0.1)", "power(0.2)"):
        one, two = (weights(Run.open(tmp_path / x, average=name).net) for x in "ab")
        assert torch.equal(one, two), name


# ------------------------------------------------------------------------------------------ optimisers and rates


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(5, 4), nn.LayerNorm(4)
        self.conv, self.body, self.table = nn.Conv1d(4, 4, 1), nn.Linear(4, 4), nn.Parameter(torch.zeros(3, 4))


def test_weight_decay_is_for_weight_matrices_alone():
    assert decays(Mixed()) == {"conv.weight", "body.weight"}


@pytest.mark.parametrize("name", [*OPTIMIZERS, "sgd(momentum=0.5)", "muon(ns_steps=3)", "adamw(eps=1e-6)"])
def test_every_optimiser_resumes_to_the_bit_and_learns(tmp_path, name):
    if name.startswith("schedule_free"):
        pytest.importorskip("schedulefree")
    if name.startswith("muon") and not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    decay = "constant" if name.startswith("schedule_free") else "cosine"
    options = {"optimizer": name, "decay": decay, "lr": 0.02, "steps": 20, "checkpoint_every": 50, "ema": 0.5}
    whole = pl.fit(tiny(tmp_path / "a", **options), progress=False)
    pl.train.loop.trainer_of(tiny(tmp_path / "b", **options), progress=False).fit(until=9)
    resumed = pl.fit(tiny(tmp_path / "b", **options), resume=True, progress=False)
    assert torch.equal(weights(whole.net), weights(resumed.net))
    assert all(record["grad_norm"] > 0 for record in whole.log)

    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1)), torch.randn(64, 4)
    settings = Settings(optimizer=name, decay=decay, lr=0.02, warmup=0, steps=100)
    stepper, losses = Stepper(net, settings, x.device), []
    for k in range(100):
        loss = (net(x)[:, 0] - x.sin().sum(1)).square().mean()
        stepper(loss, k)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]


def test_muon_takes_the_matrices_and_adamw_the_rest():
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    net = Mixed()
    stepper = Stepper(net, Settings(optimizer="muon", lr=0.1, warmup=0, weight_decay=0.3), torch.device("cpu"))
    assert isinstance(stepper.optimizer, Together)
    first, second = stepper.optimizer.parts
    assert [p.shape for g in first.param_groups for p in g["params"]] == [(4, 4)]
    count = sum(p.numel() for g in second.param_groups for p in g["params"])
    assert count == sum(p.numel() for p in net.parameters()) - 16
    before = net.body.weight.detach().clone()
    stepper.optimizer.param_groups[0]["weight_decay"] = 0.0
    loss = (
        (net.body(net.embed(torch.arange(5))) ** 2).sum()
        + net.norm.weight.sum()
        + net.table.sum()
        + net.conv.weight.sum()
    )
    stepper(loss, 0)
    values = torch.linalg.svdvals((before - net.body.weight.detach()) / (0.1 * 0.2 * 2.0))  # 0.2 sqrt(4) a step
    assert values.min() > 0.5  # nearly orthogonal: Newton and Schulz leave singular values of 0.7 to 1.2
    assert values.max() < 1.4


def test_schedule_free_samples_with_its_own_average(tmp_path):
    library = pytest.importorskip("schedulefree")
    settings = {"optimizer": "schedule_free", "decay": "constant", "lr": 0.01, "steps": 12, "time_bins": 0}
    run = pl.fit(tiny(tmp_path, **settings), progress=False)
    trainer = pl.train.loop.trainer_of(tiny(tmp_path, **settings), resume=True, progress=False)
    trainer._reload()
    assert isinstance(trainer.stepper.optimizer, library.AdamWScheduleFree)
    trained = weights(trainer.net)
    trainer.stepper.optimizer.eval()  # the library's own way to the average
    torch.testing.assert_close(weights(trainer.net), weights(run.net), rtol=1e-6, atol=1e-7)
    assert (trained - weights(run.net)).norm() > 1e-3
    with pytest.raises(ValueError, match="set constant"):
        pl.fit(tiny(tmp_path / "x", optimizer="schedule_free"), progress=False)


def test_what_an_optimiser_cannot_do_is_told(tmp_path):
    for change, message in (
        ({"optimizer": "muom"}, "did you mean 'muon'"), ({"optimizer": "sgd(nestrov=1)"}, "no option 'nestrov'"),
        ({"optimizer": "adam", "weight_decay": 0.1}, "use adamw"), ({"optimizer": "adamw(1e-3)"}, "positional"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            pl.train.loop.trainer_of(tiny(tmp_path, **change), progress=False)
    assert not tmp_path.joinpath("log.jsonl").exists()


def test_rates_in_closed_form():
    linear = Settings(steps=110, warmup=10, lr=0.4, lr_end=0.1, decay="linear")
    assert rate_at(60, linear) == pytest.approx(0.4 * 0.55)
    assert rate_at(9, linear) == rate_at(10, linear) == pytest.approx(0.4)
    root = Settings(steps=10_000, warmup=25, lr=0.4, decay="inverse_sqrt", lr_end=0.1)
    assert [rate_at(k, root) for k in (24, 99, 399)] == pytest.approx([0.4, 0.2, 0.1])
    assert rate_at(9_999, root) == pytest.approx(0.04)
    assert rate_at(11, root) == pytest.approx(0.4 * 12 / 25)


# ------------------------------------------------------------------------------------------ loss by time


def test_the_loss_by_time_finds_where_the_model_is_wrong():
    """A net that is right for t < 1/2 and wrong by 3 after it."""
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.DATA)
    x_1 = torch.full((4000, 2), 2.0)
    bins = TimeBins(4, torch.device("cpu"))
    wrong = bins.loss(objective, lambda x, t: 2.0 + 3.0 * (t >= 0.5)[:, None] + 0 * x, x_1, {}, torch.Generator())
    assert bins.read() == [0.0, 0.0, 9.0, 9.0]
    assert float(wrong) == pytest.approx(4.5, rel=0.1)
    assert bins.read() == [None] * 4


def test_telling_the_time_changes_the_loss_by_rounding_alone():
    objective = pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY, times=pl.times.logit_normal(-0.5, 1.0))
    net, x_1 = pl.nets.MLP(2, 8, 1), pl.data.moons(500).x
    one, two = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    told = TimeBins(5, x_1.device).loss(objective, net, x_1, {}, one)
    torch.testing.assert_close(told, objective(net, x_1, generator=two), rtol=1e-5, atol=0)
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=two))


def test_the_log_tells_losses_by_time_and_the_best_checkpoint_is_kept(tmp_path):
    config = tiny(tmp_path, steps=48, keep=1, keep_best=1, lr=0.02, decay="constant", time_bins=5, ema=0.0)
    run = pl.fit(config, progress=False)
    assert len(run.log[0]["loss_by_t"]) == 5
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    scores = {r["step"]: r["held_out_loss"] for r in records if r.get("event") == "held_out"}
    assert sorted(scores) == [8, 16, 24, 32, 40, 48]
    least = min(scores, key=scores.__getitem__)
    assert Run.open(tmp_path, step="best").step == least
    kept = {int(p.name[5:]) for p in (tmp_path / "checkpoints").iterdir()}
    assert kept == {48, least}


def test_held_out_loss_is_that_of_the_averaged_net_at_even_times(tmp_path):
    trainer = Trainer(
        net=pl.nets.MLP(2, 8, 1), objective=pl.Matching(pl.AffinePath(pl.Linear()), pl.VELOCITY),
        data=pl.data.moons(400).x, out=str(tmp_path), steps=4, progress=False,
    )  # fmt: skip
    from pathline.train.score import held_out_loss

    one = held_out_loss(trainer)
    with torch.no_grad():
        for p in trainer.net.parameters():
            p.add_(1.0)
    assert held_out_loss(trainer) == one  # the same draw, and not of the trained net
    trainer.ema.update(1)
    assert held_out_loss(trainer) > one
