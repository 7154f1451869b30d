"""What a step of training costs, counted on a copy of the net without numbers: nothing is computed, whatever its size."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pathline.train.parallel import blocks_of

WORD = 4
"""Bytes of a float32."""
ADAM = 2
"""Moments that the optimiser keeps of a weight."""
AGAIN = 4 / 3
"""Work of forward, forward again and backward over that of forward and backward, which takes twice a forward."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Counts of one net for one sample; everything else follows by multiplication.

    `count_cost` makes one. Estimates leave out what is not in the net: data on the device, buffers of the
    communication, fragmentation of the allocator, the time between kernels.
    """

    weights: int
    """Trained numbers P."""
    flops: float
    """Floating-point operations of forward and backward pass of a sample F, a product of matrices counted 2 m n k."""
    kept: int
    """Bytes that a sample keeps for the backward pass in float32, K."""
    kept_again: int
    """The same where blocks are recomputed: their inputs, what is outside of them, and the largest of them."""

    def memory(
        self, batch: int, *, processes: int = 1, accumulate: int = 1, shard: bool = False, recompute: bool = False,
        averages: int = 1, half: bool = False,
    ) -> float:  # fmt: skip
        """Bytes that a process needs at a global ``batch``: 4 P (1 + 1 + 2 + averages) + K B/(W A).

        Weights, gradients, two moments and the averages; with ``shard`` divided by the W ``processes``. A are the pieces
        of `accumulate`; ``half``, for bf16 and fp16, halves what samples keep.
        """
        state = WORD * self.weights * (2 + ADAM + averages) / (processes if shard else 1)
        kept = self.kept_again if recompute else self.kept
        return state + kept * batch / (processes * accumulate) * (0.5 if half else 1.0)

    def traffic(self, *, processes: int, shard: bool = False) -> float:
        """Bytes that each process sends in a step, by rings: 2 (W - 1)/W 4 P, half as much again with ``shard``."""
        return (3 if shard else 2) * (processes - 1) / processes * WORD * self.weights

    def seconds(
        self, batch: int, *, rate: float, processes: int = 1, bandwidth: "float | None" = None, shard: bool = False,
        recompute: bool = False,
    ) -> float:  # fmt: skip
        """Seconds of a step: F B/(W rate), times 4/3 if blocks are recomputed, and `traffic`/bandwidth if nothing hides it.

        ``rate`` is what a process reaches in operations a second (measure it: half of what a data sheet says is much),
        ``bandwidth`` in bytes a second between the processes; None leaves the traffic out.
        """
        work = self.flops * batch * (AGAIN if recompute else 1.0) / (processes * rate)
        return work + (0.0 if bandwidth is None else self.traffic(processes=processes, shard=shard) / bandwidth)


def count_cost(net: nn.Module, shape: Sequence[int], **cond: Tensor) -> Cost:
    """The `Cost` of ``net(x_t, t, **cond)`` for samples of ``shape``; ``cond`` are conditions of one sample, ``y=torch.tensor([0])``.

    Attention is counted as if its matrix were kept, which the fused ones do not do.

    Raises:
        RuntimeError: the net computes with the numbers in its tensors, such as ``if x.max() > 1``, so that it cannot be counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    bare = copy.deepcopy(net).to("meta").train()
    x = torch.zeros((1, *shape), device="meta")
    t = torch.zeros(1, device="meta")
    given = {name: value.to("meta") for name, value in cond.items()}
    tally = _Tally(bare, blocks_of(bare))
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(tally.keep, lambda v: v):
        bare(x, t, **given).sum().backward()
    inside, outputs = tally.sums[1:], tally.outputs
    return Cost(
        weights=sum(p.numel() for p in bare.parameters() if p.requires_grad),
        flops=float(counter.get_total_flops()),
        kept=sum(tally.sums),
        kept_again=tally.sums[0] + sum(outputs) + max(inside, default=0),
    )


class _Tally:
    """Bytes kept for the backward pass, outside of the blocks and in each, a storage counted once."""

    def __init__(self, net: nn.Module, blocks: list[nn.Module]) -> None:
        self.sums, self.outputs = [0] * (len(blocks) + 1), [0] * len(blocks)
        self._place = 0
        # held, so that no other storage gets its place; weights are kept anyway, and so are views of them
        self._seen = {p.untyped_storage()._cdata: p for p in net.state_dict(keep_vars=True).values()}
        for k, block in enumerate(blocks):
            block.register_forward_pre_hook(lambda *_, k=k: self._enter(k + 1))
            block.register_forward_hook(lambda module, given, out, k=k: self._leave(k, out))

    def keep(self, value: Tensor) -> Tensor:
        """A tensor is put aside."""
        key = value.untyped_storage()._cdata
        if key not in self._seen:
            self._seen[key] = value
            self.sums[self._place] += value.untyped_storage().nbytes()
        return value

    def _enter(self, place: int) -> None:
        self._place = place

    def _leave(self, k: int, out: object) -> None:
        self._place = 0
        if isinstance(out, Tensor):
            self.outputs[k] = out.numel() * out.element_size()
