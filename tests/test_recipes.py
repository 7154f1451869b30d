"""Recipes for images: what they name exists, their nets have the size that was published, and each runs at a tiny size."""

import pytest
import torch

import pathline as pl
from pathline.data import Dataset
from pathline.train import RECIPES, TrainConfig
from pathline.train.assemble import make_net, make_objective, sampling_arguments
from pathline.train.spec import join_spec, split_spec

SMALL = {"width": 16, "depth": 2, "heads": 2, "class_start": 1, "class_tokens": 2, "bottleneck": 4, "widths": (8, 8)}
SMALL |= {"head_width": 4, "groups": 4, "embedded": 8, "attention": (1,)}
SHAPES = {
    "fashion": (1, 28, 28), "mnist": (1, 28, 28), "emoji": (3, 32, 32), "cifar10": (3, 32, 32), "imagenet64": (3, 64, 64),
    "imagenet256_jit": (3, 256, 256),
}  # fmt: skip
MILLIONS = {"cifar10": (35, 60), "imagenet64": (128, 132), "imagenet256_jit": (129, 134)}
every = pytest.mark.parametrize("name", SHAPES)


def stand_in(shape: tuple[int, ...], n: int = 12) -> Dataset:
    x = torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(0)).float()
    return Dataset(x=x, y=torch.arange(n) % 3, name="stand_in", class_names=("a", "b", "c"), image=True, levels=256)


@every
def test_a_recipe_names_what_exists_and_survives_a_file(name, tmp_path):
    config = RECIPES[name]()
    config.save(tmp_path / "c.yaml")
    assert TrainConfig.load(tmp_path / "c.yaml") == config
    objective = make_objective(config)
    sampling_arguments(config.sampling, objective.path.schedule)
    data = stand_in(SHAPES[name])
    with torch.device("meta"):
        net = make_net(config.net, data, labels=config.labels, seed=0)
    low, high = MILLIONS.get(name, (0, 3))
    assert low < sum(p.numel() for p in net.parameters()) / 1e6 < high


@every
def test_a_recipe_trains_and_samples_at_a_tiny_size(name, tmp_path):
    config = RECIPES[name]()
    kind, _, options = split_spec("net", config.net)
    tiny = {key: SMALL.get(key, value) for key, value in options.items()} | (
        {"groups": 4} if "diffusers" in kind else {}
    )
    channels, side = SHAPES[name][0], 4 * tiny.get("patch", 2)
    data = stand_in((channels, side, side))
    config = config.replace(
        net=join_spec(kind, **tiny), steps=2, batch_size=4, warmup=0, held_out=0.25, out=str(tmp_path / "run"),
        precision="no", checkpoint_every=10, ema_also="",
    )  # fmt: skip
    net = make_net(config.net, data, labels=config.labels, seed=0)
    plain = data if config.labels else data.without_labels()
    run = pl.train.Trainer(net=net, objective=make_objective(config), data=plain, settings=config, progress=False).fit()
    given = sampling_arguments(config.sampling, run.objective.path.schedule)
    x = run.sample(3, guidance=given["guidance"], solver="heun", steps=2, grid=given["grid"])
    assert x.shape == (3, channels, side, side)
    assert x.isfinite().all()


def test_the_shift_of_the_jit_recipes_keeps_the_ratio_of_signal_to_noise():
    """t/(1 - t) of the paper's clock with data of deviation 1/2 is ours with deviation 1."""
    law = make_objective(RECIPES["imagenet256_jit"]()).times
    u = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)
    theirs = torch.sigmoid(-0.8 + 0.8 * torch.special.ndtri(u))
    ours = law.quantile(u)
    torch.testing.assert_close(ours / (1 - ours), 0.5 * theirs / (1 - theirs), rtol=1e-6, atol=0)
