"""From names to objects: everything a config mentions is looked up and built before any work starts."""

import inspect
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from pathline._errors import lookup
from pathline.couplings import COUPLINGS, DATASET_COUPLINGS
from pathline.data import Data, Dataset, LazyDataset, Standardizer, StreamDataset, from_torch, in_memory, load
from pathline.data import split as divide
from pathline.guidance import Guidance
from pathline.nets import NETS, TwoHeads
from pathline.objectives import WEIGHTS, BridgeMatching, Matching
from pathline.paths import GAMMAS, AffinePath, BridgePath, two_heads
from pathline.predictions import PREDICTIONS, VELOCITY, Prediction, edm_f
from pathline.schedules import SCHEDULES, Schedule
from pathline.solvers import SOLVERS, NonStationary, Solver, load_solver
from pathline.times import TIMES, TimeLaw, shifted
from pathline.train.config import Sampling, Settings, TrainConfig
from pathline.train.guiding import make_guidance
from pathline.train.order import derive_seed
from pathline.train.spec import build, split_spec


def make_objective(config: TrainConfig) -> "Matching | BridgeMatching":
    """The objective that a config names."""
    schedule: Schedule = build("schedule", config.schedule, SCHEDULES)
    times = make_times(config.times, schedule)
    # the independent coupling is the order in which noise is drawn: nothing to gather
    coupling = (
        None
        if config.coupling == "independent"
        else build("coupling", config.coupling, {**COUPLINGS, **DATASET_COUPLINGS})
    )
    if config.bridge is not None:
        return _make_bridge(config, schedule, times, coupling)
    if config.score_head:
        raise ValueError("score_head needs a bridge: without noise of its own the velocity alone tells the score")
    return Matching(
        path=AffinePath(schedule),
        prediction=make_prediction(config.prediction),
        loss_in=None if config.loss_in is None else make_prediction(config.loss_in),
        times=times,
        weight=None if config.weight is None else build("weight", config.weight, WEIGHTS),
        coupling=coupling,
        label_dropout=config.label_dropout,
    )


def _make_bridge(config: TrainConfig, schedule: Schedule, times: TimeLaw, coupling: Any) -> BridgeMatching:
    for name, value, only in (
        ("prediction", config.prediction, "velocity"), ("loss_in", config.loss_in, None), ("weight", config.weight, None),
    ):  # fmt: skip
        if value != only:
            raise ValueError(f"a bridge regresses the velocity, each time with the same weight: leave {name} at {only}")
    path = BridgePath(schedule, build("bridge", str(config.bridge), GAMMAS))
    prediction = two_heads() if config.score_head else VELOCITY
    return BridgeMatching(path, prediction, times=times, coupling=coupling, label_dropout=config.label_dropout)


def make_prediction(text: str) -> Prediction:
    """A prediction by name; ``edm_f`` takes the data's standard deviation, as in ``edm_f(0.5)``."""
    return build("prediction", text, {**PREDICTIONS, "edm_f": edm_f})


def make_times(text: str, schedule: Schedule) -> TimeLaw:
    """A time law by name; laws of the log-SNR get ``schedule``, and a shifted law may name another."""

    def moved(shift: float, law: str = "uniform") -> TimeLaw:
        return shifted(shift, make_times(law, schedule))

    return build("time law", text, {**TIMES, "shifted": moved, "at": at}, schedule=schedule)


def at(t: float) -> TimeLaw:
    """Always ``t``: what distils a flow into one step trains at t = 0 alone."""
    if not 0.0 <= t <= 1.0:
        raise ValueError(f"at(t) needs a time in [0, 1], got {t}")
    return TimeLaw(lambda u: torch.full_like(u, t), f"at({t:g})")


def make_net(text: str, data: Data, *, labels: bool, seed: int, heads: int = 0) -> nn.Module:
    """A network by name, sized for ``data``, with weights drawn from ``seed`` alone; two of them for two heads."""
    if heads:
        first, second = (make_net(text, data, labels=labels, seed=derive_seed(seed, "head", k)) for k in range(2))
        return TwoHeads(first, second)
    name, given, _ = split_spec("net", text)
    kind = lookup("net", name, {**NETS, "auto": NETS["dit" if data.image else "mlp"]})
    if given:
        raise ValueError(f"net {text!r}: name the options, as in {name}(width=128)")
    if "image_size" in inspect.signature(kind).parameters and not data.image:
        raise ValueError(f"net {name!r} is for images, but a sample of {data.name} has shape {data.shape}: use mlp")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        return build(
            "net",
            text,
            {name: kind},
            patch=_patch(data.shape) if name == "auto" and data.image else None,
            dim=math.prod(data.shape),
            image_size=list(data.shape[1:]),
            channels=data.shape[0],
            num_classes=data.num_classes if labels else None,
        )


def _patch(shape: tuple[int, ...]) -> int:
    """The smallest patch of at least 2 that divides the image into at most 256 tokens; 1 if none does."""
    height, width = shape[1:]
    fitting = (p for p in range(2, min(height, width)) if height % p == 0 and width % p == 0)
    return next((p for p in fitting if (height // p) * (width // p) <= 256), 1)


def sampling_arguments(
    own: Sampling,
    schedule: "Schedule | None" = None,
    *,
    solver: "str | Solver | None" = None,
    steps: "int | None" = None,
    evaluations: "int | None" = None,
    guidance: "float | str | Guidance | None" = None,
    grid: "str | Tensor | TimeLaw | None" = None,
) -> dict[str, Any]:
    """Arguments of `pathline.sample`: what is given, else what ``own`` says; names and solver files are resolved."""
    solver = own.solver if solver is None else solver
    if isinstance(solver, str):
        solver = load_solver(solver) if solver.endswith(".json") else build("solver", solver, SOLVERS)
    if not isinstance(solver, NonStationary):  # which brings its own times
        grid = own.grid if grid is None else grid
        if steps is None and evaluations is None and not isinstance(grid, Tensor):
            evaluations = own.evaluations
            steps = 32 if own.steps is None and evaluations is None else own.steps
    return {
        "solver": solver,
        "steps": steps,
        "evaluations": evaluations,
        "guidance": make_guidance(own.guidance if guidance is None else guidance),
        "grid": build("grid", grid, TIMES, schedule=schedule) if isinstance(grid, str) else grid,
    }


def load_data(text: str, *, labels: bool = True) -> Data:
    """A data set by name or file; a name may carry options, as in ``moons(n=20000)``."""
    name, given, named = split_spec("data", text)
    if given:
        raise ValueError(f"data {text!r}: name the options, as in {name}(n=20000)")
    data = load(name, **named)
    return data if labels else data.without_labels()


def as_dataset(data: "Data | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]") -> Data:
    """What a Python user passes as data: a `Dataset`, samples (N, ...), (samples, labels), or a Dataset of torch."""
    if isinstance(data, Dataset | LazyDataset | StreamDataset):
        return data
    if isinstance(data, TorchDataset):
        return from_torch(data)
    x, y = data if isinstance(data, tuple) else (data, None)
    if not isinstance(x, Tensor) or not x.is_floating_point():
        shown = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"data must be a Dataset, a floating tensor (N, ...) or a pair with labels, got {shown}")
    if y is not None and (not isinstance(y, Tensor) or y.is_floating_point() or y.dtype == torch.bool):
        shown = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"labels must be an integer tensor of classes 0 … K - 1, got {shown}")
    classes = 0 if y is None or not len(y) else max(0, int(y.max()) + 1)
    names = tuple(map(str, range(classes)))
    y = None if y is None else y.long()
    return Dataset(x=x.detach().float().cpu(), y=y if y is None else y.cpu(), class_names=names)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Data to measure against: both parts in the user's units, and the way to the units of the network."""

    train: Dataset
    held_out: "Dataset | None"
    standardizer: Standardizer


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Data ready to train on, wherever it lies."""

    train: Data
    held_out: "Dataset | LazyDataset | None"
    standardizer: Standardizer

    def in_memory(self) -> Prepared:
        """As much of both parts as a measurement can hold (`pathline.data.in_memory`)."""
        train = self.train.in_memory() if isinstance(self.train, StreamDataset) else in_memory(self.train)
        held_out = None if self.held_out is None else in_memory(self.held_out)
        return Prepared(train=train, held_out=held_out, standardizer=self.standardizer)


def cell_of(standardizer: Standardizer, levels: "int | None", device: torch.device) -> Tensor:
    """The width of one of the whole levels of the data, in standardised units."""
    if levels is None:
        raise ValueError("dequantize spreads whole levels, and these data have none: leave it out")
    return (1.0 / standardizer.std).float().to(device)


def prepare(data: Data, settings: Settings) -> Parts:
    """Check, divide and standardise.

    Raises:
        ValueError: numbers that are not finite, or too few samples.
    """
    if isinstance(data, Dataset):  # others are looked at as they are read
        bad = int((~data.x.isfinite()).flatten(1).any(1).sum())
        if bad:
            raise ValueError(f"{bad} of {len(data)} samples of {data.name} have NaN or infinity: remove or fill them")
    train, held_out = data, None
    if settings.held_out > 0.0:
        if isinstance(data, StreamDataset):
            train, held_out = data.split(settings.held_out, seed=settings.seed)
        else:
            train, held_out = divide(data, settings.held_out, seed=settings.seed)
    return Parts(train=train, held_out=held_out, standardizer=standardizer_of(train, settings))


def standardizer_of(train: Data, settings: Settings) -> Standardizer:
    """What brings the training part to the units of the network."""
    seen = train.in_memory() if isinstance(train, StreamDataset) else train
    if settings.standardize == "none":
        one = torch.ones((1,) * len(train.shape), dtype=torch.float64)
        low, high = (v.double() for v in torch.aminmax(in_memory(seen, limit=1000).x))
        return Standardizer(mean=0 * one, std=one, low=low * one, high=high * one)
    return Standardizer.fit(seen, per=None if settings.standardize == "auto" else settings.standardize)
