"""Tables as plain records: templates/blocks.html.j2 draws them on pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: What it shows.
        cells: Its values as text; None where there is none.
        unit: Of the values, written small behind the label.
    """

    label: str
    cells: Sequence[str | None]
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        rows: By the heading of a group of rows; an empty heading is not written.
        columns: Headings of the columns; none for no row of headings.
        form: What becomes of it on a narrow page: ``headline`` has a line of labels over each row,
            ``stack`` a line for each cell, ``facts`` a value below its name; ``runs`` is moved.
        caption: What it shows; may be empty.
    """

    kind: ClassVar = "table"
    rows: Mapping[str, Sequence[Row]]
    columns: Sequence[str] = ()
    form: Literal["headline", "stack", "facts", "runs"] = "stack"
    caption: str = ""


def facts(values: Mapping[str, object], caption: str) -> Table:
    """A table of names and values."""
    rows = [Row(str(name), [str(value)]) for name, value in values.items()]
    return Table({"": rows}, form="facts", caption=caption)
