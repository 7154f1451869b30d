"""What is looked at before training: odd data, nets and objectives are told, sound ones are not; closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import pathline as pl
from pathline.cli import main
from pathline.predictions import PREDICTIONS
from pathline.schedules import SCHEDULES, Coefs, Linear
from pathline.train import PreflightError, TrainConfig, Trainer, checkup, suggest
from pathline.train.loop import trainer_of
from pathline.train.preflight import explained_variance, highest_rate, noise_scale, regressed
from pathline.train.preflight.cost import activations
from pathline.train.preflight.losses import look_at_losses
from pathline.train.preflight.suggest import suggestions_for

LINEAR = pl.AffinePath(pl.Linear())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def trainer(tmp_path, net=None, objective=None, data=None, **settings):
    data = pl.data.moons(400, generator=generator()).x if data is None else data
    net = pl.nets.MLP(2, 16, 2) if net is None else net
    objective = pl.Matching(LINEAR, pl.VELOCITY) if objective is None else objective
    return Trainer(net=net, objective=objective, data=data, out=str(tmp_path / "run"), progress=False,
                   **{"batch_size": 32, "steps": 100, **settings})  # fmt: skip


def told(found, about):
    return next(finding for finding in found.findings if finding.about == about)


# ------------------------------------------------------------------------------------------ sound runs


@pytest.mark.parametrize("config", ["moons", "digits"])
def test_a_sound_run_is_told_nothing_and_trains_to_the_same_bits(tmp_path, config):
    values = {
        "moons": {"data": "moons(n=2000)", "net": "mlp(width=16, depth=2)"},
        "digits": {"data": "digits", "net": "dit(patch=4, width=16, depth=1, heads=2)", "prediction": "data",
                   "loss_in": "velocity"},
    }[config]  # fmt: skip
    values |= {"steps": 3, "batch_size": 32, "warmup": 2}
    plain = trainer_of(TrainConfig.from_dict({**values, "out": str(tmp_path / "a")}), progress=False)
    looked = trainer_of(TrainConfig.from_dict({**values, "out": str(tmp_path / "b")}), progress=False)
    before = torch.random.get_rng_state()
    found = checkup(looked)
    suggestions_for(looked)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not found.errors + found.warnings, str(found)
    found.refuse()
    assert not (tmp_path / "b").exists()
    for p, q in zip(plain.fit().net.parameters(), looked.fit().net.parameters()):
        assert torch.equal(p, q)


@pytest.mark.parametrize("prediction", sorted(PREDICTIONS))
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_loss_of_a_net_that_returns_zero_is_its_closed_form(schedule, prediction):
    options = {"sigma_min": 0.02, "sigma_max": 10.0} if schedule == "ve" else {}
    objective = pl.Matching(pl.AffinePath(SCHEDULES[schedule](**options)), PREDICTIONS[prediction])
    x_1 = 1.5 * torch.randn(512, 2, generator=generator()) + 0.5
    (found,) = look_at_losses(pl.nets.MLP(2, 8, 1), objective, x_1, {})
    assert found.level != "error", found


@pytest.mark.parametrize("options", [{"loss_in": pl.DATA}, {"weight": pl.weights.min_snr(5.0)},
                                     {"times": pl.times.logit_normal(-0.5, 0.8)}], ids=["data", "min_snr", "normal"])  # fmt: skip
def test_spaces_weights_and_laws_of_time_enter_the_closed_form(options):
    (found,) = look_at_losses(
        pl.nets.MLP(2, 8, 1),
        pl.Matching(LINEAR, pl.VELOCITY, **options),
        torch.randn(512, 2, generator=generator()),
        {},
    )
    assert found.level == "ok", found


# ------------------------------------------------------------------------------------------ objectives


class Slipped(Linear):
    """A schedule whose derivative has the wrong sign."""

    def __call__(self, t):
        return Coefs(t, 1.0 - t, 1.0, 1.0)


def test_a_schedule_with_a_wrong_derivative_is_refused(tmp_path):
    x_1 = 0.5 + torch.randn(400, 2, generator=generator())
    objective = pl.Matching(pl.AffinePath(Slipped()), pl.VELOCITY)
    (sound,) = look_at_losses(pl.nets.MLP(2, 8, 1), pl.Matching(LINEAR, pl.VELOCITY), x_1, {"x_0": x_1.flip(0)})
    assert sound.level == "ok"
    (found,) = look_at_losses(pl.nets.MLP(2, 8, 1), objective, x_1, {"x_0": x_1.flip(0)})
    assert found.level == "error"
    assert "closed form" in found.seen


def objective_of(schedule, row, *, backwards=False):
    """An objective as users write them: no class of ours."""

    def loss(net, x_1, y=None, *, generator):
        t = torch.rand(len(x_1), generator=generator)
        x_0 = torch.randn(x_1.shape, generator=generator)
        c = schedule(t[:, None])
        alpha, sigma, dalpha, dsigma = (torch.as_tensor(v) for v in c)
        a, b = row(alpha, sigma, dalpha, dsigma)
        x_t = alpha * x_1 + sigma * x_0
        return ((net(x_t, 1.0 - t if backwards else t) - (a * x_1 + b * x_0)) ** 2).mean()

    return loss


ROWS = {
    "data": lambda a, s, da, ds: (1.0, 0.0),
    "noise": lambda a, s, da, ds: (0.0, 1.0),
    "velocity": lambda a, s, da, ds: (da, ds),
    "v": lambda a, s, da, ds: (-s, a),
}


@pytest.mark.parametrize("kind", sorted(ROWS))
@pytest.mark.parametrize("schedule", ["linear", "trig"])
def test_what_an_objective_regresses_is_found_out(schedule, kind):
    x_1 = pl.data.moons(1000, generator=generator()).x
    x_1 = (x_1 - x_1.mean(0)) / x_1.std(0)
    found = regressed(objective_of(SCHEDULES[schedule](), ROWS[kind]), x_1, {})
    assert found.forward is True
    # on the trigonometric path v is the negative velocity up to a factor
    assert found.kind == kind or (schedule, kind, found.kind) in [
        ("trig", "v", "-velocity"),
        ("trig", "velocity", "-v"),
    ]
    assert (found.alpha - SCHEDULES[schedule]()(found.t).alpha).abs().max() < 0.12


def test_a_swapped_clock_and_a_negated_target_are_refused(tmp_path):
    for row, backwards, message in (
        (ROWS["velocity"], True, "time runs backwards"),
        (lambda a, s, da, ds: (-da, -ds), True, "time runs backwards"),
        (lambda a, s, da, ds: (-da, -ds), False, "negative of velocity"),
    ):
        found = checkup(trainer(tmp_path, objective=objective_of(pl.Linear(), row, backwards=backwards)))
        assert message in str(told(found, "objective"))
        with pytest.raises(PreflightError, match=message):
            found.refuse()
    assert not checkup(trainer(tmp_path, objective=objective_of(pl.Linear(), ROWS["noise"]))).errors


def test_an_objective_that_is_no_regression_is_let_through(tmp_path):
    def twice(net, x_1, y=None, *, generator):
        t = torch.rand(len(x_1), generator=generator)
        return (net(x_1, t) - net(x_1, 1.0 - t).detach()).square().mean()

    found = checkup(trainer(tmp_path, objective=twice))
    assert told(found, "objective").level == "note"
    assert not found.errors


class Known(nn.Module):
    """The exact velocity from noise to N(0, 1/25) in some clock and sign; a weight so that it can be trained."""

    def __init__(self, *, backwards=False, sign=1.0):
        super().__init__()
        self.scale, self.backwards = nn.Parameter(torch.tensor([0.9, 0.9])), backwards
        self.sign = sign

    def forward(self, x, t):
        t = (1.0 - t if self.backwards else t).reshape(-1, 1)
        var = 0.04 * t**2 + (1.0 - t) ** 2
        return self.sign * self.scale * x * (1.04 * t - 1.0) / var


@pytest.mark.parametrize(("net", "message"), [
    (Known(backwards=True), "with t reversed"), (Known(sign=-1.0), "with its sign changed"), (Known(), None),
], ids=["clock", "sign", "right"])  # fmt: skip
def test_a_pretrained_net_of_another_convention_is_told(tmp_path, net, message):
    objective = pl.Matching(LINEAR, pl.VELOCITY)
    x = 0.2 * torch.randn(400, 2, generator=generator())
    found = told(checkup(trainer(tmp_path, net=net, objective=objective, data=x, standardize="none")), "first loss")
    assert (message or "closed form") in found.seen
    assert (found.level == "ok") == (message is None)


# ------------------------------------------------------------------------------------------ nets


class Odd(nn.Module):
    """A net with one thing wrong."""

    def __init__(self, wrong):
        super().__init__()
        self.wrong, self.inner = wrong, pl.nets.MLP(2, 16, 1, num_classes=2)
        self.idle = nn.Parameter(torch.ones(3))
        self.gain = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, x, t, y=None):
        wrong = self.wrong
        if wrong == "scalar":
            t = t.reshape(len(x))
        if wrong == "blind to t":
            t = torch.zeros_like(t)
        if wrong == "blind to y":
            y = None
        if wrong == "blind to x":
            return self.inner(torch.zeros_like(x), t, y) * self.gain + self.idle.sum()
        if wrong == "mixes":
            x = x - x.mean(0)
        if wrong == "random":
            x = x + 0.1 * torch.randn_like(x)
        out = self.inner(x, t, y)
        if wrong == "ends":
            out = out + t.log().reshape(-1, 1)
        if wrong == "detached":
            out = out.detach() + 0.0 * self.idle.detach().sum()
        return self.gain * out if wrong == "idle" else self.gain * out + self.idle.sum()


@pytest.mark.parametrize(("wrong", "level", "message"), [
    ("nothing", "ok", "reacts to its inputs"),
    ("scalar", "error", "time of shape"),
    ("blind to t", "warning", "ignores t"),
    ("blind to y", "warning", "ignores y"),
    ("blind to x", "error", "ignores x_t"),
    ("mixes", "error", "other samples"),
    ("random", "error", "differ"),
    ("ends", "error", "infinity at t = 0"),
    ("idle", "warning", "none reaches 1 of"),
])  # fmt: skip
def test_what_is_wrong_with_a_net_is_told(tmp_path, wrong, level, message):
    x = pl.data.moons(400, generator=generator()).x
    found = checkup(trainer(tmp_path, net=Odd(wrong), data=(x, (x[:, 0] > 0.5).long())))
    worst = {finding.level for finding in found.findings}
    if level == "ok":
        assert worst == {"ok"}, str(found)
    else:
        assert any(message in finding.seen for finding in found.of(level)), str(found)


def test_a_net_whose_weights_no_gradient_reaches_is_refused(tmp_path):
    with pytest.raises(PreflightError, match="cannot be differentiated"):
        checkup(trainer(tmp_path, net=_with_labels_off(Odd("detached")))).refuse()


def _with_labels_off(net):
    net.gain.requires_grad_(False)
    net.idle.requires_grad_(False)
    return net


def test_a_net_that_begins_with_zeros_is_not_taken_for_blind(tmp_path):
    net = pl.nets.DiT(image_size=8, channels=1, patch=4, width=16, depth=1, heads=2, num_classes=10)
    digits = pl.data.load("digits")
    out = net(digits.x[:4], torch.zeros(4), digits.y[:4])
    assert float(out.abs().max()) == 0.0
    assert told(checkup(trainer(tmp_path, net=net, data=digits)), "net").level == "ok"


# ------------------------------------------------------------------------------------------ data


def spoiled(kind):
    x = torch.randn(600, 3, generator=generator())
    y = torch.arange(600) % 3
    settings = {}
    if kind == "unscaled":
        x, settings = 100.0 + 50.0 * x, {"standardize": "none"}
    elif kind == "uneven":
        x, settings = x * torch.tensor([1.0, 100.0, 1.0]), {"standardize": "all"}
    elif kind == "outlier":
        x[7, 1] = 1e4
    elif kind == "constant":
        x[:, 2] = 4.0
    elif kind == "copies":
        x[300:] = x[:300]
    elif kind == "rare":
        y = (torch.arange(600) < 4).long()
    elif kind == "skewed":
        y = (torch.arange(600) < 20).long()
    elif kind == "gap":
        y = torch.where(y == 1, 2, y)
    elif kind == "rows":
        y = torch.arange(600)
    elif kind == "one":
        y = torch.zeros(600, dtype=torch.long)
    return (x, y), settings


@pytest.mark.parametrize(("kind", "about", "message"), [
    ("unscaled", "scale", "--standardize none"), ("uneven", "scale", "--standardize feature"),
    ("outlier", "scale", "standard deviations out"), ("constant", "constants", "1 of 3 features are constant (2)"),
    ("copies", "copies", "also trained on"), ("rare", "labels", "merge rare classes"),
    ("skewed", "labels", "times as frequent"), ("gap", "labels", "none of 1"), ("rows", "labels", "row numbers"),
    ("one", "labels", "--no-labels"),
])  # fmt: skip
def test_odd_data_are_told_with_a_remedy(tmp_path, kind, about, message):
    (x, y), settings = spoiled(kind)
    held_out = 0.0 if kind in ("rows", "rare") else 0.1
    net = pl.nets.MLP(3, 8, 1, num_classes=int(y.max()) + 1)
    made = trainer(tmp_path, net=net, data=(x, y), steps=600, held_out=held_out, **settings)
    found = checkup(made)
    assert message in str(told(found, about)), str(found)
    assert told(found, about).level == "warning"


def test_numbers_that_are_all_the_same_are_refused(tmp_path):
    with pytest.raises(PreflightError, match="all values are the same"):
        checkup(trainer(tmp_path, data=torch.full((50, 2), 3.0))).refuse()


# ------------------------------------------------------------------------------------------ suggestions


def test_gaussian_data_are_explained_in_closed_form():
    x = torch.randn(4000, 2, generator=generator())
    found = explained_variance(x)
    assert abs(found.mean) < 0.12
    assert abs(found.std - math.pi / math.sqrt(12)) < 0.06
    exact = torch.sigmoid(2 * found.logsnr)
    assert float((found.share - exact).abs().max()) < 0.08
    assert abs(explained_variance(20.0 * x).mean - (found.mean - math.log(20.0))) < 1e-6


def test_repeated_pixels_shift_as_the_square_root_of_their_number():
    x = pl.data.Standardizer.fit(pl.data.load("digits")).transform(pl.data.load("digits").x)
    once = explained_variance(x)
    four = explained_variance(nn.functional.interpolate(x, scale_factor=2))
    assert abs(four.shift / once.shift - 2.0) < 0.1
    assert abs(four.std - once.std) < 0.05


class Bowl(nn.Module):
    """A point w; the loss of a sample is |w - x|²."""

    def __init__(self, w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))


def bowl(net, x_1, *, generator):
    return (net.w - x_1).square().sum(1).mean()


def test_the_gradient_noise_scale_is_variance_over_squared_mean():
    x = torch.randn(64 * 256, 3, generator=generator()) * torch.tensor([1.0, 2.0, 3.0])
    net = Bowl([3.0, -1.0, 2.0])
    exact = 14.0 / 14.0  # tr cov / |w - mean|²
    found = noise_scale(net, bowl, [(part, {}) for part in x.split(256)])
    assert found == pytest.approx(exact, rel=0.15)
    assert noise_scale(Bowl([0.0, 0.0, 0.0]), bowl, [(x[:4], {}), (-x[:4], {})]) is None


def test_the_highest_rate_is_where_a_step_overshoots():
    x = torch.zeros(8, 1)
    near, far = (highest_rate(Bowl([w]), bowl, (x, {}), (0.9, 0.99)) for w in (0.01, 1.0))
    assert near < 0.02 < far  # a step of Adam is about the rate: past 2 w it has overshot
    assert far < 2.0


def test_suggestions_are_flags_that_the_command_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x=np.random.default_rng(0).normal(size=(500, 4)).astype("f4"))
    assert main(["train", "--data", "mine.npz", "--net", "mlp(width=16, depth=1)", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "ms a step" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.npz"]
    found = suggest("mine.npz", net=pl.nets.MLP(4, 16, 1))
    assert {"times", "shift", "sigma_data", "lr", "batch_size"} == {each.name for each in found.all}
    assert abs(found["times"][0]) < 0.2
    assert found["shift"] == pytest.approx(math.exp(-found["times"][0]), rel=0.02)
    assert found["sigma_data"] == pytest.approx(1.0, abs=0.02)
    import shlex

    words = ["--data", "mine.npz", "--net", "mlp(width=16, depth=1)", "--steps", "3", *shlex.split(found.flags)]
    assert main(["train", *words, "--no-evaluate", "--no-samples"]) == 0
    assert pl.train.Run.open("runs/mine").settings.batch_size == found["batch_size"]


def test_the_law_that_is_suggested_is_one_of_the_schedule(tmp_path):
    config = {"data": "moons(n=200)", "net": "mlp(width=8, depth=1)", "schedule": "vp", "prediction": "noise"}
    found = suggestions_for(trainer_of(TrainConfig.from_dict({**config, "out": str(tmp_path / "a")}), progress=False))
    (flag,) = (each.flag for each in found.all if each.name == "times")
    law = flag.split('"')[1]
    made = trainer_of(TrainConfig.from_dict({**config, "times": law, "out": str(tmp_path / "b")}), progress=False)
    mean, std = found["times"]
    t = made.objective.times.quantile(torch.tensor([0.5, 0.8413447], dtype=torch.float64))
    assert pl.VP().log_snr(t).tolist() == pytest.approx([mean, mean + std], abs=1e-4)


def test_an_error_stops_the_command_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("flat.npz", x=np.ones((50, 4), "f4"))
    assert main(["train", "--data", "flat.npz", "--steps", "2"]) == 1
    assert "all values are the same" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    assert main(["train", "--data", "flat.npz", "--steps", "2", "--no-check", "--no-evaluate", "--no-samples"]) == 0


def test_activations_grow_with_the_batch_and_hold_what_backward_needs():
    net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4))

    def loss(net, x_1, *, generator):
        return net(x_1).square().mean()

    few, many = (activations(net, loss, (torch.randn(n, 4), {})) for n in (8, 16))
    # input of both layers, the sign of the ReLU as its output, the output that is squared
    assert few == 4 * 8 * (4 + 32 + 4)
    assert many == 2 * few


@pytest.mark.parametrize("changes", [
    {"source": "circles(n=200)"},
    {"source": "circles(n=200)", "bridge": "brownian(0.5)", "score_head": True},
    {"coupling": "exact_ot"},
    {"schedule": "edm", "prediction": "edm_f", "times": "log_snr_normal(mean=1.2, std=1.2)"},
    {"optimizer": "schedule_free", "decay": "constant"},
    {"precision": "bf16", "accumulate": 3},
], ids=["source", "bridge", "coupling", "edm", "schedule-free", "pieces"])  # fmt: skip
def test_every_kind_of_run_can_be_looked_at(tmp_path, changes):
    values = {"data": "moons(n=200)", "net": "mlp(width=8, depth=1)", "labels": False, "batch_size": 32, "steps": 50}
    if "schedule_free" in str(changes):
        pytest.importorskip("schedulefree")
    made = trainer_of(TrainConfig.from_dict({**values, **changes, "out": str(tmp_path / "run")}), progress=False)
    found = checkup(made)
    assert not found.errors, str(found)
    assert told(found, "time").level == "ok"
    named = {each.name for each in suggestions_for(made).all}
    assert ("times" in named) == ("source" not in changes)
