"""Which samples a step sees, and where its randomness comes from: both are functions of seed and step alone."""

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, *purpose: "str | int") -> int:
    """A seed for one purpose. torch's CPU generator reads 32 bits, so neighbouring seeds are mixed before use."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


class Order:
    """Rows of ``n`` samples, step by step, each exactly once per epoch.

    The stream is the concatenation of one permutation per epoch, drawn from (seed, epoch); step k takes the places
    k B … k B + B - 1 of it. Nothing is remembered but the current permutations, so a resumed run sees the same rows,
    and any number of processes can share one stream: ``part`` is the slice of each batch that is wanted, all if None.
    """

    def __init__(self, n: int, batch_size: int, seed: int, part: "slice | None" = None) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self._from, self._size = (0, batch_size) if part is None else (part.start, part.stop - part.start)
        self._epochs: dict[int, Tensor] = {}

    def indices(self, step: int) -> Tensor:
        """The rows of batch ``step``, int64 of shape (batch_size,), or of its part, on the CPU."""
        n, start = self.n, step * self.batch_size + self._from
        stop = start + self._size
        if start // n == (stop - 1) // n:
            return self._order(start // n)[start % n : start % n + self._size]
        pieces = []
        while start < stop:
            epoch, place = divmod(start, n)
            piece = self._order(epoch)[place : place + stop - start]
            pieces.append(piece)
            start += len(piece)
        return torch.cat(pieces)

    def _order(self, epoch: int) -> Tensor:
        known = self._epochs  # replaced whole, never changed: threads may ask at a time
        found = known.get(epoch)
        if found is None:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, "order", epoch))
            found = torch.randperm(self.n, generator=generator)
            self._epochs = {**{k: v for k, v in known.items() if k == epoch - 1}, epoch: found}
        return found


class Batches:
    """Batches of data held on the device, in the `Order` of the seed."""

    def __init__(self, x: Tensor, y: "Tensor | None", batch_size: int, seed: int, part: "slice | None" = None) -> None:
        self.x, self.y = x, y
        self.indices = Order(len(x), batch_size, seed, part).indices

    def __call__(self, step: int) -> "tuple[Tensor, Tensor | None]":
        """(x_1, y) of batch ``step``, on the device of the data."""
        rows = self.indices(step).to(self.x.device, non_blocking=True)
        return self.x[rows], None if self.y is None else self.y[rows]

    def first(self, n: int) -> "tuple[Tensor, Tensor | None]":
        """``n`` samples to try a net on, no part of the order."""
        return self.x[:n], None if self.y is None else self.y[:n]
