"""Pages that promise: every registry and law that "Extending" names exists, and every law is named there."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from pathline import testing
from pathline.cli import COMMANDS as COMMANDS_OF_PATHLINE

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


def _anchors(text: str) -> set[str]:
    """Those of the headings of a page, as the site makes them."""
    plain = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    names = re.findall(r"^#+ +(.+)$", plain, re.M)
    given = {found[1] for name in names if (found := re.search(r"\{ *#([\w-]+) *\}$", name))}
    return given | {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", name).strip().lower()) for name in names}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: str(page.relative_to(DOCS)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    """The built site is checked whole by docs/build.py; this needs no building."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (page.parent / name).resolve() if name else page
        if place.relative_to(DOCS.parent) == Path("docs/gallery.md"):
            continue
        assert place.exists(), f"{page.name} leads to {target}"
        if anchor and place.suffix == ".md" and place.parent.name != "reference":
            assert anchor in _anchors(place.read_text(encoding="utf-8")), f"{page.name} leads to {target}"


COMMANDS = sorted(
    {
        command
        for page in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
        for block in re.findall(r"^```(?:bash|sh|shell)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        for line in block.replace("\\\n", " ").splitlines()
        if (found := re.search(r"\bpathline +([a-z].*)", line.split("  #")[0]))
        for command in [found[1].strip()]
        if "pip install" not in line
    }
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_pages_are_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read to the end by the parser of their command, which does nothing then."""
    monkeypatch.chdir(tmp_path)
    name, *words = (word for word in shlex.split(command) if not re.fullmatch(r"\$\w+", word))
    assert name in COMMANDS_OF_PATHLINE
    module = importlib.import_module(COMMANDS_OF_PATHLINE[name][0])
    if name == "train":
        words = [*words, "--dry-run"]
    parse = module.parse

    def read(*given: object, **options: object) -> None:
        parse(*given, **options)
        raise Understood

    monkeypatch.setattr(module, "parse", read)
    with pytest.raises(Understood):
        module.main(words)


class Understood(Exception):
    """The parser had no complaint."""
