"""Whether a model can draft for another one: the same ids, the same rows."""

from alm_lightning.counterparts import is_same_vocabulary, token_texts
from alm_lightning.evaluation.ensemble.members import stands_for
from alm_lightning.evaluation.evaluated_model import EvaluatedModel

REMEDY = (
    "Move the draft to the target's tokenizer, as experiment=smollm2_draft_for_qwen does "
    "(tokenizer=teacher embeddings=fvt, with the target as teacher; docs/guides/drafts.md), or "
    "measure it as it is with harness.draft.across=[universal,intersection]."
)
"""What to do with a draft of another vocabulary."""
ROWS_REMEDY = (
    "Engines of speculative decoding take such models for ones of different vocabularies. Move the "
    "draft to the target's tokenizer with the target itself as the teacher, not a store of its "
    "scores, and the export has as many rows; or give it as many (resize_token_embeddings of "
    "transformers); or measure it as it is with harness.draft.across=[universal,intersection]."
)
"""What to do with a draft of other padding."""
SHOWN = 3
"""Ids that an error shows."""


def vocabulary_difference(draft: EvaluatedModel, target: EvaluatedModel) -> str | None:
    """What two vocabularies do not share, in words: size, ids in their order, special tokens.

    Normalisers and merges may differ, since the target's tokenizer alone cuts prompts.

    Args:
        draft: The model that drafts.
        target: The model that it drafts for.

    Returns:
        The number of ids that differ with the first of them; None where no id does.
    """
    ours, theirs = draft.view, target.view
    if is_same_vocabulary(ours, theirs):
        return None
    shorter = min(ours.num_tokens, theirs.num_tokens)
    pairs = enumerate(zip(token_texts(ours), token_texts(theirs), strict=False))
    others = [index for index, (one, other) in pairs if one != other]
    sizes = f"{draft.name} has {ours.num_tokens:,} tokens and {target.name} {theirs.num_tokens:,}"
    if not others:
        longer = max(ours, theirs, key=lambda view: view.num_tokens)
        return (
            f"{sizes}; the first {shorter:,} are the same, and id {shorter} stands for "
            f"{stands_for(longer, shorter)} in the longer one alone"
        )
    shown = "; ".join(
        f"id {index} is {stands_for(ours, index)} in {draft.name} and {stands_for(theirs, index)} "
        f"in {target.name}"
        for index in others[:SHOWN]
    )
    return f"{sizes}; {len(others):,} ids differ ({shown}{'; ...' if others[SHOWN:] else ''})"


def rows_difference(draft: EvaluatedModel, target: EvaluatedModel) -> str | None:
    """In words, how many rows a draft of the target's vocabulary has, where it has other padding.

    transformers, vLLM and others take such models for ones of different vocabularies.

    Args:
        draft: The model that drafts.
        target: The model that it drafts for.

    Returns:
        Both numbers; None where they are equal.
    """
    ours, theirs = (each.model.get_output_embeddings().weight.shape[0] for each in (draft, target))
    if ours == theirs:
        return None
    return (
        f"{draft.name} has {ours:,} rows of embeddings and {target.name} {theirs:,}, for the same "
        f"{target.view.num_tokens:,} tokens"
    )
