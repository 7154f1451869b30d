"""What `import pathline` loads, and that everything it promises is there."""

import json
import subprocess
import sys

import pytest

import pathline as pl

HEAVY = (
    "scipy", "sklearn", "matplotlib", "pandas", "PIL", "ot", "accelerate", "safetensors", "huggingface_hub",
    "torchmetrics", "torchvision", "diffusers", "tqdm", "tyro", "yaml",
)  # fmt: skip
LATE = ("pathline.control", "pathline.data", "pathline.metrics", "pathline.nets", "pathline.train", "pathline.viz")


@pytest.fixture(scope="module")
def gained() -> set[str]:
    """The modules that `import pathline` adds to those of `import torch`, in a fresh interpreter."""
    program = (
        "import json, sys, torch; before = set(sys.modules); import pathline; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1, f"the import prints: {done.stdout}"
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("name", HEAVY)
def test_import_leaves_heavy_libraries_alone(gained: set[str], name: str) -> None:
    assert not {module for module in gained if module == name or module.startswith(name + ".")}


@pytest.mark.parametrize("name", LATE)
def test_what_needs_more_than_torch_is_loaded_when_it_is_used(gained: set[str], name: str) -> None:
    assert "pathline" in gained
    assert name not in gained


def test_beyond_torch_only_the_standard_library_is_loaded(gained: set[str]) -> None:
    foreign = {module.split(".")[0] for module in gained} - set(sys.stdlib_module_names) - {"pathline", "torch"}
    assert not foreign


@pytest.mark.parametrize("name", pl.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(pl, name) is not None
    assert name in dir(pl)


def test_public_names_are_told_once() -> None:
    assert len(set(pl.__all__)) == len(pl.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = pl.no_such_name
