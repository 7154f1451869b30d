"""The law of devices: states may live anywhere. Checked without another device.

A tensor on torch's "meta" device has a shape and no values. What mixes it with a tensor of the CPU that is no scalar fails,
as it would on a GPU; what reads a number out of it fails too, where a GPU would only have to wait.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from pathline.testing.laws.base import require


def check_device(work: Callable[[Tensor], Tensor], shape: tuple[int, ...] = (6, 2)) -> None:
    """``work`` takes a state (B, ...) on whatever device, reads no number from it, and answers on that device."""
    x = torch.randn(shape, device="meta")
    law, hint = "States may live on any device", "Make tensors with x.new_…, or move them to x.device."
    try:
        found = work(x)
    except (RuntimeError, NotImplementedError) as error:
        require(False, law, str(error).splitlines()[0], hint)
    else:
        require(found.device == x.device, law, f"an answer on {found.device} for a state on another device", hint)
