"""The exact field of pairs: against densities of torch, the continuity equation, other oracles, and what couplings do to it."""

import pytest
import torch

import pathline as pl
from pathline.testing.oracles import empirical, pairs

PATHS = {"linear": pl.Linear(), "trig": pl.Trig(), "polynomial": pl.Polynomial(2.0)}


def _ends(n: int = 40, size: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, size, generator=g, dtype=torch.float64) * scale + shift
        for scale, shift in ((1.0, 0.0), (2.0, 1.5))
    )


@pytest.mark.parametrize("t", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_its_density_is_that_of_a_mixture(t: float, size: int) -> None:
    from torch import distributions as known

    x_0, x_1 = _ends(size=size)
    field = pairs(x_0, x_1, pl.AffinePath(pl.Linear()), std_0=0.4, std_1=0.2)
    spread = ((0.2 * t) ** 2 + (0.4 * (1 - t)) ** 2) ** 0.5
    each = known.Independent(known.Normal(torch.lerp(x_0, x_1, t), spread), 1)
    mixture = known.MixtureSameFamily(known.Categorical(torch.ones(len(x_0), dtype=torch.float64)), each)
    x = torch.randn(30, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(field.log_prob(x, t), mixture.log_prob(x), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("name", PATHS)
def test_its_velocity_solves_the_continuity_equation_and_its_score_is_the_gradient(name: str) -> None:
    """d/dt log p + div u + u.grad log p = 0 (T2), with every derivative by autograd, at a time of its own for each sample."""
    x_0, x_1 = _ends()
    field = pairs(x_0, x_1, pl.AffinePath(PATHS[name]), std_0=0.3, std_1=0.2)
    x = torch.randn(25, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    t = torch.linspace(0.1, 0.9, 25, dtype=torch.float64, requires_grad=True)
    over_x, over_t = torch.autograd.grad(field.log_prob(x, t).sum(), (x, t))
    told = field(x, t)
    velocity = told.velocity
    div = sum(torch.autograd.grad(velocity[:, k].sum(), x, retain_graph=True)[0][:, k] for k in (0, 1))
    torch.testing.assert_close(told.score, over_x, rtol=1e-9, atol=1e-9)
    rest = over_t + div + (velocity * over_x).sum(1)
    torch.testing.assert_close(rest, torch.zeros_like(rest), rtol=0, atol=1e-8)
    wrong = over_t + div + ((velocity + 0.1) * over_x).sum(1)
    assert float(wrong.detach().abs().max()) > 1e-2


def test_one_wide_source_point_paired_with_all_data_is_gaussian_noise() -> None:
    """Pairs (0, b_i) with std_0 = 1 are the independent coupling with N(0, I): the field of `empirical` (T16)."""
    _, x_1 = _ends()
    path = pl.AffinePath(pl.Linear())
    labels = torch.arange(len(x_1)) % 3
    ours = pairs(torch.zeros_like(x_1), x_1, path, labels, std_0=1.0, std_1=0.15)
    known = empirical(x_1, path, labels, std=0.15)
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for y in (None, 1, torch.arange(30) % 4 - 1):
        for read in ("velocity", "data", "noise", "score"):
            torch.testing.assert_close(
                getattr(ours(x, 0.6, y=y), read), getattr(known(x, 0.6, y=y), read), rtol=1e-9, atol=1e-9
            )
        torch.testing.assert_close(ours.log_prob(x, 0.6, y=y), known.log_prob(x, 0.6, y=y), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(
            ours.posterior_variance(x, 0.6, y=y), known.posterior_variance(x, 0.6, y=y), rtol=1e-8, atol=1e-9
        )


def test_it_carries_its_source_to_its_data() -> None:
    x_0, x_1 = (x.float() for x in _ends(64))
    field = pairs(x_0, x_1, pl.AffinePath(pl.Linear()), std_0=0.3, std_1=0.2)
    g = torch.Generator().manual_seed(2)
    begin = field.sample(3000, 0.0, g)
    for t in (0.5, 1.0):
        carried = pl.integrate(field, begin, "rk4", torch.linspace(0, t, 24))
        real = [field.sample(3000, t, g) for _ in range(2)]
        floor = pl.metrics.sliced_wasserstein2(*real, generator=torch.Generator().manual_seed(0))
        assert (
            pl.metrics.sliced_wasserstein2(carried, real[0], generator=torch.Generator().manual_seed(0)) < 2.0 * floor
        )


def test_weights_in_float32_agree_with_float64() -> None:
    x_0, x_1 = _ends(200)
    path = pl.AffinePath(pl.Linear())
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = pairs(x_0, x_1, path)(x, 0.5).velocity
    torch.testing.assert_close(pairs(x_0, x_1, path)(x.float(), 0.5).velocity.double(), exact, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"std_0": 0.0}, "std_0 must be positive"),
        ({"std_1": float("nan")}, "std_1 must be positive"),
        ({"x_0": torch.zeros(3, 2)}, "of one shape"),
        ({"labels": torch.zeros(4)}, "labels must be integers"),
    ],
    ids=["width", "nan", "shapes", "labels"],
)
def test_what_is_no_set_of_pairs_is_refused(change: dict, words: str) -> None:
    given = {"x_0": torch.zeros(4, 2), "x_1": torch.ones(4, 2), "path": pl.AffinePath(pl.Linear())} | change
    with pytest.raises(ValueError, match=words):
        pairs(**given)
