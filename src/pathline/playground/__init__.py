"""A web page to see flows on: exact fields in the plane, and your own runs. `build` needs the extra ``ui`` (Gradio).

`exact`, `explain`, `uploads` and `runs` compute what the page shows and know nothing of Gradio; `app` is the page. The
drawing in the browser is one file, ``flow.js``, which the pages of the documentation use too.
"""

import importlib.util
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from gradio import Blocks

__all__ = ["build", "launch"]

UPLOAD_BYTES = 2_000_000
"""The largest file that the page takes."""
HINT = 'the playground needs Gradio: pip install "pathline[ui]"'


def build(runs: "str | Path" = "runs") -> "Blocks":
    """The page, with the runs below the folder ``runs``: call ``.launch()`` on it.

    As a Hugging Face Space, ``app.py`` is ``from pathline.playground import build`` and ``build().launch()``.

    Raises:
        ImportError: Gradio is not installed; the message says how to get it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ImportError(HINT)
    # nothing leaves the machine: read when Gradio is imported
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from pathline.playground.app import make_page

    return make_page(runs)


def launch(
    runs: "str | Path" = "runs", *, host: str = "127.0.0.1", port: int | None = None, browser: bool = True
) -> None:
    """Serve the page until interrupted; ``port`` None takes the first free one from 7860 on."""
    build(runs).launch(server_name=host, server_port=port, inbrowser=browser)
