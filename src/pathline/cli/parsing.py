"""Arguments into dataclasses by tyro, and its errors into one line."""

import contextlib
import dataclasses
import io
import os
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")


class UsageError(ValueError):
    """A mistake in the call of a command."""


def parse(kind: type[T], arguments: Sequence[str], *, prog: str, about: str, default: "T | None" = None) -> T:
    """An instance of the dataclass ``kind``; fields that are not named keep their value in ``default``.

    Raises:
        UsageError: with one line that says what is wrong.
        SystemExit: after ``--help``.
    """
    import tyro

    options: dict[str, Any] = {} if default is None else {"default": default}
    call = {"prog": prog, "description": about, "args": list(arguments), **options}
    if {"-h", "--help"} & set(arguments):
        return tyro.cli(kind, **call)
    _check_flags(kind, arguments)
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told), _wide():
            return tyro.cli(kind, **call)
    except SystemExit:
        command = " ".join(prog.split()[:2])
        raise UsageError(f"{_message(told.getvalue())} (see {command} --help)") from None


def flags(kind: type, prefix: str = "") -> list[str]:
    """Every option of the dataclass ``kind``, as in ``--batch-size`` and ``--sampling.solver``."""
    found = []
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        name = prefix + field.name.replace("_", "-")
        inner = hints[field.name]
        if dataclasses.is_dataclass(inner) and isinstance(inner, type):
            found += flags(inner, f"{name}.")
        else:
            found.append(f"--{name}")
            if inner is bool:
                found.append(f"--{prefix}no-{field.name.replace('_', '-')}")
    return found


def _check_flags(kind: type, arguments: Sequence[str]) -> None:
    """An unknown option, told with the nearest known one."""
    known = flags(kind)
    for word in arguments:
        name = word.split("=", 1)[0].replace("_", "-")
        if re.match(r"--[a-z]", name) and name not in known:
            close = get_close_matches(name, known, n=1, cutoff=0.6)
            hint = f": did you mean {close[0]}?" if close else ""
            raise UsageError(f"unknown option {word.split('=', 1)[0]}{hint}")


def _message(box: str) -> str:
    """The sentence in a framed error: the rows between its title and its first rule."""
    rows = [line.strip().strip("│").strip() for line in box.splitlines()]
    body = []
    for row in rows[1:]:
        if not row or set(row) <= set("─╰╯-"):
            break
        body.append(row)
    text = " ".join(body).rstrip(".") or " ".join(box.split())
    return re.sub(r"^Error parsing ([A-Z]\w*: |(?=--))", "", text)


@contextlib.contextmanager
def _wide() -> Iterator[None]:
    """A terminal in which no message is broken over lines."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "2000"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
