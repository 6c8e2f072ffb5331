"""Self-contained HTML pages: no network, no scripts of others, everything escaped.

A page is a row of sections, and a section a row of blocks; templates/blocks.html.j2 draws them.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import ClassVar, TypeAlias
from xml.etree import ElementTree as ET

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from alm_lightning.show.chunks import SHADES, ScoredDocument, bounds
from alm_lightning.show.dots import mark
from alm_lightning.show.numbers import NONE
from alm_lightning.show.tables import Table

TEMPLATES = files("alm_lightning.show").joinpath("templates")


@dataclass(frozen=True)
class Text:
    """A paragraph; `signs` are bold, each with its meaning."""

    kind: ClassVar = "text"
    text: str
    signs: Mapping[str, str] | None = None
    end: str = ""


@dataclass(frozen=True)
class Missing:
    """What is not there, and the command that makes it."""

    kind: ClassVar = "missing"
    text: str
    command: str


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawing with its caption.

    Attributes:
        title: What it shows; empty for no caption.
        svg: The drawing.
        ends: Behind the title: texts, each with the number of the colour it belongs to, or None.
    """

    title: str
    svg: ET.Element
    ends: Sequence[tuple[str, int | None]] = ()


@dataclass(frozen=True)
class Charts:
    """Drawings side by side, or as wide as the page (`is_whole`).

    `series` are numbers of marks by name, for a legend.
    """

    kind: ClassVar = "charts"
    charts: Sequence[Chart]
    series: Mapping[str, int] | None = None
    is_whole: bool = False


@dataclass(frozen=True)
class ShadeLegend:
    """What the colours of a `ScoredDocument` mean."""

    kind: ClassVar = "shades"


@dataclass(frozen=True)
class Quotes:
    """Texts to read, by what they are; `above` takes the whole width."""

    kind: ClassVar = "quotes"
    texts: Mapping[str, str]
    above: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Preformatted:
    """Text as it is, such as a configuration."""

    kind: ClassVar = "pre"
    text: str


@dataclass(frozen=True)
class Details:
    """Blocks that a click opens."""

    kind: ClassVar = "details"
    summary: str
    blocks: Sequence["Block"]
    note: str = ""
    is_open: bool = False


Block: TypeAlias = (
    Text
    | Missing
    | Heading
    | Charts
    | Table
    | ShadeLegend
    | ScoredDocument
    | Quotes
    | Preformatted
    | Details
)


@dataclass(frozen=True)
class Section:
    """A part of a page that its index leads to."""

    anchor: str
    heading: str
    blocks: Sequence[Block]


def render_page(name: str, **values: object) -> str:
    """Fills the template of a page.

    Args:
        name: Of the template; ``NAME.css`` is the style of the page, ``NAME.js`` its script.
        **values: What the template uses.

    Returns:
        HTML. The browser may load nothing but what is in it.
    """
    style = "".join(_read(file) for file in ("palette.css", "base.css", f"{name}.css"))
    script = _read(f"{name}.js") if TEMPLATES.joinpath(f"{name}.js").is_file() else ""
    return (
        _environment()
        .get_template(f"{name}.html.j2")
        .render(
            # the page's own: not to be escaped
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            **values,
        )
    )


def breakable(name: str) -> Markup:
    """A name with underscores or slashes, escaped; lines may end after each of them."""
    escaped = str(escape(name))
    return Markup(escaped.replace("_", "_<wbr>").replace("/", "/<wbr>"))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("alm_lightning.show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "breakable": breakable,
        # escaped by ElementTree
        "svg": lambda element: Markup(ET.tostring(element, "unicode")),
    }
    environment.globals |= {
        "NONE": NONE,
        "SHADES": SHADES,
        "bounds": bounds,
        "mark": mark,
    }
    return environment


def _read(name: str) -> str:
    return TEMPLATES.joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
