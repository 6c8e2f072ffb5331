"""Continuations of prompts, shown while they are made: `harness=generate`."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from alm_lightning.evaluation.estimates import share
from alm_lightning.evaluation.evaluated_model import EvaluatedModel
from alm_lightning.evaluation.generation.prompts import Prompt, as_user, prompt_ids, read_prompts
from alm_lightning.evaluation.generation.sampling import Sampling
from alm_lightning.evaluation.generation.texts import generate_texts
from alm_lightning.evaluation.harness import Record, Result, chats_of
from alm_lightning.evaluation.texts import digest


class Generate:
    """Continuations of prompts, or answers in a chat.

    Args:
        prompt: A text to continue.
        prompts: A file of prompts instead, one JSON object a line.
        chat: Whether a text is what a user says, and the model is to answer.
        max_new_tokens: The most tokens of a continuation.
        max_new_bytes: The most bytes of it: the same length for any tokenizer.
        temperature: 0 takes the likeliest token each time.
        top_p: Mass of the likeliest tokens that are sampled from.
        seed: Of the random numbers; each prompt, or each batch, has its own, counted from here.
        batch_size: Prompts that are continued at once. Texts are shown while they are made where it
            is 1. Sampled texts depend on it.
        write: Where texts go while they are made; the terminal if None.

    Attributes:
        writes_itself: True: it shows its texts as they are made, so there is no progress bar.
    """

    writes_itself = True

    def __init__(
        self,
        *,
        prompt: str | None,
        prompts: str | None,
        chat: bool,
        max_new_tokens: int | None,
        max_new_bytes: int | None,
        temperature: float | int,
        top_p: float | int,
        seed: int,
        batch_size: int,
        write: Callable[[str], object] | None = None,
    ):
        if (prompt is None) == (prompts is None):
            given = "both" if prompt is not None else "neither of"
            raise ValueError(
                f'generate has {given} prompt and prompts: expected one of prompt="..." and '
                "prompts=FILE "
                "(harness.generate.prompts)."
            )
        if batch_size < 1:
            raise ValueError(
                f"batch_size is {batch_size} (harness.generate.batch_size): expected at least 1."
            )
        self.prompt, self.path, self.chat, self.batch_size = prompt, prompts, chat, batch_size
        self.sampling = Sampling(max_new_tokens, max_new_bytes, temperature, top_p, seed)
        self.write = _to_terminal if write is None else write
        self.prompts: dict[str, Prompt] = {}

    def prepare(self) -> Sequence[str]:
        """Reads the prompts; a key is the place of a prompt and a hash of it."""
        if self.prompt is not None:
            prompts = [as_user(self.prompt) if self.chat else self.prompt]
        else:
            prompts = read_prompts(Path(str(self.path)).expanduser(), chat=self.chat)
        self.prompts = {
            f"{place}:{digest(json.dumps(each))}": each for place, each in enumerate(prompts)
        }
        return list(self.prompts)

    def records(
        self, evaluated: EvaluatedModel, keys: Sequence[str]
    ) -> Iterator[tuple[str, Record]]:
        """Continues prompts, a batch after another; yields prompt and continuation."""
        order, wanted = list(self.prompts), set(keys)
        places = {key: place for place, key in enumerate(order)}
        # the same batches, and so the same texts, whether the run went through or was resumed
        for start in sorted({places[key] // self.batch_size * self.batch_size for key in keys}):
            chosen = order[start : start + self.batch_size]
            prompts = [self.prompts[key] for key in chosen]
            sampling = replace(self.sampling, seed=self.sampling.seed + start)
            ids = [
                prompt_ids(evaluated, self.prompts[key], name=f"prompt {places[key]}")
                for key in chosen
            ]
            is_alone = self.batch_size == 1
            if is_alone:
                self._show(evaluated, prompts[0])
            written = generate_texts(
                evaluated,
                ids,
                sampling,
                batch_size=self.batch_size,
                on_text=(lambda _, piece: self.write(piece)) if is_alone else None,
            )
            for key, prompt, text in zip(chosen, prompts, written, strict=True):
                if key not in wanted:
                    continue
                if not is_alone:
                    self._show(evaluated, prompt)
                    self.write(text.text)
                self.write("\n")
                yield (
                    key,
                    {
                        "prompt": prompt,
                        "continuation": text.text,
                        "num_bytes": text.num_bytes,
                        "num_tokens": text.num_tokens,
                        "stopped": text.stopped,
                    },
                )

    def _show(self, evaluated: EvaluatedModel, prompt: Prompt) -> None:
        self.write(f"\n{evaluated.name}\n{_shown(prompt)}")

    def result(self, records: Mapping[str, Record]) -> Result:
        """Length of continuations, share of those that ended by themselves, and the texts."""
        all_records = list(records.values())
        figures = {
            "length": share(np.array([r["num_bytes"] for r in all_records]), "bytes"),
            "stopped": share(np.array([r["stopped"] for r in all_records]), "share"),
        }
        return Result(
            # neither is better than the other
            {name: replace(figure, lower_is_better=None) for name, figure in figures.items()},
            samples=[
                {"prompt": r["prompt"], "continuation": r["continuation"]} for r in all_records
            ],
            chats=chats_of((r["prompt"], r["continuation"], r["stopped"]) for r in all_records),
        )


def _to_terminal(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _shown(prompt: Prompt) -> str:
    """A text as it is, for its continuation to follow; a chat as turns."""
    if isinstance(prompt, str):
        return prompt
    turns = [f"{message['role']}: {message['content']}\n" for message in prompt]
    return "".join(turns) + "assistant: "
