"""Flows as moving pictures: GIF, animated WebP, or MP4 where ffmpeg is installed."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pathline.field import BaseField
from pathline.solvers import Solution
from pathline.solvers.integrate import as_cond
from pathline.solvers.sampling import evaluating
from pathline.viz.arrays import Range, Values, as_images, as_labels, as_points, mosaic, pixel_range, to_bytes
from pathline.viz.plane import Limits, check_limits, frame, plane_size, square_axes
from pathline.viz.saving import write_whole
from pathline.viz.sources import recorded
from pathline.viz.style import MODEL, MUTED, PALETTE, REAL, new_axes, root_figure, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".gif", ".webp", ".mp4")
MOST_FRAMES = 1_500
TRAILS = 150
PIXELS = 480
"""Width and height that a mosaic of images aims at."""


def animate(
    solution: Solution,
    path: "str | PathLike[str]",
    *,
    seconds: float = 4.0,
    hold: float = 1.0,
    fps: int = 25,
    data: Values | None = None,
    y: Values | None = None,
    limits: Limits | None = None,
    field: BaseField | None = None,
    transform: Callable[[Tensor], Tensor] | None = None,
    value_range: Range | None = None,
    title: str | None = None,
    **cond: Any,
) -> Path:
    """Write the way of a solve as a film whose clock is t, and return the path.

    Points (steps + 1, B, 2) move before ``data``, with the trails of the first 150, coloured by the labels ``y`` (B,);
    between two times of the solver they are moved along the straight line. Images (steps + 1, B, C, H, W) are shown as a
    mosaic of the first 36 at the visited times, beside what ``field`` with ``cond`` takes them for at each time, if given.

    Args:
        solution: of ``pl.solve``, with a trajectory.
        path: a file that ends in .gif, .webp or .mp4; the last needs ffmpeg on the PATH.
        seconds: from t = 0 to 1; then the end stands still for ``hold``. fps: frames a second.
        limits: (left, right, bottom, top) of the plane. title: above it.
        transform: of images; see `film`.
        value_range: of images; see `film`.

    Raises:
        ValueError: another suffix, no trajectory, points neither in the plane nor images, or more than 1,500 frames.
        RuntimeError: an .mp4 without ffmpeg.

    >>> import tempfile, pathline as pl
    >>> exact = pl.testing.oracles.eight_gaussians(pl.AffinePath(pl.Linear()))
    >>> solution = pl.solve(exact, (50, 2), steps=8, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     animate(solution, f"{folder}/flow.gif", seconds=0.4, hold=0.1).stat().st_size > 1000
    True
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}, got {path}")
    if not (seconds > 0.0 and hold >= 0.0 and fps >= 1 and (seconds + hold) * fps <= MOST_FRAMES):
        raise ValueError(
            f"need seconds > 0, hold >= 0, fps >= 1 and at most {MOST_FRAMES} frames, got {seconds}, {hold}, {fps}"
        )
    if solution.trajectory is None:
        raise ValueError("solution has no trajectory: make it with pl.solve(..., record=True)")
    if path.suffix.lower() == ".mp4" and shutil.which("ffmpeg") is None:
        raise RuntimeError("an .mp4 is written by ffmpeg, which is not installed: install it, or write a .gif or .webp")
    count = max(2, round(seconds * fps))
    clock = np.linspace(0.0, 1.0, count) * (float(solution.times[-1]) - float(solution.times[0])) + float(
        solution.times[0]
    )
    clock = np.concatenate([clock, np.full(round(hold * fps), clock[-1])])
    if solution.trajectory.ndim == 5:
        frames = _mosaics(solution, clock, field, transform, value_range, cond)
    else:
        if field is not None or cond:
            raise ValueError("field and conditions are read for images only: they show what it takes them for")
        frames = _planes(solution, clock, data, y, limits, title)
    return _WRITERS[path.suffix.lower()](frames, path, fps)


def _planes(
    solution: Solution,
    clock: np.ndarray,
    data: Values | None,
    y: Values | None,
    limits: Limits | None,
    title: str | None,
) -> Iterator[np.ndarray]:
    """Frames (height, width, 3) of points in the plane; the axes are drawn once and their artists moved."""
    from matplotlib.collections import LineCollection

    states, times = recorded(solution, 2), solution.times.numpy()
    real = None if data is None else as_points(data, "data")
    box = frame(states[[0, -1]].reshape(-1, 2), real) if limits is None else check_limits(limits)
    hues = MODEL if y is None else [PALETTE[k % len(PALETTE)] for k in as_labels(y, states.shape[1])]
    with style():
        ax = new_axes(None, *plane_size(box, title=True))
        if real is not None:
            ax.scatter(*real[:2000].T, s=3.0, c=REAL, alpha=0.35, linewidths=0)
        trails = LineCollection([], colors=MUTED, linewidths=0.5, alpha=0.35)
        ax.add_collection(trails)
        dots = ax.scatter(
            *states[0].T, s=float(np.clip(8_000.0 / states.shape[1], 3.0, 12.0)), c=hues, alpha=0.8, linewidths=0
        )
        square_axes(ax, box)
        heading = ax.set_title("t = 0.00")
        figure = root_figure(ax)
        figure.set_dpi(120.0)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # solved once: it would take most of the time of every frame
        for t in clock:
            k, part = _place(times, t)
            now = states[k] + part * (states[k + 1] - states[k])
            dots.set_offsets(now)
            trails.set_segments(list(np.concatenate([states[: k + 1, :TRAILS], now[None, :TRAILS]]).swapaxes(0, 1)))
            heading.set_text(f"{title}, t = {t:.2f}" if title else f"t = {t:.2f}")
            yield _pixels(ax)


def _mosaics(
    solution: Solution,
    clock: np.ndarray,
    field: BaseField | None,
    transform: Callable[[Tensor], Tensor] | None,
    value_range: Range | None,
    cond: "dict[str, Any]",
) -> Iterator[np.ndarray]:
    """Frames of images at the visited times nearest to the clock's, and beside them the data prediction."""
    states, times = torch.as_tensor(solution.trajectory)[:, :36], solution.times
    count = states.shape[1]
    apply = transform if transform is not None else lambda x: x
    limits = pixel_range(as_images(apply(states[-1].clone()), "solution"), value_range)
    ready = as_cond(cond, torch.as_tensor(solution.trajectory).shape[1], states.device)
    short = {key: v[:count] if isinstance(v, Tensor) and v.ndim else v for key, v in ready.items()}
    side = int(np.ceil(np.sqrt(count)))
    places = [[i if i < count else None for i in range(row, row + side)] for row in range(0, count, side)]
    scale = max(1, PIXELS // (side * (states.shape[-1] + 1)))
    done: dict[int, np.ndarray] = {}
    for t in clock:
        k = int((times - t).abs().argmin())
        if k not in done:
            parts = [states[k]]
            if field is not None:
                with evaluating(field), torch.inference_mode():
                    parts.append(field(states[k], times[k], **short).data)
            sheets = [
                mosaic(to_bytes(as_images(apply(x.clone()), "solution"), limits), places, scale=scale) for x in parts
            ]
            gap = np.full((len(sheets[0]), 6 * scale, 3), 255, dtype=np.uint8)
            done = {k: sheets[0] if len(sheets) == 1 else np.concatenate([sheets[0], gap, sheets[1]], axis=1)}
        yield done[k]


def _place(times: np.ndarray, t: float) -> tuple[int, float]:
    """(k, part) with t = times[k] + part (times[k + 1] - times[k])."""
    rising = times if times[0] < times[-1] else -times
    value = t if times[0] < times[-1] else -t
    k = int(np.clip(np.searchsorted(rising, value, side="right") - 1, 0, len(times) - 2))
    return k, float(np.clip((value - rising[k]) / (rising[k + 1] - rising[k]), 0.0, 1.0))


def _pixels(ax: "Axes") -> np.ndarray:
    canvas: Any = ax.figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _write_pillow(frames: Iterator[np.ndarray], path: Path, fps: int, **options: Any) -> Path:
    from PIL import Image

    pictures = [Image.fromarray(pixels) for pixels in frames]
    if path.suffix.lower() == ".gif":  # one palette for all: colours do not flicker
        palette = pictures[len(pictures) // 2].quantize(128, dither=Image.Dither.NONE)
        pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    stream = BytesIO()
    kind = path.suffix.lower().removeprefix(".").upper()
    pictures[0].save(
        stream, kind, save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0, **options
    )
    return write_whole(path, stream.getvalue())


def _write_gif(frames: Iterator[np.ndarray], path: Path, fps: int) -> Path:
    return _write_pillow(frames, path, fps, optimize=False)


def _write_webp(frames: Iterator[np.ndarray], path: Path, fps: int) -> Path:
    return _write_pillow(frames, path, fps, quality=80, method=2)


def _write_mp4(frames: Iterator[np.ndarray], path: Path, fps: int) -> Path:
    pixels = np.stack([f[: len(f) // 2 * 2, : f.shape[1] // 2 * 2] for f in frames])  # H.264 takes even sides
    part = path.with_name(f".{path.stem}.part.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    size = f"{pixels.shape[2]}x{pixels.shape[1]}"
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps)]
    command += ["-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(part)]
    try:
        done = subprocess.run(command, input=pixels.tobytes(), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(f"ffmpeg could not write {path}: {done.stderr.decode(errors='replace').strip()[:300]}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


_WRITERS: dict[str, Callable[[Iterator[np.ndarray], Path, int], Path]] = {
    ".gif": _write_gif,
    ".webp": _write_webp,
    ".mp4": _write_mp4,
}
