"""Where the vocabularies of two models differ, in words."""

from collections.abc import Iterable

from alm_lightning.export.gguf.vocabulary import EngineVocabulary

# common/speculative.cpp of llama.cpp
MAX_SIZE_DIFFERENCE = 128
FIRST_COMPARED = 5
SHOWN = 3
"""Ids that a sentence shows."""


def conversion_errors(written: EngineVocabulary, folder: EngineVocabulary) -> list[str]:
    """What a converted file has otherwise than the folder that it was made of.

    Args:
        written: Of the GGUF file.
        folder: Of the folder.

    Returns:
        A sentence for each difference; none where the conversion is right.
    """
    found = []
    if written.rows != folder.rows:
        found.append(
            f"the embedding matrix has {written.rows:,} rows, and config.json of the folder says "
            f"{folder.rows:,}"
        )
    if len(written.tokens) != len(folder.tokens):
        found.append(
            f"the file has {len(written.tokens):,} tokens and the folder {len(folder.tokens):,}, "
            "rows of padding included"
        )
    sides = ("file", "folder")
    found += _token_differences(written, folder, sides, start=0)
    found += _role_differences(written, folder, sides, ("bos", "eos", "pad"))
    if more := sorted(written.stop_ids - folder.stop_ids):
        found.append(
            f"generation stops at {more} by the file, and at {sorted(folder.stop_ids)} by the "
            "folder's generation_config.json and tokenizer"
        )
    for name in ("bos", "eos"):
        ours, theirs = (getattr(each, f"adds_{name}") for each in (written, folder))
        if ours != theirs:
            found.append(f"add_{name}_token is {ours} in the file and {theirs} in the folder")
    return found


def conversion_warnings(written: EngineVocabulary, folder: EngineVocabulary) -> list[str]:
    """What a conversion may have lost, which llama.cpp may make up for.

    It knows the usual ends of a turn by their names, whatever the file says.

    Args:
        written: Of the GGUF file.
        folder: Of the folder.

    Returns:
        A sentence for each difference.
    """
    lost = sorted(folder.stop_ids - written.stop_ids)
    if not lost:
        return []
    names = ", ".join(f"{index} ({folder.tokens[index]})" for index in lost)
    return [
        f"generation stops at {names} by the folder, of which the file says nothing: see that "
        "llama.cpp ends there, which knows the usual ends of a turn by their names"
    ]


def draft_errors(draft: EngineVocabulary, target: EngineVocabulary) -> list[str]:
    """Why llama.cpp would refuse a draft: its own rules.

    Args:
        draft: Of the model that drafts.
        target: Of the model that it drafts for.

    Returns:
        A sentence for each difference; none where the draft is taken.
    """
    found = []
    if None not in (draft.kind, target.kind) and draft.kind != target.kind:
        found.append(f"the draft's vocabulary is of type {draft.kind}, the target's {target.kind}")
    for name in ("bos", "eos"):
        ours, theirs = (getattr(each, f"adds_{name}") for each in (draft, target))
        if ours != theirs:
            found.append(f"add_{name}_token is {ours} in the draft and {theirs} in the target")
        elif ours and draft.added(name) != target.added(name):
            found.append(
                f"{name}, which texts get, is {draft.added(name)} in the draft and "
                f"{target.added(name)} in the target"
            )
    ours, theirs = len(draft.tokens), len(target.tokens)
    if abs(ours - theirs) > MAX_SIZE_DIFFERENCE:
        found.append(
            f"the draft has {ours:,} tokens and the target {theirs:,}: they may differ by "
            f"{MAX_SIZE_DIFFERENCE} at most"
        )
    return found + _token_differences(draft, target, ("draft", "target"), start=FIRST_COMPARED)


def draft_warnings(draft: EngineVocabulary, target: EngineVocabulary) -> list[str]:
    """What llama.cpp lets pass between a draft and its target, and others may not.

    Args:
        draft: Of the model that drafts.
        target: Of the model that it drafts for.

    Returns:
        A sentence for each difference.
    """
    found = []
    if draft.rows != target.rows:
        found.append(
            f"the draft has {draft.rows:,} rows and the target {target.rows:,}: vLLM and "
            "transformers ask for equal numbers"
        )
    both = [role for role in draft.roles if role in target.roles]
    return found + _role_differences(draft, target, ("draft", "target"), both)


def _token_differences(
    one: EngineVocabulary, other: EngineVocabulary, sides: tuple[str, str], *, start: int
) -> list[str]:
    exact = one.kind is not None and other.kind is not None
    differing = [
        (index, ours, theirs)
        for index, (ours, theirs) in enumerate(zip(one.tokens, other.tokens, strict=False))
        if index >= start and ours != theirs and (exact or not _is_respelled(ours, theirs))
    ]
    if not differing:
        return []
    shown = "; ".join(
        f"id {index} is {ours!r} in the {sides[0]} and {theirs!r} in the {sides[1]}"
        for index, ours, theirs in differing[:SHOWN]
    )
    more = "; ..." if differing[SHOWN:] else ""
    return [f"{len(differing):,} ids stand for other tokens ({shown}{more})"]


def _is_respelled(ours: str, theirs: str) -> bool:
    """Whether the converter makes one of the other: it writes spaces in what users defined."""
    return ours.replace("\u2581", " ") == theirs.replace("\u2581", " ")


def _role_differences(
    one: EngineVocabulary, other: EngineVocabulary, sides: tuple[str, str], roles: Iterable[str]
) -> list[str]:
    pairs = ((role, one.roles.get(role), other.roles.get(role)) for role in roles)
    return [
        f"{role} is {ours} in the {sides[0]} and {theirs} in the {sides[1]}"
        for role, ours, theirs in pairs
        if ours != theirs
    ]
