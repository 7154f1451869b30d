"""The translations of the page "Coming from …" hold: its blocks run against the libraries that they name."""

import importlib.util
import re
from pathlib import Path

import pytest
import torch

import pathline as pl

PAGE = (Path(__file__).parent.parent / "docs" / "coming_from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python( \{\.no-run\})?\n(.*?)^```$", PAGE, re.M | re.S)
PEERS = ("diffusers", "flow_matching", "torchcfm")
THEIRS = [body for marked, body in BLOCKS if marked]


def _library(body: str) -> str:
    return next(name for name in PEERS if f"from {name}" in body)


def test_every_library_is_translated_and_every_block_of_it_compares() -> None:
    assert {_library(body) for body in THEIRS} == set(PEERS)
    assert all("assert torch." in body for body in THEIRS)


@pytest.mark.parametrize("place", range(len(THEIRS)), ids=lambda k: f"{_library(THEIRS[k])}-{k}")
def test_a_block_agrees_with_its_library(place: int) -> None:
    name = _library(THEIRS[place])
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs {name}: pip install {name}")
    torch.manual_seed(0)
    scope: dict = {}
    for marked, body in BLOCKS:  # what stands above it and needs no other library
        if body is THEIRS[place]:
            break
        if not marked:
            exec(body, scope)
    exec(THEIRS[place], scope)


def test_schedules_of_flow_matching_are_those_of_the_table() -> None:
    found = pytest.importorskip("flow_matching.path.scheduler")
    t = torch.linspace(0.05, 0.95, 7)
    for theirs, ours in (
        (found.CondOTScheduler(), pl.Linear()), (found.PolynomialConvexScheduler(2.0), pl.Polynomial(2.0)),
        (found.VPScheduler(), pl.VP()), (found.CosineScheduler(), pl.Trig()),
    ):  # fmt: skip
        told, coefs = theirs(t), ours(t)
        torch.testing.assert_close(told.alpha_t, torch.as_tensor(coefs.alpha), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(told.sigma_t, torch.as_tensor(coefs.sigma), rtol=1e-4, atol=1e-5)


def test_matchers_of_torchcfm_are_those_of_the_table() -> None:
    found = pytest.importorskip("torchcfm")
    x_0, x_1, t = torch.randn(6, 2), torch.randn(6, 2), torch.rand(6)
    for theirs, ours in (
        (found.VariancePreservingConditionalFlowMatcher(sigma=0.0), pl.Trig()), (found.ConditionalFlowMatcher(0.0), pl.Linear()),
    ):  # fmt: skip
        torch.testing.assert_close(theirs.compute_mu_t(x_0, x_1, t), pl.AffinePath(ours).sample(x_0, x_1, t))
    target = found.TargetConditionalFlowMatcher(sigma=0.1)
    torch.testing.assert_close(
        target.compute_sigma_t(t), torch.as_tensor(pl.Lipman(0.1)(t).sigma), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(target.compute_mu_t(x_0, x_1, t), t[:, None] * x_1)


def test_the_shift_of_diffusers_is_that_of_the_grid() -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    plain = diffusers.FlowMatchEulerDiscreteScheduler()
    ours = pl.times.shifted(3.0).quantile(1 - plain.sigmas.double())
    torch.testing.assert_close(1 - ours.float(), scheduler.sigmas, rtol=1e-4, atol=1e-5)
