"""Image files as arrays of one size: decoded, resized, cropped."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pathline.data.headers import npy_header

if TYPE_CHECKING:
    from numpy import ndarray

Crop = Literal["center", "none"]
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".npy")
MAX_PIXELS = 1 << 27
"""Pixels of the largest image that is decoded: a header can claim any size."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How an image file becomes ``(C, H, W)`` uint8, or of the file's own dtype where that has more than 8 bits.

    Attributes:
        size: (height, width); None keeps that of the files, which then must be the same for all.
        channels: 1 grey, 3 colour, 4 with transparency; ``.npy`` files may have any number. None keeps the file's own.
        crop: "center" resizes the shorter side and cuts the longer one; "none" resizes both, which may distort.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    crop: Crop = "center"

    def __post_init__(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ValueError(f"size must be one number or (height, width), at least 1, got {self.size}")
        if self.channels is not None and self.channels < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}")
        if self.crop not in ("center", "none"):
            raise ValueError(f'crop must be "center" or "none", got {self.crop!r}')

    def decode(self, content: bytes, name: str) -> "ndarray":
        """The image in ``content``; ``name`` is what errors call it."""
        if content[:6] == b"\x93NUMPY":
            return self._decode_array(content, name)
        image_type = pillow()
        try:
            with image_type.open(io.BytesIO(content)) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{name} claims {image.width} × {image.height} pixels, more than {MAX_PIXELS}")
                return self._arrange(image, name)
        except (OSError, SyntaxError, image_type.DecompressionBombError) as error:
            raise ValueError(f"{name} is no readable image: {error}") from None

    def _arrange(self, image: Any, name: str) -> "ndarray":
        import numpy as np
        from PIL import ImageOps

        deep = image.mode.startswith("I;16")
        if not deep:
            image = ImageOps.exif_transpose(image)
            if self.channels is None:
                image = image.convert("L" if image.mode in ("1", "L") else "RGBA" if _transparent(image) else "RGB")
            elif self.channels in MODES:
                image = image.convert(MODES[self.channels])
            else:
                raise ValueError(f"{name} can be read with 1, 3 or 4 channels, not {self.channels}: use .npy files")
        elif self.channels not in (None, 1):
            raise ValueError(f"{name} is a 16-bit grey image: set channels=1")
        if self.size is not None:
            height, width = self.size
            lanczos = pillow().Resampling.LANCZOS
            if deep:  # Pillow resizes 16 bits as 32-bit floats
                image = image.convert("F")
            if self.crop == "center":
                image = ImageOps.fit(image, (width, height), lanczos)
            else:
                image = image.resize((width, height), lanczos)
        pixels = np.asarray(image)
        if deep:
            pixels = np.clip(np.rint(pixels), 0, 65535).astype(np.uint16)
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _decode_array(self, content: bytes, name: str) -> "ndarray":
        import numpy as np

        header = npy_header(io.BytesIO(content), len(content), name)
        array = np.load(io.BytesIO(content), allow_pickle=False) if header.count else np.zeros(header.shape)
        if array.dtype.kind not in "iufb" or array.ndim not in (2, 3) or 0 in array.shape:
            raise ValueError(f"{name} must hold an image (H, W) or (C, H, W), got {array.dtype} {array.shape}")
        array = array[None] if array.ndim == 2 else array
        if self.channels not in (None, len(array)):
            raise ValueError(f"{name} has {len(array)} channels (axis 0) instead of {self.channels}")
        if self.size is not None and array.shape[1:] != self.size:
            array = _resized(array, self.size, self.crop)
        return array


def _resized(array: "ndarray", size: tuple[int, int], crop: Crop) -> "ndarray":
    """``(C, H, W)`` of any number of channels, resized with anti-aliasing; whole numbers are rounded and stay so."""
    import numpy as np

    if crop == "center":
        height, width = array.shape[1:]
        scale = min(height / size[0], width / size[1])
        h, w = min(height, round(size[0] * scale)), min(width, round(size[1] * scale))
        top, left = (height - h) // 2, (width - w) // 2
        array = array[:, top : top + h, left : left + w]
    x = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None]
    x = torch.nn.functional.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)[0]
    if array.dtype.kind == "f":
        return x.numpy()
    return x.round().numpy().astype(array.dtype)


def to_samples(images: "list[ndarray]", names: "list[str]", shape: "tuple[int, ...] | None") -> Tensor:
    """Decoded images ``(B, C, H, W)`` float32, or an error that names the first of another shape."""
    import numpy as np

    wanted = images[0].shape if shape is None else shape
    for image, name in zip(images, names):
        if image.shape != wanted:
            raise ValueError(
                f"{name} has shape {image.shape} (channels, height, width) instead of {wanted}: set size and channels"
            )
    return torch.from_numpy(np.stack(images).astype(np.float32))


def levels_of(image: "ndarray") -> "int | None":
    """How many levels the values of an image have."""
    return {"uint8": 256, "uint16": 65536, "bool": 2}.get(str(image.dtype))


def pillow() -> Any:
    """`PIL.Image`."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("image files need Pillow: pip install pillow") from None
    return Image


def as_size(size: "int | tuple[int, int] | list[int] | None") -> "tuple[int, int] | None":
    """One number is a square."""
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(n, int) for n in pair):
        raise ValueError(f"size must be one number or (height, width), got {size!r}")
    return pair


def _transparent(image: Any) -> bool:
    return "A" in image.getbands() or "transparency" in image.info
