"""How a mistake of the user is told: the argument, the value, the remedy."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


def nearest(name: str, known: Collection[str]) -> str:
    """A hint that names the closest known word, or lists what there is."""
    close = get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(sorted(known))}"


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """``registry[name]``, or a `ValueError` that suggests the nearest name."""
    try:
        return registry[name]
    except (KeyError, TypeError):
        raise ValueError(f"unknown {kind} {name!r}: {nearest(name, registry)}") from None
