"""The playground as its user meets it: how long the server takes to start, the first frame after Play, frames a second.

`pathline play` runs in a process of its own, and a real Chromium (software rendering, no graphics card) opens its page
through Playwright. Every round starts the server anew and plays another noise, so that nothing is remembered.

- **start**: from the command to the first whole answer to a request for the page.
- **first frame**: from the click on Play to the second animation frame after the particles arrived, so with their picture on
  the screen; 2,000 particles, 64 evaluations of Heun's method, an exact field of 512 Gaussians.
- **frames a second**: of one playback of four seconds, by the differences of the times that `requestAnimationFrame` tells;
  with trails, density, and the field where it is said; the screen asks for 60.
- **draw**: what one frame takes of the main thread of the page, medians within a playback: the rest of 16.7 ms is spare.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/playground.py

On a machine that others work on, `chrt --rr 10` before the command (as root) lets it go first; the results say so.
"""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import _bench

CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PLAY = """async (where) => {
  const flow = () => document.querySelector(where + " .plflow"), before = flow().dataset.flow, begin = performance.now();
  document.querySelector("#play").click();
  const frame = () => new Promise(requestAnimationFrame);
  while (flow().dataset.flow === before) await frame();
  await frame(); await frame();
  return (performance.now() - begin) / 1000;
}"""
AIMS = {"server start, s": 8.0, "first frame, s": 1.5}


@contextmanager
def served() -> "Iterator[tuple[str, float]]":
    """The address of a started playground without runs, and how long it took to answer, seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pathline", "play", folder, "--no-browser", "--port", str(port)]
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            while not _answers(address):
                if process.poll() is not None or time.perf_counter() - begin > 120:
                    raise RuntimeError(
                        f"the playground does not start: {process.stderr and process.stderr.read()[-2000:]!r}"
                    )
                time.sleep(0.02)
            yield address, time.perf_counter() - begin
        finally:
            process.terminate()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=60) as told:
            return b"</html>" in told.read()
    except OSError:
        return False


def play(page: Any) -> float:
    """Press Play; seconds until the first picture."""
    return page.evaluate(PLAY, "#flow")


def playback(page: Any, *, field: bool) -> dict[str, float]:
    """Frames a second of a playback from noise to data, and milliseconds of the main thread a frame."""
    page.wait_for_selector("#flow .plflow[data-backdrop]")
    page.wait_for_selector("#flow .plflow[data-state=paused]")
    page.get_by_label("field", exact=True).set_checked(field)
    page.wait_for_timeout(500)
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    before = _busy(session)
    page.eval_on_selector("#flow .plflow-bar button", "button => button.click()")
    page.wait_for_selector("#flow .plflow[data-state=playing]")
    page.wait_for_selector("#flow .plflow[data-state=paused]")
    after = _busy(session)
    gaps = page.eval_on_selector("#flow .plflow", "flow => JSON.parse(flow.dataset.gaps)")
    return {
        "fps": 1000 * len(gaps) / sum(gaps),
        "median gap, ms": statistics.median(gaps),
        "within 17.5 ms": sum(gap < 17.5 for gap in gaps) / len(gaps),
        "main thread, ms a frame": 1000 * (after - before) / len(gaps),
    }


def _busy(session: Any) -> float:
    return next(m["value"] for m in session.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")


def number(page: Any, label: str, value: int, nth: int = 0) -> None:
    """A number typed into the box of a slider, or of the seed."""
    box = page.get_by_label(label, exact=True).nth(nth)
    box.fill(str(value))
    box.press("Tab")


def one_round(chromium: Any, turn: int) -> dict[str, Any]:
    """Everything once, on a fresh server and a fresh page."""
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    with served() as (address, found["server start, s"]):
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(120_000)
        begin = time.perf_counter()
        page.goto(address)
        page.wait_for_selector("#flow .plflow[data-flow]")
        found["page and first play, s"] = time.perf_counter() - begin
        page.wait_for_selector("#summary td")
        number(page, "Seed of the noise", 2 * turn + 1)
        page.wait_for_timeout(300)
        found["first frame, s"] = play(page)
        page.wait_for_selector("#summary td")
        page.wait_for_timeout(1500)
        found["canvas"] = page.eval_on_selector("#flow canvas", "canvas => canvas.width")
        found["one view"] = playback(page, field=False)
        found["one view and the field"] = playback(page, field=True)
        page.get_by_text("A second view, on the same noise").click()
        page.get_by_label("Show a second setting beside the first").check()
        page.get_by_label("Evaluations").nth(2).wait_for(state="visible")
        number(page, "Seed of the noise", 2 * turn + 2)
        page.wait_for_timeout(300)
        found["first frame of two views, s"] = play(page)
        page.wait_for_timeout(2500)
        found["two views"] = playback(page, field=False)
        page.close()
    return found


def main() -> None:
    options = _bench.parser(__doc__)
    options.set_defaults(rounds=5)
    arguments = options.parse_args()
    if CHROMIUM is None:
        raise SystemExit("this needs a Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        rounds = [one_round(chromium, turn) for turn in range(1 if arguments.quick else arguments.rounds)]
        version = chromium.version
        chromium.close()
    waits = [
        [name, statistics.median(values), min(values), max(values), AIMS.get(name)]
        for name in ("server start, s", "page and first play, s", "first frame, s", "first frame of two views, s")
        if (values := [found[name] for found in rounds])
    ]
    plays = [
        [name, *_row([found[name] for found in rounds])] for name in ("one view", "one view and the field", "two views")
    ]
    first = "" if os.sched_getscheduler(0) == os.SCHED_OTHER else ", scheduled in real time, ahead of what else ran"
    told = (
        f"Chromium {version}, software rendering, a canvas of {rounds[0]['canvas']} x {rounds[0]['canvas']} pixels, "
        f"{len(rounds)} rounds{first}; the load of the machine before each: "
        + ", ".join(f"{found['load']:.1f}" for found in rounds)
        + "."
    )
    if arguments.quick:
        print(waits, plays, told, sep="\n")
        return
    _bench.write(
        "playground",
        "The playground in a browser",
        [
            ("", told),
            ("How long one waits", _bench.table(["", "median", "least", "most", "at most wanted"], waits)),
            (
                "Playback of 2,000 particles",
                _bench.table(
                    [
                        "",
                        "frames a second, median",
                        "least",
                        "most",
                        "share of frames in time",
                        "main thread, ms a frame",
                    ],
                    plays,
                ),
            ),
        ],
        {"rounds": rounds, "chromium": version},
    )


def _row(found: "Sequence[dict[str, float]]") -> list[float]:
    fps = [one["fps"] for one in found]
    rest = [statistics.median(one[key] for one in found) for key in ("within 17.5 ms", "main thread, ms a frame")]
    return [statistics.median(fps), min(fps), max(fps), *rest]


if __name__ == "__main__":
    main()
