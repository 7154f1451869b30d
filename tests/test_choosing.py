"""`choose` keeps to its budget, and what it says about unseen noise is so."""

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.solvers import choose
from pathline.solvers.frontier import endpoint, reference, rms
from pathline.testing import oracles

LINEAR = pl.AffinePath(pl.Linear())
FEW = ("ab2", "abm2", "ralston3")


def draws(n: int, seed: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_choice_is_good_on_fresh_noise() -> None:
    """Not worse than any of its solvers on the uniform grid, and within a factor of two of the error that it states."""
    field = oracles.eight_gaussians(LINEAR)
    chosen = choose(field, 8, draws(1024, 0), solvers=FEW, generator=torch.Generator().manual_seed(1))
    x_0 = draws(512, 2)
    x_1, _ = reference(field, x_0, {})

    def miss(name: str, grid: Tensor) -> float:
        return rms(endpoint(field, x_0, pl.SOLVERS[name], grid, {}) - x_1)

    found = miss(chosen.name, chosen.grid)
    uniform = [miss(name, pl.times.uniform().grid(pl.SOLVERS[name].steps(8))) for name in FEW]
    assert found < min(uniform)
    assert 0.5 < found / chosen.error < 2.0


@pytest.mark.parametrize("path", [LINEAR, pl.AffinePath(pl.EDM())], ids=["linear", "edm"])
@pytest.mark.parametrize("evaluations", [2, 7])
def test_a_choice_costs_no_more_than_its_budget(path: pl.AffinePath, evaluations: int) -> None:
    field = oracles.gaussian_mixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).double(), 0.5, None, path)
    chosen = choose(field, evaluations, draws(64, 0), solvers=FEW, generator=torch.Generator().manual_seed(1))
    solution = pl.solve(field, draws(4, 1), solver=chosen.solver, grid=chosen.grid, record=False)
    assert solution.evaluations <= evaluations


def test_the_same_generator_makes_the_same_choice() -> None:
    field = oracles.eight_gaussians(LINEAR)
    one, two = (choose(field, 4, (64, 2), solvers=FEW, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert (one.name, one.error) == (two.name, two.error)
    assert torch.equal(one.grid, two.grid)


def test_labels_are_split_with_their_points() -> None:
    """Each half of the points runs under its own labels: a choice for one class equals that for the field of that class."""
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]]).double()
    both = oracles.gaussian_mixture(means, 0.5, None, LINEAR, labels=torch.tensor([0, 1]))
    alone = oracles.gaussian_mixture(means[1:], 0.5, None, LINEAR)
    x_0 = draws(64, 0)
    labelled = choose(both, 3, x_0, solvers=FEW, generator=torch.Generator().manual_seed(1), y=torch.ones(64).long())
    plain = choose(alone, 3, x_0, solvers=FEW, generator=torch.Generator().manual_seed(1))
    assert labelled.name == plain.name
    assert torch.allclose(labelled.grid, plain.grid)


def test_choosing_says_what_is_wrong() -> None:
    field = oracles.eight_gaussians(LINEAR)
    with pytest.raises(ValueError, match="evaluations must be a positive integer"):
        choose(field, 0, (64, 2))
    with pytest.raises(ValueError, match="dopri5 draws noise or chooses its own steps"):
        choose(field, 4, (64, 2), solvers=("dopri5",))
    with pytest.raises(ValueError, match="none of ralston3 makes a step of 2 evaluations"):
        choose(field, 2, (64, 2), solvers=("ralston3",))
    with pytest.raises(ValueError, match="at least 4 source points"):
        choose(field, 4, (3, 2))
    with pytest.raises(TypeError, match="read by nothing"):
        choose(field, 4, (64, 2), colour=3)
