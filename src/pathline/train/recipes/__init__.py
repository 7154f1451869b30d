"""Recipes: configs that were tried, with what they measured beside them."""

from collections.abc import Callable
from functools import partial

from pathline.data import TOYS
from pathline.train.config import TrainConfig
from pathline.train.recipes.digits import digits
from pathline.train.recipes.fashion import fashion
from pathline.train.recipes.toy import toy

RECIPES: dict[str, Callable[..., TrainConfig]] = {
    "digits": digits,
    "fashion": fashion,
    **{name: partial(toy, name) for name in TOYS},
}
"""Recipes by the name that `pathline train` takes; keywords change single settings."""

__all__ = ["RECIPES", "digits", "fashion", "toy"]
