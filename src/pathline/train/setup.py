"""What a trainer is put together from: settings, device, and where its batches come from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from pathline._errors import nearest
from pathline.couplings import Coupling, DatasetCoupling, PairSource
from pathline.objectives import BridgeMatching, Matching
from pathline.train import checkpoint
from pathline.train.assemble import Parts
from pathline.train.config import Settings, plain, settings_from
from pathline.train.feed import StreamBatches, batches_of
from pathline.train.generated import Generated
from pathline.train.names import COUPLING
from pathline.train.order import Batches
from pathline.train.pairing import Ahead, AnyBatches, Given, Plain, coupled, drawn, fit_pairs, named, rows_of
from pathline.train.processes import Processes
from pathline.train.run import Run
from pathline.train.source import Source


def settings_of(settings: "Settings | None", options: dict[str, Any]) -> Settings:
    """Settings with single values changed; an unknown one is an error that names the nearest."""
    if settings is None:
        return settings_from(options)
    if not options:
        return settings
    known = plain(settings)
    for key in options:
        if key not in known:
            raise ValueError(f"unknown setting {key!r}: {nearest(key, known)}")
    return type(settings)(**{**{k: getattr(settings, k) for k in known}, **options})


def begin_from(net: nn.Module, run: Run) -> None:
    """Give ``net`` the averaged weights of ``run``."""
    checkpoint.copy_state(net.state_dict(), run.net.state_dict(), run.path)


def uncoupled(objective: Any) -> Any:
    """``objective`` for pairs that are made already."""
    return replace(objective, coupling=None) if isinstance(objective, Matching | BridgeMatching) else objective


class Feed:
    """Where the steps of a trainer come from: data, source, and the coupling of the objective, made ahead.

    ``batches`` gives the data of a step, on the CPU where a coupling works on them; `open` starts the work. Each of
    several processes is fed its own rows of a batch; a coupling pairs the whole batch first.
    """

    def __init__(
        self, parts: Parts, source: "Source | None", objective: Any, settings: Settings, processes: Processes,
        pairs: "Generated | None" = None,
    ) -> None:  # fmt: skip
        self.settings, self.processes, self.device = settings, processes, processes.device
        device = processes.device
        self._part = None if processes.count == 1 else processes.rows(settings.batch_size)
        ours = isinstance(objective, Matching | BridgeMatching)
        self.coupling = objective.coupling if ours else None
        if self.coupling is not None and source is not None and source.paired:
            raise ValueError("paired rows are a coupling already: leave out coupling, or paired")
        self.generated = pairs is not None
        """Whether pairs of another flow stand in for the data."""
        if pairs is not None:
            self._take(pairs)
            return
        where, part = (torch.device("cpu"), None) if self.coupling is not None else (device, self._part)
        self.batches: AnyBatches = batches_of(
            parts.train, parts.standardizer, settings.batch_size, settings.seed, where, part
        )
        self.points: Tensor | None = None
        self._draw: Callable[[int], Tensor] | None = None
        if source is not None:
            self.points = source.standardizer.transform(source.train.x).to(where)
            self._draw = rows_of(
                self.points, self.batches, settings.batch_size, settings.seed, paired=source.paired, part=part
            )

    def _take(self, pairs: "Generated") -> None:
        """Train on the pairs of another flow in place of the data."""
        if self.coupling is not None:
            raise ValueError("pairs of a flow are a coupling already: leave out coupling")
        size, seed, y = self.settings.batch_size, self.settings.seed, pairs.y
        self.batches = Batches(
            pairs.x_1.to(self.device), None if y is None else y.to(self.device), size, seed, self._part
        )
        self.points = pairs.x_0.to(self.device)
        self._draw = rows_of(self.points, self.batches, size, seed, paired=True)

    def first(self, n: int) -> Given:
        """``n`` samples to try a net on, no part of the order."""
        x_1, y = self.batches.first(n)
        x_0 = None if self.points is None else self.points[torch.arange(len(x_1)) % len(self.points)]
        return x_1.to(self.device), {name: value.to(self.device) for name, value in named(y, x_0).items()}

    def open(self, out: Path, *, progress: bool) -> "Plain | Ahead":
        """step -> what the objective is called with."""
        size, seed = self.settings.batch_size, self.settings.seed
        if self.coupling is None:
            return Plain(self.batches, self._draw)
        if not hasattr(self.coupling, "fit"):
            make = coupled(cast(Coupling, self.coupling), self.batches, self._draw, seed)
            return Ahead(make, self.device, self._part)
        if isinstance(self.batches, StreamBatches):
            raise TypeError("a coupling of the whole data set needs data in memory, and these are a stream")
        coupling = cast(DatasetCoupling, self.coupling)

        def pairs(show: bool) -> PairSource:
            return fit_pairs(coupling, self.batches, self.points, seed, out / COUPLING, progress=show)

        self.processes.once(lambda: pairs(progress) and None)  # the others read what the first has fitted
        return Ahead(drawn(pairs(False), self.batches, size, seed), self.device, self._part)  # pyright: ignore[reportArgumentType]
