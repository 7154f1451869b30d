"""The kernel as a user meets it: readings, sampling, budgets, seeds, guidance, dtypes, and clear errors."""

import pytest
import torch
from torch import Tensor, nn

import pathline as pl
from pathline.testing import oracles

PATH = pl.AffinePath(pl.Linear())
MEANS = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 3.0]]).double()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(path: pl.AffinePath = PATH) -> oracles.Oracle:
    return oracles.gaussian_mixture(MEANS, 0.4, None, path, labels=torch.arange(3))


class Net(nn.Module):
    def __init__(self, dim: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(dim + 1, dim)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        clock = t.expand(len(x))[:, None].to(x.dtype)
        out = self.drop(self.layer(torch.cat([x, clock], 1)))
        return out if y is None else out + y[:, None].clamp(min=0)


# --- readings ---


def test_score_is_the_gradient_of_the_density_on_every_schedule() -> None:
    for schedule in (pl.Linear(), pl.VP(), pl.EDM(), pl.Trig()):
        field = mixture(pl.AffinePath(schedule))
        x = torch.randn(6, 2, generator=seeded(), dtype=torch.float64).requires_grad_()
        for t in (0.1, 0.5, 0.95):
            (slope,) = torch.autograd.grad(field.log_prob(x, t).sum(), x)
            torch.testing.assert_close(field(x, t).score, slope)


def test_known_limits_at_the_ends() -> None:
    """T17: D from u at t = 1 is x, E from u at t = 0 is x."""
    x, value = torch.randn(4, 3), torch.randn(4, 3)
    field = pl.Field(lambda x, t: value, PATH, pl.VELOCITY)
    torch.testing.assert_close(field(x, 1.0).data, x)
    torch.testing.assert_close(field(x, 0.0).noise, x)


@pytest.mark.parametrize("prediction", pl.PREDICTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_readings_are_finite_and_typed_at_the_ends(prediction: str, dtype: torch.dtype) -> None:
    for schedule in (pl.Linear(), pl.VP(), pl.Cosine(), pl.EDM(), pl.DDPM.linear()):
        field = pl.Field(lambda x, t: torch.ones_like(x), pl.AffinePath(schedule), pl.PREDICTIONS[prediction])
        x = torch.ones(2, 3, 3, dtype=dtype)
        for t in (0.0, 1.0, torch.tensor([0.0, 1.0])):
            estimate = field(x, t)
            for name in ("velocity", "data", "noise", "score"):
                value = getattr(estimate, name)
                assert value.dtype == dtype, name
                assert torch.isfinite(value).all(), (schedule, name, t)


def test_a_prediction_whose_network_is_shown_another_time_reads_like_its_row_at_both_ends() -> None:
    """At sigma = 0 the two equations for (x_1, x_0) are one, and solving them would lose the data that is at hand."""
    value, x = torch.ones(2, 3), torch.zeros(2, 3)
    for row, t in ((pl.DATA, 1.0), (pl.NOISE, 0.0)):
        shown = pl.Prediction("shown otherwise", row.row, clock=lambda c: 1000.0 * c.sigma)
        estimate = PATH.read(x, torch.tensor(t), shown, value)
        torch.testing.assert_close(estimate.read(row), value)


def test_edm_row_is_karras_preconditioning() -> None:
    """D = c_skip x + c_out F(c_in x, c_noise) with the published coefficients (Karras et al. 2022, table 1)."""
    s, sigma = 0.5, 1.7
    path = pl.AffinePath(pl.EDM())
    t = path.schedule.t_of_logsnr(torch.tensor(-sigma, dtype=torch.float64).abs().log().neg())
    seen = {}

    def net(x: Tensor, t: Tensor) -> Tensor:
        seen["x"], seen["t"] = x, t
        return torch.full_like(x, 0.3)

    x = torch.randn(4, 2, dtype=torch.float64)
    data = pl.Field(net, path, pl.edm_f(s))(x, t).data
    total = (sigma**2 + s**2) ** 0.5
    torch.testing.assert_close(seen["x"], x / total)
    torch.testing.assert_close(seen["t"], torch.tensor(sigma, dtype=torch.float64).log() / 4)
    torch.testing.assert_close(data, s**2 / total**2 * x + sigma * s / total * 0.3)


def test_edm_loss_is_karras_weighting() -> None:
    """Plain squared error on F equals the published weight on the data error."""
    path = pl.AffinePath(pl.EDM())
    coefs = path.coefs(torch.tensor(0.6, dtype=torch.float64), torch.zeros(1, 1))
    sigma = float(coefs.sigma)
    factor = pl.predictions.gain(coefs, pl.DATA, pl.edm_f(0.5))
    assert float(factor) == pytest.approx((sigma**2 + 0.25) / (sigma * 0.5) ** 2)


def test_loss_spaces_weigh_as_stated() -> None:
    """T18 on the linear path: L_noise = t² L_velocity, L_data = (1 - t)² L_velocity."""
    x_1, t = torch.randn(64, 2).double(), torch.linspace(0.1, 0.9, 64).double()
    x_0 = torch.randn(64, 2).double()
    net = Net().double().eval()
    loss = {
        space: pl.Matching(PATH, pl.VELOCITY, loss_in=space).per_sample(net, x_1, x_0, t=t)
        for space in (pl.VELOCITY, pl.NOISE, pl.DATA)
    }
    torch.testing.assert_close(loss[pl.NOISE], t**2 * loss[pl.VELOCITY])
    torch.testing.assert_close(loss[pl.DATA], (1 - t) ** 2 * loss[pl.VELOCITY])


def test_data_prediction_with_velocity_loss_is_clipped() -> None:
    objective = pl.Matching(PATH, pl.DATA, loss_in=pl.VELOCITY)
    t = torch.tensor([0.5, 0.94, 0.999], dtype=torch.float64)
    torch.testing.assert_close(objective.factor(PATH.coefs(t, t)), (1 - t).clamp(min=0.05) ** -2)


def test_the_loss_is_the_mean_of_the_losses() -> None:
    net, x_1, y = Net().eval(), torch.randn(32, 2), torch.randint(3, (32,))
    for objective in (
        pl.Matching(PATH, pl.VELOCITY),
        pl.Matching(PATH, pl.DATA, loss_in=pl.VELOCITY),
        pl.Matching(pl.AffinePath(pl.VP()), pl.NOISE, weight=pl.weights.min_snr()),
    ):
        whole = objective(net, x_1, y=y, generator=seeded(1))
        torch.testing.assert_close(whole, objective.per_sample(net, x_1, y=y, generator=seeded(1)).mean())


def test_labels_are_dropped_at_the_rate_and_follow_the_data() -> None:
    seen: list[Tensor] = []

    def net(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        seen.append(y)
        return x

    y = torch.arange(20_000)
    pl.Matching(PATH, pl.VELOCITY, label_dropout=0.25)(net, torch.randn(20_000, 1), y=y, generator=seeded())
    dropped = seen[0] == -1
    assert abs(float(dropped.double().mean()) - 0.25) < 0.015
    assert torch.equal(seen[0][~dropped], y[~dropped])


def test_couplings_move_the_source_and_leave_data_and_labels() -> None:
    def reverse(x_0: Tensor, x_1: Tensor, y: Tensor | None = None, generator: object = None) -> Tensor:
        return torch.arange(len(x_0)).flip(0)

    objective = pl.Matching(PATH, pl.VELOCITY, coupling=reverse)
    x_0 = torch.arange(4.0)[:, None]
    coupled, _, _ = objective.draw(torch.zeros(4, 1), x_0)
    assert coupled.flatten().tolist() == [3.0, 2.0, 1.0, 0.0]


# --- sampling ---


def test_samples_have_the_moments_of_the_data() -> None:
    field = mixture()
    x = pl.sample(field, (6000, 2), steps=64, generator=seeded())
    truth = field.sample(60_000, generator=seeded(1))
    assert float((x.double().mean(0) - truth.mean(0)).abs().max()) < 0.1
    assert float((x.double().T.cov() - truth.T.cov()).abs().max()) < 0.2


@pytest.mark.parametrize("schedule", [pl.EDM(), pl.VE(0.01, 30.0), pl.DDPM.linear()])
def test_paths_that_stop_short_end_with_a_jump_to_the_data(schedule: pl.Schedule) -> None:
    field = mixture(pl.AffinePath(schedule))
    solution = pl.solve(field, (64, 2), solver="euler", steps=20, generator=seeded())
    assert solution.evaluations == 21
    assert solution.trajectory is not None
    before = solution.trajectory[-2]
    last = pl.integrate(field, before, "euler", solution.times[-2:])
    torch.testing.assert_close(solution.x, field(last, 1.0).data)


def test_a_budget_is_kept_and_stands_in_the_result() -> None:
    field = mixture()
    for name in ("euler", "heun", "rk4"):
        for budget in (8, 9, 11):
            solution = pl.solve(field, (4, 2), solver=name, evaluations=budget)
            assert solution.evaluations <= budget
            assert solution.evaluations == pl.SOLVERS[name].evaluations(solution.steps)
            assert pl.SOLVERS[name].evaluations(solution.steps + 1) > budget


def test_guided_networks_cost_two_evaluations() -> None:
    solution = pl.solve(mixture(), (4, 2), solver="euler", steps=5, guidance=2.0, y=1)
    assert (solution.evaluations, solution.network_evaluations) == (5, 10)


def test_a_silent_one_step_run_is_refused() -> None:
    with pytest.raises(ValueError, match="single step"):
        pl.sample(mixture(), (4, 2), solver="rk4", evaluations=4)
    assert pl.solve(mixture(), (4, 2), solver="rk4", steps=1).steps == 1


@pytest.mark.parametrize("solver", ["heun", "euler_maruyama"])
def test_sample_i_depends_on_seed_i_alone(solver: str) -> None:
    field = mixture()
    whole = pl.sample(field, (8, 2), solver=solver, steps=9, seeds=range(8))
    for part in ([3], [7, 0, 3]):
        some = pl.sample(field, (len(part), 2), solver=solver, steps=9, seeds=part)
        torch.testing.assert_close(some, whole[part], rtol=1e-5, atol=1e-6)


def test_encoding_is_the_reverse_of_sampling() -> None:
    field = mixture()
    grid = torch.linspace(0, 1, 257)
    x_0 = torch.randn(32, 2, generator=seeded(), dtype=torch.float64)
    x_1 = pl.integrate(field, x_0, "rk4", grid)
    torch.testing.assert_close(pl.integrate(field, x_1, "rk4", grid.flip(0)), x_0, atol=1e-5, rtol=1e-5)


def test_networks_run_in_eval_mode_and_come_back() -> None:
    net = Net()
    field = pl.Field(net, PATH, pl.VELOCITY)
    a, b = (pl.sample(field, (4, 2), steps=3, seeds=range(4)) for _ in range(2))
    assert torch.equal(a, b)
    assert net.training
    assert net.drop.training
    assert not a.is_inference()


def test_integrate_is_differentiable() -> None:
    net = Net().eval()
    x = torch.randn(3, 2, requires_grad=True)
    pl.integrate(pl.Field(net, PATH, pl.VELOCITY), x, "heun", torch.linspace(0, 1, 4)).sum().backward()
    assert x.grad is not None
    assert net.layer.weight.grad is not None


def test_fields_work_under_bfloat16_autocast_and_in_bfloat16() -> None:
    field = pl.Field(Net().eval(), PATH, pl.DATA)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(pl.sample(field, (4, 2), steps=4)).all()
        loss = pl.Matching(PATH, pl.DATA, loss_in=pl.VELOCITY)(Net(), torch.randn(8, 2))
    assert loss.dtype == torch.float32
    half = pl.Field(Net().eval().bfloat16(), PATH, pl.VELOCITY)
    assert pl.sample(half, torch.randn(4, 2).bfloat16(), steps=4).dtype == torch.bfloat16


# --- guidance ---


def test_guidance_is_the_same_in_every_prediction() -> None:
    """T33: the guided mixture from velocity-, data- and noise-predicting networks is one field."""
    from pathline.testing.laws import exact_net

    x = torch.randn(6, 2, dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    for t in (0.2, 0.7):
        plain, given = mixture()(x, t), mixture()(x, t, y=y)
        for name in ("velocity", "data", "noise", "score"):
            truth = -1.5 * getattr(plain, name) + 2.5 * getattr(given, name)
            for prediction in (pl.VELOCITY, pl.DATA, pl.NOISE, pl.SCORE, pl.V):
                guided = pl.CFG(2.5)(exact_net(mixture(), prediction))(x, t, y=y)
                torch.testing.assert_close(getattr(guided, name), truth)


def test_guidance_scales_may_vary_by_time_and_sample() -> None:
    x, y = torch.randn(3, 2, dtype=torch.float64), torch.tensor([0, 1, 2])
    each = pl.CFG(torch.tensor([1.0, 2.0, 3.0]))(mixture())(x, 0.5, y=y).velocity
    for i, w in enumerate((1.0, 2.0, 3.0)):
        one = pl.CFG(w)(mixture())(x[i : i + 1], 0.5, y=y[i : i + 1]).velocity
        torch.testing.assert_close(each[i : i + 1], one)
    late = pl.CFG(lambda t: 4.0 * float(t > 0.6))(mixture())
    torch.testing.assert_close(late(x, 0.5, y=y).velocity, mixture()(x, 0.5).velocity)


def test_foreign_null_labels() -> None:
    seen = []

    def net(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        seen.append(y.tolist())
        return x

    pl.CFG(2.0, null={"y": 10})(pl.Field(net, PATH, pl.VELOCITY))(torch.zeros(2, 2), 0.5, y=torch.tensor([1, 2]))
    assert seen == [[10, 10, 1, 2]]


# --- bad input ---

FIELD = pl.Field(Net().eval(), PATH, pl.VELOCITY)
NAN = float("nan")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: FIELD(torch.zeros(3, 2), 1.5), ValueError, r"t must lie in \[0, 1\].*1.5"),
        (lambda: FIELD(torch.zeros(3, 2), NAN), ValueError, "t must lie in"),
        (lambda: FIELD(torch.zeros(3, 2), torch.tensor([0.1, NAN, 0.2])), ValueError, "t must lie in"),
        (lambda: FIELD(torch.zeros(3, 2), torch.rand(2)), ValueError, r"shape \(\) or \(3,\)"),
        (lambda: FIELD(torch.zeros(3, 2), torch.tensor(3)), TypeError, "floating dtype"),
        (lambda: FIELD(torch.zeros(3, 2).long(), 0.5), TypeError, "x_t must be of a floating dtype"),
        (lambda: FIELD([[0.0]], 0.5), TypeError, "x_t must be a tensor"),
        (lambda: pl.Field(lambda x, t: x[:, :1], PATH, pl.VELOCITY)(torch.zeros(3, 2), 0.5), ValueError, r"\(3, 1\)"),
        (lambda: pl.Field(lambda x, t: None, PATH, pl.VELOCITY)(torch.zeros(3, 2), 0.5), TypeError, "must return a tensor"),
        (lambda: pl.Field(3, PATH, pl.VELOCITY), TypeError, "net must be callable"),
        (lambda: pl.Field(Net(), pl.Linear(), pl.VELOCITY), TypeError, "path must be a Path"),
        (lambda: pl.Field(Net(), PATH, "velocity"), TypeError, "prediction must be a Prediction"),
        (lambda: pl.AffinePath("linear"), TypeError, "schedule must be a Schedule"),
        (lambda: pl.sample(FIELD, (4, 2), solver="huen"), ValueError, "did you mean 'heun'"),
        (lambda: pl.sample(FIELD, (4, 2), solver=3), TypeError, "solver must be"),
        (lambda: pl.sample(FIELD, (4, 2), steps=3, evaluations=6), ValueError, "not both"),
        (lambda: pl.sample(FIELD, (4, 2), steps=0), ValueError, "steps must be a positive integer, got 0"),
        (lambda: pl.sample(FIELD, (4, 2), evaluations=2.5), ValueError, "evaluations must be a positive integer"),
        (lambda: pl.sample(FIELD, (4, 2), solver="heun", evaluations=1), ValueError, "does not pay"),
        (lambda: pl.sample(FIELD, (4,)), ValueError, "shape must be"),
        (lambda: pl.sample(FIELD, (4, -2)), ValueError, "shape must be"),
        (lambda: pl.sample(FIELD, (4, 2), labels=torch.zeros(4)), TypeError, "labels= is read by nothing.*conditions y"),
        (lambda: pl.sample(FIELD, (4, 2), y=torch.zeros(3).long()), ValueError, "one row per sample, 4"),
        (lambda: pl.sample(FIELD, (4, 2), seeds=[1, 2]), ValueError, "one entry per sample, 4"),
        (lambda: pl.sample(FIELD, (1, 2), seeds=[-1]), ValueError, "seeds must be integers"),
        (lambda: pl.sample(FIELD, (1, 2), seeds=[1], generator=seeded()), ValueError, "not both"),
        (lambda: pl.sample(FIELD, torch.zeros(4, 2), seeds=range(4)), ValueError, "read by nothing"),
        (lambda: pl.sample(FIELD, (4, 2), guidance=2.0), ValueError, "guidance needs a condition"),
        (lambda: pl.sample(FIELD, (4, 2), grid=torch.linspace(0, 1, 4), steps=3), ValueError, "fixes the number"),
        (lambda: pl.integrate(FIELD, torch.zeros(1, 2), "euler", torch.tensor([0.0])), ValueError, "at least two"),
        (lambda: pl.integrate(FIELD, torch.zeros(1, 2), "euler", torch.tensor([0.0, 0.5, 0.5])), ValueError, "strictly"),
        (lambda: pl.integrate(FIELD, torch.zeros(1, 2), "euler", torch.tensor([0.0, 1.5])), ValueError, "lie in"),
        (lambda: pl.VP(beta_min=-1.0), ValueError, "beta_min"),
        (lambda: pl.VE(2.0, 1.0), ValueError, "sigma_min"),
        (lambda: pl.DDPM([0.5, 0.6, 0.7]), ValueError, "fall strictly"),
        (lambda: pl.Polynomial(0.5), ValueError, "n must be at least 1"),
        (lambda: pl.Cosine(offset=0.0), ValueError, "use Trig"),
        (lambda: pl.times.mode(3.0), ValueError, "monotone"),
        (lambda: pl.times.logit_normal(0.0, -1.0), ValueError, "std must be positive"),
        (lambda: pl.Matching(PATH, pl.NOISE, loss_in=pl.NOISE, weight=pl.weights.edm()), ValueError, "give one of the two"),
        (lambda: pl.Matching(PATH, pl.NOISE, label_dropout=2.0), ValueError, "label_dropout"),
        (lambda: pl.Matching(PATH, pl.NOISE)(Net(), torch.zeros(4, 2), torch.zeros(3, 2)), ValueError, "x_0 must be like"),
        (lambda: pl.Matching(PATH, pl.NOISE)(Net(), torch.zeros(4, 2), y=torch.zeros(3)), ValueError, "one entry per sample"),
        (lambda: pl.CFG(2.0, null={"z": 1})(FIELD)(torch.zeros(1, 2), 0.5, y=torch.zeros(1)), ValueError, "null names z"),
        (lambda: mixture()(torch.zeros(2, 2).double(), 0.5, y=torch.tensor([0, 7])), ValueError, "labels of the (oracle|mixture)"),
        (lambda: mixture()(torch.zeros(2, 3).double(), 0.5), ValueError, r"\(B, 2\)"),
        (lambda: oracles.gaussian(torch.zeros(2), torch.eye(3), PATH), ValueError, r"cov must have shape \(2, 2\)"),
        (lambda: oracles.gaussian(torch.zeros(2), -torch.eye(2), PATH), ValueError, "positive semi-definite"),
    ],
)  # fmt: skip
def test_bad_input(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call()
