"""A run: what was trained, opened again and ready to sample."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pathline.data import Data, Standardizer, TableCodec
from pathline.field import Field
from pathline.guidance import Guidance
from pathline.likelihood import encode
from pathline.objectives import BridgeMatching, Matching
from pathline.solvers import Solution, Solver, solve
from pathline.solvers.integrate import as_solver
from pathline.times import TimeLaw
from pathline.train import checkpoint
from pathline.train.assemble import (
    Prepared,
    load_data,
    make_objective,
    prepare,
    sampling_arguments,
    standardizer_of,
)
from pathline.train.config import Precision, Sampling, Settings, TrainConfig
from pathline.train.log import read_log
from pathline.train.names import (
    LOG,
)
from pathline.train.precision import half, mixed
from pathline.train.source import Source, prepare_source
from pathline.train.told import labels_asked, rebuild, settings_told, stored_weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A trained network with everything that sampling needs.

    Two units are in play. `field` lives in those of the network, the standardised ones: ``pl.sample(run.field, …)``
    returns those. `sample` returns your units: the standardisation undone, images clipped to the range of the data, and
    values rounded where the data are whole levels (`decode`).
    """

    path: Path
    step: int
    """Training steps behind the weights."""
    settings: Settings
    """A `TrainConfig` where the run was made from one."""
    net: nn.Module
    """The network with the averaged weights, in eval mode."""
    objective: "Matching | BridgeMatching | None"
    standardizer: Standardizer
    about: dict[str, Any]
    """Name, shape, class names and checksum of the data."""
    source: "Data | None" = None
    begin: "Data | None" = None
    """Where the flow starts, where that was given from Python."""
    begin_standardizer: "Standardizer | None" = None
    """The units of the source; None where the flow starts at noise."""
    precision: Precision = "no"
    """That in which samples are drawn. `field`, and with it densities, is always that of the weights."""

    @classmethod
    def open(
        cls,
        path: "str | Path",
        *,
        net: "nn.Module | None" = None,
        objective: "Matching | BridgeMatching | None" = None,
        data: "Data | None" = None,
        source: "Data | None" = None,
        step: "int | str | None" = None,
        average: "str | None" = None,
        device: "torch.device | str" = "cpu",
        precision: Precision = "no",
    ) -> "Run":
        """The run in the folder ``path``, with its newest whole checkpoint, that of ``step``, or the "best" on held-out data.

        ``average`` is another average of the weights than the main one: "0.99" or "power(0.1)" of those in
        ``ema_also``, or a power average of any length of a run with ``ema_snapshots``. ``precision`` "bf16" or "fp16" (GPUs only)
        draws samples in mixed precision: the network's products in half precision, states and solver in float32.

        ``net``, ``objective``, ``data`` and ``source`` are needed only where the run was made from your own, which no file can
        rebuild; ``net`` gets the averaged weights.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: an unknown precision, or fp16 on a CPU.
            CheckpointError: no whole checkpoint; the message names the file that is at fault.
        """
        path = Path(path)
        if not path.is_dir():
            raise FileNotFoundError(f"no run folder {path}")
        half(precision, torch.device(device))
        found, weights = stored_weights(path, step, average)
        settings = settings_told(found.facts["settings"])
        begin = found.tensors.get("source_standardizer")
        net = rebuild(found, path, weights) if net is None else net
        checkpoint.copy_state(net.state_dict(), weights, found.path / "ema.safetensors")
        if objective is None and isinstance(settings, TrainConfig):
            objective = make_objective(settings)
        return cls(
            path=path,
            step=found.step,
            settings=settings,
            net=net.to(device).requires_grad_(False).eval(),
            objective=objective,
            standardizer=Standardizer.from_state(found.tensors["standardizer"]),
            about=found.facts["data"],
            source=data,
            begin=source,
            begin_standardizer=None if begin is None else Standardizer.from_state(begin),
            precision=precision,
        )

    @cached_property
    def field(self) -> Field:
        """The trained field, in standardised units."""
        if self.objective is None:
            raise ValueError(f"{self.path} was trained with your own objective: Run.open(…, objective=pl.Matching(…))")
        return Field(self.net, self.objective.path, self.objective.prediction)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.net.parameters()).device

    @property
    def has_density(self) -> bool:
        """Whether log p of data can be computed: a known objective that starts from Gaussian noise."""
        distilled = isinstance(self.settings, TrainConfig) and self.settings.times.startswith("at(")
        return self.objective is not None and self.begin_standardizer is None and not distilled

    def need_noise(self, what: str) -> None:
        """Refuse ``what`` for a run that has no exact field to compare with, because it does not start from noise by itself.

        Raises:
            ValueError: the run starts at a source of its own, or was trained on the pairs of another flow.
        """
        if self.begin_standardizer is not None:
            raise ValueError(
                f"{what} knows flows from Gaussian noise, but {self.path} starts at {self.about['source']['name']}"
            )
        if isinstance(self.settings, TrainConfig) and self.settings.pairs is not None and what == "verify":
            raise ValueError(
                f"{what} knows flows trained on data, but {self.path} was trained on the pairs of another flow"
            )

    @property
    def config(self) -> TrainConfig:
        """The config that names everything in the run."""
        if not isinstance(self.settings, TrainConfig):
            raise ValueError(f"{self.path} was trained from Python objects: only its settings are on file")
        return self.settings

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.about["shape"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes that the network was conditioned on; empty without labels."""
        return tuple(self.about["class_names"])

    @property
    def log(self) -> list[dict[str, Any]]:
        """The records of log.jsonl by step: step, loss, lr, grad_norm, steps_per_s, time."""
        return read_log(self.path / LOG)

    @cached_property
    def data(self) -> Prepared:
        """Both parts of the data in your units, as they were divided for training, and the standardiser."""
        source = self.source
        if source is None:
            source = load_data(self.config.data, labels=self.config.labels)
        if source.fingerprint != self.about["sha256"]:
            raise ValueError(
                f"the data {source.name!r} are not those that {self.path} was trained on: they have changed"
            )
        return prepare(source, self.settings).in_memory()

    @cached_property
    def origin(self) -> "Source | None":
        """The source and its division; None where the flow starts at noise."""
        if self.begin_standardizer is None:
            return None
        begin = load_data(str(self.config.source), labels=False) if self.begin is None else self.begin
        if begin.fingerprint != self.about["source"]["sha256"]:
            raise ValueError(f"the source {begin.name!r} is not that of {self.path}: it has changed")
        data = load_data(self.config.data, labels=self.config.labels) if self.source is None else self.source
        paired = self.about["source"]["paired"]
        return prepare_source(begin, data, self.settings, paired=paired, fit=standardizer_of)

    def labels(self, n: int, y: "int | Sequence[int] | Tensor | None" = None) -> "Tensor | None":
        """The labels (n,) that `sample` asks for: each class in turn if ``y`` is None, None for a net without labels.

        Raises:
            ValueError: a class that the run does not know, or another count than ``n``.
        """
        return labels_asked(n, y, self.class_names, self.path)

    def sample(
        self,
        n: int,
        *,
        y: "int | Sequence[int] | Tensor | None" = None,
        seed: int = 0,
        solver: "str | Solver | None" = None,
        steps: "int | None" = None,
        evaluations: "int | None" = None,
        guidance: "float | str | Guidance | None" = None,
        grid: "str | Tensor | TimeLaw | None" = None,
        batch_size: int = 256,
        progress: bool = False,
        x_0: "Tensor | None" = None,
    ) -> Tensor:
        """``n`` samples (n, *shape) in your units, on the CPU.

        What is None is taken from the run's own `Sampling`. Sample i is drawn from seed + i alone, so that any
        ``batch_size`` gives the same set up to rounding; ``y`` is read by `labels`. guidance=1 switches guidance off,
        and a text names a method, as in "apg(2.0)".
        ``x_0`` (n, *shape) is where to start, in the units of the source; by default the source's own points, sample i
        from point seed + i of `origin`, or noise.
        """
        if n < 1 or batch_size < 1:
            raise ValueError(f"n and batch_size must be at least 1, got {n} and {batch_size}")
        if x_0 is not None and x_0.shape != (n, *self.shape):
            raise ValueError(f"x_0 must have shape {(n, *self.shape)}, one point a sample, got {tuple(x_0.shape)}")
        labels = self.labels(n, y)
        arguments = self.arguments(solver=solver, steps=steps, evaluations=evaluations, guidance=guidance, grid=grid)
        done = []
        for start in _starts(n, batch_size, progress):
            stop = min(start + batch_size, n)
            begin = None if x_0 is None else x_0[start:stop]
            done.append(self._solve(start, stop, seed, labels, arguments, record=False, x_0=begin).x.cpu())
        return self.decode(torch.cat(done))

    def encode(
        self,
        x: Tensor,
        *,
        y: "int | Sequence[int] | Tensor | None" = None,
        solver: "str | Solver" = "dopri5",
        batch_size: int = 256,
        **options: Any,
    ) -> Tensor:
        """Where the flow comes from at the points ``x`` (n, *shape) in your units: source points in theirs, or noise.

        ``options`` are those of `pathline.encode`; `sample` with ``x_0`` of what is returned gives ``x`` back.
        """
        labels = self.labels(len(x), y)
        done = []
        for rows in torch.arange(len(x)).split(batch_size):
            cond: dict[str, Any] = {} if labels is None else {"y": labels[rows]}
            z = self.standardizer.transform(x[rows].float()).to(self.device)
            done.append(encode(self.field, z, solver=solver, **options, **cond).cpu())
        z_0 = torch.cat(done)
        return z_0 if self.begin_standardizer is None else self.begin_standardizer.inverse(z_0)

    def trajectory(
        self, n: int, *, y: "int | Sequence[int] | Tensor | None" = None, seed: int = 0, **options: Any
    ) -> Solution:
        """The solve behind the first ``n`` samples, in standardised units like `field`: states, times, and its cost."""
        return self._solve(0, n, seed, self.labels(n, y), self.arguments(**options), record=True)

    def in_your_units(self, solution: Solution) -> Solution:
        """A solution with its states in your units, neither clipped nor rounded; from a source, its units fade over
        into those of the data as t rises."""
        states = None if solution.trajectory is None else self.standardizer.inverse(solution.trajectory)
        if states is not None and solution.trajectory is not None and self.begin_standardizer is not None:
            t = solution.times.to(states).reshape(-1, *(1,) * (states.ndim - 1))
            states = t * states + (1.0 - t) * self.begin_standardizer.inverse(solution.trajectory)
        return replace(solution, x=self.standardizer.inverse(solution.x), trajectory=states)

    def decode(self, z: Tensor) -> Tensor:
        """Standardised values in your units; images clipped to the data's range, whole levels rounded."""
        levels = self.about["levels"]
        x = self.standardizer.inverse(z, clip=self.about["image"] or levels is not None)
        return x if levels is None else x.round()

    def as_bytes(self, x: Tensor) -> Tensor:
        """Samples as they are stored: those of data with 256 whole levels in one byte a value."""
        return x.to(torch.uint8) if self.about["levels"] == 256 else x

    def table(self, n: int, *, y: "int | Sequence[int] | Tensor | None" = None, seed: int = 0, **options: Any) -> Any:
        """``n`` samples as a pandas table with the columns of the data: of a run that was trained on a table.

        Without ``y`` a column that became the labels has its classes as often as the data have them.
        """
        codec = self.codec
        if codec is None:
            raise ValueError(f"{self.path} was trained on {self.about['name']!r}, which is no table: use sample")
        if y is None and codec.label is not None:
            y = codec.draw_labels(n, seed)
        return codec.decode(self.sample(n, y=y, seed=seed, **options), self.labels(n, y))

    @cached_property
    def codec(self) -> "TableCodec | None":
        """The way from samples to rows of the table that the run was trained on; None for other data."""
        return TableCodec.from_state(self.about["codec"]) if "codec" in self.about else None

    def arguments(self, **options: Any) -> dict[str, Any]:
        """Arguments of `pathline.sample` for ``options`` of `sample`, the rest taken from the run's `Sampling`."""
        own = self.settings.sampling if isinstance(self.settings, TrainConfig) else Sampling()
        schedule = None if self.objective is None else self.objective.path.schedule
        return sampling_arguments(own, schedule, **options)

    def _solve(
        self, start: int, stop: int, seed: int, labels: "Tensor | None", arguments: dict[str, Any], *, record: bool,
        x_0: "Tensor | None" = None,
    ) -> Solution:  # fmt: skip
        cond: dict[str, Any] = {} if labels is None else {"y": labels[start:stop]}
        begin: Any = (stop - start, *self.shape)
        if x_0 is not None:
            x_0 = x_0.float()
            begin = x_0 if self.begin_standardizer is None else self.begin_standardizer.transform(x_0)
        elif self.origin is not None:
            begin = self.origin.points(seed + start, stop - start)
        drawn = not isinstance(begin, Tensor)
        seeds = range(seed + start, seed + stop) if drawn or as_solver(arguments["solver"]).stochastic else None
        if not drawn:
            begin = begin.to(self.device)
        with mixed(self.precision, self.device):
            return solve(self.field, begin, seeds=seeds, record=record, **arguments, **cond)


def _starts(n: int, batch_size: int, progress: bool) -> Any:
    starts = range(0, n, batch_size)
    if not progress:
        return starts
    from tqdm.auto import tqdm

    return tqdm(starts, desc="sample", unit="batch", disable=None)
