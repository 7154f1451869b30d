"""What a run remembers of its parts in plain values, and those parts again."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pathline.data import Data, Dataset
from pathline.data.headers import check_memory
from pathline.nets import NETS, TwoHeads
from pathline.train import checkpoint
from pathline.train.averages import PREFIX, stored_average
from pathline.train.config import Settings, TrainConfig, settings_from
from pathline.train.ema import make_law
from pathline.train.names import CHECKPOINTS

REPEATED = ("depth", "blocks", "bottom", "layers")
"""Numbers in the config of a net that say how often something is repeated."""
LARGEST = 1 << 24


def describe_data(data: Data, source: "Data | None" = None, *, paired: bool = False) -> dict[str, Any]:
    """What a run remembers of its data, and of its source where that is not noise."""
    about: dict[str, Any] = {
        "name": data.name,
        "size": len(data),
        "shape": list(data.shape),
        "class_names": list(data.class_names),
        "image": data.image,
        "levels": data.levels,
        "sha256": data.fingerprint,
    }
    if isinstance(data, Dataset) and data.codec is not None:
        about["codec"] = data.codec.state()
    return about if source is None else {**about, "source": {**describe_data(source), "paired": paired}}


def describe_net(net: nn.Module) -> dict[str, Any]:
    """How to build ``net`` again: by name where it is one of ours, else what it was called."""
    for name, kind in NETS.items():
        if type(net) is kind:
            return {"name": name, "config": net.config}
    if isinstance(net, TwoHeads) and all(type(head) in NETS.values() for head in net.children()):
        return {"name": net.name, "config": net.config}
    return {"name": None, "class": f"{type(net).__module__}.{type(net).__qualname__}"}


def rebuild(found: checkpoint.Checkpoint, path: Path, weights: "dict[str, Tensor]") -> nn.Module:
    """The network of a checkpoint, with fresh weights of the shapes of ``weights``.

    It is planned without memory first: what a manifest claims is not believed before it agrees with the weights.

    Raises:
        CheckpointError: the claimed net has other weights, or needs more memory than is free.
        ValueError: it is no net of ours.
    """
    told = found.facts["net"]
    if told["name"] != TwoHeads.name and told["name"] not in NETS:
        raise ValueError(
            f"{path} holds the weights of your own net {told.get('class', told['name'])}: Run.open(…, net=…)"
        )
    config, file = told["config"], found.path / "ema.safetensors"

    def build() -> nn.Module:
        return TwoHeads.build(NETS, config) if told["name"] == TwoHeads.name else NETS[told["name"]](**config)

    for name, value in _numbers(config):
        if value > (len(weights) if name in REPEATED else LARGEST):
            raise checkpoint.CheckpointError(f"{file} is of another net: {name}={value} cannot be of its weights")
    try:
        with torch.device("meta"):
            plan = build()
    except NotImplementedError:  # a net that computes with numbers when it is built
        return build()
    checkpoint.compare_states(plan.state_dict(), weights, file)
    nbytes = sum(value.numel() * value.element_size() for value in (*plan.parameters(), *plan.buffers()))
    try:
        check_memory(nbytes, f"the net of {path}", "take a machine with more memory")
    except ValueError as error:
        raise checkpoint.CheckpointError(str(error)) from None
    return build()


def _numbers(config: Any, name: str = "config") -> "Iterator[tuple[str, int]]":
    """Every whole number in a config, with the name it has there."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _numbers(value, key)
    elif isinstance(config, list):
        for value in config:
            yield from _numbers(value, name)
    elif isinstance(config, int):
        yield name, config


def settings_told(values: dict[str, Any]) -> Settings:
    """The settings that a checkpoint tells; what it does not know yet has its default."""
    return TrainConfig.from_dict(values) if "net" in values else settings_from(values)


def stored_settings(folder: Path) -> Settings:
    """The settings of the newest whole checkpoint in the folder ``folder`` of checkpoints."""
    return settings_told(checkpoint.load_latest(folder, ()).facts["settings"])


def stored_weights(
    path: Path, step: "int | str | None", average: "str | None"
) -> tuple[checkpoint.Checkpoint, dict[str, Tensor]]:
    """The checkpoint that `Run.open` asks for, and the averaged weights of it."""
    folder, wanted = path / CHECKPOINTS, ("ema", "standardizer", "source_standardizer")
    if average is not None:
        wanted = (*wanted, PREFIX + make_law(average).label)
    if step is None:
        found = checkpoint.load_latest(folder, wanted)
    elif isinstance(step, str):
        if step != "best":
            raise ValueError(f'step must be a number or "best", got {step!r}')
        found = checkpoint.load(checkpoint.best(folder), wanted)
    else:
        found = checkpoint.load(folder / f"{checkpoint.PREFIX}{step:09d}", wanted)
    return found, found.tensors["ema"] if average is None else stored_average(path, found, average)


def labels_asked(
    n: int, y: "int | Sequence[int] | Tensor | None", names: tuple[str, ...], path: Path
) -> "Tensor | None":
    """The labels (n,) of samples of the run in ``path`` that knows the classes ``names``: each in turn if ``y`` is None.

    Raises:
        ValueError: a class that is not among them, or another count than ``n``.
    """
    classes = len(names)
    if not classes:
        if y is not None:
            raise ValueError(f"y is read by nothing: {path} was trained without labels")
        return None
    if y is None:
        return torch.arange(n) % classes
    found = torch.as_tensor(y)
    if found.is_floating_point() or found.dtype == torch.bool:
        raise TypeError(f"y must hold whole numbers, got {found.dtype}")
    found = found.long().expand(n) if found.ndim == 0 else found.long()
    if found.shape != (n,):
        raise ValueError(f"y must be one label or {n}, one per sample, got shape {tuple(found.shape)}")
    if n and (int(found.min()) < -1 or int(found.max()) >= classes):
        raise ValueError(
            f"y must lie in 0 … {classes - 1} ({', '.join(names[:12])}), or be -1 for no label; "
            f"got values from {int(found.min())} to {int(found.max())}"
        )
    return found
