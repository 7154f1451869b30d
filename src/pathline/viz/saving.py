"""Pictures as PNG files of bounded size, the same bytes for the same picture."""

import os
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from pathline.viz.style import root_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHRINK = (1.0, 0.85, 0.7, 0.6, 0.5, 0.4)
"""Resolutions to try, relative to that of the figure: below, the letters cannot be read any more."""


def save(shown: "Axes | Figure", path: str | PathLike[str], *, max_kb: float = 300.0) -> Path:
    """Write the figure of ``shown`` as a PNG of at most ``max_kb`` · 1000 bytes, and return the path.

    A picture that is too large is first reduced to 256 colours, then in resolution. There is no time stamp and no version
    in the file, so that the same picture gives the same bytes. Missing folders are made; a file that exists is replaced
    in one step.

    Raises:
        ValueError: another suffix than ``.png``, or a picture that cannot be made small enough and stay legible.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {path}: other formats are written by ax.figure.savefig")
    return write_whole(path, png(shown, max_kb=max_kb))


def png(shown: "Axes | Figure", *, max_kb: float = 300.0) -> bytes:
    """The bytes that `save` writes."""
    if not max_kb > 0.0:
        raise ValueError(f"max_kb must be positive, got {max_kb}")
    figure = root_figure(shown)
    smallest = 0
    for factor in SHRINK:
        full = _render(figure, factor)
        for data in (full, _fewer_colours(full)):
            if len(data) <= 1000.0 * max_kb:
                return data
            smallest = len(data)
    raise ValueError(
        f"the picture takes {smallest / 1000.0:.0f} kB at the lowest legible resolution, more than max_kb={max_kb:g}: "
        "draw less in it (fewer images, points or panels) or allow more"
    )


def write_whole(path: Path, content: bytes) -> Path:
    """Write all or nothing: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _render(figure: "Figure", factor: float) -> bytes:
    buffer = BytesIO()
    # what constrained layout leaves empty is cut off; a figure without a layout of its own is taken pixel by pixel
    crop = {} if figure.get_layout_engine() is None else {"bbox_inches": "tight", "pad_inches": 0.1}
    with style():
        figure.savefig(buffer, format="png", dpi=factor * figure.dpi, metadata={"Software": None}, **crop)
    return buffer.getvalue()


def _fewer_colours(data: bytes) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    picture = Image.open(BytesIO(data)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
