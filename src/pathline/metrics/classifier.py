"""A small classifier trained on the real set: the features of "FD (…)" and the judge of class agreement."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from pathline.metrics._network import FeatureNet, build
from pathline.metrics.base import check_samples

_WEIGHTS, _DESCRIPTION = "classifier.safetensors", "classifier.json"


@dataclass(frozen=True, kw_only=True)
class ClassifierInfo:
    """What is written beside the weights. ``held_out_accuracy`` is None where nothing was held out."""

    name: str
    shape: tuple[int, ...]
    num_classes: int
    width: int
    feature_dim: int
    seed: int
    epochs: int
    train_size: int
    held_out_accuracy: float | None = None
    held_out_size: int = 0


class Classifier:
    """A trained network with what a report has to say about it. Made by `train_classifier` or `load_classifier`.

    Inputs of any floating dtype and device are accepted; the network runs in float32 on its own device, in
    batches, without gradients, and results come back on the input's device.
    """

    def __init__(self, net: FeatureNet, info: ClassifierInfo) -> None:
        self.net = net.eval().requires_grad_(False)
        self.info = info

    def __repr__(self) -> str:
        return f"Classifier({self.name!r}, version={self.version!r}, classes={self.info.num_classes})"

    @property
    def name(self) -> str:
        """What stands in the brackets of "FD (name)"."""
        return self.info.name

    @cached_property
    def version(self) -> str:
        """First 8 hex digits of the SHA-256 over names, shapes and bytes of all weights and buffers."""
        digest = hashlib.sha256()
        for key, value in sorted(self.net.state_dict().items()):
            digest.update(f"{key}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:8]

    def features(self, x: Tensor, *, batch_size: int = 512) -> Tensor:
        """Activations before the last layer: (N, *shape) -> (N, F) float32."""
        return self._batched(self.net.features, x, batch_size)

    def logits(self, x: Tensor, *, batch_size: int = 512) -> Tensor:
        """(N, *shape) -> (N, classes) float32."""
        return self._batched(self.net, x, batch_size)

    def predict(self, x: Tensor, *, batch_size: int = 512) -> Tensor:
        """Most likely class of each point: (N,) int64."""
        return self.logits(x, batch_size=batch_size).argmax(1)

    def accuracy(self, x: Tensor, y: Tensor, *, batch_size: int = 512) -> float:
        """Share of points read as ``y`` (N,)."""
        y = check_labels(y, len(x), self.info.num_classes, "y")
        return (self.predict(x, batch_size=batch_size) == y.to(x.device)).double().mean().item()

    def save(self, folder: str | Path) -> Path:
        """Write ``classifier.safetensors`` and ``classifier.json`` into ``folder`` (made if missing)."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.net.state_dict().items()}
        save_file(state, folder / _WEIGHTS)
        text = json.dumps({**asdict(self.info), "version": self.version}, indent=2)
        (folder / _DESCRIPTION).write_text(text + "\n", encoding="utf-8")
        return folder

    def to(self, device: torch.device | str) -> "Classifier":
        """The same classifier with its network on ``device``."""
        self.net.to(device)
        return self

    def _batched(self, function: Callable[[Tensor], Tensor], x: Tensor, batch_size: int) -> Tensor:
        x = check_samples(x, "x")
        if tuple(x.shape[1:]) != self.info.shape:
            raise ValueError(
                f"{self.name} reads points of shape {self.info.shape}, got x of shape {tuple(x.shape)}: "
                "use the classifier of this data set"
            )
        device = self.net.mean.device
        with torch.no_grad():
            found = [function(part.to(device, torch.float32)) for part in x.detach().split(batch_size)]
        return torch.cat(found).to(x.device)


def load_classifier(folder: str | Path) -> Classifier:
    """Read what `Classifier.save` wrote; runs no stored code.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the weights are not those that the JSON describes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    for file in (_WEIGHTS, _DESCRIPTION):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"no {file} in {folder}: make one with Classifier.save({str(folder)!r})")
    try:
        stored = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        version = stored.pop("version")
        info = ClassifierInfo(**{**stored, "shape": tuple(stored["shape"])})
        state = load_file(folder / _WEIGHTS)
        parts = {"width": info.width, "feature_dim": info.feature_dim, "mean": state["mean"], "std": state["std"]}
        with torch.device("meta"):  # what is claimed must agree with the weights before any memory is taken
            plan = build(info.shape, info.num_classes, **parts).state_dict()
        if {k: v.shape for k, v in plan.items()} != {k: v.shape for k, v in state.items()}:
            raise ValueError("the weights are not of the network that the JSON describes")
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{folder} holds no sound classifier ({error}): save it again") from None
    net = build(info.shape, info.num_classes, **parts)
    net.load_state_dict(state)
    classifier = Classifier(net, info)
    if classifier.version != version:
        raise ValueError(
            f"the weights in {folder} have version {classifier.version}, the JSON beside them says {version}: "
            "the files do not belong together, save the classifier again"
        )
    return classifier


def check_labels(y: Tensor, size: int, num_classes: int, name: str) -> Tensor:
    """``y`` as int64 (size,), after refusing wrong shapes and classes outside [0, num_classes)."""
    if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"{name} must be an integer tensor of classes, got {kind}: convert with .long()")
    if y.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), one class per point, got {tuple(y.shape)}")
    if size and (y.min() < 0 or y.max() >= num_classes):
        raise ValueError(f"{name} must lie in [0, {num_classes}), got values from {int(y.min())} to {int(y.max())}")
    return y.long()
