"""One network of two: the heads that a bridge needs for its velocity and its score."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class TwoHeads(nn.Module):
    """``(x_t, t, y) -> (B, 2, *shape)``: what two networks of the same call return, stacked behind the batch axis.

    Two networks rather than two outputs of one, as in [SF]2M: the losses of velocity and score differ in scale, and
    neither then spoils the other's features.
    """

    name: ClassVar[str] = "two_heads"

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    @property
    def config(self) -> dict[str, Any]:
        """Name and config of both networks."""
        return {
            key: {"name": net.name, "config": net.config}
            for key, net in (("first", self.first), ("second", self.second))
        }

    @classmethod
    def build(cls, nets: Mapping[str, type[nn.Module]], config: Mapping[str, Any]) -> "TwoHeads":
        """The inverse of `config`, with networks of the registry ``nets``."""
        made = [nets[config[key]["name"]](**config[key]["config"]) for key in ("first", "second")]
        return cls(*made)

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Both predictions, (B, 2, *shape)."""
        given = {} if y is None else {"y": y}
        return torch.stack([self.first(x_t, t, **given), self.second(x_t, t, **given)], 1)
