"""What the pages are made of: python blocks that run, and the pictures and numbers of `examples/`.

In a page,

- a ```` ```python ```` block runs, the blocks of a page in sequence in one namespace; a ```` ```text ```` block right after
  it holds what it prints. ```` ```python {.no-run} ```` marks the rare block that needs minutes or a network of yours;
- ``<!-- example: NAME -->`` stands for the picture, the output and the source of ``examples/NAME.py``;
- ``{{NAME|label}}`` stands for the value in the line ``label: value`` that this example prints.

`build.py` makes the site of them, `tests/test_examples.py` runs every block and every example.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from pathlib import Path

import moving

DOCS = Path(__file__).parent
ROOT = DOCS.parent
EXAMPLES = ROOT / "examples"

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.MULTILINE | re.DOTALL)
FLOW = re.compile(r"^<!-- flow: (\w+) -->$", re.MULTILINE)
EXAMPLE = re.compile(r"^<!-- example: (\w+) -->$", re.MULTILINE)
NUMBER = re.compile(r"\{\{(\w+)\|([^{}|]+)\}\}")
NO_RUN = re.compile(r"^(`{3,}python) \{\.no-run\}$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A python block of a page, and what the page says that it prints (None if it says nothing)."""

    line: int
    source: str
    output: str | None


@dataclass(frozen=True, kw_only=True)
class Example:
    """A script of `examples/`: its title and text (the docstring), its code, and what it printed."""

    name: str
    title: str
    text: str
    source: str
    output: str
    width: int
    """Of its picture on the page, in pixels: letters as large as those of the text."""

    def value(self, label: str) -> str:
        """The value in the printed line ``label: value``."""
        found = re.findall(rf"^{re.escape(label.strip())}: +(.+)$", self.output, re.MULTILINE)
        if len(found) != 1:
            raise ValueError(f"examples/{self.name}.py prints {len(found)} lines {label.strip()!r}: {self.output}")
        return found[0].strip()


def pages() -> list[Path]:
    """Every page of the site that is written by hand, and the README."""
    readme = ROOT / "README.md"
    return sorted(DOCS.rglob("*.md")) + ([readme] if readme.exists() else [])


def examples() -> list[Path]:
    """Every example."""
    return sorted(EXAMPLES.glob("*.py"))


def read_example(path: Path, output: str, picture: Path) -> Example:
    """The example in the file ``path``, which printed ``output`` and drew ``picture``."""
    source = path.read_text(encoding="utf-8")
    told = ast.get_docstring(ast.parse(source))
    if told is None:
        raise ValueError(f"{path.name} needs a docstring: a title, a blank line, what is seen")
    title, _, text = told.partition("\n")
    header = picture.read_bytes()[:24]  # a PNG has its width there, for 200 dots an inch
    return Example(
        name=path.stem,
        title=title.rstrip("."),
        text=text.strip(),
        source=source,
        output=output.rstrip(),
        width=int.from_bytes(header[16:20], "big") // 2,
    )


def python_blocks(page: str) -> Iterator[Block]:
    """The python blocks that run, in order."""
    fences = list(FENCE.finditer(page))
    for fence, after in zip_longest(fences, fences[1:]):
        if fence["info"].strip() != "python":
            continue
        told = None
        if after is not None and after["info"].strip() == "text" and not page[fence.end() : after.start()].strip():
            told = after["body"]
        yield Block(line=page.count("\n", 0, fence.start()) + 2, source=fence["body"], output=told)


def filled(page: str, made: Mapping[str, Example], folder: str) -> str:
    """``page`` with its examples, moving figures and numbers; ``folder`` leads from the page to that of the pictures."""
    page = EXAMPLE.sub(lambda match: shown(_known(made, match[1]), folder), page)
    page = FLOW.sub(lambda match: moving.figure(match[1]), page)
    page = NUMBER.sub(lambda match: _known(made, match[1]).value(match[2]), page)
    return NO_RUN.sub(r"\1", page)


def shown(example: Example, folder: str) -> str:
    """The picture, what was printed, and the source behind a fold."""
    source = example.source.replace("\n", "\n    ").rstrip()
    return "\n".join(
        [
            '<figure class="figure" markdown="span">',
            f'![{example.title}]({folder}/{example.name}.png){{ width="{example.width}" }}',
            f"<figcaption><strong>{escape(example.title)}.</strong> {escape(' '.join(example.text.split()))}</figcaption>",
            "</figure>",
            "",
            "```text",
            example.output,
            "```",
            "",
            f'??? example "examples/{example.name}.py"',
            "    ```python",
            f"    {source}",
            "    ```",
        ]
    )


def gallery(made: Mapping[str, Example]) -> str:
    """The page with all pictures."""
    lines = [
        "# Gallery",
        "",
        "Every picture is made by a script of `examples/` when the site is built, from exact fields and in seconds.",
        "",
        '<div class="gallery" markdown="span">',
    ]
    for example in made.values():
        picture = f'<img src="figures/{example.name}.png" alt="" loading="lazy">'
        lines.append(f'<a href="gallery/{example.name}.html">{picture}<span>{example.title}</span></a>')
    return "\n".join([*lines, "</div>", ""])


def gallery_page(example: Example) -> str:
    """The page of one example."""
    return f"# {example.title}\n\n{shown(example, '../figures').replace('???', '???+')}\n"


def _known(made: Mapping[str, Example], name: str) -> Example:
    if name not in made:
        raise ValueError(f"a page asks for the example {name!r}, known are: {', '.join(made)}")
    return made[name]
