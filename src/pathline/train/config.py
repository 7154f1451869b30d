"""What a training run is told: plain values and registered names, in YAML, on the command line and in Python."""

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pathline._errors import nearest

Precision = Literal["no", "bf16", "fp16"]
Decay = Literal["cosine", "constant"]
Standardize = Literal["auto", "feature", "channel", "all", "none"]
SEED_LIMIT = 2**32


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train: everything but what is trained."""

    out: str = ""
    """Run folder; runs/NAME of the data if empty."""
    steps: int = 10_000
    """Optimiser steps."""
    batch_size: int = 256
    """Samples per step."""
    lr: float = 1e-3
    """Highest learning rate of AdamW."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from 0."""
    decay: Decay = "cosine"
    """What the learning rate does after the warm-up."""
    lr_end: float = 0.0
    """Learning rate at the end of the cosine, as a share of lr."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Moment decays of AdamW."""
    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW on matrices; biases and gains are spared."""
    clip: float | None = 1.0
    """Largest gradient norm; None for no clipping."""
    ema: float = 0.999
    """Decay of the weights' moving average, which is what samples; 0 for none."""
    precision: Precision = "no"
    """Mixed precision by accelerate."""
    cpu: bool = False
    """Stay on the CPU although there is an accelerator."""
    seed: int = 0
    """Seed of weights, data order, noise, times and of the held-out split."""
    held_out: float = 0.1
    """Share of the data never trained on."""
    standardize: Standardize = "auto"
    """What gets zero mean and unit variance on its own; auto is all together for images, else each feature."""
    dequantize: bool = False
    """Spread whole levels uniformly over their cells while training, so that the density, and bits per dimension, exist."""
    log_every: int = 50
    """Steps between lines of log.jsonl."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; the last step always writes one."""
    keep: int = 2
    """Checkpoints kept, the newest ones."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "keep"):
            _need(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            _need(self, name, value is None or (math.isfinite(value) and value > 0), "positive and finite")
        for name in ("warmup", "weight_decay"):
            _need(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")
        _need(self, "lr_end", 0 <= self.lr_end <= 1, "a share in [0, 1]")
        _need(self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        _need(self, "ema", 0 <= self.ema < 1, "in [0, 1), 0 for none")
        _need(self, "seed", 0 <= self.seed < SEED_LIMIT, "in [0, 2**32)")
        _need(self, "held_out", 0 <= self.held_out < 1, "a share in [0, 1), 0 for none")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the run is sampled when nothing else is said."""

    solver: str = "heun"
    """A solver of pl.SOLVERS."""
    steps: int | None = None
    """Steps of the solver; 32 if neither steps nor evaluations is given."""
    evaluations: int | None = None
    """Budget of field evaluations, instead of steps."""
    guidance: float | None = None
    """Weight of classifier-free guidance: 1 or None is none, more follows the label more closely."""
    grid: str | None = None
    """Time law that spaces the steps; uniform if None."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.steps is not None and self.evaluations is not None:
            raise ValueError(f"give sampling steps or evaluations, not both (got {self.steps} and {self.evaluations})")
        for name in ("steps", "evaluations"):
            value = getattr(self, name)
            _need(self, name, value is None or value >= 1, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What to train, by registered names with options."""

    data: str = "moons"
    """A data set of pathline.data.DATASETS, or a .npy or .npz file."""
    labels: bool = True
    """Condition on the labels where the data has them."""
    net: str = "auto"
    """A network of pathline.nets.NETS; auto is a dit for images and an mlp for the rest."""
    schedule: str = "linear"
    """A schedule of pl.SCHEDULES, which fixes the path from noise to data."""
    prediction: str = "velocity"
    """What the network predicts, of pl.PREDICTIONS."""
    loss_in: str | None = None
    """The prediction in which the error is counted; the network's own if None."""
    times: str = "uniform"
    """Law of the training times, of pl.TIMES."""
    weight: str | None = None
    """Weight of the loss over time, of pl.WEIGHTS; uniform if None."""
    coupling: str = "independent"
    """How noise and data are paired, of pl.COUPLINGS."""
    label_dropout: float = 0.1
    """Share of labels dropped in training, which makes guidance possible."""
    sampling: Sampling = field(default_factory=Sampling)
    """How the run is sampled when nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings, Subject):
    """A whole run. Names may carry options, as in ``net="dit(width=96)"`` or ``times="logit_normal(-0.4, 1)"``."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """A config from plain values; an unknown key is an error that names the nearest one."""
        return _from_dict(cls, values, "config")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML and JSON hold them; `from_dict` reads them back."""
        return plain(self)

    @classmethod
    def load(cls, path: "str | Path") -> "TrainConfig":
        """The config in a YAML file; keys that it leaves out have their defaults."""
        return cls.from_dict(read_yaml(path))

    def save(self, path: "str | Path") -> None:
        """Write every value, defaults included, to a YAML file."""
        write_yaml(path, self.to_dict())

    def replace(self, **changes: Any) -> "TrainConfig":
        """A copy with some values changed; an unknown key is an error that names the nearest one."""
        return self.from_dict({**self.to_dict(), **changes})


def settings_from(values: Mapping[str, Any]) -> Settings:
    """Training settings from plain values; an unknown key is an error that names the nearest one."""
    return _from_dict(Settings, values, "setting")


def plain(config: Settings) -> dict[str, Any]:
    """The values of a config as YAML and JSON hold them."""

    def simple(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: simple(item) for key, item in value.items()}
        return [simple(item) for item in value] if isinstance(value, tuple | list) else value

    return simple(dataclasses.asdict(config))


def read_yaml(path: "str | Path") -> dict[str, Any]:
    """The mapping in a YAML file, read without running anything."""
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no config file {path}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path} is no readable YAML: {told}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping such as 'data: moons', got {type(values).__name__}")
    return values


def write_yaml(path: "str | Path", values: Mapping[str, Any]) -> None:
    """Write a mapping in the order of its keys: the whole file or none of it."""
    import yaml

    path = Path(path)
    draft = path.with_name(f".{path.name}.writing")
    draft.write_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(draft, path)


def _from_dict(cls: type, values: Mapping[str, Any], kind: str) -> Any:
    known = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in known:
            raise ValueError(f"unknown {kind} {key!r}: {nearest(str(key), known)}")
    hints = get_type_hints(cls)
    ready: dict[str, Any] = {}
    for key, value in values.items():
        wanted = hints[key]
        if dataclasses.is_dataclass(wanted) and isinstance(value, Mapping):
            value = _from_dict(typing.cast(type, wanted), value, f"{key} setting")
        elif get_origin(wanted) is tuple and isinstance(value, list):
            value = tuple(value)
        elif float in (wanted, *get_args(wanted)) and isinstance(value, str):
            value = _number(value)  # YAML reads 1e-3 as a string
        ready[key] = value
    return cls(**ready)


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def check_types(config: Any) -> None:
    """Refuse a value that its annotation does not allow; an int serves as a float."""
    for name, wanted in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _fits(value, wanted):
            raise TypeError(f"{name} must be {_spelled(wanted)}, got {value!r}")


def _fits(value: Any, wanted: Any) -> bool:
    origin = get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(wanted))
    if origin is Literal:
        return value in get_args(wanted)
    if origin is tuple:
        items = get_args(wanted)
        return isinstance(value, tuple) and len(value) == len(items) and all(map(_fits, value, items))
    if wanted in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if wanted is float else wanted)


def _spelled(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    if get_origin(wanted) in (typing.Union, types.UnionType):
        return " or ".join(_spelled(option) for option in get_args(wanted))
    return "None" if wanted is type(None) else str(wanted) if get_args(wanted) else wanted.__name__


def _need(config: Any, name: str, fine: bool, wanted: str) -> None:
    if not fine:
        raise ValueError(f"{name} must be {wanted}, got {getattr(config, name)!r}")
