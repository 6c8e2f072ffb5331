"""The model card of an exported student: where it comes from, how it was made, what it scores."""

import json
from collections.abc import Mapping

Value = str | int | float | bool | None

USAGE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder{distrust})
model = AutoModelForCausalLM.from_pretrained(folder{trust})

inputs = tokenizer("The capital of France is", return_tensors="pt")
output = model.generate(**inputs, max_new_tokens={new_tokens})
print(tokenizer.decode(output[0], skip_special_tokens=True))
```
"""


def model_card(
    *,
    title: str,
    base_model: str,
    license_note: str,
    how_made: str,
    recipe: Mapping[str, Value],
    figures: Mapping[str, Value],
    is_byte_model: bool,
) -> str:
    """The text of an exported folder's README.md, with a YAML front matter that the hub reads.

    Recipe and figures are shown in the order given. A byte model brings its own code, which the
    reader has to allow.
    """
    tags = ["cross-tokenizer-distillation", "alm-lightning"] + ["byte-level"] * is_byte_model
    front = [
        "---",
        # JSON strings are YAML strings, whatever characters they hold
        f"base_model: {json.dumps(base_model, ensure_ascii=False)}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "license: other",
        "tags:",
        *(f"  - {tag}" for tag in tags),
        "---",
    ]
    usage = USAGE.format(
        trust=", trust_remote_code=True" if is_byte_model else "",
        # without this, AutoTokenizer reads the model's config first, and asks about its code
        distrust=", trust_remote_code=False" if is_byte_model else "",
        new_tokens=200 if is_byte_model else 50,
    )
    note = (
        "The model reads and writes bytes: ids 0 to 255 are bytes of UTF-8, special tokens follow. "
        "Its code is in this folder, so the model needs `trust_remote_code=True`; the tokenizer "
        "is a stock one.\n"
    )
    sections = [
        "\n".join(front) + "\n",
        f"# {title}\n\n{how_made.strip()}\n",
        f"## Usage\n\n{note + chr(10) if is_byte_model else ''}{usage}",
        f"## Figures\n\n{_table('figure', figures)}",
        f"## Recipe\n\n{_table('setting', recipe)}",
        f"## Licence\n\nThe weights derive from {base_model}. {license_note.strip()}\n",
    ]
    return "\n".join(sections)


def _table(heading: str, rows: Mapping[str, Value]) -> str:
    """A two-column table, or a sentence where there is nothing to show."""
    if not rows:
        return "None recorded.\n"
    lines = [f"| {heading} | value |", "|---|---|"]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(value: Value) -> str:
    """One line without a bar that would end the cell; floats to four significant digits."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
