"""Several conditions at once: class, vector and image, seen, dropped and strengthened each on its own (theory T33)."""

import math

import pytest
import torch
from torch import Tensor

import pathline as pl
from pathline.nets import MLP, DiffusersUNet, DiT, TimeClassifier, UNet
from pathline.testing import laws

LINEAR = pl.AffinePath(pl.Linear())


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The net with weights that are not zero, so that what it reads shows."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=draws))
    return net.eval()


def image(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def dit(**options) -> torch.nn.Module:
    return awake(DiT(8, 1, patch=2, width=16, depth=1, heads=2, time_features=8, **options))


CONDITIONS = {
    "y": torch.tensor([0, 1, 2]),
    "vector": image(3, 4, seed=1),
    "image": image(3, 2, 8, 8, seed=2),
}


def unet(**options) -> torch.nn.Module:
    return awake(UNet(8, 1, 2, (8, 8), heads=2, bottom=1, embedded=16, time_features=8, **options))


def library_unet(**options) -> torch.nn.Module:
    pytest.importorskip("diffusers")
    return awake(DiffusersUNet(8, 1, (8, 8), 1, (1,), head_width=4, groups=4, **options))


@pytest.mark.parametrize("build", [dit, unet, library_unet])
def test_nets_with_several_conditions_obey_the_law_and_read_each(build) -> None:
    net = build(num_classes=3, vector_dim=4, image_channels=2)
    laws.check_net(net, (1, 8, 8), **CONDITIONS)
    x, t = image(3, 1, 8, 8), torch.tensor(0.3)
    base = net(x, t, **CONDITIONS)
    for name, value in CONDITIONS.items():
        moved = net(x, t, **{**CONDITIONS, name: value.flip(0)})
        assert (moved - base)[[0, 2]].abs().max() > 1e-3, name
        missing = net(x, t, **{k: v for k, v in CONDITIONS.items() if k != name})
        empty = net(x, t, **{**CONDITIONS, name: pl.guidance.null_like(value)})
        torch.testing.assert_close(missing, empty)
        assert (empty - base).abs().max() > 1e-3, name
    small = awake(MLP(2, 16, num_classes=3, vector_dim=4))
    laws.check_net(small, (2,), y=torch.tensor([0, 1, 2]), vector=CONDITIONS["vector"])
    assert (small(x[:, 0, 0, :2], t, vector=CONDITIONS["vector"]) - small(x[:, 0, 0, :2], t)).abs().max() > 1e-3


def test_a_net_with_conditions_is_rebuilt_from_its_config() -> None:
    for net in (
        dit(num_classes=3, vector_dim=4, image_channels=2),
        awake(MLP(2, 16, vector_dim=4)),
        awake(TimeClassifier((1, 8, 8), 4, width=16)),
    ):
        again = type(net)(**net.config)  # pyright: ignore
        again.load_state_dict(net.state_dict())
        plain = type(net)(**{k: v for k, v in net.config.items() if k not in ("vector_dim", "image_channels")})  # pyright: ignore
        assert isinstance(plain, torch.nn.Module)


def test_unknown_pixels_are_told_from_black_ones() -> None:
    net, x, t = dit(image_channels=1), image(2, 1, 8, 8), torch.tensor(0.4)
    hole = image(2, 1, 8, 8, seed=3)
    hole[:, :, 2:4, 2:4] = math.nan
    black = hole.nan_to_num(0.0)
    assert torch.isfinite(net(x, t, image=hole)).all()
    assert (net(x, t, image=hole) - net(x, t, image=black)).abs().max() > 1e-3
    hole.requires_grad_()
    (slope,) = torch.autograd.grad(net(x, t, image=hole).sum(), hole)
    assert torch.isfinite(slope).all()
    assert slope[:, :, 2:4, 2:4].abs().max() == 0.0


def test_a_small_image_is_repeated() -> None:
    net, x, t = dit(image_channels=1), image(2, 1, 8, 8), torch.tensor(0.4)
    small = image(2, 1, 4, 2, seed=3)
    large = small.repeat_interleave(2, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(net(x, t, image=small), net(x, t, image=large))


def test_classifier_reads_the_time_and_images_of_any_size() -> None:
    for shape in ((1, 8, 8), (3, 7, 5), (2,)):
        net = awake(TimeClassifier(shape, 4, width=16, depth=1))
        x = image(3, *shape)
        scalar, vector = net(x, torch.tensor(0.3)), net(x, torch.full((3,), 0.3))
        assert scalar.shape == (3, 4)
        torch.testing.assert_close(scalar, vector)
        torch.testing.assert_close(net(x[:1], torch.tensor(0.3)), scalar[:1], rtol=1e-4, atol=1e-5)
        assert (net(x, torch.tensor(0.9)) - scalar).abs().max() > 1e-3


@pytest.mark.parametrize("rate", [1.0, {"y": 1.0, "image": 0.0}, {"vector": 1.0}, {"together": 1.0}])
def test_objective_drops_conditions(rate) -> None:
    seen: dict[str, Tensor] = {}

    def net(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        seen.update(cond)
        return torch.zeros_like(x)

    objective = pl.Matching(LINEAR, pl.VELOCITY, label_dropout=0.0, condition_dropout=rate)
    objective(net, image(3, 1, 8, 8), **CONDITIONS, generator=torch.Generator().manual_seed(0))
    gone = set(CONDITIONS) if rate == 1.0 or "together" in rate else {name for name, chance in rate.items() if chance}
    for name, value in CONDITIONS.items():
        expected = pl.guidance.null_like(value) if name in gone else value
        torch.testing.assert_close(seen[name], expected, equal_nan=True)


def test_training_on_an_image_fills_it_in() -> None:
    """Data that copy their condition: a short training learns that; guidance and sampling take the image like any condition."""
    torch.manual_seed(0)
    net = DiT(4, 1, patch=2, width=32, depth=1, heads=2, image_channels=1, time_features=16)
    objective = pl.Matching(LINEAR, pl.DATA, loss_in=pl.DATA, condition_dropout=0.1)
    optimizer, draws = torch.optim.Adam(net.parameters(), 3e-3), torch.Generator().manual_seed(1)
    for _ in range(160):
        x_1 = torch.randn(64, 1, 4, 4, generator=draws)
        loss = objective(net, x_1, image=x_1, generator=draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    field, x_1 = pl.Field(net, LINEAR, pl.DATA), torch.randn(32, 1, 4, 4, generator=draws)
    given = pl.sample(field, (32, 1, 4, 4), solver="ddim", steps=8, seeds=range(32), image=x_1)
    alone = pl.sample(
        field, (32, 1, 4, 4), solver="ddim", steps=8, seeds=range(32), image=torch.full_like(x_1, math.nan)
    )
    assert (given - x_1).square().mean() < 0.25 < 1.0 < (alone - x_1).square().mean()
    strong = pl.sample(field, (32, 1, 4, 4), solver="ddim", steps=8, seeds=range(32), guidance=1.2, image=x_1)
    assert torch.isfinite(strong).all()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: dit()(image(2, 1, 8, 8), torch.tensor(0.5), image=image(2, 1, 8, 8)), "takes no image"),
    (lambda: dit()(image(2, 1, 8, 8), torch.tensor(0.5), vector=image(2, 4)), "takes no vector"),
    (lambda: dit(image_channels=1)(image(2, 1, 8, 8), torch.tensor(0.5), image=image(2, 1, 3, 8)), "sides that divide"),
    (lambda: dit(image_channels=1)(image(2, 1, 8, 8), torch.tensor(0.5), image=image(2, 2, 8, 8)), "image must have shape"),
    (lambda: pl.Matching(LINEAR, pl.DATA, condition_dropout=1.5), "must lie in"),
    (lambda: pl.Matching(LINEAR, pl.DATA, condition_dropout={"z": 0.5})(lambda x, t: x, image(2, 2)), "no condition"),
    (lambda: TimeClassifier(2, 3)(image(2, 3), torch.tensor(0.5)), "x_t must have shape"), (lambda: TimeClassifier(2, 0), "num_classes"),
], ids=[str(i) for i in range(8)])  # fmt: skip
def test_mistakes_are_told(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
