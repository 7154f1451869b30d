"""Pages of the documentation in Chromium: axe, keyboard, a phone, dark and light, and nothing from any network.

With PATHLINE_SITE, the folder of a site that `docs/build.py` built, every page of it is opened. Without, three pages are built
here as `docs/build.py` builds them, but for the examples, whose pictures a stand-in replaces.
"""

import importlib
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import axe
import pathline
from test_playground_browser import CHROMIUM, FLAGS, PATIENCE

DOCS = Path(__file__).parent.parent / "docs"
BUILT = os.environ.get("PATHLINE_SITE")
THREE = ("index.md", "theory/flows.md", "howto/playground.md")
MORE = (
    "start/ten_minutes.md", "theory/index.md", "howto/index.md", "howto/solvers.md", "reference/solvers.md", "coming_from.md",
    "faq.md", "extending.md", "gallery.md", "gallery/solvers.md",
)  # fmt: skip
PAGES = THREE + MORE if BUILT else THREE
FLAWS = """() => ({
  wide: document.documentElement.scrollWidth > 390,
  formulas: document.querySelectorAll(".katex-error").length,
  raw: [...document.querySelectorAll(".arithmatex")].filter((part) => !part.querySelector(".katex")).length,
  pictures: [...document.images].filter((image) => image.loading !== "lazy" && !image.naturalWidth).map((image) => image.src),
  titles: document.querySelectorAll("h1").length !== 1,
  unreachable: [...document.querySelectorAll(".md-typeset__scrollwrap, div.arithmatex, .katex-display")].filter(
    (part) => part.scrollWidth > part.clientWidth && part.tabIndex < 0).length,
})"""
"""What is wrong with a page 390 pixels wide, each 0, empty or false if nothing."""
MISSING = [
    name for name in ("playwright", "axe_playwright_python", "zensical") if importlib.util.find_spec(name) is None
]
REASON = (
    f"needs {' and '.join(MISSING)}: pip install -e '.[dev]'"
    if MISSING
    else "needs a Chromium: apt-get install chromium"
)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(MISSING) or CHROMIUM is None, reason=REASON)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages."""
    if BUILT:
        return DOCS.parent / BUILT
    sys.path.insert(0, str(DOCS))
    try:
        import build
        import pages
    finally:
        sys.path.remove(str(DOCS))
    folder = tmp_path_factory.mktemp("site")
    stand_in = SimpleNamespace(
        name="stand_in",
        title="A picture",
        text="What is seen",
        source="print(1)",
        output="1",
        width=300,
        value=lambda _: "1",
    )
    made = {path.stem: stand_in for path in pages.examples()}
    shutil.copytree(DOCS / "assets", folder / "pages" / "assets")
    shutil.copy(build.FLOW, folder / "pages" / "assets" / "flow.js")
    (folder / "pages" / "figures").mkdir()
    shutil.copy(DOCS / "assets" / "digits.png", folder / "pages" / "figures" / "stand_in.png")
    for name in THREE:
        target = folder / "pages" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * name.count("/")
        target.write_text(
            pages.filled((DOCS / name).read_text(encoding="utf-8"), made, f"{up}figures"), encoding="utf-8"
        )
    settings = (DOCS / "zensical.toml").read_text(encoding="utf-8")
    settings = re.sub(r"\[project\.plugins\.mkdocstrings.*?(?=^\[project\.theme\])", "", settings, flags=re.S | re.M)
    settings = re.sub(r"^nav = \[.*?^\]$", f"nav = {[*THREE]}".replace("'", '"'), settings, flags=re.S | re.M)
    (folder / "zensical.toml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "-f", str(folder / "zensical.toml")]
    subprocess.run(command, check=True, capture_output=True)
    build.polish(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """A page that must end without an error on the console and without a request to any network."""
    context = browser.new_context(reduced_motion="reduce", **options)
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda sent: wrong.append(sent.url) if not sent.url.startswith(("file:", "data:", "blob:")) else None
    )
    page.goto(file.as_uri())
    page.wait_for_load_state("load")
    yield page
    context.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_wrong(name: str, scheme: str, site: Path, browser: Any) -> None:
    for page in opened(browser, (site / name).with_suffix(".html"), color_scheme=scheme):
        page.wait_for_timeout(300)
        assert axe.violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_phone_scrolls_down_only(name: str, site: Path, browser: Any) -> None:
    for page in opened(browser, (site / name).with_suffix(".html"), viewport={"width": 390, "height": 844}):
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_figures_move_by_keyboard_and_follow_the_theme(site: Path, browser: Any) -> None:
    for page in opened(browser, site / "index.html", color_scheme="dark"):
        page.wait_for_selector(".plflow[data-state=ready]")
        assert page.get_attribute(".plflow", "data-theme") == "dark"
        page.locator(".plflow input[type=range]").focus()
        page.keyboard.press("End")
        assert float(page.get_attribute(".plflow", "data-t")) == 1.0
        page.locator(".plflow button").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(".plflow[data-state=playing]")
        page.keyboard.press("Enter")
        page.wait_for_selector(".plflow[data-state=paused]")


@pytest.mark.skipif(not BUILT, reason="needs a built site: PATHLINE_SITE=site")
def test_every_page_opens_on_a_phone_with_its_pictures_and_formulas(site: Path, browser: Any) -> None:
    files = [file for file in sorted(site.rglob("*.html")) if file.name != "404.html"]  # which a server alone can show
    assert len(files) > 80
    wrong = {}
    for page in opened(browser, site / "index.html", viewport={"width": 390, "height": 844}):
        for file in files:
            page.goto(file.as_uri())
            page.wait_for_load_state("load")
            found = page.evaluate(FLAWS)
            if any(found.values()):
                wrong[str(file.relative_to(site))] = found
    assert wrong == {}


@pytest.mark.skipif(not BUILT, reason="needs a built site: PATHLINE_SITE=site")
def test_the_reference_has_every_public_name(site: Path) -> None:
    anchors = {
        anchor.rpartition(".")[2]
        for file in (site / "reference").glob("*.html")
        for anchor in re.findall(r'id="(pathline\.[\w.]+)"', file.read_text(encoding="utf-8"))
    }
    modules = [
        pathline,
        *(importlib.import_module(f"pathline.{page.stem}") for page in (DOCS / "reference").glob("[!i]*.md")),
    ]
    public = {
        f"{module.__name__}.{name}"
        for module in modules
        for name in getattr(module, "__all__", ())
        if not inspect.ismodule(getattr(module, name)) and name != "__version__"
    }
    assert len(public) > 300
    assert {name for name in public if name.rpartition(".")[2] not in anchors} == set()
