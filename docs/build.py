"""Build the site: run every example, fill the pages with what they made, call Zensical, check what came out.

    python docs/build.py              # the whole site, into site/
    python docs/build.py --reuse      # with the pictures of the last build, to try the pages quickly

Fails on an example that fails, a link or picture that leads nowhere, and anything that a page would fetch from a network.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from moving import FLOW
from pages import DOCS, ROOT, Example, examples, filled, gallery, gallery_page, pages, read_example

STAGE = ROOT / "build" / "docs"
PAGES = STAGE / "pages"
FIGURES = STAGE / "figures"
SITE = ROOT / "site"
SHIM = "https://unpkg.com/iframe-worker/shim"
"""What Zensical loads so that the search works on pages opened from a folder; a copy stands in assets/."""

LANDMARKS = {"md-nav md-nav--primary md-nav--lifted": "Pages", "md-path": "Place of this page"}
"""Names of the two parts of a page that the theme both calls Navigation, by their classes."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the site into site/.")
    parser.add_argument("--reuse", action="store_true", help="take the pictures of the last build where there are any")
    parser.add_argument("--jobs", type=int, default=2, help="examples that run at a time")
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        made = list(pool.map(lambda path: run_example(path, reuse=arguments.reuse), examples()))
    stage({example.name: example for example in made})
    subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "-f", str(STAGE / "zensical.toml")], check=True
    )
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(STAGE / "site", SITE)
    polish(SITE)
    problems = check(SITE)
    print(
        "\n".join(problems) or f"{len(made)} examples, {len(list(SITE.rglob('*.html')))} pages: {SITE / 'index.html'}"
    )
    return int(bool(problems))


def polish(site: Path) -> None:
    """Make the pages that Zensical wrote into ``site`` work without a network, and tell their landmarks apart.

    The empty corner of a table is no heading.
    """
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8").replace(SHIM, relative(file, site / "assets" / "iframe-worker.js"))
        for part, name in LANDMARKS.items():
            text = text.replace(
                f'<nav class="{part}" aria-label="Navigation"', f'<nav class="{part}" aria-label="{name}"'
            )
        file.write_text(re.sub(r"<th([^>]*)></th>", r"<td\1></td>", text), encoding="utf-8")


def run_example(path: Path, *, reuse: bool = False) -> Example:
    """Run one example in a process of its own; its picture is left in `FIGURES`, its output beside it."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    picture, printed = (FIGURES / f"{path.stem}{suffix}" for suffix in (".png", ".txt"))
    if not (reuse and picture.exists() and printed.exists()):
        threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, str(path), str(picture)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads}, check=False)
        if done.returncode != 0 or not picture.exists():
            raise SystemExit(
                f"{path.name} failed:\n{done.stderr or 'it wrote no picture to the path that it was given'}"
            )
        printed.write_text(done.stdout, encoding="utf-8")
    return read_example(path, printed.read_text(encoding="utf-8"), picture)


def stage(made: dict[str, Example]) -> None:
    """Put the pages, filled, and all that they show into the folder that Zensical reads."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(DOCS / "assets", PAGES / "assets")
    shutil.copy(FLOW, PAGES / "assets" / FLOW.name)
    shutil.copy(DOCS / "zensical.toml", STAGE / "zensical.toml")
    shutil.copytree(FIGURES, PAGES / "figures", ignore=shutil.ignore_patterns("*.txt"))
    texts = {page.relative_to(DOCS): page.read_text(encoding="utf-8") for page in pages() if page.is_relative_to(DOCS)}
    texts[Path("gallery.md")] = gallery(made)
    texts |= {Path("gallery") / f"{name}.md": gallery_page(example) for name, example in made.items()}
    for place, text in texts.items():
        target = PAGES / place
        target.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(place.parts) - 1)
        target.write_text(filled(text, made, f"{up}figures"), encoding="utf-8")


def relative(file: Path, target: Path) -> str:
    """The link from the page ``file`` to ``target``."""
    return Path(os.path.relpath(target, file.parent)).as_posix()


class _Page(HTMLParser):
    """The anchors of a page, where it leads, and what it loads."""

    LOADS = frozenset({("img", "src"), ("script", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        for name, value in attrs:
            if value is None or name not in ("href", "src"):
                continue
            fetched = (tag, name) in self.LOADS and given.get("rel") not in ("canonical", "prev", "next", "alternate")
            (self.loads if fetched else self.links).append(value)


def check(site: Path) -> list[str]:
    """What is wrong with the site in the folder ``site``, a line each."""
    parsed = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    problems = []
    for file, page in parsed.items():
        here = file.relative_to(site)
        for target in page.links + page.loads:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if target in page.loads and parts.scheme != "data":
                    problems.append(f"{here} loads {target}, which is not part of the site")
                continue
            base = site if parts.path.startswith("/") else file.parent
            place = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else file.resolve()
            place = place / "index.html" if place.is_dir() else place
            if not place.exists():
                problems.append(f"{here} leads to {target}, which does not exist")
            elif parts.fragment and place in parsed and unquote(parts.fragment) not in parsed[place].anchors:
                problems.append(f"{here} leads to {target}, and there is no such place on that page")
    for style in site.rglob("*.css"):
        fetched = re.findall(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)", style.read_text(encoding="utf-8"))
        problems += [f"{style.relative_to(site)} loads {target}" for target in fetched]
    return problems


if __name__ == "__main__":
    sys.exit(main())
