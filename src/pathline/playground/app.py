"""The page: two tabs, one theme, and the limits under which it is served."""

from pathlib import Path

import gradio as gr

from pathline.playground import UPLOAD_BYTES
from pathline.playground.exact_tab import exact_tab
from pathline.playground.parts import CSS, Page, theme
from pathline.playground.runs_tab import runs_tab

ABOUT = "# pathline\nSee flows: particles, fields, densities and solvers. Everything is computed on this machine."


def make_page(runs: "str | Path") -> Page:
    """The Blocks of the playground, with the runs below ``runs``."""
    defaults = {
        "theme": theme(),
        "css": CSS,
        "footer_links": [],
        "max_file_size": UPLOAD_BYTES,
        "ssr_mode": False,
        "quiet": True,
        "enable_monitoring": False,
    }
    with Page(
        title="pathline playground", analytics_enabled=False, delete_cache=(3600, 3600), defaults=defaults
    ) as page:
        gr.Markdown(ABOUT)
        with gr.Tabs():
            with gr.Tab("Exact fields", id="exact"):
                page.first = exact_tab(page)
            with gr.Tab("Runs", id="runs"):
                runs_tab(page, Path(runs))
    page.queue(default_concurrency_limit=4, max_size=64)
    return page
