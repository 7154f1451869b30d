"""axe-core in a page of Playwright: what people who use a keyboard, a screen reader or strong contrast would stumble over."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

FOUND = find_spec("axe_playwright_python")
"""The package that brings axe-core along (extra dev); None where it is not installed."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def violations(page: Any, but: "tuple[str, ...]" = ()) -> list[str]:
    """A line for each broken rule of ``page`` other than ``but``, with the first elements that break it."""
    assert FOUND is not None
    assert FOUND.origin is not None
    page.evaluate((Path(FOUND.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("(rules) => axe.run(document, {runOnly: rules, preload: false})", RULES)
    assert len(found["passes"]) > 20, "axe looked at nothing"
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:160] for node in rule['nodes'][:3]]}"
        for rule in found["violations"]
        if rule["id"] not in but
    ]
