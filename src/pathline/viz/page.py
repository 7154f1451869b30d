"""HTML that escapes by itself, and the look of a report."""

from html import escape

CHARSET_AND_POLICY = (
    {"charset": "utf-8"},
    {"name": "viewport", "content": "width=device-width, initial-scale=1"},
    {"name": "color-scheme", "content": "light dark"},
    # the browser itself refuses everything that is not in the file: scripts, fonts, pictures of others
    {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    },
)
VOID = ("meta", "img")

LOOK = """
:root {
  --paper: #ffffff; --ink: #1b1f24; --soft: #56606c; --line: #dde1e7; --card: #f5f7f9;
  --like: #00674c; --focus: #0b5c93;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e8eaed; --soft: #a7b0bb; --line: #333a43; --card: #1e2329;
    --like: #5fd3ab; --focus: #7cc0f0;
  }
  img { filter: brightness(.9); }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.1rem 3rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .7rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p { margin: .4rem 0 .8rem; max-width: 46rem; overflow-wrap: anywhere; }
.headline { font-size: 1.08rem; color: var(--soft); margin: 0 0 1.4rem; }
.small { font-size: .875rem; color: var(--soft); }
.keys { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 0; }
.keys div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .7rem .85rem; }
.keys dt { font-size: .875rem; color: var(--soft); }
.keys dd { margin: 0; overflow-wrap: anywhere; }
.keys .value { font-size: 1.45rem; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.25; }
figure { margin: .8rem 0 1.3rem; }
img {
  display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: .5rem;
  border: 1px solid var(--line);
}
figcaption { font-size: .875rem; color: var(--soft); margin-top: .4rem; max-width: 46rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; }
caption { text-align: left; font-size: .875rem; color: var(--soft); padding: .55rem .8rem; }
th, td { text-align: left; padding: .5rem .8rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th { font-size: .875rem; color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
th .small { display: block; font-weight: 400; }
.pass { color: var(--like); font-weight: 600; }
.neutral { color: var(--soft); }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; margin: .6rem 0;
  overflow-x: auto; font: .875rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
details summary { cursor: pointer; font-weight: 600; padding: .3rem 0; }
footer { margin-top: 2.5rem; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
@media (max-width: 34rem) {
  main { padding: 1.2rem .9rem 2rem; }
  h1 { font-size: 1.4rem; }
  th, td { padding: .45rem .6rem; }
  table { font-size: .875rem; }
  .metrics caption, .metrics thead, .metrics tbody { display: block; }
  .metrics tr { display: grid; grid-template-columns: repeat(2, minmax(0, 1.15fr)) minmax(0, 1fr); border-top: 1px solid var(--line); }
  .metrics th, .metrics td { border-top: 0; }
  .metrics th:first-child { grid-column: 1 / -1; padding-bottom: 0; }
  .metrics thead th:first-child { display: none; }
  .metrics td.number { white-space: normal; }
}
@media print { .scroll { overflow: visible; } details > pre { display: block; } }
"""


class Html(str):
    """Text that is HTML already, and therefore is not escaped again."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """An element. Children and attributes are escaped, except children that are `Html`; those that are None are left out.

    Names of attributes are written ``class_`` for class and ``http_equiv`` for http-equiv.

    >>> tag("p", "a < b", tag("b", "c"), class_="x")
    '<p class="x">a &lt; b<b>c</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(child if isinstance(child, Html) else escape(str(child)) for child in children if child is not None)
    return Html(f"<{name}{written}>" if name in VOID else f"<{name}{written}>{inner}</{name}>")


def page(title: str, *content: object) -> str:
    """A whole document."""
    metas = [
        tag("meta", **{key.replace("-", "_"): value for key, value in meta.items()}) for meta in CHARSET_AND_POLICY
    ]
    head = tag("head", *metas, tag("title", title), tag("style", Html(LOOK)))
    return "<!doctype html>\n" + tag("html", head, tag("body", tag("main", *content)), lang="en") + "\n"
