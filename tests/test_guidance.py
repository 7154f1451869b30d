"""The guidance family on exact labelled mixtures, where every guided velocity is closed form (theory T33-T35)."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.guidance import (
    APG,
    Autoguidance,
    CFGPlusPlus,
    CFGZero,
    ClassifierGuidance,
    Composed,
    Interval,
    Rescale,
    class_log_prob,
    drop,
    fit_classifier,
    scales,
)
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
MEANS = torch.tensor([[2.0, 0.0], [1.2, 1.4], [-1.5, 0.8], [-0.4, -1.8]], dtype=torch.float64)
LABELS = torch.tensor([0, 0, 1, 1])
PATHS = {"linear": LINEAR, "vp": pl.AffinePath(pl.VP()), "trig": pl.AffinePath(pl.Trig())}


def mixture(path: pl.AffinePath = LINEAR, std: float = 0.5) -> oracles.GaussianMixture:
    return oracles.gaussian_mixture(MEANS, std, None, path, labels=LABELS)


def of_class(label: int, path: pl.AffinePath = LINEAR, std: float = 0.5) -> oracles.GaussianMixture:
    return oracles.gaussian_mixture(MEANS[label == LABELS], std, None, path)


def states(n: int = 40) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    return 1.5 * torch.randn(n, 2, generator=draws, dtype=torch.float64), torch.arange(n) % 2


def both(x: Tensor, y: Tensor, t: float, space: pl.Prediction, path: pl.AffinePath = LINEAR) -> tuple[Tensor, Tensor]:
    """(unconditional, conditional) from fields that know of no condition."""
    none = oracles.gaussian_mixture(MEANS, 0.5, None, path)
    given = torch.where((y == 0)[:, None], *(of_class(k, path)(x, t).read(space) for k in (0, 1)))
    return none(x, t).read(space), given


# --- every method in its neutral setting is classifier-free guidance ---

NEUTRAL = {
    "interval": lambda w: Interval(w, 0.0, 1.0),
    "rescale": lambda w: Rescale(w, phi=0.0),
    "rescale in data": lambda w: Rescale(w, phi=0.0, space=pl.DATA),
    "apg": lambda w: APG(w, eta=1.0),
    "composed": lambda w: Composed({"y": w}),
    "cfg_pp": lambda w: CFGPlusPlus(w, steps=1),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", NEUTRAL)
def test_neutral_setting_is_cfg(name: str, path: str) -> None:
    field, (x, y) = mixture(PATHS[path]), states()
    times = (0.3, 0.8) if name != "cfg_pp" else (0.0,)  # of one step, its scale is lambda at the step's start
    for t in times:
        ours = NEUTRAL[name](2.5)(field)(x, t, y=y)
        for space in (pl.VELOCITY, pl.DATA, pl.NOISE):
            torch.testing.assert_close(
                ours.read(space), pl.CFG(2.5)(field)(x, t, y=y).read(space), rtol=1e-7, atol=1e-7
            )


@pytest.mark.parametrize("prediction", ["data", "noise", "velocity", "v"])
@pytest.mark.parametrize("guidance", [pl.CFG(3.0), APG(3.0, radius=0.7), CFGZero(3.0), Composed({"y": 3.0})])
def test_guidance_commutes_with_conversions(guidance, prediction: str) -> None:
    """Whatever a network predicts, the guided field is the same (Rescale with a fixed space too; without one it is not)."""
    from pathline.testing.laws import exact_net

    x, y = states()
    truth = guidance(mixture())(x, 0.6, y=y)
    ours = guidance(exact_net(mixture(), pl.PREDICTIONS[prediction]))(x, 0.6, y=y)
    for space in (pl.VELOCITY, pl.DATA, pl.NOISE, pl.SCORE):
        torch.testing.assert_close(ours.read(space), truth.read(space), rtol=1e-8, atol=1e-8)


# --- closed forms of each method ---


@pytest.mark.parametrize("t", [0.2, 0.7])
def test_cfg_zero_projects_the_unconditional_velocity(t: float) -> None:
    x, y = states()
    none, given = both(x, y, t, pl.VELOCITY)
    guided = CFGZero(2.0, zero_until=0.0)(mixture())(x, t, y=y).velocity
    scaled = 2.0 * given - guided  # = s u_-, the nearest multiple of u_- to u_+
    torch.testing.assert_close(((given - scaled) * none).sum(1), torch.zeros(len(x)).double(), atol=1e-9, rtol=0.0)
    assert (none[:, 0] * scaled[:, 1] - none[:, 1] * scaled[:, 0]).abs().max() < 1e-9


def test_cfg_zero_stands_still_at_first() -> None:
    x, y = states()
    field = CFGZero(torch.tensor([1.0, 3.0]).repeat(20), zero_until=0.25)(mixture())
    early = field(x, 0.2, y=y).velocity
    assert (early[1::2] == 0.0).all()
    torch.testing.assert_close(early[0::2], mixture()(x[0::2], 0.2, y=y[0::2]).velocity)
    assert (field(x, 0.25, y=y).velocity[1::2].abs().sum(1) > 0.0).all()
    times = torch.full((40,), 0.2, dtype=torch.float64)
    times[1] = 0.3
    mixed = field(x, times, y=y).velocity
    assert (mixed[1] != 0.0).any()
    assert (mixed[3] == 0.0).all()
    grid = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)  # the first two of eight Euler steps
    trajectory = pl.solve(mixture(), x, solver="euler", grid=grid, guidance=CFGZero(3.0, 0.25), y=y).trajectory
    assert trajectory is not None
    assert torch.equal(trajectory[2], x)
    assert not torch.equal(trajectory[3], x)


@pytest.mark.parametrize("phi", [0.5, 1.0])
def test_rescale_restores_the_spread(phi: float) -> None:
    points = torch.randn(6, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    field = oracles.gaussian_mixture(points, 0.3, None, LINEAR, labels=torch.arange(6) % 2)
    x, y = torch.randn(8, 12, generator=torch.Generator().manual_seed(2)).double(), torch.arange(8) % 2
    given = field(x, 0.5, y=y).velocity
    plain = pl.CFG(4.0)(field)(x, 0.5, y=y).velocity
    ours = Rescale(4.0, phi=phi)(field)(x, 0.5, y=y).velocity
    spread = (1.0 - phi) * plain.std(1) + phi * given.std(1)
    torch.testing.assert_close(ours.std(1), spread)
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(ours, plain), torch.ones(8).double())


def test_apg_keeps_what_is_orthogonal_to_the_data_and_bounds_it() -> None:
    x, y = states()
    none, given = both(x, y, 0.5, pl.DATA)
    moved = APG(2.0, eta=0.0)(mixture())(x, 0.5, y=y).data - given
    torch.testing.assert_close((moved * given).sum(1), torch.zeros(len(x)).double(), atol=1e-9, rtol=0.0)
    parallel = (given - none) - moved
    assert (parallel[:, 0] * given[:, 1] - parallel[:, 1] * given[:, 0]).abs().max() < 1e-9
    short = APG(2.0, eta=1.0, radius=0.1)(mixture())(x, 0.5, y=y).data - given
    length = (given - none).norm(dim=1)
    torch.testing.assert_close(short.norm(dim=1), length.clamp(max=0.1))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_cfg_pp_is_ddim_with_the_unconditional_noise(weight: float, path: str) -> None:
    """The update of the paper, step by step, against DDIM on the field."""
    field, (x, y) = mixture(PATHS[path]), states()
    grid = torch.linspace(0.02, 1.0, 8, dtype=torch.float64)
    ours = pl.sample(field, x, solver="ddim", grid=grid, guidance=CFGPlusPlus(weight, grid=grid), y=y)
    theirs = PATHS[path].start(x)
    for t, s in pairwise(grid):
        none, given = field(theirs, t), field(theirs, t, y=y)
        coefs = PATHS[path].schedule(s)
        theirs = coefs.alpha * torch.lerp(none.data, given.data, weight) + coefs.sigma * none.noise
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_interval_spares_the_second_branch() -> None:
    field, (x, y) = mixture(), states()
    plain, guided = field(x, 0.1, y=y), pl.CFG(3.0)(field)
    inside = Interval(3.0, 0.3, 0.6)(field)
    assert torch.equal(inside(x, 0.1, y=y).velocity, plain.velocity)
    assert torch.equal(inside(x, 0.45, y=y).velocity, guided(x, 0.45, y=y).velocity)
    t = torch.linspace(0.0, 1.0, 40, dtype=torch.float64)
    within = ((t >= 0.3) & (t <= 0.6))[:, None]
    expected = torch.where(within, guided(x, t, y=y).velocity, field(x, t, y=y).velocity)
    torch.testing.assert_close(inside(x, t, y=y).velocity, expected)
    solution = pl.solve(field, x, solver="euler", steps=10, guidance=Interval(3.0, 0.25, 0.65), y=y)
    assert (solution.evaluations, solution.network_evaluations) == (10, 14)  # two at t = 0.3, 0.4, 0.5, 0.6


def test_autoguidance_leads_away_from_the_weak_field() -> None:
    x, y = states()
    weak = mixture(std=1.0)
    u = Autoguidance(2.5, weak)(mixture())(x, 0.4, y=y).velocity
    torch.testing.assert_close(u, 2.5 * mixture()(x, 0.4, y=y).velocity - 1.5 * weak(x, 0.4, y=y).velocity)
    # on Gaussians of variances 1/4 and 1 about one mean it contracts below the data's spread, and keeps the mean
    mean = torch.tensor([1.0, -1.0]).double()
    main, worse = (oracles.gaussian(mean, v * torch.eye(2).double(), LINEAR) for v in (0.25, 1.0))
    x_1 = pl.sample(main, torch.randn(4000, 2, dtype=torch.float64), solver="dopri5", guidance=Autoguidance(2.0, worse))
    assert 0.2 < x_1.std(0).mean() < 0.4
    assert (x_1.mean(0) - mean).abs().max() < 0.05
    with pytest.raises(ValueError, match="share the path"):
        Autoguidance(2.0, mixture(PATHS["vp"]))(mixture())


def test_composed_weighs_each_condition() -> None:
    """A field of two independent conditions: each pull has its own scale."""

    def net(x: Tensor, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        a = torch.where(y == -1, 0.0, 1.0 + y)[:, None]
        return x + a * torch.tensor([1.0, 0.0]) + torch.where(v.isnan(), 0.0, v) * torch.tensor([0.0, 1.0])

    field, x = pl.Field(net, LINEAR, pl.VELOCITY), torch.zeros(3, 2)
    cond = {"y": torch.tensor([0, 1, 2]), "v": torch.tensor([[1.0], [2.0], [3.0]])}
    u = Composed({"v": 2.0, "y": 5.0})(field)(x, 0.5, **cond).velocity
    torch.testing.assert_close(u, torch.tensor([[5.0, 2.0], [10.0, 4.0], [15.0, 6.0]]))
    only = pl.CFG(3.0, of=("v",))(field)(x, 0.5, **cond).velocity
    torch.testing.assert_close(only, torch.tensor([[1.0, 3.0], [2.0, 6.0], [3.0, 9.0]]))
    with pytest.raises(ValueError, match="no condition of this call"):
        pl.CFG(3.0, of=("z",))(field)(x, 0.5, **cond)


# --- classifier guidance (T35) ---


@pytest.mark.parametrize("path", PATHS)
def test_exact_classifier_gives_the_conditional_field(path: str) -> None:
    field, (x, y) = mixture(PATHS[path]), states()
    guided = ClassifierGuidance(1.0, lambda x, t, y: field.class_log_prob(x, t).gather(1, y[:, None])[:, 0])(field)
    strong = ClassifierGuidance(2.5, lambda x, t, y: field.class_log_prob(x, t).gather(1, y[:, None])[:, 0])(field)
    for t in (0.05, 0.5, 0.95):
        for space in (pl.VELOCITY, pl.DATA, pl.NOISE, pl.SCORE):
            _, given = both(x, y, t, space, PATHS[path])
            torch.testing.assert_close(guided(x, t, y=y).read(space), given, rtol=1e-7, atol=1e-7)
            cfg = pl.CFG(2.5)(field)(x, t, y=y).read(space)
            torch.testing.assert_close(strong(x, t, y=y).read(space), cfg, rtol=1e-7, atol=1e-7)


def test_trained_classifier_approaches_the_exact_one() -> None:
    field, draws = mixture(), torch.Generator().manual_seed(0)
    y = torch.arange(4000) % 2
    x_1 = field.sample_data(4000, draws, y=y).float()
    torch.manual_seed(0)
    net = pl.nets.TimeClassifier(2, 2, width=48, depth=2)
    losses = fit_classifier(net, LINEAR, x_1, y, steps=160, batch=256, generator=draws)
    assert sum(losses[-50:]) < sum(losses[:50])
    x = field.sample(3000, 0.5, draws).float()
    exact = field.class_log_prob(x.double(), 0.5).exp()[:, 1]
    with torch.no_grad():
        ours = torch.softmax(net(x, torch.tensor(0.5)), 1)[:, 1]
    assert (ours - exact).abs().mean() < 0.04  # 0.5 is what a constant answer is off by where the classes are apart
    # an unconditional field, guided by it, samples the class
    alone = oracles.gaussian_mixture(MEANS, 0.5, None, LINEAR)
    guidance = ClassifierGuidance(1.0, class_log_prob(net), earliest=0.02)
    x_1 = pl.sample(alone, (600, 2), solver="heun", steps=24, guidance=guidance, y=1, seeds=range(600))
    assert field.class_log_prob(x_1.double())[:, 1].exp().mean() > 0.9


# --- what guided flows sample ---


def test_guided_flow_does_not_sample_the_tilted_density() -> None:
    """Two classes N(+-1, 1/4): the tilted density at w = 3 has a mean that an integral gives; the guided ODE ends further out."""
    field = oracles.gaussian_mixture(torch.tensor([[1.0], [-1.0]]).double(), 0.5, None, LINEAR, labels=torch.arange(2))
    axis = torch.linspace(-4.0, 6.0, 4001, dtype=torch.float64)[:, None]
    log_tilted = field.log_prob(axis) + 3.0 * field.class_log_prob(axis)[:, 0]
    share = torch.softmax(log_tilted, 0)
    tilted = float((share * axis[:, 0]).sum())
    x_0 = torch.special.ndtri((torch.arange(2000).double() + 0.5) / 2000)[:, None]  # quantiles: no sampling error
    guided = pl.sample(field, x_0, solver="dopri5", guidance=3.0, y=0)
    assert abs(pl.sample(field, x_0, solver="dopri5", y=0).mean() - 1.0) < 0.01
    assert abs(tilted - 1.0) < 0.1
    assert guided.mean() - tilted > 0.15


@pytest.mark.parametrize(
    "guidance",
    [pl.CFG(2.0), pl.CFG(scales.Bump(3.0)), APG(2.0, eta=0.5, radius=1.0), CFGZero(2.0, zero_until=0.0)],
    ids=["cfg", "bump", "apg", "cfg_zero"],
)
def test_likelihood_of_the_guided_flow_is_that_of_its_samples(guidance) -> None:
    """In one dimension log p of the flow is the change of variables between neighbouring quantiles."""
    field = oracles.gaussian_mixture(torch.tensor([[1.0], [-1.0]]).double(), 0.5, None, LINEAR, labels=torch.arange(2))
    points = torch.tensor([-0.5, 0.1, 0.9]).double()
    x_0 = torch.cat([points - 1e-4, points, points + 1e-4])[:, None]
    solver = pl.solvers.dopri5(rtol=1e-9, atol=1e-9)
    low, x_1, high = pl.sample(field, x_0, solver=solver, guidance=guidance, y=0).chunk(3)
    slope = ((high - low) / 2e-4)[:, 0]
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(points) - slope.log()
    ours = pl.log_prob(guidance(field), x_1, solver=pl.solvers.dopri5(rtol=1e-6, atol=1e-6), y=0)
    torch.testing.assert_close(ours, expected, atol=2e-3, rtol=0.0)


# --- scales that change with time or sample, with every solver ---


@pytest.mark.parametrize("solver", ["euler", "heun", "dopri5", "tsit5", "dpmpp_2m", "unipc", "euler_maruyama"])
@pytest.mark.parametrize(
    "make",
    [pl.CFG, CFGZero, lambda w: Interval(w), lambda w: Interval(APG(w))],
    ids=["cfg", "cfg_zero", "interval", "apg"],
)
def test_a_scale_per_sample_with_every_solver(make, solver: str) -> None:
    """Sample i gets its own scale, however the solver splits the batch."""
    field, y, w = mixture(), torch.arange(6) % 2, torch.linspace(1.0, 4.0, 6)
    steps = None if solver in ("dopri5", "tsit5") else 6
    whole = pl.sample(field, (6, 2), solver=solver, steps=steps, guidance=make(w), y=y, seeds=range(6))
    for i in (0, 3, 5):
        alone = pl.sample(
            field, (1, 2), solver=solver, steps=steps, guidance=make(float(w[i])), y=y[i : i + 1], seeds=[i]
        )
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_likelihood_with_a_scale_per_sample() -> None:
    field, y, w = mixture(), torch.tensor([0, 1, 0]), torch.tensor([1.0, 2.0, 3.0])
    x = MEANS[:3] + 0.2
    together = pl.log_prob(pl.CFG(w)(field), x, y=y)
    alone = torch.cat([pl.log_prob(pl.CFG(float(w[i]))(field), x[i : i + 1], y=y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-6)


def test_a_scale_of_the_wrong_length_is_told() -> None:
    with pytest.raises(ValueError, match=r"weight must be a number or have shape \(4,\)"):
        pl.sample(mixture(), (4, 2), guidance=torch.ones(3), y=0)


def test_scales_are_what_they_say() -> None:
    t = torch.linspace(0.0, 1.0, 101, dtype=torch.float64)
    assert scales.Linear(1.0, 4.0)(t).diff().sub(0.03).abs().max() < 1e-12
    for scale in (scales.Cosine(4.0), scales.Cosine(4.0, power=3.0)):
        w = scale(t)
        assert w[0] == 1.0
        assert abs(w[-1] - 4.0) < 1e-12
        assert (w.diff() > 0.0).all()
    bump = scales.Bump(4.0, 3.0, 2.0)(t)
    assert abs(bump.max() - 4.0) < 1e-3
    assert abs(t[bump.argmax()] - 2.0 / 3.0) < 0.01
    assert bump[0] == bump[-1] == 1.0
    x, y = states()
    sharp = pl.CFG(scales.Between(3.0, 0.3, 0.6))(mixture())
    for time in (0.1, 0.45, 0.7):
        torch.testing.assert_close(
            sharp(x, time, y=y).velocity, Interval(3.0, 0.3, 0.6)(mixture())(x, time, y=y).velocity
        )


# --- dropping conditions ---


def test_drop_is_joint_or_separate() -> None:
    n = 20_000
    cond = {
        "y": torch.zeros(n, dtype=torch.long),
        "v": torch.zeros(n, 3),
        "image": torch.zeros(n, 1, 2, 2),
        "flag": True,
    }
    gone = {
        k: v.flatten() < 0 if k == "y" else v.flatten(1).isnan().all(1)
        for k, v in drop(cond, 0.25, generator=torch.Generator().manual_seed(0)).items() if isinstance(v, Tensor)
    }  # fmt: skip
    assert torch.equal(gone["y"], gone["v"])
    assert torch.equal(gone["y"], gone["image"])
    assert abs(gone["y"].double().mean() - 0.25) < 0.015
    apart = drop(cond, {"y": 0.5, "v": 0.1, "together": 0.2}, generator=torch.Generator().manual_seed(0))
    y, v, image = apart["y"] == -1, apart["v"].isnan().all(1), apart["image"].isnan().flatten(1).all(1)
    for measured, expected in (
        (y, 0.6),
        (v, 0.28),
        (image, 0.2),
        (y & v & ~image, 0.8 * 0.05),
        (image & ~(y & v), 0.0),
    ):
        assert abs(measured.double().mean() - expected) < 0.015
    assert apart["flag"] is True
    with pytest.raises(ValueError, match="no condition of this call"):
        drop(cond, {"z": 0.5})


# --- mistakes are told before any work ---


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Rescale(2.0, phi=1.5), "phi must lie"), (lambda: CFGZero(2.0, zero_until=1.0), "zero_until"),
    (lambda: Interval(2.0, 0.8, 0.2), "start and stop"), (lambda: APG(2.0, radius=0.0), "radius"),
    (lambda: APG(2.0, momentum=1.0), "momentum"), (lambda: CFGPlusPlus(-1.0), "weight"), (lambda: CFGPlusPlus(0.5, steps=0), "steps"),
    (lambda: ClassifierGuidance(1.0, lambda x, t: x, earliest=0.0), "earliest"), (lambda: Composed({}), "weights"),
    (lambda: scales.Bump(2.0, 1.0, 2.0), "a and b"), (lambda: scales.Cosine(2.0, power=0.0), "power"),
    (lambda: APG(2.0, momentum=-0.5)(mixture())(torch.zeros(2, 2), 0.5, y=torch.tensor([0, 1])), "no memory"),
    (lambda: pl.CFG(2.0)(mixture())(torch.zeros(2, 2), 0.5), "needs a condition"),
    (lambda: ClassifierGuidance(1.0, lambda x, t, y: x)(mixture())(torch.zeros(2, 2), 0.5, y=torch.tensor([0, 1])), "one number per sample"),
], ids=[str(i) for i in range(14)])  # fmt: skip
def test_mistakes_are_told(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- by name, as configurations and the command line spell it ---


def test_guidance_by_name() -> None:
    from pathline.train.guiding import make_guidance

    assert make_guidance("2.5") == 2.5
    assert make_guidance("1") is make_guidance(1.0) is make_guidance(None) is None
    assert make_guidance("apg(2.0, radius=5)") == APG(2.0, radius=5)
    assert make_guidance("cfg(cosine(4.0, power=2.0))") == pl.CFG(scales.Cosine(4.0, power=2.0))
    assert make_guidance("interval(cfg_zero(2.0), 0.1, 0.7)") == Interval(CFGZero(2.0), 0.1, 0.7)
    assert make_guidance("rescale(3, space=data)") == Rescale(3, space=pl.DATA)
    assert make_guidance("composed({'image': 1.5, 'y': 3.0})") == Composed({"image": 1.5, "y": 3.0})
    assert make_guidance("cfg_pp(0.6, 10)") == CFGPlusPlus(0.6, 10)


@pytest.mark.parametrize(("text", "message"), [
    ("apq(2.0)", "did you mean 'apg'"), ("apg(2.0, radios=1)", "did you mean 'radius'"), ("apg()", "missing"),
    ("cfg(cosin(4))", "did you mean 'cosine'"), ("rescale(2.0, space=daat)", "did you mean 'data'"), ("rescale(2.0, phi=3)", "phi must lie"),
    ("classifier(2.0)", "unknown guidance"),
])  # fmt: skip
def test_guidance_by_a_wrong_name(text: str, message: str) -> None:
    from pathline.train.guiding import make_guidance

    with pytest.raises(ValueError, match=message):
        make_guidance(text)


def test_a_run_is_sampled_under_named_guidance(tmp_path) -> None:
    """A run of a few steps, its first checkpoint as the weak model, from Python and from the command line."""
    from pathline.cli import main
    from pathline.train import Run, TrainConfig, fit

    data, y = (
        mixture().sample_data(200, torch.Generator().manual_seed(0), y=torch.arange(200) % 2).float(),
        torch.arange(200) % 2,
    )
    np.savez(tmp_path / "data.npz", x=data.numpy(), y=y.numpy())
    config = TrainConfig(
        data=str(tmp_path / "data.npz"), net="mlp(width=16, depth=2)", steps=20, checkpoint_every=10, keep=2,
        batch_size=32, out=str(tmp_path / "run"), seed=0,
    )  # fmt: skip
    fit(config, progress=False)
    run = Run.open(tmp_path / "run")
    named = f"autoguidance(2.0, {str(run.path)!r}, step=10)"
    weak = Run.open(tmp_path / "run", step=10).field
    ours = run.sample(6, guidance=named, steps=4)
    torch.testing.assert_close(ours, run.sample(6, guidance=Autoguidance(2.0, weak), steps=4))
    assert (ours - run.sample(6, guidance=1.0, steps=4)).abs().max() > 1e-4
    assert main(["sample", str(run.path), "--n", "6", "--steps", "4", "--guidance", "apg(2.0)", "--no-picture"]) == 0
    with np.load(run.path / "samples.npz") as made:
        torch.testing.assert_close(torch.from_numpy(made["x"]), run.sample(6, guidance=APG(2.0), steps=4))
