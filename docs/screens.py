"""Screenshots of the playground for the pages: assets/play_*.webp, taken in Chromium with fixed seeds.

python docs/screens.py RUNS     # a folder with a run of images in it, such as runs
"""

import io
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from pathline.playground import build

ASSETS = Path(__file__).parent / "assets"
WIDTH, QUALITY = 900, 72
SETTLED = "#flow .plflow[data-state=paused][data-backdrop]"


def shoot(page: Any, name: str, height: int) -> None:
    """The upper ``height`` pixels of the page."""
    shown = page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": height}, full_page=True)
    picture = Image.open(io.BytesIO(shown)).convert("RGB")
    picture = picture.resize((WIDTH, round(WIDTH * height / 1280)), Image.Resampling.LANCZOS)
    file = ASSETS / f"play_{name}.webp"
    picture.save(file, quality=QUALITY, method=6)
    print(f"{file.name}: {file.stat().st_size:,} bytes")


def scrub(page: Any, t: float) -> None:
    slider = "#flow input[type=range]"
    page.eval_on_selector(slider, "(s, t) => { s.value = t; s.dispatchEvent(new Event('input', {bubbles: true})); }", t)


def exact(page: Any) -> None:
    """Euler beside RK4, on their way, with the field."""
    before = page.get_attribute("#flow .plflow", "data-flow")
    page.get_by_role("button", name="Euler beside RK4").click()
    page.wait_for_selector(f"#flow .plflow[data-backdrop]:not([data-flow='{before}'])")
    page.wait_for_selector("#summary td:has-text('rk4')")
    page.get_by_label("field", exact=True).check()
    scrub(page, 0.8)
    page.wait_for_timeout(500)
    shoot(page, "exact", 800)


def draw(page: Any) -> None:
    """A square with two drawn rings of different classes."""
    page.get_by_label("Data", exact=True).click()
    page.get_by_role("option", name="draw your own").click()
    page.wait_for_selector("#flow .plflow[data-state=drawing]")
    area = page.locator("#flow canvas").bounding_box()
    for kind, (x, y) in enumerate(((0.38, 0.42), (0.62, 0.58))):
        page.get_by_label("class of the points you draw").select_option(str(kind))
        places = [(x + 0.2 * math.cos(a / 12), y + 0.2 * math.sin(a / 12)) for a in range(76)]
        page.mouse.move(*(area[axis] + part * area["width"] for axis, part in zip("xy", places[0], strict=True)))
        page.mouse.down()
        for place in places:
            page.mouse.move(*(area[axis] + part * area["width"] for axis, part in zip("xy", place, strict=True)))
        page.mouse.up()
    page.wait_for_timeout(500)
    shoot(page, "draw", 940)


def runs(page: Any) -> None:
    """Samples of a run of images, one of them with its film and neighbours."""
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector("#facts-a td")
    page.click("#draw")
    page.wait_for_selector("#samples-a .picks[data-count='64']")
    page.locator("#samples-a .picks button").nth(12).click()
    page.wait_for_selector("#closer img[alt*='nearest']")
    page.wait_for_timeout(500)
    shoot(page, "runs", 1330)


def main() -> None:
    server = build(sys.argv[1])
    _, address, _ = server.launch(prevent_thread_lock=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for take in (exact, draw, runs):
            page = chromium.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(60_000)
            page.goto(address)
            page.wait_for_selector(SETTLED)
            take(page)
            page.close()
        chromium.close()
    server.close()


if __name__ == "__main__":
    main()
