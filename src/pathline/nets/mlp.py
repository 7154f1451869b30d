"""A multilayer perceptron of (x_t, t, y): the net of the 2-D toys and of tabular data."""

import math
from typing import Any, ClassVar

from torch import Tensor, nn

from pathline._errors import lookup
from pathline._shapes import check_state
from pathline.nets.base import check_features, check_time_shape, condition, positive, time_features
from pathline.nets.conditions import add_vector, vector_condition

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU, "selu": nn.SELU, "gelu": nn.GELU}


class MLP(nn.Module):
    """``out(act(W_n … act(W_x x_t + W_t features(t) + embed(y))))`` with ``depth`` hidden layers.

    The first layer is a linear map of the concatenation (x_t, features(t), one-hot y), kept as three products
    so that a time of shape ``()`` is embedded once for the whole batch.

    Args:
        dim: numbers per sample; states may have any trailing shape with that many.
        width: units of a hidden layer.
        depth: number of hidden layers.
        activation: "silu", "relu", "selu" or "gelu".
        num_classes: number of class labels; ``y`` is then ``(B,)`` of integers, -1 or None for no label.
        condition_dim: length of a condition vector; ``y`` is then ``(B, condition_dim)``, a row of NaN or
            None for no condition.
        vector_dim: length of a further condition, ``vector`` ``(B, vector_dim)``, beside ``y``.
        time_features: number of sines and cosines of t (see `time_features`); 0 feeds t itself.

    Raises:
        ValueError, TypeError: an argument that cannot be, or a state, time or condition of another shape.

    Source: the net of the 2-D experiments of Tong et al. (2024) is ``MLP(2, 64, 3, activation="selu",
    time_features=0)``; that of figure 2 of Li & He (2511.13720) is ``MLP(D, 256, 5, activation="relu")``.
    """

    name: ClassVar[str] = "mlp"

    def __init__(
        self,
        dim: int,
        width: int = 256,
        depth: int = 3,
        *,
        activation: str = "silu",
        num_classes: int | None = None,
        condition_dim: int | None = None,
        vector_dim: int | None = None,
        time_features: int = 32,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "dim": positive("dim", dim),
            "width": positive("width", width),
            "depth": positive("depth", depth),
            "activation": activation,
            "num_classes": num_classes,
            "condition_dim": condition_dim,
            "vector_dim": vector_dim,
            "time_features": check_features(time_features),
        }
        act = lookup("activation", activation, ACTIVATIONS)
        self.dim = dim
        self.features = time_features
        self.state = nn.Linear(dim, width)
        self.time = nn.Linear(max(time_features, 1), width, bias=False)
        self.condition = condition(num_classes, condition_dim, width)
        self.vector = vector_condition(vector_dim, width)
        hidden = [layer for _ in range(depth - 1) for layer in (act(), nn.Linear(width, width))]
        self.rest = nn.Sequential(*hidden, act(), nn.Linear(width, dim))

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None = None, vector: Tensor | None = None) -> Tensor:
        """The prediction at ``x_t`` ``(B, ...)``, ``t`` ``()`` or ``(B,)``: shape and dtype of ``x_t``."""
        check_state(x_t, "x_t")
        check_time_shape(t, x_t)
        batch = x_t.shape[0]
        if math.prod(x_t.shape[1:]) != self.dim:
            raise ValueError(
                f"x_t must hold {self.dim} numbers per sample (dim), got shape {tuple(x_t.shape)}: "
                f"{math.prod(x_t.shape[1:])} per sample"
            )
        weight = self.state.weight
        hidden = self.state(x_t.reshape(batch, self.dim).to(weight.dtype))
        hidden = hidden + self.time(time_features(t, self.features, weight))
        given = self.condition(y, batch)
        if given is not None:
            hidden = hidden + given
        hidden = add_vector(hidden, self.vector, vector, batch)
        return self.rest(hidden).reshape(x_t.shape).to(x_t.dtype)
