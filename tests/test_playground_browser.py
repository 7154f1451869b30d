"""The playground in a real browser: Chromium through Playwright, one server for all tests of this file."""

import importlib.util
import os
import pickle
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import axe
import pathline as pl

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
MISSING = [name for name in ("gradio", "playwright") if importlib.util.find_spec(name) is None]
REASON = (
    f"needs {' and '.join(MISSING)}: pip install -e '.[dev]'"
    if MISSING
    else "needs a Chromium: apt-get install chromium"
)
pytestmark = [pytest.mark.browser, pytest.mark.skipif(bool(MISSING) or CHROMIUM is None, reason=REASON)]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE = 60_000
"""Milliseconds: a shared machine may be busy; nothing waits longer than it has to."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served playground with two runs in the plane and one of images."""
    root = tmp_path_factory.mktemp("runs")
    for name, config in (
        ("moons", {"data": "moons(n=400)", "net": "mlp(width=16, depth=2)", "steps": 8}),
        ("moons-early", {"data": "moons(n=400)", "net": "mlp(width=16, depth=2)", "steps": 2}),
        ("digits", {"data": "digits", "net": "dit(patch=4, width=16, depth=1, heads=2)", "steps": 2}),
    ):
        pl.fit(pl.train.TrainConfig(out=str(root / name), batch_size=32, warmup=0, log_every=1, cpu=True, **config))
    shutil.copytree(root / "moons", root / "zz-broken")
    weights = next((root / "zz-broken" / "checkpoints").glob("*/ema.safetensors"))
    weights.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    from pathline.playground import build

    page = build(root)
    _, url, _ = page.launch(prevent_thread_lock=True, server_port=None)
    assert url.startswith("http://127.0.0.1:")
    yield url
    page.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A fresh page; it must end without an error on the console and without a request to any other machine."""
    yield from visited(browser, address)


def visited(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, **options)
    page, wrong = context.new_page(), []
    page.set_default_timeout(PATIENCE)
    page.on("console", lambda told: wrong.append(told.text) if told.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda sent: wrong.append(sent.url) if not sent.url.startswith((address, "data:", "blob:")) else None
    )
    page.goto(address)
    page.wait_for_selector("#flow .plflow")
    yield page
    context.close()
    assert wrong == []


def played(page: Any, where: str = "#flow", but: str = "") -> str:
    """Waits until a flow other than ``but`` is shown; its name."""
    page.wait_for_function(
        "([where, but]) => { const flow = document.querySelector(where + ' .plflow')?.dataset.flow; return flow && flow !== but; }",
        arg=[where, but],
    )
    return page.get_attribute(f"{where} .plflow", "data-flow")


def choose(page: Any, label: str, value: str, nth: int = 0) -> None:
    """An entry of a dropdown."""
    box = page.get_by_label(label, exact=True).nth(nth)
    for _ in range(3):  # Enter may come before the list is narrowed to what was typed
        box.click()
        box.fill(value)
        page.wait_for_timeout(100)
        box.press("Enter")
        box.press("Tab")
        if box.input_value() == value:
            return
    raise AssertionError(f"{label} is {box.input_value()!r} after {value!r} was chosen")


def scrub(page: Any, t: float, where: str = "#flow") -> None:
    """The slider of time, moved as a hand does."""
    page.eval_on_selector(
        f"{where} .plflow input[type=range]",
        "(slider, t) => { slider.value = t; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
        t,
    )


def ink(page: Any, where: str = "#flow") -> int:
    """A number that tells pictures of the canvas apart."""
    return page.eval_on_selector(
        f"{where} canvas",
        "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let h = 7; "
        "for (let i = 0; i < d.length; i += 97) h = (31 * h + d[i]) >>> 0; return h; }",
    )


def test_it_plays_and_scrubs_both_ways(page: Any) -> None:
    played(page)  # the page begins by itself
    page.wait_for_selector("#flow .plflow[data-state=playing]")
    page.wait_for_selector("#flow .plflow[data-backdrop]")
    page.wait_for_selector("#flow .plflow[data-state=paused]")
    assert float(page.get_attribute("#flow .plflow", "data-t")) == 1.0
    data = ink(page)
    scrub(page, 0.0)
    noise = ink(page)
    scrub(page, 0.5)
    middle = ink(page)
    assert len({data, noise, middle}) == 3
    scrub(page, 1.0)
    assert ink(page) == data
    page.locator("#flow .plflow-bar button").first.click()
    page.wait_for_selector("#flow .plflow[data-state=playing]")
    scrub(page, 0.5)  # a hand on the slider stops the playing, and counts
    assert page.get_attribute("#flow .plflow", "data-state") == "paused"
    assert float(page.get_attribute("#flow .plflow", "data-t")) == 0.5
    assert ink(page) == middle
    scrub(page, 1.0)
    page.get_by_label("density").uncheck()
    assert ink(page) != data
    page.get_by_label("field").check()
    assert float(page.get_attribute("#flow .plflow", "data-fps")) > 5  # a floor for loaded machines; 60 is the aim
    assert page.locator("#equations .katex").count() >= 5
    page.wait_for_selector("#summary td:has-text('heun')")
    slider = page.locator("#flow input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    assert float(page.get_attribute("#flow .plflow", "data-t")) == 0.0


def test_late_frames_on_a_fine_screen_are_drawn_coarsely(browser: Any, address: str) -> None:
    density = "() => { const c = document.querySelector('#flow canvas'); return Math.round(c.width / c.clientWidth); }"
    for page in visited(browser, address, device_scale_factor=2, reduced_motion="reduce"):
        page.wait_for_selector("#flow .plflow[data-backdrop]")
        assert page.evaluate(density) == 2
        page.evaluate(
            "() => { window.requestAnimationFrame = (call) => setTimeout(() => call(performance.now()), 40); }"
        )
        page.locator("#flow .plflow-bar button").first.click()
        page.wait_for_function(f"() => ({density})() === 1")
        page.wait_for_selector("#flow .plflow[data-state=paused]")
        assert page.evaluate(density) == 2


def test_two_settings_side_by_side(page: Any) -> None:
    first = played(page)
    choose(page, "Solver", "rk4")
    page.get_by_text("A second view, on the same noise").click()
    page.get_by_label("Show a second setting beside the first").check()
    page.get_by_label("Evaluations").nth(2).wait_for(state="visible")
    page.click("#play")
    played(page, but=first)
    assert page.locator("#flow canvas").count() == 2
    captions = page.locator("#flow figcaption").all_inner_texts()
    assert captions == ["rk4, 64 evaluations", "euler, 8 evaluations"]
    page.wait_for_selector("#summary td:has-text('euler, 8 evaluations')")
    page.locator("#flow canvas").nth(1).click(position={"x": 100, "y": 120})
    assert page.get_attribute("#flow .plflow", "data-picked") is not None


def test_a_button_sets_up_two_settings_and_plays_them(page: Any) -> None:
    first = played(page)
    page.get_by_role("button", name="Euler beside RK4").click()
    second = played(page, but=first)
    assert page.locator("#flow figcaption").all_inner_texts() == ["euler", "rk4"]
    assert page.get_by_label("number input for Evaluations").first.input_value() == "16"
    page.get_by_role("button", name="before beside after reflow").click()
    third = played(page, but=second)
    assert page.locator("#flow figcaption").all_inner_texts() == ["independent", "reflow"]
    choose(page, "Data", "checkerboard")
    assert page.get_by_label("Data", exact=True).input_value() == "checkerboard"
    page.wait_for_timeout(500)
    page.get_by_role("button", name="w = 1 beside 4").click()
    page.wait_for_selector(".toast-body:has-text('no class 0')")
    assert page.get_attribute("#flow .plflow", "data-flow") == third


def test_drawn_data_are_played(page: Any) -> None:
    first = played(page)
    choose(page, "Data", "draw your own")
    page.wait_for_selector("#flow .plflow[data-state=drawing]")
    area = page.locator("#flow canvas").bounding_box()
    for height, kind in ((0.3, "0"), (0.7, "1")):
        page.get_by_label("class of the points you draw").select_option(kind)
        page.mouse.move(area["x"] + 0.2 * area["width"], area["y"] + height * area["height"])
        page.mouse.down()
        page.mouse.move(area["x"] + 0.8 * area["width"], area["y"] + height * area["height"], steps=25)
        page.mouse.up()
    assert int(page.get_attribute("#flow .plflow", "data-drawn")) >= 100
    page.wait_for_timeout(500)
    page.click("#play")
    played(page, but=first)
    page.wait_for_selector("#flow .plflow[data-backdrop]")
    page.get_by_role("tab", name="Python").click()
    page.wait_for_selector("#python :text('torch.tensor')")
    page.get_by_role("button", name="Draw again").click()
    page.wait_for_selector("#flow .plflow[data-state=drawing]")
    page.get_by_role("button", name="Clear").click()
    assert page.get_attribute("#flow .plflow", "data-drawn") == "0"


def test_mistakes_are_told(browser: Any, address: str, tmp_path: Path) -> None:
    for page in visited(browser, address):
        first = played(page)
        choose(page, "Solver", "rk4")
        page.get_by_label("number input for Evaluations").first.fill("2")
        page.keyboard.press("Tab")
        page.click("#play")
        page.wait_for_selector(".toast-body:has-text('does not pay for one step')")
        page.get_by_label("number input for Evaluations").first.fill("64")
        choose(page, "Data", "upload a file")
        bad = tmp_path / "points.npy"
        bad.write_bytes(pickle.dumps({"x": os.getcwd()}))
        page.locator("input[type=file]").first.set_input_files(bad)
        page.wait_for_timeout(500)
        page.click("#play")
        page.wait_for_selector(".toast-body:has-text('points.npy is damaged or of another kind')")
        assert page.get_attribute("#flow .plflow", "data-flow") == first


def test_charts_are_measured(page: Any) -> None:
    played(page)
    page.wait_for_selector("#summary td")
    page.get_by_role("tab", name="Error against evaluations").click()
    page.click("#measure")
    page.wait_for_selector("#curve img[alt*='dpmpp_2m']")
    page.get_by_role("tab", name="Log-likelihood").click()
    page.click("#look")
    page.wait_for_selector("#terrain img[alt*='nats']")


def test_a_run_is_opened_drawn_from_and_compared(page: Any) -> None:
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector("#facts-a td:has-text('digits')")
    assert not page.locator("#run-flow .plflow-bar").first.is_visible()  # nothing to play yet
    page.get_by_label("Evaluations").last.fill("4")
    page.click("#draw")
    page.wait_for_selector("#samples-a .picks[data-count='64']")
    page.locator("#samples-a .picks button").nth(12).click()
    page.wait_for_selector("#closer img[alt*='nearest training images']")
    page.wait_for_selector("#status :text('64 samples of digits')")
    choose(page, "Run", "moons")
    choose(page, "Compare with", "moons-early")
    page.wait_for_selector("#facts-b td:has-text('2 steps')")
    page.click("#draw")
    played(page, "#run-flow")
    assert page.locator("#run-flow canvas").count() == 2
    page.locator("#run-flow canvas").first.click(position={"x": 150, "y": 150})
    page.wait_for_selector("#closer :text('distances to the nearest training points')")
    choose(page, "Solver", "rk4", nth=page.get_by_label("Solver", exact=True).count() - 1)
    page.get_by_label("Evaluations").last.fill("many")
    page.click("#draw")
    page.wait_for_selector(".toast-body:has-text('evaluations must be a whole number')")


def test_a_hostile_run_is_told_and_not_opened(page: Any) -> None:
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector("#facts-a td:has-text('digits')")
    choose(page, "Run", "zz-broken")
    page.wait_for_selector("#facts-a :text('announces a header')")
    page.click("#draw")
    page.wait_for_selector(".toast-body:has-text('announces a header')")
    choose(page, "Run", "moons")
    page.wait_for_selector("#facts-a td:has-text('moons')")


def test_long_work_is_stopped(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathline.playground import run_views, runs

    def slowly(*given: Any) -> Iterator[Any]:
        for piece in runs.sample_pieces(*given):
            yield piece
            time.sleep(2)  # however slow the browser is beside so small a network

    monkeypatch.setattr(run_views, "sample_pieces", slowly)
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector("#facts-a td:has-text('digits')")
    page.get_by_label("number input for Samples").fill("256")
    page.get_by_label("Evaluations").last.fill("4")
    page.click("#draw")
    page.wait_for_function("() => Number(document.querySelector('#samples-a .picks').dataset.count) >= 32")
    page.click("#halt")
    page.wait_for_selector("#status :text('stopped')")
    count = page.get_attribute("#samples-a .picks", "data-count")
    page.wait_for_timeout(3000)
    assert page.get_attribute("#samples-a .picks", "data-count") == count
    assert int(count) < 256


def test_two_users_at_once_see_their_own(browser: Any, address: str) -> None:
    for one in visited(browser, address):
        for other in visited(browser, address, color_scheme="dark"):
            first, second = played(one), played(other)
            assert first != second
            choose(one, "Data", "8gaussians")
            choose(other, "Data", "spiral")
            one.click("#play")
            other.click("#play")
            played(one, but=first)
            played(other, but=second)
            for page, name in ((one, "8gaussians"), (other, "spiral")):
                page.get_by_role("tab", name="Python").click()
                page.wait_for_selector(f"#python :text('{name}')")
            assert other.get_attribute("#flow .plflow", "data-theme") == "dark"
            assert one.get_attribute("#flow .plflow", "data-theme") == "light"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.skipif(axe.FOUND is None, reason="needs axe: pip install -e '.[dev]'")
def test_axe_finds_nothing_wrong(scheme: str, browser: Any, address: str) -> None:
    for page in visited(browser, address, color_scheme=scheme, reduced_motion="reduce"):
        page.wait_for_selector("#summary td:has-text('heun')")
        page.get_by_text("A second view, on the same noise").click()
        page.wait_for_timeout(500)
        assert axe.violations(page) == []
        page.get_by_role("tab", name="Runs").click()
        page.wait_for_selector("#facts-a td:has-text('digits')")
        page.get_by_label("Evaluations").last.fill("4")
        page.click("#draw")
        page.wait_for_selector("#samples-a .picks[data-count='64']")
        assert axe.violations(page) == []


def test_the_keyboard_reaches_everything_that_plays(browser: Any, address: str) -> None:
    for page in visited(browser, address, reduced_motion="reduce"):
        first = played(page)
        page.locator("#play").focus()
        page.keyboard.press("Enter")
        played(page, but=first)
        reached = set()
        page.locator("#play").focus()
        for _ in range(12):
            page.keyboard.press("Tab")
            reached.add(
                page.evaluate(
                    "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"
                )
            )
        assert {"Stop", "Play", "time t, from 0 noise to 1 data"} <= reached


def test_couplings_side_by_side_on_the_same_noise(page: Any) -> None:
    first = played(page)
    choose(page, "Coupling of source and data", "exact OT")
    page.get_by_text("A second view, on the same noise").click()
    page.get_by_label("Show a second setting beside the first").check()
    page.get_by_label("Evaluations").nth(2).wait_for(state="visible")
    page.click("#same")
    page.wait_for_function(
        "() => [...document.querySelectorAll('input')].filter((box) => box.value === 'exact OT').length === 2"
    )
    choose(page, "Coupling of source and data", "reflow", nth=1)
    page.click("#play")
    second = played(page, but=first)
    assert page.locator("#flow figcaption").all_inner_texts() == ["exact OT", "reflow"]
    page.wait_for_selector("#equations :text('optimal'), #equations :text('permutation')")
    choose(page, "Solver", "euler_maruyama")
    page.click("#play")
    page.wait_for_selector(".toast-body:has-text('choose a solver of the ODE')")
    assert page.get_attribute("#flow .plflow", "data-flow") == second
