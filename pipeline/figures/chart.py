"""A chart with the numbers that it shows: its style, and how it becomes inline SVG or files."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from ...features.csv_text import to_csv
from ...features.messages import SHORT, notify, printable
from ...features.messages import short as short
from ...features.store.durable import make_folder, write_atomic

COLOURS = ("#3b82c4", "#d5662a", "#2a9d74", "#9a6fc0", "#c9931a", "#cc5f8f", "#4a9fb5", "#8a8f98")
TEXT, GRID = "#24292e", "#b3b9c0"  # replaced in a page by its own colours, light or dark
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.45,
    "grid.linewidth": 0.6,
    "grid.color": GRID,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "text.parse_math": False,  # a label with dollar signs is no formula
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",  # the page's own shows through
    "axes.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), TEXT),
}
CHINESE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti SC", "Microsoft YaHei", "SimHei", "Noto Sans CJK JP"),
    *("Droid Sans Fallback", "Arial Unicode MS"),
)
FORMATS = ("png", "svg", "pdf")
WIDTH, HEIGHT = 4.8, 3.2  # inches
INSIDE, LINE = 6, 0.19  # labels that fit inside the axes; inches of a line of a legend
DPI = 300

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells when it builds its list of fonts


@dataclass(frozen=True)
class Chart:
    """A figure, the name of its files, its title and explanation, and the table of the numbers in it.

    A `wide` one takes the whole width of a page.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    wide: bool = False

    def to_svg(self) -> str:
        """An SVG element for a page, whose text and grid take the page's colours."""
        with styled({"svg.fonttype": "none", "svg.hashsalt": self.name}), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the browser has fonts of its own
            file = io.BytesIO()
            FigureCanvasSVG(self.figure).print_svg(file, metadata={"Date": None})  # type: ignore[no-untyped-call]
        text = file.getvalue().decode()
        text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
        used = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', text))

        def for_page(tag: re.Match[str]) -> str:
            own = re.sub(r' id="([^"]*)"', lambda found: found.group() if found.group(1) in used else "", tag.group())
            return own.replace(TEXT, "currentColor").replace(GRID, "var(--grid)")

        text = re.sub("<[^>]*>", for_page, text)  # texts between the tags stay
        return text.replace("<svg ", f'<svg role="img" aria-label="{escape(printable(self.title))}" ', 1)

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.png, .svg, .pdf and .csv to a folder; say once which characters no installed font has."""
        make_folder(folder)
        content = {"csv": to_csv(self.header, self.rows).encode()}
        with styled({"pdf.fonttype": 42, "svg.hashsalt": self.name}), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            content |= {kind: self._render(kind) for kind in FORMATS}
        if any("missing from" in str(one.message) for one in caught):
            notify(
                "figures: no installed font has some characters of the labels, drawn as boxes; install one, as "
                "`apt-get install fonts-noto-cjk`, or give --language en where the labels are plain"
            )
        paths = {folder / f"{self.name}.{kind}": data for kind, data in content.items()}
        for path, data in paths.items():
            write_atomic(path, data)
        return list(paths)

    def _render(self, kind: str) -> bytes:
        file = io.BytesIO()
        undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        self.figure.savefig(file, format=kind, dpi=DPI, facecolor="white", metadata=undated)
        return file.getvalue()


@contextmanager
def styled(more: Mapping[str, Any] = {}) -> Iterator[None]:
    """Draw in the style of charts inside the block."""
    settings: Any = {**STYLE, "font.family": _fonts(), **more}
    with matplotlib.rc_context(settings):
        yield


@cache
def _fonts() -> list[str]:
    """DejaVu Sans, which comes with matplotlib, then a Chinese font where one is installed."""
    known = font_manager.fontManager
    if not {*CHINESE_FONTS} & {font.name for font in known.ttflist}:  # its list is older than a font just installed
        for path in {*font_manager.findSystemFonts()} - {font.fname for font in known.ttflist}:
            with suppress(OSError, RuntimeError):  # a file that is no font
                known.addfont(path)
    installed = {font.name for font in known.ttflist}
    return ["DejaVu Sans", *[name for name in CHINESE_FONTS if name in installed][:1]]


@contextmanager
def drawing(width: float = WIDTH, height: float = HEIGHT) -> Iterator[tuple[Figure, Axes]]:
    """A new figure (inches) and its axes, with the style of charts inside the block."""
    with styled():
        figure = Figure(figsize=(width, height))
        yield figure, figure.add_subplot()


def legend(axes: Axes, handles: Sequence[Any], labels: Sequence[str], *, columns: int = 0) -> None:
    """A legend of any labels, in columns under the axes, or inside them with 0 and few labels.

    Texts are set afterwards, since matplotlib leaves out labels that begin with an underscore. Many labels make the
    figure higher.
    """
    numbers = [str(number) for number in range(len(labels))]
    if columns or len(labels) > INSIDE:
        columns = columns or 2
        figure = axes.get_figure(root=True)
        assert figure
        more = max(0, -(-len(labels) // columns) - INSIDE // 2) * LINE
        if inside := axes.get_legend():  # scikit-learn's
            inside.remove()
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + more)
        shown = figure.legend(handles, numbers, loc="outside lower center", ncols=columns, fontsize=8)
    else:
        shown = axes.legend(handles, numbers, fontsize=8)
    for text, label in zip(shown.get_texts(), labels, strict=True):
        text.set_text(short(label, 2 * SHORT))


def colours(count: int) -> list[Any]:
    """As many colours: those of the palette, or steps of a colour map where they do not suffice."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [matplotlib.colormaps["turbo"](number / (count - 1)) for number in range(count)]
