"""The features of the standard FID: torch-fidelity's network with weights that the user brings."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

from pathline import metrics

STOOD_IN = ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional")
if find_spec("torchvision") is None:  # torch-fidelity imports it for data sets that nothing here reads
    sys.modules.update({name: MagicMock(__spec__=None) for name in STOOD_IN})
try:
    fidelity = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3",
        reason="torch-fidelity is not installed: pip install 'pathline[fid]'",
    )
finally:
    for name in STOOD_IN:
        if isinstance(sys.modules.get(name), MagicMock):
            del sys.modules[name]


@pytest.fixture(scope="module")
def net(request: pytest.FixtureRequest) -> torch.nn.Module:
    """The network with random weights: the true ones are on no package registry."""
    kind = fidelity.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "load_state_dict", lambda self, state: None)
        patch.setattr(fidelity, "load_state_dict_from_url", lambda *args, **kwargs: {})
        torch.manual_seed(0)
        return kind("inception-v3-compat", ["2048"])


@pytest.fixture(scope="module")
def weights(net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(net.state_dict(), path)
    return path


def images(n: int, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (n, channels, 28, 28), generator=torch.Generator().manual_seed(0)).float()


def test_features_are_those_of_the_network_in_batches_and_for_one_channel(net: torch.nn.Module, weights: Path) -> None:
    judge = metrics.Inception(weights, batch_size=2)
    x = images(3)
    torch.testing.assert_close(judge.features(x), net(x.byte())[0])
    grey = images(2, channels=1)
    torch.testing.assert_close(judge.features(grey), net(grey.byte().repeat(1, 3, 1, 1))[0])


def test_levels_are_spread_over_the_bytes(weights: Path) -> None:
    x = torch.randint(0, 17, (2, 1, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    few, all_levels = metrics.Inception(weights, levels=17), metrics.Inception(weights)
    torch.testing.assert_close(few.features(x), all_levels.features((x * 255 / 16).round()))


def test_safetensors_are_read_too_and_the_version_is_that_of_the_file(net: torch.nn.Module, weights: Path) -> None:
    from safetensors.torch import save_file

    other = weights.with_suffix(".safetensors")
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, other)
    ours, same = metrics.Inception(weights), metrics.Inception(other)
    torch.testing.assert_close(ours.features(images(2)), same.features(images(2)))
    assert len(ours.version) == 8
    assert ours.version != same.version


def test_it_is_the_feature_extractor_of_evaluate(weights: Path) -> None:
    report = metrics.evaluate(images(4), images(8), features=metrics.Inception(weights), metrics=["kid"], splits=1)
    assert any("inception-v3" in row.name for row in report.rows)


class Payload:
    """What a hostile file would run."""

    def __reduce__(self) -> tuple:
        return os.mkdir, (os.environ["PATHLINE_PAYLOAD"],)


def test_a_file_with_code_is_refused_and_nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "mark"
    monkeypatch.setenv("PATHLINE_PAYLOAD", str(mark))
    torch.save({"fc.weight": Payload()}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="no file of weights"):
        metrics.Inception(tmp_path / "bad.pth")
    assert not mark.exists()


def test_other_weights_other_shapes_and_missing_files_are_refused(weights: Path, tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="Inception v3"):
        metrics.Inception(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="tensors by name"):
        metrics.Inception(tmp_path / "list.pth")
    with pytest.raises(FileNotFoundError, match=metrics.inception.STANDARD):
        metrics.Inception(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="levels"):
        metrics.Inception(weights, levels=1)
    with pytest.raises(ValueError, match="1 or 3"):
        metrics.Inception(weights).features(torch.zeros(2, 4, 8, 8))
