"""The reference of the configuration has every group, option, key and comment of conf/."""

import importlib.util

import pytest
import yaml
from tests.runs import REPOSITORY

CONF = REPOSITORY / "conf"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def generator():
    path = REPOSITORY / "docs" / "generate_configuration.py"
    spec = importlib.util.spec_from_file_location("generate_configuration", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generator):
    return generator.pages()


def leaves(value, path=""):
    """Dotted names of all values that are not mappings."""
    if not isinstance(value, dict) or not value:
        yield path
        return
    for key, inner in value.items():
        if key not in ("defaults", "_target_"):
            yield from leaves(inner, f"{path}.{key}" if path else key)


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_of_a_group_is_there(pages, group):
    text = "\n".join(pages.values())
    assert f"\n## {group}\n" in text
    for path in CONF.glob(f"{group}/**/*.yaml"):
        option = path.relative_to(CONF / group).with_suffix("").as_posix()
        start = text.index(f"{{ #{group}-{option.replace('/', '-')} }}")
        section = text[start : text.find("\n##", start)]
        for leaf in leaves(yaml.safe_load(path.read_text("utf-8")) or {}):
            last = leaf.rpartition(".")[2]
            assert not last or f"{last}` |" in section, f"{group}={option}: {leaf}"


def test_no_comment_is_lost(pages):
    said = "".join("\n".join(pages.values()).split()).replace("`", "").replace("\\", "")
    for path in [*CONF.glob("**/*.yaml")]:
        lines = path.read_text("utf-8").splitlines()
        if "defaults:" in lines and path.parent == CONF:
            # shown as it is written
            continue
        for line in lines:
            comment = line.partition(" # ")[2] if not line.startswith("#") else ""
            words = "".join(comment.split()).replace("<", "&lt;").replace("`", "")
            # a command stands apart from the remark on it
            assert ":" in words or words in said, f"{path}: {comment}"


def test_classes_are_shown_beside_their_block(pages):
    text = pages["configuration/objective.md"]
    assert '<autoref optional identifier="alm_lightning.objectives.alm.ALM">' in text
    assert "published default 100" in text


def test_the_table_of_packages_is_read_from_the_files(generator):
    assert generator.packages_of("alignment") == ["alm_lightning.alignment"]
    assert generator.packages_of("optimizer") == ["alm_lightning.training", "torch"]
    assert generator.packages_of("experiment") == []
