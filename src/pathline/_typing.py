"""Aliases of the public surface. Shapes stand in the docstrings: ``(B, ...)`` is batch first, any trailing shape."""

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor

Scalar: TypeAlias = float | Tensor
"""A Python number or a tensor that broadcasts over the state."""

Net: TypeAlias = Callable[..., Tensor]
"""``net(x_t, t, **cond) -> Tensor`` like ``x_t``; ``t`` is ``()`` or ``(B,)``. An `nn.Module` is one."""

Cond: TypeAlias = dict[str, Any]
"""Conditions by keyword; tensors with the batch first are sliced, repeated and dropped along it."""
