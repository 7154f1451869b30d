"""``pathline play [RUNS]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from pathline.cli.parsing import UsageError, parse

ABOUT = """\
Open the playground: a web page, served to this machine alone, on which to see flows. Exact fields need no training; runs
below the folder RUNS can be opened, sampled and compared. Stop it with Ctrl-C.

examples:
  pathline play
  pathline play results --port 8080
  pathline play --no-browser --host 0.0.0.0    # to everybody who can reach this machine: think first"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Arguments of ``pathline play``."""

    runs: Annotated[str, tyro.conf.arg(metavar="[RUNS]"), tyro.conf.Positional] = "runs"
    """Folder of run folders."""
    host: str = "127.0.0.1"
    """Address to serve at."""
    port: int | None = None
    """Port; the first free one from 7860 on if not given."""
    browser: bool = True
    """Open the page in the browser."""


def main(words: list[str]) -> None:
    """Run the command."""
    arguments = parse(Arguments, words, prog="pathline play", about=ABOUT)
    folder = Path(arguments.runs)
    if arguments.runs != "runs" and not folder.is_dir():
        raise UsageError(f"no folder {folder}: give the folder that holds your run folders")
    if arguments.port is not None and not 0 < arguments.port < 65_536:
        raise UsageError(f"--port must lie in 1 … 65535, got {arguments.port}")
    from pathline.playground import build

    page = build(folder)
    _, address, _ = page.launch(
        server_name=arguments.host, server_port=arguments.port, inbrowser=arguments.browser, prevent_thread_lock=True
    )
    print(f"playground at {address} (Ctrl-C stops it)", flush=True)
    page.block_thread()
