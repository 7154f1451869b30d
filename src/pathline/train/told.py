"""What a run remembers of its parts in plain values, and those parts again."""

from pathlib import Path
from typing import Any

from torch import nn

from pathline.data import Data, Dataset
from pathline.nets import NETS, TwoHeads
from pathline.train import checkpoint
from pathline.train.config import Settings, TrainConfig, settings_from


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


def rebuild(found: checkpoint.Checkpoint, path: Path) -> nn.Module:
    """The network of a checkpoint, with fresh weights."""
    told = found.facts["net"]
    if told["name"] == TwoHeads.name:
        return TwoHeads.build(NETS, told["config"])
    if told["name"] not in NETS:
        raise ValueError(
            f"{path} holds the weights of your own net {told.get('class', told['name'])}: Run.open(…, net=…)"
        )
    return NETS[told["name"]](**told["config"])


def settings_told(values: dict[str, Any]) -> Settings:
    """The settings that a checkpoint tells; what it does not know yet has its default."""
    return TrainConfig.from_dict(values) if "net" in values else settings_from(values)


def stored_settings(folder: Path) -> Settings:
    """The settings of the newest whole checkpoint in the folder ``folder`` of checkpoints."""
    return settings_told(checkpoint.load_latest(folder, ()).facts["settings"])
