"""A web page to see flows on: exact fields in the plane, and your own runs. `build` needs the extra ``ui`` (Gradio).

`exact`, `explain`, `uploads` and `runs` compute what the page shows and know nothing of Gradio; `app` is the page. The
drawing in the browser is one file, ``flow.js``, which the pages of the documentation use too.
"""

import importlib.util
import inspect
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gradio import Blocks

__all__ = ["build", "launch"]

UPLOAD_BYTES = 2_000_000
"""The largest file that the page takes."""
HINT = 'the playground needs Gradio: pip install "pathline[ui]"'


def build(runs: "str | Path" = "runs") -> "Blocks":
    """The page, with the runs below the folder ``runs``: call ``.launch()`` on it.

    As a Hugging Face Space, ``app.py`` is ``from pathline.playground import build``, ``demo = build()``, ``demo.launch()``.

    Raises:
        ImportError: Gradio is not installed; the message says how to get it.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ImportError(HINT)
    # nothing leaves the machine: read when Gradio is imported
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    with _without_stubs():
        from pathline.playground.app import make_page

    return make_page(runs)


@contextmanager
def _without_stubs() -> "Iterator[None]":
    """Within it Gradio does not write .pyi files about its own components into its folder when it is imported.

    That parses every component anew at each start and takes half of the time of ``import gradio`` (2 of 4 CPU seconds).
    Gradio leaves out a component whose file `inspect` does not tell, so for its classes none is told.
    """
    told = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError(f"{thing.__name__} needs no stub")
        return told(thing)

    if "gradio" in sys.modules:
        yield
        return
    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = told


def launch(
    runs: "str | Path" = "runs", *, host: str = "127.0.0.1", port: int | None = None, browser: bool = True
) -> None:
    """Serve the page until interrupted; ``port`` None takes the first free one from 7860 on."""
    build(runs).launch(server_name=host, server_port=port, inbrowser=browser)
