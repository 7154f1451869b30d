"""What both tabs of the page are made of: the canvas, pictures that follow the theme, and mistakes told as messages."""

import base64
import functools
import inspect
import io
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from pathline.viz import png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOW = Path(__file__).with_name("flow.js")
"""The drawing code; pages of the documentation load the same file."""
MOUNT = """
const player = PathlineFlow.mount(element.querySelector(".plflow-here"), {
  onDraw: (points) => trigger("drawn", { points }),
  onPick: (index, view) => trigger("picked", { index, view }),
});
watch("value", () => player.load(props.value));
player.load(props.value);
"""
PICK = """
const holder = element.querySelector(".picks");
const show = () => {
  const { columns = 8, images = [] } = props.value || {};
  holder.style.setProperty("--columns", columns);
  holder.replaceChildren(...images.map((told, index) => {
    const button = document.createElement("button"), image = document.createElement("img");
    button.type = "button";
    image.src = told.source;
    image.alt = told.text;
    button.append(image);
    button.addEventListener("click", () => {
      for (const other of holder.children) other.removeAttribute("aria-pressed");
      button.setAttribute("aria-pressed", "true");
      trigger("picked", { index });
    });
    return button;
  }));
  holder.dataset.count = images.length;
};
watch("value", show);
show();
"""
FORMULAS = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "DejaVu Sans", "sans-serif"]
CODE_FONTS = ["ui-monospace", "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", "monospace"]

CSS = """
.gradio-container { width: 100%; max-width: 1400px !important; margin: 0 auto; box-sizing: border-box; }
.plot img { display: block; margin: 0 auto; max-width: min(100%, 640px); height: auto; border-radius: 6px; }
.dark .plot img { filter: invert(0.91) hue-rotate(180deg); }
.plot.pixels img { image-rendering: pixelated; }
.dark .plot.pixels img { filter: none; }
.picks { display: grid; grid-template-columns: repeat(var(--columns, 8), 1fr); gap: 4px; max-width: 640px; margin: 0 auto; }
.picks button { padding: 0; border: 2px solid transparent; border-radius: 4px; cursor: pointer; background: none; }
.picks button:hover { border-color: var(--color-accent); }
.picks button:focus-visible, .picks button[aria-pressed] { border-color: #d55e00; outline: none; }
.picks img { display: block; width: 100%; image-rendering: pixelated; border-radius: 2px; }
.narrow .form { gap: 0; }
.min_value { color: var(--body-text-color) !important; }
.max_value { color: var(--body-text-color) !important; }
.katex-display { overflow: auto hidden; padding: 2px 0; margin: 0.5em 0; }
.prose table th, .prose table td { border-color: var(--border-color-primary) !important; padding: 5px 9px !important; font-size: 13px; }
.prose table { display: block; overflow-x: auto; border: 0 !important; }
.prose table thead:not(:has(th:not(:empty))) { display: none; }
.prose table td, .prose table th { word-break: normal !important; overflow-wrap: normal !important; }
.stage > *, .stage .prose { min-width: 0 !important; max-width: 100%; }
#summary td, #summary th { white-space: nowrap; }
@media (max-width: 760px) {
  .stage { order: -1; }
  .stage, .narrow { flex: 1 1 100% !important; min-width: 100% !important; max-width: 100%; }
  .katex-display > .katex > .katex-html > .tag { position: static; display: block; text-align: right; }
}
footer { display: none !important; }
"""


def theme() -> gr.themes.Base:
    """The colours of the pictures, and fonts that every machine has."""
    blue = gr.themes.Color(
        c50="#eff7fd", c100="#dbe9f5", c200="#a6cce6", c300="#7fb8dc", c400="#56b4e9", c500="#2a86c4", c600="#0072b2",
        c700="#00629a", c800="#0b4a8a", c900="#083a6b", c950="#06285a",
    )  # fmt: skip
    return gr.themes.Base(primary_hue=blue, font=FONTS, font_mono=CODE_FONTS).set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        slider_color="*primary_600",
        slider_color_dark="*primary_400",
    )


class Page(gr.Blocks):
    """Blocks that bring their looks and limits along, so that ``page.launch()`` is all that an app.py needs."""

    first: "Callable[[], Any] | None" = None
    """What is computed while the first visitor is on the way."""

    def __init__(self, *, defaults: "dict[str, Any]", **options: Any) -> None:
        super().__init__(**options)
        self.launch_defaults = defaults

    def launch(self, *arguments: Any, **options: Any) -> Any:
        """`gradio.Blocks.launch`; without a host it serves this machine only, or where GRADIO_SERVER_NAME says."""
        if self.first is not None:
            threading.Thread(target=self.first, name="pathline-first-play").start()
        return super().launch(*arguments, **(self.launch_defaults | options))


def canvas(elem_id: str, message: "dict[str, Any] | None" = None) -> gr.HTML:
    """The moving picture; its value is a message for flow.js, and ``.drawn`` tells points drawn on it."""
    return gr.HTML(
        value=message or {},
        html_template='<div class="plflow-here"></div>',
        js_on_load=FLOW.read_text(encoding="utf-8") + MOUNT,
        elem_id=elem_id,
        apply_default_css=False,
    )


def picks(elem_id: str) -> gr.HTML:
    """Images to choose from, as buttons; its value is of `pick_list`, and ``.picked`` tells the index of a click."""
    return gr.HTML(
        value={}, html_template='<div class="picks"></div>', js_on_load=PICK, elem_id=elem_id, apply_default_css=False
    )


def pick_list(images: "np.ndarray", texts: "list[str]", columns: int = 8) -> dict[str, Any]:
    """uint8 images (B, H, W, 3), each with what it is called."""
    return {
        "columns": columns,
        "images": [{"source": _data_url(_png(i)), "text": text} for i, text in zip(images, texts, strict=True)],
    }


def _png(pixels: "np.ndarray") -> bytes:
    from PIL import Image  # comes with matplotlib

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def _data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def picture(shown: "Axes | bytes", told: str, *, pixels: bool = False) -> str:
    """A drawing as an <img> with a text for those who do not see it; it is inverted on dark pages unless it is of pixels."""
    content = shown if isinstance(shown, bytes) else png(shown)
    kind = "plot pixels" if pixels else "plot"
    return f'<div class="{kind}"><img alt="{escape(told)}" src="{_data_url(content)}"></div>'


def markdown(text: str = "", **options: Any) -> gr.Markdown:
    """Text with formulas."""
    return gr.Markdown(text, latex_delimiters=FORMULAS, **options)


def telling(handler: Callable[..., Any]) -> Callable[..., Any]:
    """``handler`` with its mistakes of the user (ValueError, TypeError, OSError) shown as a message on the page."""

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*values: Any) -> Any:
            try:
                yield from handler(*values)
            except (ValueError, TypeError, OSError) as error:
                raise gr.Error(_line(error), print_exception=False) from None

        return stream

    @functools.wraps(handler)
    def single(*values: Any) -> Any:
        try:
            return handler(*values)
        except (ValueError, TypeError, OSError) as error:
            raise gr.Error(_line(error), print_exception=False) from None

    return single


def _line(error: Exception) -> str:
    return escape(" ".join(str(error).split()) or type(error).__name__)
