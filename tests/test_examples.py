"""Every python block of the pages and every example runs, and prints what the pages say; the check of the site can fail."""

import contextlib
import importlib
import io
import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS))

import build  # noqa: E402
import pages  # noqa: E402

NUMBER = re.compile(r"[-+]?\d[\d_]*(?:\.\d+)?(?:e[-+]?\d+)?")
TEXTS = {str(page.relative_to(pages.ROOT)): page.read_text(encoding="utf-8") for page in pages.pages()}
RUNNING = [name for name, text in TEXTS.items() if any(pages.python_blocks(text))]


def agree(printed: str, told: str) -> bool:
    """Whether two outputs are the same words, with numbers that differ by one unit of the last digit told at most."""
    if NUMBER.split(printed.strip()) != NUMBER.split(told.strip()):
        return False
    pairs = zip(NUMBER.findall(printed), NUMBER.findall(told), strict=True)
    return all(abs(float(ours) - float(theirs)) <= 1.01 * unit(theirs) for ours, theirs in pairs)


def unit(number: str) -> float:
    """One of the last digit of a number as it is written; integers must be met exactly."""
    mantissa, _, exponent = number.partition("e")
    _, point, digits = mantissa.partition(".")
    return 10.0 ** (int(exponent or 0) - len(digits)) if point or exponent else 0.0


@pytest.mark.parametrize(("printed", "told", "same"), [
    ("0.123 of 8", "0.124 of 8", True), ("0.123 of 8", "0.125 of 8", False), ("0.123 of 8", "0.123 of 9", False),
    ("4e-08", "5e-08", True), ("4e-08", "4e-07", False), ("a 1.0", "b 1.0", False), ("1.0", "1.0 1.0", False),
])  # fmt: skip
def test_outputs_are_compared_to_the_last_digit_told(printed, told, same):
    assert agree(printed, told) is same


@pytest.mark.parametrize("name", RUNNING)
def test_blocks_of_a_page_run_and_print_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict[str, object] = {"__name__": "page"}
    for block in pages.python_blocks(TEXTS[name]):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (block.line - 1) + block.source, name, "exec"), namespace)
        if block.output is not None:
            assert agree(printed.getvalue(), block.output), f"{name}, line {block.line}, prints\n{printed.getvalue()}"


@pytest.mark.parametrize("path", pages.examples(), ids=lambda path: path.stem)
def test_an_example_draws_its_picture_and_prints_what_pages_ask_for(path, tmp_path, monkeypatch):
    """With PATHLINE_FIGURES, a folder, its picture and what it printed are left there for ``docs/build.py --reuse``."""
    kept = os.environ.get("PATHLINE_FIGURES")
    picture = (build.ROOT / kept if kept else tmp_path) / f"{path.stem}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(sys, "argv", [str(path), str(picture)])
    monkeypatch.chdir(tmp_path)
    house = importlib.import_module("pathline.viz.style").HOUSE
    if not kept:
        monkeypatch.setitem(house, "figure.dpi", 60.0)  # drawing takes longer than computing
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        runpy.run_path(str(path), run_name="__main__")
    assert picture.stat().st_size > 1_000
    if kept:
        picture.with_suffix(".txt").write_text(printed.getvalue(), encoding="utf-8")
    example = pages.read_example(path, printed.getvalue(), picture)
    assert example.text
    assert example.output
    asked = [match[2] for text in TEXTS.values() for match in pages.NUMBER.finditer(text) if match[1] == path.stem]
    for label in asked:
        assert example.value(label)


def test_pages_ask_for_examples_that_exist_and_every_example_is_shown():
    shown = {match[1] for text in TEXTS.values() for match in pages.EXAMPLE.finditer(text)}
    numbers = {match[1] for text in TEXTS.values() for match in pages.NUMBER.finditer(text)}
    known = {path.stem for path in pages.examples()}
    assert shown == known
    assert numbers <= known


def test_every_page_is_in_the_navigation():
    told = (DOCS / "zensical.toml").read_text(encoding="utf-8")
    listed = set(re.findall(r'"([\w/]+\.md)"', told)) - {"gallery.md"}
    assert listed == {str(page.relative_to(DOCS)) for page in pages.pages() if page.is_relative_to(DOCS)}


def test_the_check_of_the_site_finds_what_is_wrong(tmp_path):
    good = '<a href="b.html#here"></a><a href="https://example.org"></a><link rel="canonical" href="https://a.b/">'
    (tmp_path / "a.html").write_text(good, encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="here"></p><img src="data:image/png;base64,AA">', encoding="utf-8")
    assert build.check(tmp_path) == []
    wrong = '<a href="c.html"></a><a href="b.html#gone"></a><img src="x.png"><script src="https://cdn.example/x.js"></script>'
    (tmp_path / "a.html").write_text(wrong, encoding="utf-8")
    (tmp_path / "s.css").write_text('@import "https://fonts.example/f.css";', encoding="utf-8")
    assert len(build.check(tmp_path)) == 5
