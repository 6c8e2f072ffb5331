"""A model that drafts for a larger one in speculative decoding: `harness=draft`."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.sources.source import AnyDocument, Source
from alm_lightning.evaluation.drafts.figures import draft_figures
from alm_lightning.evaluation.drafts.overlap import overlap
from alm_lightning.evaluation.drafts.rounds import num_equal
from alm_lightning.evaluation.drafts.vocabulary import (
    REMEDY,
    ROWS_REMEDY,
    rows_difference,
    vocabulary_difference,
)
from alm_lightning.evaluation.drafts.ways import (
    ACROSS,
    ALONE,
    ASSISTED,
    PROMPT_LOOKUP,
    Writer,
    Written,
)
from alm_lightning.evaluation.ensemble import Ensemble
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.prompts import (
    Prompt,
    as_user,
    prompt_ids,
    read_prompts,
    unanswered,
)
from alm_lightning.evaluation.harness import Record, Result
from alm_lightning.evaluation.texts import digest, keyed_documents

log = logging.getLogger(__name__)

WARM_UP = 4
"""Tokens of a text that no time is taken of: a first one takes longer."""


class Draft:
    """Greedy answers of a target, written with a draft and without, and what that saves.

    Every text is written by transformers' own generation: by the target alone, with the evaluated
    model as its assistant, and, where asked, in other ways that need no new model.

    Args:
        load_target: Loads the target, when it is needed.
        target: What the target is called.
        source: Texts whose beginnings are prompts, or chats, whose last answers are left out.
        prompts: A file of prompts instead, one JSON object a line.
        chat: Whether a text is what a user says, and the target is to answer.
        prompt_bytes: How much of a text is the prompt, from its start, at most.
        max_prompts: How many prompts to take, from the front; None for all.
        max_new_tokens: The most tokens of an answer; 0: nothing is generated, and acceptance is
            estimated on the prompts themselves.
        draft_tokens: How many tokens are drafted in a round.
        across: Ways to measure a model of another vocabulary: ``universal``, ``intersection``.
        prompt_lookup: Whether drafts that are looked up in the prompt are measured as well.
    """

    def __init__(
        self,
        *,
        load_target: Callable[[], EvaluatedModel],
        target: str,
        source: Source,
        prompts: str | None,
        chat: bool,
        prompt_bytes: int,
        max_prompts: int | None,
        max_new_tokens: int,
        draft_tokens: int,
        across: Sequence[str],
        prompt_lookup: bool,
    ):
        self.load_target, self.source, self.path, self.chat = load_target, source, prompts, chat
        self.prompt_bytes, self.max_prompts = prompt_bytes, max_prompts
        self.max_new_tokens, self.draft_tokens = max_new_tokens, draft_tokens
        self.across, self.prompt_lookup = list(across), prompt_lookup
        self.prompts: dict[str, Prompt] = {}
        self._target: EvaluatedModel | None = None
        least = {
            "prompt_bytes": prompt_bytes,
            "draft_tokens": draft_tokens,
            "max_prompts": 1 if max_prompts is None else max_prompts,
        }
        for name, value in least.items():
            if value < 1:
                raise ValueError(f"{name} (harness.draft.{name}) is {value}: expected at least 1.")
        if max_new_tokens < 0:
            raise ValueError(
                f"max_new_tokens (harness.draft.max_new_tokens) is {max_new_tokens}: expected at "
                "least 1, or 0 for an estimate on the prompts alone."
            )
        if unknown := [way for way in self.across if way not in ACROSS]:
            raise ValueError(
                f"across (harness.draft.across) has {unknown}: expected {', '.join(ACROSS)}, or "
                "[] for drafts of the target's vocabulary alone."
            )

    def prepare(self) -> Sequence[str]:
        """Reads the prompts; a key is the place of a prompt and a hash of it."""
        if self.path is not None:
            found = read_prompts(Path(self.path).expanduser(), chat=self.chat)[: self.max_prompts]
        else:
            documents = keyed_documents(self.source, max_documents=self.max_prompts)
            found = [self._prompt(document) for document in documents.values()]
        self.prompts = {f"{n}:{digest(json.dumps(each))}": each for n, each in enumerate(found)}
        return list(self.prompts)

    def _prompt(self, document: AnyDocument) -> Prompt:
        if isinstance(document, Chat):
            return unanswered(document)
        # half a character at the cut is left out
        raw = document.text.encode("utf-8")[: self.prompt_bytes]
        text = raw.decode("utf-8", errors="ignore")
        return as_user(text) if self.chat else text

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Writes the answers of prompts one after another, each in every way.

        Args:
            evaluated: The model that drafts.
            keys: Of the prompts.

        Yields:
            Counts and seconds of each way, with the target's own answer.

        Raises:
            ValueError: The model can't draft for the target, or a prompt leaves no place for an
                answer.
        """
        if self._target is None:
            self._target = self.load_target()
        target = self._target
        ways = self._ways(evaluated, target)
        # all of them first, so that one that does not fit is refused before any is answered
        is_across = any(way in ACROSS for way in ways)
        ids = {key: self._ids(key, evaluated, target, is_across=is_across) for key in keys}
        if not self.max_new_tokens:
            for key in keys:
                sums = overlap(evaluated, target, ids[key], 1)
                yield key, {"prompt": self.prompts[key], "ways": {}, **sums}
            return
        writer = Writer(target, evaluated, self.draft_tokens)
        for way in (ALONE, *ways):
            writer.write(ids[keys[0]], min(WARM_UP, self.max_new_tokens), way)
        for key in keys:
            prompt = ids[key]
            alone = writer.write(prompt, self.max_new_tokens, ALONE)
            record: Record = {
                "prompt": self.prompts[key],
                "answer": _spelled(target, alone.ids),
                "tokens": len(alone.ids),
                "seconds": alone.seconds,
                "ways": {
                    way: _way_record(writer.write(prompt, self.max_new_tokens, way), alone)
                    for way in ways
                },
            }
            if ASSISTED in ways:
                record |= overlap(evaluated, target, [*prompt, *alone.ids], len(prompt))
            yield key, record

    def _ways(self, draft: EvaluatedModel, target: EvaluatedModel) -> list[str]:
        for each in (draft, target):
            if isinstance(each.model, Ensemble):
                raise ValueError(
                    f"{each.name} is an ensemble, which transformers' assisted generation does not "
                    "know. Give a single model."
                )
            if getattr(each.model, "_is_stateful", False):
                raise ValueError(
                    f"{each.name} is a {type(each.model).__name__}, whose state can't be taken "
                    "back when a draft is refused: transformers' assisted generation does not know "
                    "it. Give a model with attention."
                )
        difference = vocabulary_difference(draft, target)
        beside = [PROMPT_LOOKUP] if self.prompt_lookup else []
        remedy = REMEDY
        if difference is None:
            difference, remedy = rows_difference(draft, target), ROWS_REMEDY
        if difference is None:
            return [ASSISTED, *beside]
        if not self.across or not self.max_new_tokens:
            raise ValueError(
                f"{draft.name} can't draft for {target.name}, which has another vocabulary or "
                f"other rows: {difference}.\n{remedy}"
            )
        log.info("%s counts as one of another vocabulary: %s", draft.name, difference)
        return [*self.across, *beside]

    def _ids(
        self, key: str, draft: EvaluatedModel, target: EvaluatedModel, *, is_across: bool
    ) -> list[int]:
        name = f"prompt {key.partition(':')[0]}"
        ids = prompt_ids(target, self.prompts[key], name=name)
        lengths = {target: len(ids) + self.max_new_tokens, draft: len(ids) + self.max_new_tokens}
        if is_across:
            lengths[draft] = self._across_length(name, ids, draft, target)
        for each, length in lengths.items():
            if length > each.context_length:
                raise ValueError(
                    f"{name} and an answer of {self.max_new_tokens:,} tokens take {length:,} "
                    f"tokens, and {each.name} reads at most {each.context_length:,}. Lower "
                    "max_new_tokens (harness.draft.max_new_tokens) or prompt_bytes "
                    "(harness.draft.prompt_bytes), or leave out long prompts."
                )
        if len(ids) < 2 and not self.max_new_tokens:
            raise ValueError(
                f"{name} has no token to estimate acceptance on: leave it out, or take "
                "max_new_tokens (harness.draft.max_new_tokens) above 0."
            )
        return ids

    def _across_length(
        self, name: str, ids: Sequence[int], draft: EvaluatedModel, target: EvaluatedModel
    ) -> int:
        """Tokens of a prompt with its answer and a draft, as a draft of another vocabulary cuts it.

        The answer is taken to have as many of them for one of the target's as the prompt has.
        """
        # as transformers does
        text = target.view.hf.decode(ids, skip_special_tokens=True)
        theirs = len(draft.view.hf(text)["input_ids"])
        # a start token alone is not enough for all ways
        if not draft.view.hf(text, add_special_tokens=False)["input_ids"]:
            raise ValueError(
                f"{name} has no text, of which {draft.name} could draft a continuation in its own "
                "tokens (harness.draft.across). Leave it out."
            )
        answer = math.ceil(self.max_new_tokens * theirs / len(ids))
        return theirs + answer + self.draft_tokens

    def result(self, records: Mapping[str, Record]) -> Result:
        """Acceptance, speed, and in how many answers the text is the target's own; the answers."""
        samples = [
            {
                "prompt": record["prompt"],
                "answer": record.get("answer", ""),
                **{
                    way: "equal" if own["equal"] else f"differs from token {own['same_tokens']} on"
                    for way, own in record["ways"].items()
                },
            }
            for record in records.values()
        ]
        return Result(draft_figures(list(records.values())), samples=samples)


def _way_record(written: Written, alone: Written) -> Record:
    rounds = written.rounds
    assert rounds is not None
    return {
        "tokens": len(written.ids),
        "seconds": written.seconds,
        "forwards": len(rounds.drafted),
        "drafted": sum(rounds.drafted),
        "accepted": sum(rounds.accepted),
        "equal": written.ids == alone.ids,
        "same_tokens": num_equal(written.ids, alone.ids),
    }


def _spelled(target: EvaluatedModel, ids: Sequence[int]) -> str:
    surfaces = target.view.token_bytes
    raw = b"".join(surfaces[index] or b"" for index in ids if index < len(surfaces))
    return raw.decode("utf-8", errors="replace")
