"""Every registered part under the laws of its kind, and wrong parts that the laws must catch."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.solvers import RungeKutta, Tableau
from pathline.testing import LawBroken, laws, oracles

SCHEDULES = {name: make(0.01, 50.0) if name == "ve" else make() for name, make in pl.SCHEDULES.items()}
SCHEDULES["ddpm_zero_snr"] = pl.DDPM.scaled_linear().zero_terminal_snr()
SCHEDULES["polynomial3"] = pl.Polynomial(3.0)
SCHEDULES["custom"] = pl.CustomSchedule(alpha=lambda t: t, sigma=lambda t: torch.sqrt(1.0 - t))
CLOSED = {k: v for k, v in SCHEDULES.items() if k != "custom"}
TIMES = {
    name: make(
        *{"shifted": (3.0,), "beta": (1.5, 1.0), "karras": (pl.EDM(),)}.get(name, (pl.VP(),) if "snr" in name else ())
    )
    for name, make in pl.TIMES.items()
}
FIXED = {name: s for name, s in pl.SOLVERS.items() if name not in ("dopri5", "tsit5")}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    laws.check_schedule(SCHEDULES[name])


@pytest.mark.parametrize("name", TIMES)
def test_times(name: str) -> None:
    laws.check_times(TIMES[name])


@pytest.mark.parametrize("name", pl.PREDICTIONS)
def test_prediction(name: str) -> None:
    laws.check_prediction(pl.PREDICTIONS[name])


@pytest.mark.parametrize("name", CLOSED)
def test_path(name: str) -> None:
    laws.check_path(pl.AffinePath(SCHEDULES[name]))


@pytest.mark.parametrize("name", CLOSED)
def test_oracles_are_fields(name: str) -> None:
    path = pl.AffinePath(SCHEDULES[name])
    laws.check_field(oracles.gaussian(torch.ones(3).double(), torch.eye(3).double(), path), (3,))
    laws.check_field(oracles.eight_gaussians(path), (2,))


@pytest.mark.parametrize("name", pl.SOLVERS)
def test_solver(name: str) -> None:
    laws.check_solver(pl.SOLVERS[name], adaptive=name not in FIXED)


@pytest.mark.parametrize("prediction", pl.PREDICTIONS)
@pytest.mark.parametrize("schedule", CLOSED)
def test_every_combination_runs(schedule: str, prediction: str) -> None:
    """Every solver x prediction x schedule gives finite samples near the data, with a perfect network."""
    path = pl.AffinePath(SCHEDULES[schedule])
    exact = oracles.gaussian_mixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).double(), 0.3, None, path)
    field = laws.exact_net(exact, pl.PREDICTIONS[prediction])
    for name, solver in FIXED.items():
        x_0 = torch.randn(16, 2, generator=laws.base.generator(), dtype=torch.float64)
        generator = laws.base.generator(1) if solver.stochastic else None
        x = pl.sample(field, x_0, solver=name, steps=12, generator=generator)
        assert torch.isfinite(x).all(), name
        assert x.abs().max() < 30.0, name


@pytest.mark.parametrize("name", pl.COUPLINGS)
def test_coupling(name: str) -> None:
    options = {"sinkhorn": {"reg": 0.5}}.get(name, {})
    laws.check_coupling(pl.COUPLINGS[name](**options), permutation=name != "sinkhorn")


@pytest.mark.parametrize("name", pl.couplings.DATASET_COUPLINGS)
def test_dataset_coupling(name: str) -> None:
    laws.check_dataset_coupling(pl.couplings.DATASET_COUPLINGS[name]())


def test_a_dataset_coupling_that_ignores_classes_is_caught() -> None:
    class Blind:
        def fit(self, data, y=None, **options):
            return pl.couplings.prepared().fit(data, **options)

    with pytest.raises(LawBroken, match="Couple class by class"):
        laws.check_dataset_coupling(Blind())


@pytest.mark.parametrize("name", ["independent", "class_exact_ot", "conditional_ot"])
def test_coupling_keeps_the_source_of_a_condition(name: str) -> None:
    laws.check_conditional_coupling(pl.COUPLINGS[name]())


@pytest.mark.parametrize("name", ["exact_ot", "sinkhorn"])
def test_couplings_that_skew_the_source_of_a_condition_are_caught(name: str) -> None:
    coupling = pl.couplings.sinkhorn(0.5) if name == "sinkhorn" else pl.couplings.exact_ot()
    with pytest.raises(LawBroken, match="leaves p"):
        laws.check_conditional_coupling(coupling)


EIGHT = oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
WEAK = oracles.gaussian_mixture(EIGHT.means, 1.0, None, EIGHT.path, labels=torch.arange(8))
GUIDES = {
    **{name: (pl.GUIDANCE[name], {}) for name in ("cfg", "interval", "rescale", "cfg_zero", "apg")},
    "cfg_pp": (lambda w: pl.guidance.CFGPlusPlus(w, steps=1), {"per_sample": False}),
    "composed": (lambda w: pl.guidance.Composed({"y": w}), {}),
    # the weak field of w = 1 is not looked at; the exact classifier gives the conditional field at weight 1
    "autoguidance": (lambda w: pl.guidance.Autoguidance(w, WEAK), {}),
    "classifier": (
        lambda w: pl.guidance.ClassifierGuidance(
            w, lambda x, t, y: EIGHT.class_log_prob(x, t).gather(1, y[:, None])[:, 0], earliest=1e-6
        ),
        {"tolerance": 1e-5},
    ),
}


def test_every_guidance_is_under_the_law() -> None:
    assert set(GUIDES) == set(pl.GUIDANCE)


@pytest.mark.parametrize("name", GUIDES)
def test_guidance(name: str) -> None:
    make, options = GUIDES[name]
    laws.check_guidance(make, **options)


@pytest.mark.parametrize("name", [name for name in GUIDES if name not in ("autoguidance", "classifier")])
def test_guidance_on_any_device(name: str) -> None:
    """The others bring networks of their own, which are where the user put them."""
    net = pl.nets.MLP(2, 16, 1, num_classes=8).to("meta")
    field = pl.Field(net, pl.AffinePath(pl.Linear()), pl.VELOCITY)
    guided = GUIDES[name][0](2.0)
    laws.check_device(lambda x: pl.sample(field, x, solver="abm2", steps=3, guidance=guided, y=torch.arange(6)))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_training_on_any_device(schedule: str) -> None:
    net = pl.nets.MLP(2, 16, 1, num_classes=8).to("meta")
    for prediction in pl.PREDICTIONS.values():
        objective = pl.Matching(pl.AffinePath(SCHEDULES[schedule]), prediction)
        generator = torch.Generator().manual_seed(0)
        laws.check_device(
            lambda x, o=objective, g=generator: o(net, x, y=torch.arange(6, device=x.device), generator=g)
        )


def test_a_generator_of_the_cpu_serves_every_device() -> None:
    """Numbers are drawn where the generator lives, so that they are the same everywhere: its state moves on."""
    path, far = pl.AffinePath(pl.Linear()), torch.empty(6, 2, device="meta")
    net = pl.nets.MLP(2, 16, 1).to("meta")
    field = pl.Field(net, path, pl.VELOCITY)
    draws = {
        "source": lambda g: pl.sample(field, (6, 2), steps=2, generator=g),
        "solver": lambda g: pl.sample(field, far, solver="euler_maruyama", steps=2, generator=g),
        "objective": lambda g: pl.Matching(path, pl.VELOCITY)(net, far, generator=g),
    }
    for name, draw in draws.items():
        generator = torch.Generator().manual_seed(0)
        before = generator.get_state()
        assert draw(generator).device.type == "meta", name
        assert not torch.equal(before, generator.get_state()), name


SPACES = ("data", "noise", "velocity", "score", "v", "edm_f")


@pytest.mark.parametrize("loss_in", SPACES)
@pytest.mark.parametrize("prediction", SPACES)
def test_objective_every_prediction_in_every_loss_space(prediction: str, loss_in: str) -> None:
    path = pl.AffinePath(pl.Linear())
    times = pl.times.logit_normal()
    laws.check_objective(pl.Matching(path, pl.PREDICTIONS[prediction], loss_in=pl.PREDICTIONS[loss_in], times=times))


@pytest.mark.parametrize("weight", pl.WEIGHTS)
@pytest.mark.parametrize("schedule", ["linear", "vp", "edm"])
def test_objective_weights(schedule: str, weight: str) -> None:
    path = pl.AffinePath(SCHEDULES[schedule])
    laws.check_objective(
        pl.Matching(path, pl.NOISE, weight=pl.WEIGHTS[weight](), times=pl.times.log_snr_normal(path.schedule, 0.0, 1.0))
    )


# --- the laws must be able to fail ---


@dataclass(frozen=True)
class WrongDerivative(pl.Schedule):
    def __call__(self, t: Tensor) -> pl.Coefs:
        return pl.Coefs(t, 1.0 - t, 1.0, 1.0)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return torch.sigmoid(logsnr)


@dataclass(frozen=True)
class Reversed(pl.Schedule):
    def __call__(self, t: Tensor) -> pl.Coefs:
        return pl.Coefs(1.0 - t, t, -1.0, 1.0)

    def t_of_logsnr(self, logsnr: Tensor) -> Tensor:
        return torch.sigmoid(-logsnr)


def test_wrong_schedules_are_told_in_words() -> None:
    with pytest.raises(LawBroken, match="derivatives of alpha and sigma"):
        laws.check_schedule(WrongDerivative())
    with pytest.raises(LawBroken, match="rises with t"):
        laws.check_schedule(Reversed())


def test_a_rk4_with_stages_at_wrong_times_is_caught() -> None:
    rows = ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0))
    wrong = RungeKutta(Tableau(rows, (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 0.0, 0.0, 0.0)), 4)
    with pytest.raises(LawBroken, match="measured order"):
        laws.check_order(wrong)


def test_an_overstated_order_is_caught() -> None:
    with pytest.raises(LawBroken, match="measured order is the declared one, 3"):
        laws.check_order(RungeKutta(pl.solvers.runge_kutta.HEUN, 3))


@dataclass(frozen=True)
class LoudNoise(pl.solvers.EulerMaruyama):
    """sqrt(2) too much noise: g and eta confused."""

    def start(self, field, x, grid, noise):
        class Loud(pl.solvers.Noise):
            def normal(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
                return 2**0.5 * noise.normal(x, t, s)

        return Loud()


def test_a_wrong_diffusion_is_caught() -> None:
    with pytest.raises(LawBroken, match="variance"):
        laws.solver.check_moments(LoudNoise(eta=lambda t: 1.0 - t))


class AtHome(RungeKutta):
    """Its steps are a tensor that was made on the CPU."""

    def step(self, field, x, t, s, state):
        drift, state = super().step(field, x, t, s, state)
        return drift + torch.zeros(x.shape), state


def test_a_solver_that_knows_one_device_is_caught() -> None:
    with pytest.raises(LawBroken, match="any device"):
        laws.solver.check_states_anywhere(AtHome(pl.solvers.runge_kutta.EULER, 1))


def test_a_coupling_with_replacement_is_caught() -> None:
    with pytest.raises(LawBroken, match="exactly once"):
        laws.check_coupling(lambda x_0, x_1, y=None, generator=None: torch.zeros(len(x_0), dtype=torch.int64))


def test_a_net_that_ignores_time_is_caught() -> None:
    with pytest.raises(LawBroken, match="reads t"):
        laws.check_net(lambda x, t: 2.0 * x, (2,))


def test_guidance_with_the_other_scale_is_caught() -> None:
    with pytest.raises(LawBroken, match="w = 1 is no guidance"):
        laws.check_guidance(lambda w: pl.CFG(1.0 + w))
