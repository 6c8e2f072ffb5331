import ast
import re
from collections import defaultdict
from pathlib import Path

import alm_lightning
from alm_lightning import shapes

SOURCE = Path(alm_lightning.__file__).parent
ARRAYS = {"Bool", "Float", "Float32", "Int", "Int8", "Int32", "Int64", "Shaped", "UInt8", "UInt64"}


def axes_by_name():
    """The modules whose array annotations have an axis of that name."""
    found = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Subscript(
                    value=ast.Name(id=kind),
                    slice=ast.Tuple(elts=[_, ast.Constant(value=str(axes))]),
                ) if kind in ARRAYS:
                    for axis in re.findall(r"[a-z]\w*", axes):
                        found[axis.removesuffix("_plus_one")].add(path.relative_to(SOURCE))
    return found


def test_axis_names_that_modules_share_are_listed_and_listed_ones_are_used():
    listed = set(re.findall(r"``(\w+)``", shapes.__doc__)) - {"x", "x_plus_one"}
    listed = {name.removesuffix("_plus_one") for name in listed}
    found = axes_by_name()
    assert len(found) > 30
    assert {name for name, modules in found.items() if len(modules) > 1} - listed == set()
    assert listed - set(found) == set()
