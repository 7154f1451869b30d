"""What an experiment is made on: a recipe to train, or a run that is trained."""

from pathlib import Path

from pathline._errors import nearest
from pathline.train import RECIPES, TrainConfig

QUICK_STEPS = 4
SHARE = 4
"""An ablation trains each setting for the steps of the recipe over this number."""


def is_run(subject: str) -> bool:
    """Whether ``subject`` is a folder, and so that of a run."""
    return Path(subject).is_dir()


def recipe(subject: str, *, quick: bool = False) -> TrainConfig:
    """The recipe or YAML file ``subject``, at the length of an ablation, under a cosine.

    Raises:
        ValueError: neither.
    """
    if subject in RECIPES:
        config = RECIPES[subject]()
    elif Path(subject).suffix in (".yaml", ".yml"):
        config = TrainConfig.load(subject)
    else:
        raise ValueError(
            f"subject {subject!r} is no recipe that can be trained: {nearest(subject, RECIPES)}; or give a .yaml file"
        )
    if quick and config.data.endswith("(n=50000)"):
        config = config.replace(data=config.data.replace("50000", "2000"))
    steps = QUICK_STEPS if quick else max(1, config.steps // SHARE)
    return config.replace(steps=steps, warmup=min(config.warmup, steps // 4), decay="cosine", time_bins=0, ema_also="")
