"""How pictures look: one palette, one set of fonts, and the context in which everything here is drawn."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

PAPER = "#ffffff"
INK = "#1b1f24"
MUTED = "#5b6470"
LINE = "#c9ced6"
GRID = "#e6e9ee"
REAL = "#8a919c"
"""Data, and everything else that is a reference."""
MODEL = "#0072b2"
"""Samples, and everything else that a model made."""
ACCENT = "#d55e00"

PALETTE = (
    MODEL, ACCENT, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK, "#6f2dd6", "#602000", "#002080",
)  # fmt: skip
"""Ten colours that stay apart with every kind of colour blindness: those of Okabe and Ito, and four added to them."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
"""One marker a series, so that curves can be told apart without their colours."""

DENSITY_STOPS = ("#ffffff", "#dbe9f5", "#a6cce6", "#5fa5d2", "#2474b5", "#0b4a8a", "#06285a")

HOUSE = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "mathtext.fontset": "dejavusans",
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.titlepad": 6.0,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "figure.dpi": 200.0,
    "savefig.dpi": "figure",
}

_DRAWING = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style; the settings of the user are neither read nor changed.

    matplotlib keeps its settings per process. So that two threads cannot leave each other's behind, one draws at a time.

    >>> import matplotlib
    >>> before = matplotlib.rcParams["font.size"]
    >>> with style():
    ...     inside = matplotlib.rcParams["font.size"]
    >>> inside, matplotlib.rcParams["font.size"] == before
    (9.0, True)
    """
    from matplotlib import style as settings

    with _DRAWING, settings.context(["default", HOUSE]):
        yield


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> "Figure":
    """A figure of ``width`` × ``height`` inches that no global state knows of; use it within `style`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def new_axes(ax: "Axes | None", width: float, height: float) -> "Axes":
    """``ax``, or the only axes of a new figure."""
    return new_figure(width, height).add_subplot() if ax is None else ax


def panels(ax: "Axes", count: int, gap: float = 0.04) -> "list[Axes]":
    """``count`` axes side by side in the place of ``ax``; they are its ``child_axes``."""
    ax.set_axis_off()
    width = (1.0 - gap * (count - 1)) / count
    inner = [ax.inset_axes((i * (width + gap), 0.0, width, 1.0)) for i in range(count)]
    for panel in inner:
        panel.set_anchor("N")  # next to the title of all, however flat the panels get
    return inner


def legend(ax: "Axes", *, own: bool, handles: "Sequence[Artist] | None" = None) -> None:
    """What the marks mean: to the right of axes of our ``own``, within those of the user, whose margins are not ours."""
    entries = ax.get_legend_handles_labels()[0] if handles is None else handles
    if own:
        ax.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2, handletextpad=0.4)
    else:
        ax.legend(
            handles=entries, loc="upper right", frameon=True, framealpha=0.8, edgecolor="none", facecolor=PAPER,
            handletextpad=0.4,
        )  # fmt: skip


def grid(ax: "Axes", axis: Literal["x", "y", "both"]) -> None:
    """Pale lines behind everything."""
    ax.grid(axis=axis, color=GRID, linewidth=0.7)
    ax.set_axisbelow(True)


def log_axis(ax: "Axes", which: Literal["x", "y"], low: float, high: float, ticks: Sequence[float] = ()) -> None:
    """A logarithmic axis over (low, high); within two decades it is marked at 1, 2, 5 or at the ``ticks``, in full."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    stretch = (high / low) ** 0.06 if high > low else 1.5
    (ax.set_xlim if which == "x" else ax.set_ylim)(low / stretch, high * stretch)
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    if 1 < len(ticks) <= 9:
        axis.set_major_locator(FixedLocator(list(ticks)))
    elif high < 100.0 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        return
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def root_figure(shown: "Axes | Figure") -> "Figure":
    """The figure that ``shown`` is, or stands in."""
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

    figure: object = shown
    while isinstance(figure, Artist) and not isinstance(figure, Figure):
        figure = figure.figure
    if not isinstance(figure, Figure):
        raise TypeError(f"expected axes or a figure of matplotlib, got {type(shown).__name__}")
    return figure


def colours(count: int) -> list[str]:
    """``count`` colours of the palette, which begins anew after ten."""
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def density_map(stops: int = len(DENSITY_STOPS)) -> "Colormap":
    """White to dark blue, of falling lightness: the more ink, the more probability. Fewer ``stops`` stay lighter."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("pathline-density", DENSITY_STOPS[:stops])


def plain(text: object) -> str:
    """``text`` for a label, where a dollar sign is a dollar sign and not the beginning of a formula."""
    return str(text).replace("$", r"\$")
