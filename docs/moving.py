"""The moving figures of the pages: exact fields played beforehand, small enough to stand in a page, and drawn by flow.js.

    python docs/moving.py FOLDER      # every figure as FOLDER/NAME.html, to look at one alone

A page asks for one by ``<!-- flow: NAME -->``. Nothing is fetched: the particles are JSON within the page.
"""

import json
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from pathline.playground.coupled import NOISE
from pathline.playground.exact import Play, backdrop, play, square, view
from pathline.playground.settings import Setting, toy_points, with_source

FLOW = Path(__file__).parent.parent / "src" / "pathline" / "playground" / "flow.js"
"""The drawing code, which the playground uses too."""
MOST_BYTES = 200_000
PARTICLES = 350


def eight() -> dict[str, Any]:
    """Noise becomes eight Gaussians, with the density behind."""
    points = toy_points("8gaussians", 256, std=0.5)
    shown = play(points, Setting(particles=PARTICLES, solver="rk4", evaluations=96))
    return _messages([("", shown)], "eight", behind=True)


def steps() -> dict[str, Any]:
    """The same noise, by one step of Euler, four, and 24 of Heun's."""
    points = toy_points("moons", 256)
    cases = (("euler", 1), ("euler", 4), ("heun", 48))
    plays = [
        (f"{name}, {n} evaluation{'s' * (n > 1)}", _moons(points, solver=name, evaluations=n)) for name, n in cases
    ]
    return _messages(plays, "steps", trails=True)


def ode_sde() -> dict[str, Any]:
    """One family of equations, the same marginals: eta = 0 and eta = 1."""
    points = toy_points("moons", 256)
    plays = [
        ("ODE, η = 0", _moons(points, solver="heun", evaluations=40)),
        ("SDE, η = 1", _moons(points, solver="euler_maruyama", eta="1", evaluations=64)),
    ]
    return _messages(plays, "ode_sde")


def guided() -> dict[str, Any]:
    """One class without guidance and with w = 3."""
    points = toy_points("pinwheel", 300)
    plays = [(f"w = {w:g}", _moons(points, solver="rk4", evaluations=96, label=0, guidance=w)) for w in (1.0, 3.0)]
    return _messages(plays, "guided", data=True)


def couplings() -> dict[str, Any]:
    """The same noise with independent pairs, with optimal pairs, and after one reflow."""
    names = ("independent", "exact OT", "reflow")
    settings = [Setting(particles=PARTICLES, solver="rk4", evaluations=64, coupling=name) for name in names]
    points = with_source(toy_points("moons", 256), NOISE, settings)
    plays = [(name, play(points, setting)) for name, setting in zip(names, settings, strict=True)]
    return _messages(plays, "couplings", trails=True)


MOVING: dict[str, Callable[[], dict[str, Any]]] = {
    "eight": eight,
    "steps": steps,
    "ode_sde": ode_sde,
    "guided": guided,
    "couplings": couplings,
}
"""Figures by the name that pages ask for."""


def figure(name: str) -> str:
    """The HTML of a figure: an empty place, and its messages for flow.js.

    Raises:
        ValueError: an unknown name, or a figure too large for a page.
    """
    if name not in MOVING:
        raise ValueError(f"a page asks for the moving figure {name!r}, known are: {', '.join(MOVING)}")
    make = MOVING[name]
    content = json.dumps(make(), separators=(",", ":"))
    if len(content) > MOST_BYTES:
        raise ValueError(
            f"the moving figure {name!r} has {len(content):,} bytes: at most {MOST_BYTES:,} stand in a page"
        )
    told = escape((make.__doc__ or "").strip())
    return (
        f'<figure class="figure"><div data-flow="{name}"></div><figcaption>{told}</figcaption></figure>\n'
        f'<script type="application/json" id="flow-{name}">{content}</script>'
    )


def _moons(points: Any, **options: Any) -> Play:
    return play(points, Setting(particles=PARTICLES, **options))


def _messages(plays: "list[tuple[str, Play]]", name: str, *, behind: bool = False, **show: bool) -> dict[str, Any]:
    views = [view(shown, title, "u2") for title, shown in plays]
    messages: list[dict[str, Any]] = [{"kind": "flow", "id": name, "box": square(plays[0][1].points), "views": views}]
    if behind:
        backs = [backdrop(shown, frames=13, cells=48) for _, shown in plays]
        messages.append({"kind": "backdrop", "id": name, "views": backs})
    chosen = {"trails": True, "density": behind, "arrows": False, "data": not behind} | show
    return {"options": {"show": chosen}, "messages": messages}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    script = FLOW.read_text(encoding="utf-8")
    for name in MOVING:
        text = figure(name)
        page = f'<!doctype html><meta charset="utf-8"><title>{name}</title><body>{text}<script>{script}</script></body>'
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
        print(f"{name}: {len(text):,} bytes")


if __name__ == "__main__":
    main()
