"""Bridges: laws, exact fields between Gaussians, and what training along them finds (theory T29)."""

import math

import pytest
import torch

import pathline as pl
from pathline.objectives import BridgeMatching
from pathline.paths import (
    DRIFT,
    GAMMAS,
    LATENT,
    BridgePath,
    Brownian,
    Constant,
    Sine,
    icfm,
    schrodinger_bridge,
    two_heads,
    variance_preserving,
)
from pathline.solvers import EulerMaruyama
from pathline.testing import LawBroken, laws
from pathline.testing.oracles import gaussian_bridge, mixture_bridge

PATHS = {
    "icfm": icfm(0.1),
    "schrodinger": schrodinger_bridge(0.7),
    "trig_sine": variance_preserving(Sine(0.5)),
    "polynomial_brownian": BridgePath(pl.Polynomial(2.0), Brownian(0.4)),
}


def two_by_two(path):
    """Two Gaussians to three, full covariances, in the plane."""
    g = torch.Generator().manual_seed(4)
    means_0, means_1 = torch.randn(2, 2, generator=g).double() * 2, torch.randn(3, 2, generator=g).double() * 2
    roots = 0.6 * torch.randn(5, 2, 2, generator=g).double()
    covs = roots @ roots.mT + 0.1 * torch.eye(2).double()
    return mixture_bridge(means_0, covs[:2], means_1, covs[2:], path)


@pytest.mark.parametrize("name", PATHS)
def test_bridges_obey_their_law(name):
    laws.check_bridge(PATHS[name])


def test_the_law_catches_a_wrong_derivative():
    class Wrong(Sine):
        def __call__(self, t):
            gamma, dgamma = super().__call__(t)
            return gamma, 0.5 * dgamma

    with pytest.raises(LawBroken, match="time derivative"):
        laws.check_bridge(variance_preserving(Wrong(0.5)))


@pytest.mark.parametrize("name", GAMMAS)
def test_gammas_know_their_derivative(name):
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    value, slope = torch.func.jvp(
        lambda u: torch.as_tensor(GAMMAS[name](0.3)(u)[0]).expand_as(u) + 0 * u, (t,), (torch.ones_like(t),)
    )
    torch.testing.assert_close(torch.as_tensor(GAMMAS[name](0.3)(t)[1], dtype=t.dtype).expand_as(t), slope)
    assert (value > 0).all()


@pytest.mark.parametrize("name", PATHS)
def test_marginal_velocity_and_score_of_mixtures_obey_the_continuity_equation(name):
    """d/dt log p = -div u - u . grad log p, with the score as grad log p by differentiation (T2, T10 on bridges)."""
    oracle = two_by_two(PATHS[name])
    x = oracle.sample(40, 0.4, torch.Generator().manual_seed(0))
    t = torch.full((40,), 0.4, dtype=torch.float64)
    _, rate = torch.func.jvp(lambda s: oracle.log_prob(x, s), (t,), (torch.ones_like(t),))
    point = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_prob(point, t).sum(), point)
    estimate = oracle(x, t)
    torch.testing.assert_close(estimate.score, score, rtol=1e-9, atol=1e-9)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda r: oracle.evaluate(r[None], t[:1]).read(pl.VELOCITY)[0]))(x)
    divergence = jacobian.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(rate, -divergence - (estimate.velocity * score).sum(1), rtol=1e-7, atol=1e-7)


def test_posterior_means_are_the_conditional_expectations():
    """Kernel regression of drawn (x_1, x_0, z) on x_t near a place agrees with the closed form."""
    path = schrodinger_bridge(0.7)
    oracle, g = two_by_two(path), torch.Generator().manual_seed(1)
    x_0, x_1 = oracle.pairs(400_000, g)
    z = torch.randn(x_0.shape, generator=g, dtype=torch.float64)
    x_t, place = (
        path.at(x_0, x_1, z, torch.tensor(0.6).double()),
        oracle.sample(1, 0.6, torch.Generator().manual_seed(3)),
    )
    near = ((x_t - place) ** 2).sum(1) < 0.15**2
    assert near.sum() > 1000
    estimate = oracle(place, 0.6)
    for reading, drawn in ((estimate.data, x_1), (estimate.noise, x_0), (estimate.read(LATENT), z)):
        mean, error = drawn[near].mean(0), drawn[near].std(0) / near.sum() ** 0.5
        assert ((mean - reading[0]).abs() < 5 * error + 0.03).all()


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_schrodinger_bridge_between_unit_gaussians_has_the_published_marginal(scale):
    """Variance t(1 - t) sqrt(4 + s⁴) + (1 - t)² + t² ([SF]2M, section 5) and means in between."""
    eye, a = torch.eye(3).double(), 0.1 * torch.ones(3).double()
    oracle = gaussian_bridge(-a, eye, a, eye, schrodinger_bridge(scale))
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    for t in (0.0, 0.1, 0.5, 0.8, 1.0):
        variance = t * (1 - t) * math.sqrt(4 + scale**4) + (1 - t) ** 2 + t**2
        mean = (0.2 * t - 0.1) * torch.ones(3).double()
        expected = -0.5 * (((x - mean) ** 2).sum(1) / variance + 3 * math.log(2 * math.pi * variance))
        torch.testing.assert_close(oracle.log_prob(x, t), expected)


def test_schrodinger_bridge_is_a_markov_process_of_its_own_noise():
    """Its drift u + (s²/2) score is that of Brownian bridges, (D - x)/(1 - t), and a gradient, as no other pairing has it."""
    a, b = torch.tensor([[1.0, 0.4], [0.4, 0.5]]).double(), torch.tensor([[0.3, -0.1], [-0.1, 2.0]]).double()
    oracle = gaussian_bridge(torch.zeros(2).double(), a, torch.ones(2).double(), b, schrodinger_bridge(0.8))
    x, t = (
        torch.randn(20, 2, generator=torch.Generator().manual_seed(0)).double(),
        torch.full((20,), 0.3, dtype=torch.float64),
    )

    def drift(r):
        estimate = oracle.evaluate(r[None], t[:1])
        return (estimate.velocity + 0.5 * 0.8**2 * estimate.score)[0]

    jacobian = torch.func.vmap(torch.func.jacrev(drift))(x)
    torch.testing.assert_close(jacobian, jacobian.mT, rtol=1e-9, atol=1e-9)
    estimate = oracle(x, t)
    torch.testing.assert_close(torch.func.vmap(drift)(x), (estimate.data - x) / 0.7, rtol=1e-9, atol=1e-9)
    independent = torch.block_diag(b, a)[None]  # another pairing of the same ends: no Schrödinger bridge
    oracle = type(oracle)(torch.ones(1, 2).double(), torch.zeros(1, 2).double(), independent, None, oracle.path)
    jacobian = torch.func.vmap(torch.func.jacrev(drift))(x)
    assert (jacobian - jacobian.mT).abs().max() > 1e-2


@pytest.mark.parametrize("eta", [0.0, 0.5 * 0.7**2, "sigma", "reverse"])
def test_every_noise_has_the_marginals_of_the_bridge(eta):
    """dx = (u + eta s) dt + sqrt(2 eta) dW from the source: mean and covariance at the end (T14 on bridges)."""
    mean_0, mean_1 = torch.zeros(2).double(), torch.tensor([3.0, -1.0]).double()
    cov_0, cov_1 = torch.eye(2).double(), torch.tensor([[0.5, 0.2], [0.2, 0.3]]).double()
    oracle = gaussian_bridge(mean_0, cov_0, mean_1, cov_1, schrodinger_bridge(0.7))
    g = torch.Generator().manual_seed(0)
    x_0 = torch.randn(8000, 2, generator=g, dtype=torch.float64)
    x_1 = pl.sample(oracle, x_0, solver=EulerMaruyama(eta=eta), steps=100, generator=g)
    assert (x_1.mean(0) - mean_1).abs().max() < 0.04
    assert (x_1.T.cov() - cov_1).abs().max() < 0.05


def test_a_perfect_two_headed_net_carries_back_what_it_carried():
    oracle = two_by_two(schrodinger_bridge(0.5))

    def net(x, t):
        return oracle.evaluate(x, t).value

    field = pl.Field(net, oracle.path, two_heads())
    x_0 = oracle.sample(20, 0.0, torch.Generator().manual_seed(2))
    x_1 = pl.sample(field, x_0, solver="rk4", steps=200)
    torch.testing.assert_close(pl.encode(field, x_1, solver="rk4", steps=200), x_0, rtol=1e-3, atol=1e-3)


def test_one_head_tells_what_it_predicts_and_nothing_else():
    path = schrodinger_bridge(1.0)
    field = pl.Field(lambda x, t: -x, path, pl.VELOCITY)
    estimate = field(torch.ones(2, 2), 0.5)
    assert torch.equal(estimate.velocity, -torch.ones(2, 2))
    with pytest.raises(TypeError, match="second head"):
        _ = estimate.score
    latent = path.read(torch.ones(2, 2), torch.tensor(0.5), LATENT, torch.ones(2, 2))
    torch.testing.assert_close(latent.score, torch.full((2, 2), -2.0))  # gamma = 1/2
    with pytest.raises(TypeError, match="AffinePath"):
        pl.sample(field, (4, 2), solver="dpmpp_2m", steps=3)
    with pytest.raises(ValueError, match=r"net must return one velocity\+latent a sample, \(4, 2, 2\)"):
        pl.Field(lambda x, t: x, path, two_heads())(torch.ones(4, 2), 0.5)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: BridgePath(pl.EDM(), Brownian(1.0)), "misses an end"),
        (lambda: BridgePath(pl.Linear(), 0.1), "gamma must be a Gamma"),
        (lambda: Constant(0.0), "sigma_min must be positive"),
        (lambda: two_heads(LATENT, LATENT), "two things"),
        (lambda: BridgeMatching(pl.AffinePath(pl.Linear())), r"use pl\.Matching"),
        (lambda: BridgeMatching(icfm(), weights=(1.0, 2.0)), "weights must be 1 positive"),
        (lambda: LATENT.row(pl.Linear()(torch.tensor(0.5))), "affine path has none"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, told):
    with pytest.raises((ValueError, TypeError), match=told):
        call()


@pytest.mark.parametrize("heads", [(pl.VELOCITY, LATENT), (DRIFT, LATENT)], ids=["velocity", "drift"])
def test_the_least_loss_is_reached_by_the_exact_field(heads):
    """Perturbing the exact prediction by d raises the loss by d² (T13 on bridges), so its gradient there is zero."""
    oracle, prediction = two_by_two(schrodinger_bridge(0.7)), two_heads(*heads)
    objective = BridgeMatching(oracle.path, prediction)
    g = torch.Generator().manual_seed(0)
    x_0, x_1 = oracle.pairs(40_000, g)

    def loss(shift):
        def net(x, t):
            estimate = oracle.evaluate(x, t)
            return torch.stack([estimate.read(head) for head in heads], 1) + shift

        return objective.per_sample(net, x_1, x_0, generator=torch.Generator().manual_seed(5))

    shift = torch.tensor([0.3, -0.2]).double()[:, None]
    gain = loss(shift) - loss(torch.zeros_like(shift))
    expected = 0.3**2 + 0.2**2
    assert (gain.mean() - expected).abs() < 5 * gain.std() / len(gain) ** 0.5


def test_training_two_heads_finds_the_exact_velocity_and_score():
    """N(0, I) to N(m, 1/4 I), independent pairs, a small net: both readings near the closed form, and SDE samples fit."""
    path = BridgePath(pl.Linear(), Sine(0.5))
    mean = torch.tensor([1.0, -1.0])
    covs = torch.stack([torch.eye(2), 0.25 * torch.eye(2)]).double()
    oracle = mixture_bridge(torch.zeros(1, 2).double(), covs[:1], mean[None].double(), covs[1:], path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = pl.nets.TwoHeads(pl.nets.MLP(2, 48, 2), pl.nets.MLP(2, 48, 2))
        objective, g = BridgeMatching(path, two_heads()), torch.Generator().manual_seed(1)
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for step in range(500):
            x_1 = mean + 0.5 * torch.randn(512, 2, generator=g)
            optimizer.zero_grad()
            objective(net, x_1, generator=g).backward()
            optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 500)
            optimizer.step()
    field = objective.field(net)
    x = oracle.sample(2000, 0.5, torch.Generator().manual_seed(2)).float()
    found, exact = field(x, 0.5), oracle(x, 0.5)
    for name in ("velocity", "score"):
        wanted = getattr(exact, name)
        share = (getattr(found, name) - wanted).square().mean() / wanted.var()
        assert share < 0.05, name
    drawn = pl.sample(field, torch.randn(4000, 2), solver=EulerMaruyama(eta=0.3), steps=60, generator=g)
    assert (drawn.mean(0) - mean).abs().max() < 0.1
    assert (drawn.std(0) - 0.5).abs().max() < 0.08
