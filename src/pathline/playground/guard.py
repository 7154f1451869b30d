"""Run folders that anybody may have put there: judged by their sizes and names before anything of them is loaded.

Checkpoints are safetensors and JSON, so opening one runs no code; what is left to refuse are paths that lead out of the
folder, files and headers that are too large, and descriptions of networks or states that would not fit into memory.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pathline.data import DATASETS
from pathline.nets import NETS
from pathline.solvers import SOLVERS
from pathline.train.checkpoint import list_checkpoints
from pathline.train.names import CHECKPOINTS, LOG, METRICS_FILE
from pathline.train.spec import split_spec

MANIFEST_BYTES, HEADER_BYTES, LOG_BYTES, METRICS_BYTES = 4_000_000, 4_000_000, 64_000_000, 1_000_000
WEIGHT_BYTES = 2_000_000_000
MOST_ENTRIES = 1_000_000
"""Numbers in one state of a run."""
MOST_RUNS, MOST_CHECKPOINTS, MOST_CLASSES = 200, 50, 10_000


class Refused(ValueError):
    """A run that the playground does not open; the message names the file and the reason."""


def list_runs(root: Path) -> list[str]:
    """Names of the run folders below ``root``, one or two levels deep, as paths relative to it."""
    found = []
    for folder in sorted(root.glob("*")) + sorted(root.glob("*/*")):
        if len(found) < MOST_RUNS and (folder / CHECKPOINTS).is_dir() and _inside(root, folder / CHECKPOINTS):
            found.append(folder.relative_to(root).as_posix())
    return found


def run_folder(root: Path, name: str) -> Path:
    """The folder of the run ``name`` below ``root``, judged.

    Raises:
        Refused: it leads out of ``root``, is no run, or holds something too large or malformed.
    """
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 500:
        raise Refused("choose a run")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise Refused(f"{name!r} leads out of the folder of runs: only folders below it are opened")
    folder = root / name
    if not (folder / CHECKPOINTS).is_dir():
        raise Refused(f"{name} is no run folder: it has no {CHECKPOINTS}")
    checkpoints = list_checkpoints(folder / CHECKPOINTS)[:MOST_CHECKPOINTS]
    for path in [folder, folder / CHECKPOINTS, *checkpoints]:
        if not _inside(root, path):
            raise Refused(f"{name} leads out of the folder of runs through a link: it is not opened")
    for file, most in ((folder / LOG, LOG_BYTES), (folder / METRICS_FILE, METRICS_BYTES)):
        _small(root, file, most)
    for path in checkpoints:
        _check_checkpoint(root, path)
    return folder


def data_within(root: Path, text: str) -> bool:
    """Whether the data of a run, as its settings spell them, are a named set, or files below ``root``."""
    try:
        name, given, named = split_spec("data", text)
    except (ValueError, TypeError):
        return False
    if given or any(not isinstance(value, (int, float)) for value in named.values()):
        return False
    if name in DATASETS:
        return all(abs(value) <= 1_000_000 for value in named.values())
    path = Path(name)
    return (
        path.suffix in (".npy", ".npz") and path.is_file() and _inside(root, path) and path.stat().st_size < 200_000_000
    )


def _check_checkpoint(root: Path, path: Path) -> None:
    for file in sorted(path.iterdir()):
        most = WEIGHT_BYTES if file.suffix == ".safetensors" else MANIFEST_BYTES
        _small(root, file, most)
    headers = {file.stem: _header(file) for file in sorted(path.glob("*.safetensors"))}
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        facts = manifest["facts"]
        data, net, settings = facts["data"], facts["net"], facts["settings"]
        shape, classes, config = data["shape"], data["class_names"], net.get("config", {})
    except FileNotFoundError:
        raise Refused(f"{path} has no manifest: it is no checkpoint of pathline") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(
            f"{path / 'manifest.json'} is damaged or no manifest of pathline ({type(error).__name__})"
        ) from None
    count = 1
    for length in shape if isinstance(shape, list) else [0]:
        if not isinstance(length, int) or not 1 <= length <= MOST_ENTRIES:
            raise Refused(f"{path} describes states of the shape {str(shape)[:80]}, which are not shown")
        count *= length
    if count > MOST_ENTRIES or not isinstance(classes, list) or len(classes) > MOST_CLASSES:
        raise Refused(
            f"{path} describes states of {count:,} numbers or too many classes: at most {MOST_ENTRIES:,} are shown"
        )
    solver = (settings.get("sampling") or {}).get("solver") if isinstance(settings, dict) else None
    if isinstance(solver, str) and split_spec("solver", solver)[0] not in SOLVERS:
        _small(root, Path(solver), MANIFEST_BYTES, needed=True)
    _check_net(path, net, config, headers.get("ema", {}))


def _check_net(path: Path, net: Mapping[str, Any], config: Any, header: Mapping[str, Any]) -> None:
    """The network that is described must be that of the weights that are there: it is built in no more room than those take."""
    kind = NETS.get(str(net.get("name")))
    if kind is None:
        raise Refused(
            f"{path} holds the weights of a network that pathline cannot rebuild: open it in Python, with net="
        )
    shapes = {key: tuple(told["shape"]) for key, told in header.items() if key != "__metadata__"}
    budget = Budget(4 * sum(map(math.prod, shapes.values())) + 1_000_000)
    try:
        with budget:
            built = {key: tuple(value.shape) for key, value in kind(**config).state_dict().items()}
    except Refused:
        raise Refused(f"{path} describes a network that is far larger than its weights: it is not built") from None
    except (TypeError, ValueError, RuntimeError, ZeroDivisionError, OverflowError, AttributeError) as error:
        raise Refused(f"{path} describes no network that can be built: {str(error)[:160]}") from None
    if built != shapes:
        raise Refused(
            f"{path / 'ema.safetensors'} does not hold the weights of the network that its manifest describes"
        )


class Budget(TorchFunctionMode):
    """Within it no more than ``most`` numbers may be allocated by Python's calls of factories, all together.

    A tensor of `torch.empty` takes no memory before it is written to, and it is counted before.
    """

    FACTORIES = frozenset({"empty", "zeros", "ones", "full", "rand", "randn", "arange", "linspace", "eye", "tensor"})

    def __init__(self, most: int) -> None:
        super().__init__()
        self.left = most

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and func.__name__ in self.FACTORIES:
            self.left -= max(1_000, result.numel())  # small ones cost time
            if self.left < 0:
                raise Refused("out of room")
        return result


def _header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: 8 bytes of length, then JSON."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES, max(2, size - 8)):
            raise Refused(f"{file} announces a header of {length:,} bytes: at most {HEADER_BYTES:,} are read")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError):
            raise Refused(f"{file} is damaged: its header is no JSON") from None
    if not isinstance(header, dict) or not all(
        isinstance(told, dict) and (key == "__metadata__" or _is_shape(told.get("shape")))
        for key, told in header.items()
    ):
        raise Refused(f"{file} is damaged: its header describes no tensors")
    return header


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(side, int) and side >= 0 for side in value)


def _small(root: Path, file: Path, most: int, *, needed: bool = False) -> None:
    if not file.exists():
        if needed:
            raise Refused(f"{file} is named by the run and is not there")
        return
    if not _inside(root, file):
        raise Refused(f"{file} leads out of the folder of runs: it is not opened")
    if not file.is_file():
        raise Refused(f"{file} is not a file")
    if file.stat().st_size > most:
        raise Refused(f"{file} has {file.stat().st_size:,} bytes: at most {most:,} are read")


def _inside(root: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())
