"""Control without training: operators, posterior methods against exact posteriors, editing (theory T1, T16, T35)."""

import math

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.control import (
    DPS,
    OPERATORS,
    POSTERIORS,
    STEPS,
    AveragePool,
    Blur,
    FlowDPS,
    Flower,
    Gray,
    Mask,
    Matrix,
    MomentMatching,
    Momentum,
    Observation,
    Operator,
    PiGDM,
    Replacement,
    d_flow,
    edit,
    interpolate,
    resume,
    slerp,
    translate,
)
from pathline.guidance import APG
from pathline.testing import laws, oracles

LINEAR = pl.AffinePath(pl.Linear())
PATHS = {"linear": LINEAR, "vp": pl.AffinePath(pl.VP()), "cosine": pl.AffinePath(pl.Cosine())}
MEAN = torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
COV = torch.tensor([[0.5, 0.3, 0.1], [0.3, 0.4, 0.0], [0.1, 0.0, 0.3]], dtype=torch.float64)
A = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
Y = torch.tensor([1.4, -0.2], dtype=torch.float64)
SEEN = Observation(Matrix(A), Y[None], 0.3)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def digits(n: int = 30) -> oracles.Empirical:
    data = pl.data.load("digits")
    return oracles.empirical(data.x[:n].double() / 8.0 - 1.0, LINEAR, data.y[:n], std=0.1)


# --- operators ---


class Differences(Operator):
    """y_i = x_{i+1} - x_i, with the inverse that every operator inherits."""

    def __call__(self, x: Tensor) -> Tensor:
        return x[..., 1:] - x[..., :-1]

    def adjoint(self, y: Tensor) -> Tensor:
        pad = torch.nn.functional.pad
        return pad(y, (1, 0)) - pad(y, (0, 1))


CASES = {
    "mask": (Mask(torch.tensor([[True, False], [False, True]])), (3, 2, 2)),
    "mask of a vector": (Mask(torch.tensor([True, False, True])), (3,)),
    "average_pool": (AveragePool(2), (3, 4, 6)),
    "blur": (Blur.gaussian(0.6, 1), (3, 5, 8)),
    "blur by a skew kernel": (Blur(torch.tensor([[0.5, 0.2, 0.0], [0.1, 0.1, 0.1]])), (1, 6, 5)),
    "gray": (Gray(), (3, 4, 5)),
    "matrix": (Matrix(A), (3,)),
    "matrix without full rank": (Matrix(torch.cat([A, A.sum(0, keepdim=True)])), (3,)),
    "matrix of images": (Matrix(normal(5, 12, seed=3), (3, 2, 2)), (3, 2, 2)),
    "inherited": (Differences(), (3, 7)),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name: str) -> None:
    laws.check_operator(*CASES[name])


def test_every_operator_is_under_the_law() -> None:
    assert {type(operator) for operator, _ in CASES.values()} - {Differences} == set(OPERATORS.values())


def test_blur_is_a_circular_convolution() -> None:
    kernel, x = torch.tensor([[0.5, 0.2, 0.1]]).double(), torch.zeros(1, 1, 4, 6).double()
    x[0, 0, 1, 5] = 1.0
    y = Blur(kernel)(x)
    torch.testing.assert_close(y[0, 0, 1], torch.tensor([0.1, 0.0, 0.0, 0.0, 0.5, 0.2]).double(), atol=1e-12, rtol=0.0)
    assert y[0, 0, 0].abs().max() < 1e-12


def test_wrong_adjoint_is_caught() -> None:
    class Wrong(AveragePool):
        def adjoint(self, y: Tensor) -> Tensor:
            return self.pinv(y)

    with pytest.raises(laws.LawBroken, match="A\\^T"):
        laws.check_operator(Wrong(2), (1, 4, 4))


# --- posterior methods: the laws, and exact answers where the method is exact ---


@pytest.mark.parametrize(("name", "options"), [
    ("dps", {}), ("dps", {"rate": 3.0}), ("pigdm", {}), ("moments", {"iterations": 2}),
], ids=["dps", "dps-rate", "pigdm", "moments"])  # fmt: skip
def test_posterior_law(name: str, options: dict) -> None:
    laws.check_posterior(POSTERIORS[name], **options)


@pytest.mark.parametrize("name", STEPS)
def test_posterior_step_law(name: str) -> None:
    laws.check_posterior_step(STEPS[name])


def test_a_norm_over_the_batch_is_caught() -> None:
    class BatchNorm(DPS):
        def shift(self, data, pull, coefs, y):
            residual = self.observation.residual(data, y)
            return pull(self.observation.operator.adjoint(residual / residual.norm()))

    with pytest.raises(laws.LawBroken, match="does not see its batch"):
        laws.check_posterior(BatchNorm)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["pigdm", "moments"])
def test_exact_on_gaussians_at_every_point(method: str, path: str) -> None:
    """The guided field equals the field of the exact posterior, which knows of no guidance."""
    cov = COV if method == "moments" else 0.36 * torch.eye(3).double()
    prior = oracles.gaussian(MEAN, cov, PATHS[path])
    truth = oracles.observed(prior, A, Y, 0.3)
    guidance = MomentMatching(SEEN, iterations=2) if method == "moments" else PiGDM(SEEN, data_std=0.6)
    x = normal(20, 3)
    for t in (0.05, 0.3, 0.7, 0.98):
        for space in (pl.VELOCITY, pl.DATA, pl.SCORE):
            ours, exact = guidance(prior)(x, t).read(space), truth(x, t).read(space)
            torch.testing.assert_close(ours, exact, rtol=1e-6, atol=1e-6)


def test_dps_is_not_exact_and_how() -> None:
    """On N(0, 1) seen with noise std the guided score replaces the variance r² + std² of y given x_t by std²."""
    prior = oracles.gaussian(torch.zeros(1).double(), torch.eye(1).double(), LINEAR)
    seen = Observation(Matrix(torch.eye(1).double()), torch.ones(1, 1).double(), 0.5)
    x, t = normal(10, 1), 0.6
    alpha, sigma = 0.6, 0.4
    v = alpha**2 + sigma**2
    pull = (alpha / v) * (1.0 - alpha / v * x)
    torch.testing.assert_close(DPS(seen)(prior)(x, t).score, -x / v + pull / 0.25)
    torch.testing.assert_close(PiGDM(seen)(prior)(x, t).score, -x / v + pull / (0.25 + sigma**2 / v))
    speed = DPS(seen, rate=2.0)(prior)(x, t).velocity - prior(x, t).velocity
    torch.testing.assert_close(speed.abs(), torch.full_like(x, 2.0 * alpha / v))


def moments_of(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(0), torch.cov(x.T)


def test_samples_have_the_moments_of_the_exact_posterior() -> None:
    """Moment matching on a full Gaussian, Flower and PiGDM on an isotropic one, n = 4000: within 5 standard errors."""
    x_0, isotropic = normal(4000, 3), oracles.gaussian(MEAN, 0.36 * torch.eye(3).double(), LINEAR)
    full = oracles.gaussian(MEAN, COV, LINEAR)
    cases = {
        "moments": (full, {"guidance": MomentMatching(SEEN, iterations=2), "solver": "heun", "steps": 40}),
        "pigdm": (isotropic, {"guidance": PiGDM(SEEN, data_std=0.6), "solver": "heun", "steps": 40}),
        "flower": (isotropic, {"solver": Flower(SEEN, data_std=0.6), "steps": 3, "seeds": range(4000)}),
    }
    for name, (prior, options) in cases.items():
        mean, cov = oracles.moments(oracles.observed(prior, A, Y, 0.3))
        found, spread = moments_of(pl.sample(prior, x_0, **options))
        assert ((found - mean) / (cov.diagonal() / 4000).sqrt()).abs().max() < 5.0, name
        assert (spread - cov).abs().max() / cov.diagonal().max() < 5.0 * (2.0 / 4000) ** 0.5, name


def test_exact_posterior_of_a_mixture() -> None:
    """`oracles.observed` against self-normalised weights on prior draws."""
    prior = oracles.full_mixture(
        torch.stack([MEAN, -MEAN]), torch.stack([COV, 0.5 * COV]), torch.tensor([0.3, 0.7]).double(), LINEAR
    )
    mean, cov = oracles.moments(oracles.observed(prior, A, Y, 0.3))
    x = prior.sample_data(400_000, torch.Generator().manual_seed(0))
    weight = torch.softmax(-0.5 * ((Y - x @ A.T) / 0.3).square().sum(1), 0)
    found = weight @ x
    centred = x - found
    assert (found - mean).abs().max() < 0.01
    assert ((weight[:, None] * centred).T @ centred - cov).abs().max() < 0.01


def test_noiseless_inpainting_keeps_what_is_known() -> None:
    field = digits()
    known = torch.ones(1, 8, 8, dtype=torch.bool)
    known[:, 2:6, 2:6] = False
    x_1 = field.points[[3, 17]].double()
    seen = Observation(Mask(known), torch.where(known, x_1, math.nan))  # what is not seen need not be there
    for options in (
        {"guidance": PiGDM(seen), "solver": "euler"},
        {"solver": FlowDPS(seen), "tolerance": 0.3},
        {"solver": Replacement(seen)},
    ):
        tolerance = options.pop("tolerance", 0.05)  # the share of FlowDPS's move falls with sigma: it stops short
        x = pl.sample(field, (2, 1, 8, 8), steps=24, seeds=[0, 1], **options)
        assert (x - x_1)[known.expand(2, 1, 8, 8)].abs().max() < tolerance, options
        assert torch.isfinite(x).all()


@pytest.mark.parametrize("solver", ["adaptive", "euler_maruyama", "dpmpp_2m"])
def test_posterior_guidance_with_any_solver_and_a_condition(solver) -> None:
    """One observation each, adaptive solvers included, on a guided conditional field."""
    labels = torch.tensor([0, 1])
    field = oracles.full_mixture(torch.stack([MEAN, -MEAN]), torch.stack([COV, COV]), None, LINEAR, labels=labels)
    y = torch.stack([Y, -Y, Y, Y])
    label = torch.tensor([0, 1, 1, 0])

    def both(inside: pl.BaseField, rows: Tensor) -> pl.BaseField:
        return MomentMatching(Observation(Matrix(A), y[rows], 0.3))(
            pl.CFG(torch.tensor([1.0, 1.2, 1.4, 1.3])[rows])(inside)
        )

    steps = 1 if solver == "adaptive" else 12
    solver = pl.solvers.dopri5(rtol=1e-3, atol=1e-3) if solver == "adaptive" else solver
    everyone = torch.arange(4)
    whole = pl.sample(
        field, (4, 3), solver=solver, steps=steps, guidance=lambda f: both(f, everyone), y=label, seeds=range(4)
    )
    for i in (1, 2):
        row = torch.tensor([i])
        alone = pl.sample(
            field, (1, 3), solver=solver, steps=steps, guidance=lambda f, row=row: both(f, row), y=label[row], seeds=[i]
        )
        torch.testing.assert_close(whole[i : i + 1], alone, rtol=1e-4, atol=1e-4)


def test_d_flow_finds_the_most_probable_source_point() -> None:
    """On Gaussian data the flow is affine, so the optimum is a linear system; and no sample sees its batch."""
    prior = oracles.gaussian(MEAN, COV, LINEAR)
    found = d_flow(prior, SEEN, normal(3, 3, seed=5), iterations=200, lr=0.1, solver="heun", steps=4)
    grid = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    shift = pl.integrate(prior, torch.zeros(1, 3).double(), "heun", grid)
    slope = (pl.integrate(prior, torch.eye(3).double(), "heun", grid) - shift).T
    seen = A @ slope / 0.3
    truth = torch.linalg.solve(seen.T @ seen + torch.eye(3).double(), seen.T @ ((Y - A @ shift[0]) / 0.3))
    assert (found.x_0 - truth).abs().max() < 0.02
    assert (found.losses[-1] <= found.losses[0]).all()
    start = torch.cat([normal(1, 3, seed=6), 10.0 * normal(1, 3, seed=7)])
    together = d_flow(prior, SEEN, start, iterations=5).x
    torch.testing.assert_close(d_flow(prior, SEEN, start[:1], iterations=5).x, together[:1])


def test_d_flow_takes_any_loss_and_leaves_the_network_alone() -> None:
    net = pl.nets.MLP(2, 16, 2)
    before = [p.clone() for p in net.parameters()]
    field = pl.Field(net, LINEAR, pl.VELOCITY)
    done = d_flow(field, lambda x: (x[:, 0] - 3.0) ** 2, (4, 2), seeds=range(4), iterations=60, prior=0.0)
    assert (done.x[:, 0] - 3.0).abs().max() < 0.3
    assert all(p.requires_grad and torch.equal(p, q) for p, q in zip(net.parameters(), before, strict=True))


# --- editing ---


def test_edit_draws_from_the_posterior_of_the_noised_state() -> None:
    """SDEdit of Gaussian data: E[x_1' | x_1] and its variance are closed form through the flow's affine map."""
    prior = oracles.gaussian(torch.zeros(2).double(), torch.diag(torch.tensor([1.0, 0.25]).double()), LINEAR)
    x_1 = torch.tensor([[1.5, 0.6]]).double().expand(4000, 2)
    for strength in (0.25, 0.75, 1.0):
        x = edit(prior, x_1, strength, solver="dopri5", generator=torch.Generator().manual_seed(0))
        t = 1.0 - strength
        scale = torch.tensor([1.0, 0.5]).double() / (t**2 * torch.tensor([1.0, 0.25]) + strength**2).double().sqrt()
        spread = scale * strength
        assert ((x.mean(0) - scale * t * x_1[0]) / (spread / 4000**0.5)).abs().max() < 4.5
        assert (x.std(0) / spread - 1.0).abs().max() < 0.06


def test_edit_is_drawn_per_sample() -> None:
    field = digits()
    x = field.points[:3]
    for solver in ("heun", "euler_maruyama"):
        many = edit(field, x, 0.6, seeds=[5, 6, 7], solver=solver, steps=8)
        alone = edit(field, x[1:2], 0.6, seeds=[6], solver=solver, steps=8)
        torch.testing.assert_close(many[1:2], alone, rtol=1e-6, atol=1e-6)
    assert (edit(field, x, 0.05, seeds=[5, 6, 7], steps=8) - x).abs().max() < (
        edit(field, x, 1.0, seeds=[5, 6, 7]) - x
    ).abs().max()


@pytest.mark.parametrize("name", ["linear", "edm", "noise prediction"])
def test_resume_from_the_start_is_sample(name: str) -> None:
    path = pl.AffinePath(pl.EDM()) if name == "edm" else LINEAR
    field: pl.BaseField = oracles.gaussian(MEAN, COV, path)
    if name == "noise prediction":
        field = laws.exact_net(field, pl.NOISE)
    x_0 = normal(4, 3)
    ours = resume(field, field.path.start(x_0), 0.0, solver="heun", steps=12).x
    torch.testing.assert_close(ours, pl.sample(field, x_0, solver="heun", steps=12))


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_translate_there_and_back(strength: float) -> None:
    """The same condition returns the state; another one moves it, on Gaussians by the affine map between them."""
    means = torch.stack([MEAN, -MEAN])
    field = oracles.full_mixture(means, torch.stack([COV, COV]), None, LINEAR, labels=torch.arange(2))
    x = field.sample_data(6, torch.Generator().manual_seed(0), y=0)
    same = translate(field, x, {"y": 0}, {"y": 0}, strength=strength)
    assert (same - x).abs().max() < 1e-3
    other = translate(field, x, {"y": 0}, {"y": 1}, strength=strength)
    if strength == 1.0:  # equal covariances: a translation by the difference of the means
        torch.testing.assert_close(other, x - 2.0 * MEAN, rtol=1e-3, atol=1e-3)
    else:
        assert ((other - x) @ MEAN < 0.0).all()


def test_slerp_keeps_length_and_angle() -> None:
    a, b = normal(5, 3, 4, seed=1), normal(5, 3, 4, seed=2)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    unit_a, unit_b = (v / v.flatten(1).norm(dim=1).reshape(-1, 1, 1) for v in (a, b))
    share = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    between = slerp(unit_a, unit_b, share)
    torch.testing.assert_close(between.flatten(1).norm(dim=1), torch.ones(5).double())
    whole = torch.acos((unit_a * unit_b).flatten(1).sum(1))
    torch.testing.assert_close(torch.acos((unit_a * between).flatten(1).sum(1)), share * whole)
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    torch.testing.assert_close(slerp(a, -a, 0.5), torch.zeros_like(a), atol=1e-9, rtol=0.0)
    assert torch.isfinite(slerp(torch.zeros(2, 3), torch.zeros(2, 3), 0.5)).all()


def test_interpolation_ends_at_both_states() -> None:
    field = oracles.gaussian(MEAN, COV, LINEAR)
    x = field.sample_data(4, torch.Generator().manual_seed(0))
    way = interpolate(field, x[:2], x[2:], 5)
    assert way.shape == (5, 2, 3)
    torch.testing.assert_close(way[0], x[:2], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(way[-1], x[2:], rtol=1e-3, atol=1e-3)
    # slerp in the noise of an affine flow keeps the Mahalanobis distance between those of the ends
    inverse = torch.linalg.inv(COV)
    middle = way[2] - MEAN
    assert torch.isfinite(middle @ inverse).all()


# --- momentum of APG, in the solver ---


def test_momentum_is_the_published_recursion() -> None:
    field, y = oracles.eight_gaussians(LINEAR), torch.arange(8)
    x = normal(8, 2)
    guidance = APG(3.0, eta=0.0, radius=1.0, momentum=-0.5)
    ours = pl.sample(field, x, solver=Momentum("euler"), steps=6, guidance=guidance, y=y)
    memory = torch.zeros_like(x)
    for i in range(6):
        t = i / 6
        none, given = field(x, t), field(x, t, y=y)
        memory = (given.data - none.data) - 0.5 * memory
        d = memory * (1.0 / memory.norm(dim=1, keepdim=True)).clamp(max=1.0)
        unit = given.data / given.data.norm(dim=1, keepdim=True)
        data = given.data + 2.0 * (d - (d * unit).sum(1, keepdim=True) * unit)
        x = x + (data - x) / (1.0 - t) / 6
    torch.testing.assert_close(ours, x, rtol=1e-8, atol=1e-8)


def test_momentum_without_momentum_is_the_solver() -> None:
    field, y = oracles.eight_gaussians(LINEAR), torch.arange(8)
    for solver in ("ddim", "dpmpp_2m", "heun"):
        plain = pl.solve(field, (8, 2), solver=solver, steps=6, guidance=APG(3.0), y=y, seeds=range(8))
        ours = pl.solve(field, (8, 2), solver=Momentum(solver), steps=6, guidance=APG(3.0), y=y, seeds=range(8))
        torch.testing.assert_close(ours.x, plain.x)
        assert (ours.evaluations, ours.network_evaluations) == (plain.evaluations, plain.network_evaluations)
    with pytest.raises(TypeError, match="APG"):
        pl.sample(field, (8, 2), solver=Momentum("ddim"), guidance=3.0, y=y)
    with pytest.raises(ValueError, match="fixed steps"):
        Momentum("dopri5")


# --- mistakes ---

IMAGE = torch.zeros(1, 1, 8, 8)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: AveragePool(0), "factor"), (lambda: AveragePool(3)(IMAGE), "must divide"),
    (lambda: Blur(torch.ones(3)), "kernel"), (lambda: Blur.gaussian(0.0), "std"),
    (lambda: Blur(torch.ones(9, 9))(IMAGE), "at least that size"),
    (lambda: Gray()(IMAGE), "3 channels"), (lambda: Matrix(A, (2,)), "columns"),
    (lambda: Observation(Matrix(A), Y[None], -1.0), "std"), (lambda: Observation(Matrix(A), Y[None] * math.nan), "finite"),
    (lambda: SEEN.residual(torch.zeros(2, 3).double(), torch.zeros(3, 2).double()), "y must have shape"),
    (lambda: DPS(Observation(Matrix(A), Y[None])), "give rate="), (lambda: DPS(SEEN, rate=0.0), "rate"),
    (lambda: PiGDM(SEEN, data_std=0.0), "data_std"), (lambda: PiGDM(SEEN, earliest=0.0), "earliest"),
    (lambda: MomentMatching(SEEN, iterations=0), "iterations"), (lambda: Flower(SEEN, data_std=0.0), "data_std"),
    (lambda: Replacement(SEEN, solver="dopri5"), "fixed steps"), (lambda: edit(digits(2), IMAGE, 0.0), "strength"),
    (lambda: edit(digits(2), IMAGE, 0.5, seeds=[1, 2]), "seeds"),
    (lambda: resume(digits(2), IMAGE, 1.0), "t must lie"),
    (lambda: slerp(torch.zeros(2, 3), torch.zeros(3, 3), 0.5), "same shape"), (lambda: interpolate(digits(2), IMAGE, IMAGE, 1), "n must be"),
    (lambda: d_flow(digits(2), SEEN, (1, 1, 8, 8), solver="dopri5"), "fixed steps"),
    (lambda: d_flow(digits(2), SEEN, (1, 1, 8, 8), iterations=0), "iterations"),
], ids=[str(i) for i in range(24)])  # fmt: skip
def test_mistakes_are_told(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
