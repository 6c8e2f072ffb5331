"""Functions and classes that docs/papers.md names are there."""

import importlib
import re

import pytest
from tests.config.documented import read
from tests.runs import REPOSITORY

PROJECT = "alm_lightning"
PACKAGES = {path.parent.name for path in (REPOSITORY / "src" / PROJECT).glob("*/__init__.py")}
NAMES = sorted(
    name
    for name in set(
        re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", read(REPOSITORY / "docs/papers.md"))
    )
    if name.partition(".")[0] in PACKAGES and "=" not in name
)


def test_there_are_names():
    assert len(NAMES) >= 20


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there(name):
    parts = f"{PROJECT}.{name}".split(".")
    for length in range(len(parts), 1, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        break
    for attribute in parts[length:]:
        # fields of a record have no default
        fields = getattr(found, "__dataclass_fields__", {})
        found = fields[attribute] if attribute in fields else getattr(found, attribute)
