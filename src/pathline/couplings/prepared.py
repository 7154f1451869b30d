"""Exact pairs of large blocks, made before training and drawn from during it (theory T28, T30)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pathline._draws import integers, permutation
from pathline.couplings.base import Pairs, PairSource, flat_pair
from pathline.couplings.exact_ot import optimal
from pathline.couplings.semidiscrete import draw_source, groups
from pathline.couplings.semidiscrete_fit import bar, check_set
from pathline.couplings.storing import check_same_data, fingerprint, read, write


@dataclass(frozen=True, kw_only=True, eq=False)
class PreparedPairs(PairSource):
    """Pairs in memory: source points ``x_0`` (P, ...) and the rows ``rows`` (P,) of their data points."""

    x_0: Tensor
    rows: Tensor
    told: str
    """The fingerprint of the data."""

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, n: int, *, generator: torch.Generator | None = None) -> Pairs:
        """``n`` of the pairs, uniformly."""
        chosen = integers(len(self.rows), n, generator, self.rows.device)
        return Pairs(self.x_0[chosen], self.rows[chosen])

    def to(self, device: "torch.device | str") -> "PreparedPairs":
        return PreparedPairs(x_0=self.x_0.to(device), rows=self.rows.to(device), told=self.told)

    def save(self, path: "str | Path") -> None:
        write(path, "prepared", {"x_0": self.x_0, "rows": self.rows}, {"data": self.told})

    @classmethod
    def load(
        cls, path: "str | Path", data: Tensor, y: Tensor | None = None, source: Tensor | None = None
    ) -> "PreparedPairs":
        """The saved pairs, after a look at whether ``data`` are those they were made for."""
        kind, tensors, about = read(path)
        if kind != "prepared":
            raise ValueError(f"{path} holds pairs of the kind {kind!r}: read it with load_pairs")
        check_same_data(path, about["data"], data, y, source)
        return cls(x_0=tensors["x_0"].to(data), rows=tensors["rows"].to(data.device), told=about["data"])


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Exact assignments between blocks of data and as many source points, ``rounds`` times over the data.

    In each round the data (of each class, with labels) are shuffled and cut into blocks of nearly equal size, at most
    ``block``; each block is paired optimally with fresh source points. Every data point occurs exactly ``rounds``
    times. A bias of minibatch transport shrinks with the size of the blocks; a block of 2,048 takes 0.2 s on one core,
    one of 10,000 about ten seconds. Rows of ``source`` are drawn without repetition inside a block where there are enough.

    Attributes:
        block: the largest block.
        rounds: how many source points each data point gets; the pairs take rounds · N · D numbers of memory.
    """

    block: int = 2048
    rounds: int = 4

    def __post_init__(self) -> None:
        for name in ("block", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @torch.no_grad()
    def fit(
        self,
        data: Tensor,
        y: Tensor | None = None,
        *,
        source: Tensor | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
    ) -> PreparedPairs:
        """The pairs of ``data`` (N, ...) with Gaussian noise or the points ``source``, class by class with ``y`` (N,)."""
        check_set(data, y, source)
        y = None if y is None else y.to(data.device)
        blocks = list(self._blocks(data, y, generator))
        noise = []
        for rows in bar(blocks, progress, "exact pairs"):
            x_0 = _block_source(len(rows), data, source, generator)
            noise.append(x_0[optimal(*flat_pair(x_0, data[rows]))])
        return PreparedPairs(x_0=torch.cat(noise), rows=torch.cat(blocks), told=fingerprint(data, y, source))

    def _blocks(self, data: Tensor, y: Tensor | None, generator: torch.Generator | None) -> Iterator[Tensor]:
        classes = [members for _, members, _ in groups(data, y)]
        for _ in range(self.rounds):
            for members in classes:
                order = permutation(len(members), generator, data.device)
                yield from members[order].tensor_split(-(-len(members) // self.block))


def _block_source(n: int, data: Tensor, source: Tensor | None, generator: torch.Generator | None) -> Tensor:
    if source is None or n > len(source):
        return draw_source(n, data, source, generator)
    return source[permutation(len(source), generator, source.device)[:n]]


def prepared(*, block: int = 2048, rounds: int = 4) -> Prepared:
    """Exact pairs of large blocks made ahead; see `Prepared`."""
    return Prepared(block=block, rounds=rounds)
