"""Trackers: the lines of the log and the pictures of evaluations, passed on to TensorBoard, trackio, wandb and others."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from pathline._errors import lookup

SERVICE = "pathline"
"""Project under which a tracker files its runs."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A tracker that can be named: the package behind it, how to get that, and what keeps it off the network."""

    package: str
    install: str
    offline: Mapping[str, str]
    """Environment variables that are set unless the user has set them."""


TRACKERS: dict[str, Known] = {
    "tensorboard": Known(package="tensorboard", install="pathline[track]", offline={}),
    "trackio": Known(package="trackio", install="trackio", offline={}),
    "wandb": Known(package="wandb", install="wandb", offline={"WANDB_MODE": "offline"}),
    "aim": Known(package="aim", install="aim", offline={}),
    "dvclive": Known(package="dvclive", install="dvclive", offline={}),
    "mlflow": Known(package="mlflow", install="mlflow", offline={}),
    "clearml": Known(package="clearml", install="clearml", offline={"CLEARML_OFFLINE_MODE": "1"}),
    "comet_ml": Known(package="comet_ml", install="comet_ml", offline={}),
    "swanlab": Known(package="swanlab", install="swanlab", offline={"SWANLAB_MODE": "offline"}),
}
"""Trackers by the name that ``track`` takes. All but tensorboard are those of accelerate."""


class Tracker(Protocol):
    """Where numbers and pictures go."""

    def scalars(self, values: dict[str, float], step: int) -> None: ...

    def picture(self, name: str, pixels: Any, step: int) -> None:
        """``pixels`` (H, W, 3), whole numbers of 0 to 255."""
        ...

    def close(self) -> None: ...


def check_trackers(names: Sequence[str]) -> None:
    """Refuse what cannot be tracked to, before any work.

    Raises:
        ValueError: an unknown name, or one twice.
        ImportError: the package of a tracker is missing.
    """
    for name in names:
        known = lookup("tracker", name, TRACKERS)
        if names.count(name) > 1:
            raise ValueError(f"track names {name} twice: {' '.join(names)}")
        if find_spec(known.package) is None:
            raise ImportError(f"track {name!r} needs a package that is missing: pip install '{known.install}'")


class TensorBoard:
    """Event files in ``tensorboard/`` of the run folder; a resumed run hides what it repeats."""

    def __init__(self, out: Path, config: Mapping[str, Any], step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1 if step else None)
        if not step:
            self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()), 0)

    def scalars(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, name: str, pixels: Any, step: int) -> None:
        self._writer.add_image(name, pixels, step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class ByAccelerate:
    """A tracker of accelerate, by name."""

    def __init__(self, name: str, out: Path, config: Mapping[str, Any]) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        for variable, value in TRACKERS[name].offline.items():
            os.environ.setdefault(variable, value)
        kind = LOGGER_TYPE_TO_CLASS[name]
        known = {
            "wandb": {"name": out.name, "dir": str(out)},
            "trackio": {"name": out.name},
            "comet_ml": {"online": os.environ.get("COMET_START_ONLINE", "0").lower() in ("1", "true")},
        }
        own: dict[str, Any] = known.get(name, {})
        if kind.requires_logging_directory:
            own["logging_dir"] = str(out)
        self._name = name
        self._inner: Any = kind(SERVICE, **own)
        if hasattr(self._inner, "start"):  # since accelerate 1.9; before, making it starts it
            self._inner.start()
        self._inner.store_init_configuration(_flat(config))

    def scalars(self, values: dict[str, float], step: int) -> None:
        self._inner.log(values, step=step)

    def picture(self, name: str, pixels: Any, step: int) -> None:
        if self._name == "trackio":
            import trackio

            self._inner.log({name: trackio.Image(pixels)}, step=step)
        elif hasattr(self._inner, "log_images"):
            self._inner.log_images({name: pixels[None]}, step=step)

    def close(self) -> None:
        self._inner.finish()


class Trackers:
    """All trackers of a run. One that fails is told once and left out: training goes on."""

    def __init__(self, names: Sequence[str], out: Path, config: Mapping[str, Any], step: int = 0) -> None:
        self._all: dict[str, Tracker] = {}
        for name in names:
            self._all[name] = (
                TensorBoard(out, config, step) if name == "tensorboard" else ByAccelerate(name, out, config)
            )

    def record(self, told: Mapping[str, Any], group: str = "train") -> None:
        """The numbers of a line of the log, as ``group/name``; lists become ``group/name/0``, ``/1``, …"""
        step, values = told.get("step"), scalars_of(told, group)
        if isinstance(step, int) and values:
            self._each("scalars", values, step)

    def picture(self, name: str, path: Path, step: int) -> None:
        """The picture in a PNG file."""
        if self._all:
            self._each("picture", name, _pixels(path), step)

    def close(self) -> None:
        """Let all of them finish their files."""
        self._each("close")

    def _each(self, what: str, *arguments: Any) -> None:
        for name, tracker in list(self._all.items()):
            try:
                getattr(tracker, what)(*arguments)
            except Exception as error:
                del self._all[name]
                warnings.warn(f"tracker {name} failed and is left out from here on: {error!r}", stacklevel=3)


def scalars_of(told: Mapping[str, Any], group: str) -> dict[str, float]:
    """The numbers in a record by the name that trackers show; step and clock are no numbers of their own."""
    values: dict[str, float] = {}
    for key, value in told.items():
        if key in ("step", "time"):
            continue
        parts = {f"{key}/{k}": item for k, item in enumerate(value)} if isinstance(value, list) else {key: value}
        for name, item in parts.items():
            if isinstance(item, int | float) and not isinstance(item, bool):
                values[f"{group}/{name}"] = float(item)
    return values


def _flat(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Plain values of a nested config by dotted name."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{key}.")
        else:
            found[before + key] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def _pixels(path: Path) -> Any:
    """(H, W, 3) whole numbers of a PNG file."""
    import matplotlib.image
    import numpy as np

    return np.ascontiguousarray((matplotlib.image.imread(path)[..., :3] * 255.0).round().astype(np.uint8))
