"""The Inception network of the standard FID, as a feature extractor, where its weights are at hand."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pathline.metrics.base import check_samples

STANDARD = "6726825d"
"""Version of the weights of Szegedy et al. (2015) that published FIDs use, in the file that torch-fidelity converted."""


class Inception:
    """The 2,048 pooled features of Inception v3; ``FD (inception-v3)`` is then FID, comparable if `version` is `STANDARD`.

    Network, resizing and scaling are those of torch-fidelity, which repeats the original TensorFlow graph. Points are
    images (N, 1 or 3, h, w) on the grey levels 0 … levels − 1; one channel is shown as three. ``path`` is its file of
    weights (``weights-inception-2015-12-05-6726825d.pth``, 92 MB), or the same as safetensors: nothing is downloaded, and
    only tensors are read from it.

    Args:
        path: the weights.
        levels: grey levels of the data, 256 for 8 bits.
        device: where the network runs.
        batch_size: images at a time.

    Raises:
        FileNotFoundError: no file at ``path``. ImportError: torch-fidelity is not installed.
        ValueError: the file holds other weights, or code.
    """

    name = "inception-v3"

    def __init__(
        self, path: "str | Path", *, levels: int = 256, device: "torch.device | str" = "cpu", batch_size: int = 64
    ) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"no weights of Inception at {path}: torch-fidelity's release page has them as "
                f"weights-inception-2015-12-05-{STANDARD}.pth"
            )
        if levels < 2:
            raise ValueError(f"levels must be at least 2, the grey levels of the data, got {levels}")
        self.levels, self.batch_size, self.device = levels, batch_size, torch.device(device)
        self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        self.net = _network(path).to(self.device)

    def features(self, x: Tensor) -> Tensor:
        """(N, 1 or 3, h, w) -> (N, 2048) float32, on the device of x."""
        x = check_samples(x, "x")
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"Inception sees images (N, 1 or 3, h, w), got x of shape {tuple(x.shape)}")
        found = []
        with torch.no_grad():
            for part in x.split(self.batch_size):
                bytes_ = (part * (255.0 / (self.levels - 1))).round().clamp(0, 255).to(torch.uint8)
                found.append(self.net(bytes_.expand(-1, 3, -1, -1).to(self.device))[0])
        return torch.cat(found).to(x.device)


def _network(path: Path) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise ImportError("Inception needs torch-fidelity: pip install 'pathline[fid]'") from None
    state = _state(path)
    with tempfile.TemporaryDirectory() as folder:
        # torch-fidelity unpickles the file that it is given, code and all: it is given one that we wrote
        clean = Path(folder) / "weights.pth"
        torch.save(state, clean)
        try:
            return FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(clean)
            )
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold the weights of torch-fidelity's Inception v3: {error}") from None


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, and nothing else that it may hold."""
    import pickle

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path} is no file of weights ({str(error).splitlines()[0]})") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must hold tensors by name, the weights of Inception v3")
    return state
