"""`"logit_normal(-0.8, std=0.8)"`: a registered name with literal options, as YAML and the command line spell it."""

import ast
import inspect
import re
from collections.abc import Mapping
from typing import Any

from pathline._errors import lookup, nearest

_SPEC = re.compile(r"\s*(?P<name>[^()]+?)\s*(?:\((?P<options>.*)\))?\s*", re.DOTALL)
MAX_LENGTH = 2000


def split_spec(kind: str, text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """(name, positional options, named options) of ``name`` or ``name(options)``.

    Options are Python literals; nothing is ever executed. A name in their place stands for itself, as in
    ``shifted(3, uniform)``, and so does a spec, as in ``shifted(3, logit_normal(0, 1))``.
    """
    if not isinstance(text, str):
        raise TypeError(f'{kind} must be a name or "name(options)", got {text!r}')
    found = _SPEC.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        raise ValueError(f'{kind} must be a name or "name(options)", got {text[:80]!r}')
    name, options = found["name"], found["options"]
    if not options or not options.strip():
        return name, [], {}
    try:
        call = ast.parse(f"f({options})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError("not a list of options")
        if any(word.arg is None for word in call.keywords):
            raise ValueError("not a list of options")
        return (
            name,
            [_literal(node) for node in call.args],
            {str(word.arg): _literal(word.value) for word in call.keywords},
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"{kind} {text!r}: the options must be literals as in {name}(3, width=128, mode='a')"
        ) from None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name | ast.Call):
        return ast.unparse(node)
    return ast.literal_eval(node)


def join_spec(name: str, **options: Any) -> str:
    """The text that `split_spec` reads back."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in options.items())})" if options else name


def build(kind: str, text: str, registry: Mapping[str, Any], **available: Any) -> Any:
    """What ``text`` names in ``registry``, called with its options.

    ``available`` fills the parameters of those names that the options leave open. An entry that takes no options
    (a solver, a prediction) is returned as it is. Errors name the kind and the nearest name or option.
    """
    name, given, named = split_spec(kind, text)
    entry = lookup(kind, name, registry)
    if not inspect.isclass(entry) and not inspect.isroutine(entry):
        if given or named:
            raise ValueError(f"{kind} {name!r} takes no options, got {text!r}")
        return entry
    signature = inspect.signature(entry)
    known = [key for key, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD]
    for key in named:
        if key not in known:
            raise ValueError(f"{kind} {name!r} has no option {key!r}: {nearest(key, known)}")
    try:
        bound = signature.bind_partial(*given, **named)
        for key, value in available.items():
            if key in known and key not in bound.arguments and value is not None:
                named[key] = value
        return entry(*given, **named)
    except TypeError as error:
        raise ValueError(f"{kind} {text!r}: {error} (signature {name}{_shown(signature)})") from None


def _shown(signature: inspect.Signature) -> str:
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(plain))
