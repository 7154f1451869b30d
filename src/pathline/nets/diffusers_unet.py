"""The U-Net of the diffusers library behind our call: an optional dependency, imported when one is built."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from pathline.nets.base import check_images, condition, positive
from pathline.nets.conditions import add_vector, seen_beside, vector_condition

TICKS = 1000.0
"""Steps of the clock of diffusers, whose features of time are made for t in 0 … 1000."""


class DiffusersUNet(nn.Module):
    """``UNet2DModel`` of diffusers, called as ``net(x_t, t, y)`` with t in [0, 1] and with a learned null condition.

    Conditions are embedded here, as for every net of this package, and added to the embedding of the time; the network of
    diffusers is ``net.model``, so that its weights load and save as usual.

    Args:
        image_size: side of a square image, or (height, width), multiples of 2^(levels − 1).
        channels: channels of the image; states are ``(B, channels, height, width)``.
        widths: channels of each level, the finest first, multiples of ``groups``; each level halves the sides.
        layers: residual blocks of a level.
        attention: levels, counted from the finest 0, that have self-attention.
        head_width: units of a head of attention.
        groups: groups of the normalisation.
        dropout: share of units that a residual block drops while it trains.
        scale_shift: time and condition scale and shift the normalised units rather than being added to them.
        num_classes: number of class labels; ``y`` is then ``(B,)`` of integers, -1 or None for no label.
        condition_dim: length of a condition vector; ``y`` is then ``(B, condition_dim)``, a row of NaN or None for no condition.
        vector_dim: length of a further condition, ``vector`` ``(B, vector_dim)``, beside ``y``.
        image_channels: channels of an ``image`` to see beside the state (`conditions.seen_beside`).

    Raises:
        ImportError: diffusers is not installed.
        ValueError, TypeError: an argument that cannot be, or a state, time or condition of another shape.
    """

    name: ClassVar[str] = "diffusers_unet"

    def __init__(
        self,
        image_size: int | Sequence[int],
        channels: int,
        widths: Sequence[int] = (64, 128, 256),
        layers: int = 2,
        attention: Sequence[int] = (2,),
        *,
        head_width: int = 32,
        groups: int = 32,
        dropout: float = 0.0,
        scale_shift: bool = True,
        num_classes: int | None = None,
        condition_dim: int | None = None,
        vector_dim: int | None = None,
        image_channels: int | None = None,
    ) -> None:
        super().__init__()
        size = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
        self.config: dict[str, Any] = {
            "image_size": size,
            "channels": positive("channels", channels),
            "widths": [positive("widths", width) for width in widths],
            "layers": positive("layers", layers),
            "attention": list(attention),
            "head_width": positive("head_width", head_width),
            "groups": positive("groups", groups),
            "dropout": dropout,
            "scale_shift": scale_shift,
            "num_classes": num_classes,
            "condition_dim": condition_dim,
            "vector_dim": vector_dim,
            "image_channels": None if image_channels is None else positive("image_channels", image_channels),
        }
        _check(self.config)
        kind = _library()
        levels = range(len(widths))
        self.shape, self.image_channels = (channels, *size), image_channels
        self.condition = condition(num_classes, condition_dim, 4 * widths[0])
        self.vector = vector_condition(vector_dim, 4 * widths[0])
        self.model = kind(
            sample_size=tuple(size),
            in_channels=channels if image_channels is None else channels + image_channels + 1,
            out_channels=channels,
            down_block_types=tuple("AttnDownBlock2D" if k in attention else "DownBlock2D" for k in levels),
            up_block_types=tuple("AttnUpBlock2D" if k in attention else "UpBlock2D" for k in reversed(levels)),
            block_out_channels=tuple(widths),
            layers_per_block=layers,
            dropout=dropout,
            attention_head_dim=head_width,
            norm_num_groups=groups,
            resnet_time_scale_shift="scale_shift" if scale_shift else "default",
            class_embed_type="identity",  # ours come embedded
        )

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        y: Tensor | None = None,
        vector: Tensor | None = None,
        image: Tensor | None = None,
    ) -> Tensor:
        """The prediction at ``x_t`` ``(B, C, H, W)``, ``t`` ``()`` or ``(B,)``: like ``x_t`` in shape, dtype."""
        check_images(x_t, t, self.shape)
        weight = self.model.conv_in.weight
        given = self.condition(y, x_t.shape[0])
        nothing = weight.new_zeros(1, 4 * self.model.config["block_out_channels"][0])
        given = add_vector(nothing if given is None else given, self.vector, vector, x_t.shape[0])
        seen = seen_beside(x_t.to(weight.dtype), image, self.image_channels)
        return self.model(seen, TICKS * t.to(x_t.device).float(), class_labels=given).sample.to(x_t.dtype)


def _library() -> Any:
    try:
        from diffusers import UNet2DModel  # pyright: ignore[reportPrivateImportUsage]
    except ImportError:
        raise ImportError(
            "the net diffusers_unet needs the diffusers library: pip install 'pathline[diffusers]'"
        ) from None
    return UNet2DModel


def _check(given: dict[str, Any]) -> None:
    size, widths = given["image_size"], given["widths"]
    if len(size) != 2 or not widths:
        raise ValueError(
            f"image_size must be one number or (height, width) and widths have a level, got {size}, {widths}"
        )
    whole = 2 ** (len(widths) - 1)
    for side in size:
        if positive("image_size", side) % whole:
            raise ValueError(
                f"image_size {side} cannot be halved {len(widths) - 1} times: choose multiples of {whole}, or fewer widths"
            )
    for width in widths:
        if width % given["groups"]:
            raise ValueError(f"groups {given['groups']} does not divide a width of {widths}: choose a divisor of all")
    for level in given["attention"]:
        if not 0 <= level < len(widths):
            raise ValueError(f"attention names level {level}, but the levels of {widths} are 0 … {len(widths) - 1}")
        if widths[level] % given["head_width"]:
            raise ValueError(
                f"head_width {given['head_width']} does not divide the width {widths[level]} of level {level}"
            )
    if widths[-1] % given["head_width"]:
        raise ValueError(
            f"head_width {given['head_width']} does not divide {widths[-1]}, whose level always has attention"
        )
    if not 0.0 <= given["dropout"] < 1.0:
        raise ValueError(f"dropout must lie in [0, 1), got {given['dropout']}")
