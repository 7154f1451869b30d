"""Pages that promise: every registry and law that "Extending" names exists, and every law is named there."""

import importlib
import re
from pathlib import Path

import pytest

from pathline import testing

DOCS = Path(__file__).parent.parent / "docs"
EXTENDING = (DOCS / "extending.md").read_text(encoding="utf-8")
ROWS = [row.split("|")[1:-1] for row in EXTENDING.splitlines() if row.startswith("| a")]


def _named(cell: str) -> "list[str]":
    return re.findall(r"`([a-z_]+(?:\.\w+)+)`", cell)


def _found(name: str) -> object:
    module, _, attribute = f"pathline.{name}".rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        return importlib.import_module(f"{module}.{attribute}")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip().replace(" ", "-"))
def test_registries_and_laws_of_a_row_exist(row: list[str]) -> None:
    names = [name for cell in row[2:] for name in _named(cell)]
    assert names or "`docs/" in row[2] or "gallery" in row[2] or "a path" in row[0]
    for name in names:
        found = _found(name)
        assert callable(found) or isinstance(found, dict) or name == "testing.oracles"


def test_every_public_law_is_named() -> None:
    named = set(re.findall(r"check_\w+", EXTENDING))
    laws = {name for name in testing.__all__ if name.startswith("check_")}
    assert laws - named == {"check_conditional_coupling"}  # told on the page of couplings


def test_every_kind_of_plot_is_on_the_page_of_pictures() -> None:
    from pathline.train.pictures import KINDS

    page = (DOCS / "howto" / "pictures.md").read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in KINDS)
