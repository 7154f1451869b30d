"""A Griffe extension: what follows ``>>>`` in a docstring is shown as code, wherever it stands."""

import re
from typing import Any

import griffe

SESSION = re.compile(r"(?:^[ \t]*>>> .*\n?(?:^[ \t]*\S.*\n?)*)+", re.MULTILINE)


class Doctests(griffe.Extension):
    """Fences the sessions in every docstring that has no ``Examples:`` section, where Griffe does it by itself."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        docstring = obj.docstring
        if docstring is not None and ">>> " in docstring.value and "Examples:" not in docstring.value:
            docstring.value = SESSION.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", docstring.value)
