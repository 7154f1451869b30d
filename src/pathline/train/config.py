"""What a training run is told: plain values and registered names, in YAML, on the command line and in Python."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pathline._errors import nearest
from pathline.train.ema import make_laws
from pathline.train.values import check_types, need, read_yaml, write_yaml

Precision = Literal["no", "bf16", "fp16"]
Decay = Literal["cosine", "constant", "linear", "inverse_sqrt"]
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
    """Samples per step, over all processes."""
    accumulate: int = 1
    """Pieces in which a process works on its samples of a step: the same step in less memory."""
    optimizer: str = "adamw"
    """An optimiser of pathline.train.OPTIMIZERS: adamw, adam, muon, schedule_free, sgd."""
    lr: float = 1e-3
    """Highest learning rate."""
    warmup: int = 100
    """Steps over which the learning rate rises linearly from 0."""
    decay: Decay = "cosine"
    """What the learning rate does after the warm-up."""
    lr_end: float = 0.0
    """Learning rate at the end of the decay, as a share of lr."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Moment decays of Adam and its kin."""
    weight_decay: float = 0.0
    """Decoupled weight decay of weight matrices; biases, norms and embeddings are spared."""
    clip: float | None = 1.0
    """Largest gradient norm; None for no clipping."""
    ema: float = 0.999
    """Decay of the weights' moving average, which is what samples; 0 for none."""
    ema_also: str = ""
    """More averages to keep, as in "0.99, power(0.1)": decays, or EDM2's power averages by their relative length."""
    ema_every: int = 1
    """Steps between updates of the averages; their horizon is the same."""
    ema_snapshots: int = 0
    """Steps between stored power averages, from which any length can be made afterwards; 0 for none."""
    skip_limit: int = 10
    """Steps in a row that may be skipped for gradients with NaN or infinity before training gives up."""
    skip_above: float | None = None
    """Skip a step whose gradient norm is so many times its running mean; None for never."""
    time_bins: int = 10
    """Intervals of t for which the log tells the loss; 0 for none."""
    precision: Precision = "no"
    """Mixed precision."""
    shard: bool = False
    """Divide weights, gradients and optimiser over the processes (FSDP2), for nets that do not fit into one."""
    recompute: bool = False
    """Forget what a block computes and do it again in the backward pass: less memory for a third more time."""
    compile: bool = False
    """Hand the net to torch.compile, which needs a C++ compiler, or Triton on a GPU."""
    channels_last: bool = False
    """Lay images out pixel by pixel, which suits convolutions."""
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
    keep_best: int = 0
    """Checkpoints kept besides, those of the lowest held-out loss, or the best by stop_on."""
    eval_every: int = 0
    """Steps between evaluations while training: a picture of samples and quick metrics, in evals/; 0 for none."""
    stop_after: int = 0
    """Evaluations without improvement after which training ends, the best checkpoint kept; 0 for never."""
    stop_on: str = "held_out_loss"
    """What an evaluation must improve: held_out_loss, or a metric such as fd, w2, sliced_w2."""
    track: tuple[str, ...] = ()
    """Trackers besides log.jsonl: tensorboard, trackio, wandb, or another of accelerate's."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in (
            "steps",
            "batch_size",
            "log_every",
            "checkpoint_every",
            "keep",
            "ema_every",
            "skip_limit",
            "accumulate",
        ):
            need(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("lr", "clip"):
            value = getattr(self, name)
            need(self, name, value is None or (math.isfinite(value) and value > 0), "positive and finite")
        for name in ("warmup", "weight_decay", "ema_snapshots", "time_bins", "keep_best", "eval_every", "stop_after"):
            need(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")
        need(self, "lr_end", 0 <= self.lr_end <= 1, "a share in [0, 1]")
        need(self, "betas", all(0 <= beta < 1 for beta in self.betas), "two numbers in [0, 1)")
        need(self, "ema", 0 <= self.ema < 1, "in [0, 1), 0 for none")
        need(self, "skip_above", self.skip_above is None or self.skip_above > 1, "above 1, or None for never")
        need(self, "keep_best", not self.keep_best or self.held_out > 0, "0 without held-out data")
        need(self, "stop_after", not self.stop_after or self.eval_every > 0, "0 without eval_every")
        make_laws(self.ema_also)
        need(self, "seed", 0 <= self.seed < SEED_LIMIT, "in [0, 2**32)")
        need(self, "held_out", 0 <= self.held_out < 1, "a share in [0, 1), 0 for none")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the run is sampled when nothing else is said."""

    solver: str = "heun"
    """A solver of pl.SOLVERS."""
    steps: int | None = None
    """Steps of the solver; 32 if neither steps nor evaluations is given."""
    evaluations: int | None = None
    """Budget of field evaluations, instead of steps."""
    guidance: float | str | None = None
    """Weight of classifier-free guidance (1 or None is none, more follows the label more closely), or a method with options, such
    as "apg(2.0)", "interval(2.0, 0.1, 0.7)" or "cfg(cosine(3.0))"."""
    grid: str | None = None
    """Time law that spaces the steps; uniform if None."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.steps is not None and self.evaluations is not None:
            raise ValueError(f"give sampling steps or evaluations, not both (got {self.steps} and {self.evaluations})")
        for name in ("steps", "evaluations"):
            value = getattr(self, name)
            need(self, name, value is None or value >= 1, "at least 1")


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
    """How source and data are paired, of pathline.couplings: batch by batch or, as "prepared", for the whole set."""
    source: str | None = None
    """Where the flow starts, named like data; Gaussian noise if None."""
    paired: bool = False
    """Row i of the source belongs to row i of the data."""
    bridge: str | None = None
    """Noise between source and data, of pathline.paths.GAMMAS, such as "brownian(0.5)"; none if None."""
    score_head: bool = False
    """A second network for the score of a bridge, which stochastic solvers need."""
    start: str | None = None
    """A run whose averaged weights training starts from."""
    pairs: str | None = None
    """Folder of the pairs (x_0, x_1) of another flow to train on, as `pathline reflow` makes them."""
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
