"""Mixed precision: products of matrices in half, the rest in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch

from pathline.train.config import Precision

DTYPES: "dict[Precision, torch.dtype | None]" = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def half(precision: Precision, device: torch.device) -> "torch.dtype | None":
    """The dtype of the products under ``precision``; None for "no".

    Raises:
        ValueError: an unknown name, or fp16 on a CPU.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision must be one of {', '.join(DTYPES)}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision 'fp16' needs a GPU: use 'bf16' or 'no' on the CPU")
    return DTYPES[precision]


def mixed(precision: Precision, device: torch.device) -> "AbstractContextManager[object]":
    """The context in which networks on ``device`` run with ``precision``; errors as `half`."""
    dtype = half(precision, device)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
