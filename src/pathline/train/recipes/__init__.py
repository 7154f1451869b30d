"""Recipes: configs that were tried, with what they measured beside them, and published ones that say they were not."""

from collections.abc import Callable
from functools import partial

from pathline.data import TOYS
from pathline.train.config import TrainConfig
from pathline.train.recipes.digits import digits
from pathline.train.recipes.fashion import fashion
from pathline.train.recipes.large import cifar10, imagenet64, imagenet256_jit
from pathline.train.recipes.small import emoji, mnist
from pathline.train.recipes.toy import toy

RECIPES: dict[str, Callable[..., TrainConfig]] = {
    "digits": digits,
    "fashion": fashion,
    "mnist": mnist,
    "emoji": emoji,
    "cifar10": cifar10,
    "imagenet64": imagenet64,
    "imagenet256_jit": imagenet256_jit,
    **{name: partial(toy, name) for name in TOYS},
}
"""Recipes by the name that `pathline train` takes; keywords change single settings."""

__all__ = ["RECIPES", "cifar10", "digits", "emoji", "fashion", "imagenet64", "imagenet256_jit", "mnist", "toy"]
