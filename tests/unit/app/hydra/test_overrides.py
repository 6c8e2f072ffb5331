"""Any text between quotes is one value to Hydra, and the same one."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from alm_lightning.app.hydra.overrides import quoted


@pytest.mark.parametrize(
    "text",
    [
        "it's, a=sweep",
        "{x: [1]}",
        "two words",
        "",
        "ends with \\",
        "two \\\\",
        "a\\'b",
        "a\\\\'b\\n",
        "'",
    ],
)
def test_a_text_is_one_value_to_hydra(text):
    (override,) = OverridesParser.create().parse_overrides([f"x={quoted(text)}"])
    assert str(override.value()) == text
    assert not override.is_sweep_override()
