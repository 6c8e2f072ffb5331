"""The reference of the configuration, made from `conf/` each time the site is built.

Run as a hook of MkDocs (`mkdocs.yml`), or by hand, to print the pages:

    python docs/generate_configuration.py
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
PROJECT = "alm_lightning"
THEMES = {
    "data": ("Data", ("corpus", "chat", "windows", "packing", "alignment")),
    "models": ("Models", ("model", "teacher", "tokenizer", "embeddings", "adapter")),
    "objective": ("Objective", ("objective", "balance")),
    "training": (
        "Training",
        (
            "budget",
            "optimizer",
            "schedule",
            "trainer",
            "speed",
            "callbacks",
            "logger",
            "paths",
            "hydra",
        ),
    ),
    "evaluation": ("Evaluation", ("harness",)),
    "experiments": ("Experiments and sweeps", ("experiment", "ablation", "sweep", "debug")),
}
"""Pages and their groups, in the order of the navigation. `groups_of` finds what is missing."""
NOTES = {
    "model": "Each of these is an option of `student` and of `teacher`, whose keys begin with that "
    "word: `student=hub student.source.hub_id=org/model`. `evaluate.py model=NAME` takes them too."
}
"""What the files of a group do not say."""


INTRODUCTION = """# Configuration

Every setting is a key of a file in `conf/`, composed by [Hydra](https://hydra.cc). These pages are
generated from those files. On the command line `group=option` selects a file, and `key=value`
changes a key:

```bash
python train.py objective=alm objective.alm.temperature=100 budget.steps=1000
python train.py --help       # all groups and their options
python train.py --cfg job    # the configuration that would run
```

A key that nothing reads is an error. **Required** keys have no default. `${...}` takes the value
of another key. A `_target_` is the class that is built of the other keys of its block; here it is
shown beside the block's own name.
"""


@dataclass(frozen=True)
class Key:
    """A key of a configuration file.

    Attributes:
        path: What the command line calls it.
        value: Its value, as written in the file.
        comment: The comments before it and beside it.
    """

    path: str
    value: str
    comment: str


@dataclass(frozen=True)
class Option:
    """A configuration file: what `group=name` selects.

    Attributes:
        name: Its name in the group.
        about: The comment at its top.
        package: Where its keys go: empty for the top of the configuration.
        extends: Its defaults list: what it builds on or selects, each with its comment.
        keys: Its keys, in order.
    """

    name: str
    about: str
    package: str
    extends: tuple[tuple[str, str], ...]
    keys: tuple[Key, ...]

    @property
    def targets(self) -> list[str]:
        """Dotted names of the classes and functions that it builds."""
        return [key.value for key in self.keys if key.path.split(".")[-1] == "_target_"]


def groups_of(theme: str) -> tuple[str, ...]:
    """Groups of a page; those that no page names go to the last one."""
    named = {group for _, groups in THEMES.values() for group in groups}
    there = sorted(path.name for path in CONF.iterdir() if path.is_dir())
    missing = [group for group in there if group not in named]
    here = [group for group in THEMES[theme][1] if group in there]
    return (*here, *(missing if theme == list(THEMES)[-1] else ()))


def options_of(group: str) -> list[Option]:
    """All options of a group; those of its subfolders are named by their path."""
    folder = CONF / group
    paths = sorted(folder.glob("**/*.yaml"), key=lambda path: (len(path.parts), path))
    return [
        read(path, group, path.relative_to(folder).with_suffix("").as_posix()) for path in paths
    ]


def read(path: Path, group: str, name: str) -> Option:
    """Reads one file, comments included."""
    text = path.read_text("utf-8")
    package = re.search(r"^# @package (\S+)$", text, re.MULTILINE)
    # a subfolder is a group within the group
    prefix = ".".join([group, *name.split("/")[:-1]]) if package is None else package[1]
    prefix = "" if prefix == "_global_" else prefix
    lines = text.splitlines()
    root = yaml.compose(text)
    content = [] if root is None else root.value
    first = content[0][0].start_mark.line if content else len(lines)
    top = [line.lstrip("#").strip() for line in lines[:first] if not line.startswith("# @")]
    extends, keys = (), []
    for key, value in content:
        if key.value == "defaults":
            beside = not value.flow_style
            extends = tuple(
                (_default(item, group), _beside(lines, item.start_mark.line) if beside else "")
                for item in value.value
            )
            if not top:
                top = _before(lines, key.start_mark.line)
        else:
            keys += _keys(lines, text, prefix, key, value)
    # what stands above the first key is about the whole file, and not said twice
    about = "\n".join(top)
    if keys and keys[0].comment.startswith(" ".join(top)) and top:
        rest = keys[0].comment[len(" ".join(top)) :].strip()
        keys[0] = Key(keys[0].path, keys[0].value, rest)
    keys = [key for key in keys if key.value or key.comment]
    return Option(name, about, prefix, extends, tuple(keys))


def _default(item: yaml.Node, group: str) -> str:
    """An entry of a defaults list as the command line would say it."""
    if isinstance(item, yaml.MappingNode):
        ((key, value),) = item.value
        chosen = key.value.removeprefix("override ").removeprefix("optional ")
        # what is named without a slash is within the group
        path = chosen if chosen.startswith("/") else f"{group}/{chosen}"
        return f"{path.lstrip('/').partition('@')[0]}={value.value}"
    return re.sub(r"^/(\w+)/(\w+)@.*", r"\1=\2", item.value)


def _keys(
    lines: list[str], text: str, prefix: str, key: yaml.Node, value: yaml.Node
) -> Iterator[Key]:
    path = f"{prefix}.{key.value}" if prefix else key.value
    line = key.start_mark.line
    is_block = isinstance(value, yaml.MappingNode) and not value.flow_style and value.value
    if isinstance(value, yaml.MappingNode) and value.value:
        comment = " ".join(_before(lines, line))
        if is_block and (beside := _beside(lines, line)):
            comment = f"{comment} {beside}".strip()
        if comment and is_block:
            yield Key(path, "", comment)
        for inner in value.value:
            yield from _keys(lines, text, path, *inner)
        return
    written = text[value.start_mark.index : value.end_mark.index].strip()
    if isinstance(value, yaml.SequenceNode) and not value.flow_style:
        # a comment after the last item belongs to what follows
        written = f"a list of {len(value.value)}"
    end = value.end_mark.line if isinstance(value, yaml.ScalarNode) else line
    if isinstance(value, yaml.ScalarNode) and value.style in ("|", ">"):
        written, end = f"a text of {len(value.value.splitlines())} lines", line
    comment = " ".join([*_before(lines, line), _beside(lines, max(line, end))]).strip()
    yield Key(path, written or "null", comment)


def _before(lines: list[str], line: int) -> list[str]:
    """Comments on lines of their own above a key, unless they continue the one before it."""
    found: list[str] = []
    while line and lines[line - 1].strip().startswith("#"):
        line -= 1
        found.insert(0, lines[line])
    column = _comment_column(lines[line - 1]) if line else None
    while found and column is not None and found[0].index("#") == column:
        found.pop(0)
    return [text.strip().lstrip("#").strip() for text in found if "# @" not in text]


def _beside(lines: list[str], line: int) -> str:
    """The comment on the line of a key, with its continuation on the next lines."""
    column = _comment_column(lines[line])
    if column is None:
        return ""
    found = [lines[line][column:]]
    for following in lines[line + 1 :]:
        if not following.strip().startswith("#") or following.index("#") != column:
            break
        found.append(following.strip())
    return " ".join(text.lstrip("#").strip() for text in found)


def _comment_column(line: str) -> int | None:
    """Where a comment beside a value begins."""
    match = re.match(r"""(?:[^'"#]|'[^']*'|"[^"]*"|(?<=\S)#)*?\S\s+(#)""", line)
    return None if match is None else match.start(1)


def packages_of(group: str) -> list[str]:
    """Packages of `src/` whose classes the files of a group build."""
    targets = [target for option in options_of(group) for target in option.targets]
    inner = [target.split(".")[1] for target in targets if target.startswith(f"{PROJECT}.")]
    outer = [target.split(".")[0] for target in targets if not target.startswith(f"{PROJECT}.")]
    return [f"{PROJECT}.{name}" for name in dict.fromkeys(inner)] + list(dict.fromkeys(outer))


def link(target: str) -> str:
    """A dotted name, linked to its documentation where there is one."""
    shown = target.removeprefix(f"{PROJECT}.")
    # a long name may be broken after a dot
    shown = shown.replace(".", ".<wbr>")
    return f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'


def cell(text: str) -> str:
    """Text within a table."""
    # what looks like a command or a key is code
    text = re.sub(r"(?<![\w`/=.\[])([a-z_@.]+=(?:\[[^\]]*\]|[^\s;,)]*[^\s;,):]))", r"`\1`", text)
    text = re.sub(r" {3,}", ": ", text)
    return text.replace("|", "\\|").replace("<", "&lt;")


def about(text: str) -> str:
    """The comment at the top of a file: commands as blocks, the rest as text."""
    parts: list[str] = []
    for line in text.split("\n"):
        command, _, remark = line.partition("   ")
        if command.startswith("python "):
            parts += [f"\n\n```bash\n{command}\n```\n\n", remark.strip()]
        else:
            parts.append(cell(line))
    return "\n".join(parts).strip()


def option_section(group: str, option: Option) -> str:
    """The section of one option."""
    folder, _, last = option.name.rpartition("/")
    shown = f"{group}/{folder}={last}" if folder else f"{group}={last}"
    parts = [f"### `{shown}` {{ #{group}-{option.name.replace('/', '-')} }}", about(option.about)]
    extends = [(name, comment) for name, comment in option.extends if name != "_self_"]
    if any(comment for _, comment in extends):
        items = [f"- `{name}` {cell(comment)}".strip() for name, comment in extends]
        parts.append("\n".join(["Builds on:", "", *items]))
    elif extends:
        parts.append(f"Builds on {', '.join(f'`{name}`' for name, _ in extends)}.")
    if option.keys:
        parts.append(key_table(option.keys))
    return "\n\n".join(part for part in parts if part)


def key_table(keys: tuple[Key, ...]) -> str:
    """A table of keys, values and comments."""
    rows = ["| key | value | meaning |", "|---|---|---|"]
    for key in keys:
        if key.path.split(".")[-1] == "_target_":
            owner = key.path.rpartition(".")[0]
            rows.append(f"| `{owner}` | {link(key.value)} | {cell(key.comment)} |")
        else:
            escaped = key.value.replace("|", "\\|").replace("\n", " ")
            value = {"": "", "???": "**required**"}.get(key.value, f"`{escaped}`")
            rows.append(f"| `{key.path}` | {value} | {cell(key.comment)} |")
    return "\n".join(rows)


def theme_page(theme: str) -> str:
    """The page of several groups."""
    parts = [f"# Configuration: {THEMES[theme][0].lower()}"]
    for group in groups_of(theme):
        options = options_of(group)
        named = ", ".join(f"[`{o.name}`](#{group}-{o.name.replace('/', '-')})" for o in options)
        parts += [f"## {group}", f"Options: {named}.", *filter(None, [NOTES.get(group)])]
        parts += [option_section(group, option) for option in options]
    return "\n\n".join(parts) + "\n"


def index_page() -> str:
    """How the configuration works, keys of the two programs, and the table of packages."""
    rows = ["| group | options | builds classes of |", "|---|---|---|"]
    for theme in THEMES:
        for group in groups_of(theme):
            options = options_of(group)
            named = ", ".join(f"`{option.name}`" for option in options if "/" not in option.name)
            rows.append(f"| [`{group}`]({theme}.md#{group}) | {named} | {_builds(group)} |")
    parts = [INTRODUCTION, "## Groups", "\n".join(rows)]
    for program in ("train", "evaluate"):
        path = CONF / f"{program}.yaml"
        selected = re.search(r"^defaults:\n(?: .*\n)+", path.read_text("utf-8"), re.MULTILINE)
        parts += [
            f"## {program}.py",
            key_table(read(path, "", program).keys),
            f"Selected by default:\n\n```yaml\n{selected[0]}```",
        ]
    return "\n\n".join(parts) + "\n"


def _builds(group: str) -> str:
    if found := ", ".join(f"`{name}`" for name in packages_of(group)):
        return found
    if any(name.startswith("model=") for o in options_of(group) for name, _ in o.extends):
        return "those of `model`"
    return "none: values, or a choice of options of other groups"


def pages() -> dict[str, str]:
    """All pages, by their path in the site."""
    made = {f"configuration/{theme}.md": theme_page(theme) for theme in THEMES}
    return {"configuration/index.md": index_page(), **made}


if __name__ == "__main__":
    sys.stdout.write("\n".join(pages().values()))
