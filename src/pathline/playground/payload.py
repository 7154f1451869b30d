"""Arrays as the browser takes them: base64 of little-endian float32, or of whole numbers over a range."""

import base64
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import Tensor

Packed: TypeAlias = dict[str, Any]
Kind: TypeAlias = Literal["f4", "u1", "u2"]


def pack(values: "Tensor | np.ndarray", kind: Kind = "f4", limits: "tuple[float, float] | None" = None) -> Packed:
    """``values`` as ``{dtype, shape, data}``; of kind u1 or u2 with ``low`` and ``high``, 256 or 65,536 levels between.

    ``limits`` are (low, high), by default the extremes; whole numbers 0 … 255 are kept by kind u1 with (0, 255).
    A number that is not finite stays so in f4; otherwise NaN becomes the lowest level, and infinities the nearest.
    """
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    told: Packed = {"dtype": kind, "shape": list(array.shape)}
    if kind == "f4":
        content = array.astype("<f4")
    else:
        finite = array[np.isfinite(array)].astype(np.float64)
        low, high = limits or ((float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0))
        top = 255 if kind == "u1" else 65_535
        part = (np.nan_to_num(array.astype(np.float64), nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
        content = np.round(np.clip(part, 0.0, 1.0) * top).astype("<" + kind)
        told |= {"low": low, "high": high}
    return told | {"data": base64.b64encode(np.ascontiguousarray(content).tobytes()).decode("ascii")}


def unpack(told: Packed) -> np.ndarray:
    """What `pack` packed, as float32; the browser does the same."""
    content = np.frombuffer(base64.b64decode(told["data"]), dtype="<" + told["dtype"]).reshape(told["shape"])
    if told["dtype"] == "f4":
        return content
    top = 255 if told["dtype"] == "u1" else 65_535
    return (told["low"] + (told["high"] - told["low"]) * content.astype(np.float64) / top).astype(np.float32)
