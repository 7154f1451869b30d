"""Plain values of a config: YAML files, and the check that each is what its annotation says."""

import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

YAML_LIMIT = 1 << 20
"""Bytes of the largest config that is read."""


def read_yaml(path: "str | Path") -> dict[str, Any]:
    """The mapping in a YAML file, read without running anything."""
    import yaml

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no config file {path}")
    if path.stat().st_size > YAML_LIMIT:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: a config has at most {YAML_LIMIT}")
    try:
        text = path.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError(f"{path} has aliases (*name), which can unfold without end: write the values out")
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path} is no readable YAML: {told}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping such as 'data: moons', got {type(values).__name__}")
    return values


def write_yaml(path: "str | Path", values: Mapping[str, Any]) -> None:
    """Write a mapping in the order of its keys: the whole file or none of it."""
    import yaml

    path = Path(path)
    draft = path.with_name(f".{path.name}.writing")
    draft.write_text(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(draft, path)


def check_types(config: Any) -> None:
    """Refuse a value that its annotation does not allow; an int serves as a float."""
    for name, wanted in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if not _fits(value, wanted):
            raise TypeError(f"{name} must be {_spelled(wanted)}, got {value!r}")


def _fits(value: Any, wanted: Any) -> bool:
    origin = get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(wanted))
    if origin is Literal:
        return value in get_args(wanted)
    if origin is tuple:
        items = get_args(wanted)
        if items[-1] is Ellipsis:
            return isinstance(value, tuple) and all(_fits(item, items[0]) for item in value)
        return isinstance(value, tuple) and len(value) == len(items) and all(map(_fits, value, items))
    if wanted in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if wanted is float else wanted)


def _spelled(wanted: Any) -> str:
    if get_origin(wanted) is Literal:
        return " or ".join(map(repr, get_args(wanted)))
    if get_origin(wanted) is tuple and get_args(wanted)[-1] is Ellipsis:
        return f"a list of {get_args(wanted)[0].__name__}"
    if get_origin(wanted) in (typing.Union, types.UnionType):
        return " or ".join(_spelled(option) for option in get_args(wanted))
    return "None" if wanted is type(None) else str(wanted) if get_args(wanted) else wanted.__name__


def need(config: Any, name: str, fine: bool, wanted: str) -> None:
    """Refuse the value of ``name`` in words unless it is ``fine``."""
    if not fine:
        raise ValueError(f"{name} must be {wanted}, got {getattr(config, name)!r}")
