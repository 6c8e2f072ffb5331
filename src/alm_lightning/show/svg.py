"""From a matplotlib figure to inline SVG in the colours of the page.

A page's Content-Security-Policy allows no style attributes, and ids must not repeat from chart to
chart: styles become attributes, references become copies, and colours become CSS variables, so that
charts follow the colour scheme of the reader.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    import matplotlib.figure

COLOR = {
    name: f"#{number:06x}"
    for number, name in enumerate(
        ("ink", "soft", "rule", "paper", *(f"k{series}" for series in range(6))), 1
    )
}
"""Colours to draw with, by the CSS variable that takes their place."""
FONT_SIZE = 12
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "alm",
    "text.parse_math": False,
    "path.simplify": False,
    "font.family": ["DejaVu Sans"],
    "font.size": FONT_SIZE,
    "text.color": COLOR["soft"],
}
VARIABLES = {color: f"var(--{name})" for name, color in COLOR.items()}
KINDS = {"band", "bar", "line", "reference", "title"}
"""The gids that are kept, as classes."""
LEFT_OUT = {"metadata", "defs"}
DROPPED = {"id", "style", "clip-path", "font-size", "font-family"}
LONG = re.compile(r"-?\d+\.\d{3,}")
SVG, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"


@contextmanager
def sheet(width: float, height: float) -> Iterator["matplotlib.figure.Figure"]:
    """An empty figure; what is drawn and rendered within has the settings of this project.

    Args:
        width: In pixels of the page, as all lengths.
        height: In pixels.

    Yields:
        The figure, with 72 pixels an inch, so that points are pixels.
    """
    # matplotlib takes most of a second to import: only where a chart is drawn
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(SETTINGS), warnings.catch_warnings():
        # the browser has fonts for the letters that matplotlib's own font lacks
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield Figure(figsize=(width / 72, height / 72), dpi=72)


def render(
    figure: "matplotlib.figure.Figure", *, label: str, titles: Mapping[str, str] | None = None
) -> ET.Element:
    """The drawing as an element of a page.

    Args:
        figure: From `sheet`, inside its `with`.
        label: What the chart shows, for readers who hear the page.
        titles: Tooltips, by the gid of an artist.

    Returns:
        An SVG element without ids, references, scripts and style attributes.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = ET.fromstring(buffer.getvalue())
    shapes = {f"#{node.get('id')}": node for node in drawn.iter() if "d" in node.attrib}
    root = ET.Element("svg", {"class": "chart", "viewBox": drawn.get("viewBox", ""), "role": "img"})
    root.set("aria-label", label)
    for node in drawn:
        root.extend(_plain(node, shapes, titles or {}))
    return root


def _plain(
    node: ET.Element, shapes: Mapping[str, ET.Element], titles: Mapping[str, str]
) -> Iterator[ET.Element]:
    name = node.tag.removeprefix(SVG)
    if name in LEFT_OUT:
        return
    style = _style(node)
    given = {key: value for key, value in node.attrib.items() if key not in DROPPED}
    if name == "use":
        shape = shapes[given[HREF]]
        # what a shape says of itself overrides what its user says
        style |= _style(shape)
        at = f"translate({given['x']} {given['y']})"
        name, given = "path", {"d": shape.get("d", ""), "transform": at}
    if "d" in given:
        if style == {"fill": "none"}:
            return
        given["d"] = " ".join(given["d"].split())
    given = {
        key: LONG.sub(lambda found: f"{float(found[0]):.2f}", text) for key, text in given.items()
    }
    if given.get("transform", "").startswith("rotate(-0 "):
        del given["transform"]
    plain = ET.Element(name, given | style)
    gid = node.get("id", "")
    if gid in KINDS:
        plain.set("class", gid)
    elif gid in titles:
        ET.SubElement(plain, "title").text = titles[gid]
    if name == "text":
        plain.text = node.text
    for child in node:
        plain.extend(_plain(child, shapes, titles))
    if name == "g" and gid not in KINDS and gid not in titles:
        yield from plain
    else:
        yield plain


def _style(node: ET.Element) -> dict[str, str]:
    pairs = (part.split(": ", 1) for part in node.get("style", "").split("; ") if part)
    return {key: VARIABLES.get(value, value) for key, value in pairs if key not in DROPPED}


def document(element: ET.Element) -> str:
    """A drawing from `render` as an SVG document that needs no other file."""
    palette = files("alm_lightning.show").joinpath("templates", "palette.css").read_text("utf-8")
    _, _, width, height = element.get("viewBox", "0 0 0 0").split()
    root = ET.Element(
        "svg", element.attrib | {"xmlns": SVG[1:-1], "width": width, "height": height}
    )
    font = '.chart{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}'
    ET.SubElement(root, "style").text = palette + font
    ET.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "var(--paper)"})
    root.extend(element)
    return ET.tostring(root, "unicode") + "\n"
