"""What a store says of itself, in a file that a person can read."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from alm_lightning.data.arrow_files import unfinished
from alm_lightning.scores.kinds import Kinds

FORMAT = 1
"""To be raised with every change of what is in a store."""
MANIFEST, PLAN, TOKENIZER = "store.json", "plan.json", "tokenizer"
"""Names in a store's folder: what it holds, once it is whole; what it is to hold; the teacher's
tokenizer."""
NAMED = "ChatTemplate("
"""Begins what earlier versions wrote in place of the text of a chat template."""


@dataclass(frozen=True, kw_only=True)
class ScorePlan:
    """All that decides what the scores of a corpus are.

    Attributes:
        teacher: The teacher's name.
        licence: Its licence, in a few words.
        weights: Hash of its weights, or how a server calls them.
        tokenizer: Fingerprint of its tokenizer.
        num_tokens: Ids of its tokenizer.
        hidden_size: Channels of its last hidden states; 0 where they are not known.
        precision: What it computed in.
        template: Its chat template, as settings and text.
        cut_bytes: Bytes of a piece of text at most; None where texts are not cut.
        length: Tokens of a sequence at most, start and end tokens included.
        kinds: What there is of each token.
        corpus: Names of the corpora.
        documents: Number of documents.
        texts: Hash of their texts.
        format: Of the files.
    """

    teacher: str
    licence: str
    weights: str
    tokenizer: str
    num_tokens: int
    hidden_size: int
    precision: str
    template: Mapping[str, Any]
    cut_bytes: int | None
    length: int
    kinds: Kinds
    corpus: Sequence[str]
    documents: int
    texts: str
    format: int = FORMAT

    @property
    def identity(self) -> str:
        """Tells stores apart."""
        text = json.dumps(asdict(self), sort_keys=True)
        return blake2b(text.encode("utf-8"), digest_size=16).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A whole store.

    Attributes:
        plan: What was scored, and how.
        shards: Names of the files, and the size in bytes and the hash of each.
        sequences: Number of sequences.
        tokens: Tokens of them.
        text_bytes: Bytes of text that they stand for.
        bad: Documents that were left out, by kind.
        versions: Of the packages that wrote it.
    """

    plan: ScorePlan
    shards: Mapping[str, Sequence[Any]]
    sequences: int
    tokens: int
    text_bytes: int
    bad: Mapping[str, int]
    versions: Mapping[str, str]


def write_json(path: Path, record: ScorePlan | Manifest) -> None:
    """Writes a record; whole or not at all.

    Args:
        path: The file.
        record: A plan or a manifest.
    """
    partial = unfinished(path)
    partial.write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")
    partial.replace(path)


def read_plan(path: Path) -> ScorePlan:
    """The plan of a store that is whole or not.

    Args:
        path: The file.

    Returns:
        The plan.

    Raises:
        ValueError: It is damaged, or of another version of this project.
    """
    return _plan(read_json(path), path)


def read_manifest(folder: Path) -> Manifest:
    """What a store holds.

    Args:
        folder: The store's.

    Returns:
        The manifest.

    Raises:
        FileNotFoundError: There is no store, or one that is not whole yet.
        ValueError: It is damaged, or of another version of this project.
    """
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / PLAN).is_file():
            raise FileNotFoundError(
                f"the store of scores {folder} is not whole: the same command that began it goes "
                "on with it, python -m alm_lightning.score scores.path=... with equal settings."
            )
        raise FileNotFoundError(
            f"there is no store of scores in {folder}: it would have a file {MANIFEST}. Make one "
            "with python -m alm_lightning.score scores.path=..., or correct teacher.scores.path."
        )
    values = read_json(path)
    try:
        return Manifest(**values | {"plan": _plan(values["plan"], path)})
    except (KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """A mapping from a file; a ValueError where it is damaged."""
    try:
        values = json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict):
        raise _damaged(path, "no mapping")
    return values


def _plan(values: Mapping[str, Any], path: Path) -> ScorePlan:
    try:
        if values["format"] != FORMAT:
            raise ValueError(
                f"{path} is of format {values['format']}, and this version reads format {FORMAT}. "
                "Score the corpus again, into another scores.path."
            )
        kinds = Kinds(**values["kinds"] | {"kinds": tuple(values["kinds"]["kinds"])})
        return ScorePlan(**dict(values) | {"kinds": kinds, "corpus": tuple(values["corpus"])})
    except (KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> ValueError:
    return ValueError(
        f"{path} can't be read ({reason}). Restore it from a copy, or score the corpus again."
    )


def differences(found: ScorePlan, asked: ScorePlan) -> list[str]:
    """In what two plans are known to differ, in words.

    Args:
        found: What a store has.
        asked: What is asked of it.

    Returns:
        One line for each difference.
    """
    theirs, ours = asdict(found), asdict(asked)
    if _names_template(found) and asked.template:
        theirs["template"] |= {"template": asked.template["template"]}
    apart = [key for key in ours if theirs[key] != ours[key]]
    return [f"{key}: {theirs[key]!r:.200}, not {ours[key]!r:.200}" for key in apart]


def _names_template(plan: ScorePlan) -> bool:
    """Whether a store of an earlier version has the name of its chat template, not the text."""
    return str(plan.template.get("template", "")).startswith(NAMED)
