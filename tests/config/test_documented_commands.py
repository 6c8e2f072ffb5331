"""Every command that documents, comments and docstrings show would start."""

import ast
import importlib
import re

import pytest
from tests.config.command_checks import check
from tests.config.documented import (
    DOCUMENTS,
    DocumentError,
    in_comments,
    in_markdown,
    in_source,
    name_of,
    python_blocks,
    read,
    shown_in_source,
)
from tests.runs import REPOSITORY

# some hundred compositions
pytestmark = pytest.mark.slow

SOURCES = [
    *(REPOSITORY / name for name in ("train.py", "evaluate.py")),
    *sorted(REPOSITORY.glob("src/**/*.py")),
    *sorted(REPOSITORY.glob("benchmarks/*.py")),
]
SHOWN = re.compile(r"\bpython3? (?:train\.py|evaluate\.py|benchmarks/|-m )")
"""What commands of this project begin with, wherever they stand."""


def wrong(commands):
    """What is wrong with commands, each with its place."""
    found = []
    for command in commands:
        try:
            check(command.words, command.is_inline)
        # whatever a program would end with
        except (Exception, SystemExit) as error:
            message = str(error).strip() or type(error).__name__
            found.append(f"{command.place}: {command.said}\n    {message}")
    return "\n".join(dict.fromkeys(found))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_of_a_document(path):
    commands = in_markdown(name_of(path), read(path))
    shown = SHOWN.findall(read(path))
    said = {(c.place, c.said) for c in commands if SHOWN.match(c.said)}
    assert len(said) == len(shown), "a command stands outside of code, or was not understood"
    assert not (problems := wrong(commands)), problems


def test_there_are_commands_in_documents():
    counts = {name_of(path): len(SHOWN.findall(read(path))) for path in DOCUMENTS}
    assert counts["README.md"] >= 10
    guides = [count for name, count in counts.items() if name.startswith("docs/guides/")]
    assert sum(guides) >= 50
    in_results = [count for name, count in counts.items() if name.startswith("docs/results/")]
    assert sum(in_results) >= 20
    assert counts["docs/method.md"] == 0


def test_commands_in_comments_of_configurations():
    files = sorted((REPOSITORY / "conf").glob("**/*.yaml"))
    commands = [command for path in files for command in in_comments(name_of(path), read(path))]
    assert len(commands) == sum(len(SHOWN.findall(read(path))) for path in files) >= 20
    assert not (problems := wrong(commands)), problems


def test_commands_in_docstrings_and_messages():
    commands = []
    for path in SOURCES:
        found = in_source(name_of(path), read(path))
        # messages of errors have some as well
        shown = SHOWN.findall(shown_in_source(read(path)))
        assert len(found) >= len(shown), f"{name_of(path)}: a command was not understood"
        commands += found
    places = {command.place.partition(":")[0] for command in commands}
    benchmarks = {name_of(path) for path in REPOSITORY.glob("benchmarks/*.py")}
    # each says how it is called
    assert places >= {"train.py", "evaluate.py", *benchmarks}
    assert len(commands) >= 25
    assert not (problems := wrong(commands)), problems


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_python_of_a_document(path):
    for block in python_blocks(read(path)):
        tree = ast.parse(block)
        compile(tree, name_of(path), "exec")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_there_is_python_in_the_readme():
    assert len(python_blocks(read(REPOSITORY / "README.md"))) >= 2


def test_a_shell_block_is_read_as_a_shell_would():
    text = """
Say `python train.py --help`, or:

```bash
pip install -e '.[gemma]' && python train.py          # it's quick
models='model=[a,b]'
train="budget=laptop num_workers=2 ..."
OMP_NUM_THREADS=1 python evaluate.py $models 'prompt=a # $b' harness=generate \\
    harness.generate.chat=true
for objective in alm next_token; do for seed in 0 1 2; do
    python train.py objective=$objective "name=${objective} of $seed" $train
done; done
git show | python -m alm_lightning.inspect - --student <bytes> --teacher ...
python benchmarks/seeds.py [--blimp FILE] RUN [RUN ...]
```

The same on a GPU: `... trainer=gpu`.
"""
    found = in_markdown("made-up.md", text)
    assert [(command.place.partition(":")[2], *command.words[1:]) for command in found] == [
        ("2", "train.py", "--help"),
        ("5", "train.py"),
        (
            *("8", "evaluate.py", "model=[a,b]", "prompt=a # $b", "harness=generate"),
            "harness.generate.chat=true",
        ),
        *(
            (
                *("11", "train.py", f"objective={objective}", f"name={objective} of {seed}"),
                *("budget=laptop", "num_workers=2"),
            )
            for objective, seed in (("alm", 0), ("next_token", 1), ("alm", 2))
        ),
        ("13", "-m", "alm_lightning.inspect", "-", "--student", "bytes", "--teacher", "..."),
        ("14", "benchmarks/seeds.py", "--blimp", "FILE", "RUN", "RUN"),
        ("17", "benchmarks/seeds.py", "--blimp", "FILE", "RUN", "RUN", "trainer=gpu"),
    ]


def test_comments_and_docstrings_are_read():
    comments = (
        "# python train.py seed=1   of a run\n#   python evaluate.py model=a\nseed: 1   # python\n"
    )
    docstring = '"""A program.\n\n    python train.py seed=1\n\nOr `python train.py\nseed=2`."""\n'
    message = 'def call():\n    raise ValueError("Take `python train.py seed=3`.")\n'
    assert [command.words[1:] for command in in_comments("made-up.yaml", comments)] == [
        ("train.py", "seed=1"),
        ("evaluate.py", "model=a"),
    ]
    found = {command.words[1:] for command in in_source("made-up.py", docstring + message)}
    assert found == {("train.py", f"seed={seed}") for seed in (1, 2, 3)}
    assert len(SHOWN.findall(shown_in_source(docstring + message))) == 2


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("train.py budget.stepz=3", "Could not override 'budget.stepz'"),
        ("train.py budget=huge", "huge"),
        ("train.py experiment=gemma_to_gema", "Could not find 'experiment/gemma_to_gema'"),
        ("train.py --multirum seed=0,1", "unrecognized arguments: --multirum"),
        ("train.py corpus=jsonl", "Missing mandatory value"),
        ("train.py --multi seed=0,1 budget.stepz=3", "budget.stepz"),
        ("train.py seed=0,1", "seed=0,1"),
        ("train.py -m objective=alm,nope", "nope"),
        ("train.py sweep=ablation objective.alm.temprature=1", "temprature"),
        # Hydra's own parser takes settings on one side of an option alone
        ("train.py seed=1 -m budget.steps=1,2", "unrecognized arguments: budget.steps=1,2"),
        ("train.py sweep=bakeoff", "many runs"),
        ("train.py -m sweep=bakeoff seed=1", "can't pass seed=1 to its runs"),
        ("train.py -m sweep=bakeoff budget.stepz=3", "budget.stepz"),
        ("train.py tokenizer=smollm2", "embeddings=bytes makes embeddings of bytes"),
        ("train.py teacher=smollm2_135m adapter=lora", "adapter.share_body=true"),
        ("evaluate.py harness=run", "no model is named"),
        ("evaluate.py model=gemma3_270", "there is no such folder"),
        ("evaluate.py model=MODEL harness=blimp", "Missing mandatory value"),
        ("evaluate.py model=MODEL harness=generate", "neither of prompt"),
        ("evaluate.py model=ensemble model.members=[a]", "at least two models"),
        ("-m alm_lightning.inspect x --student bytes", "required: --teacher"),
        ("-m alm_lightning.bias --corpus x.txt --studnt bytes", "required: --student"),
        ("-m alm_lightning.nothing", "no check knows"),
        ("benchmarks/uld.py --wide 3", "unrecognized arguments: --wide 3"),
        ("benchmarks/step.py budget.stepz=3", "budget.stepz"),
        ("benchmarks/objectives.py --only nope", "--only nope: expected some of"),
        ("benchmarks/nothing.py", "no check knows"),
        ("nothing.py", "no check knows"),
    ],
)
def test_a_command_that_would_fail_is_found(command, error):
    for text in (f"```bash\npython {command}\n```", f"| a | `python {command}` |"):
        assert error in wrong(in_markdown("made-up.md", text))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```bash\npython train.py seed=$seed\n```", r"made-up.md:2: seed=\$seed has no value"),
        ("```bash\npythn train.py\n```", "'pythn' is no command"),
        ("```bash\npython train.py 'seed=1\n```", "no shell reads \"'seed=1"),
        ("```sh\npython train.py\n```", "a block of 'sh': expected one of bash"),
        ("Or `... seed=1`.", "has no command to go on with"),
    ],
)
def test_what_no_shell_would_run_is_found(text, error):
    with pytest.raises(DocumentError, match=error):
        in_markdown("made-up.md", text)
