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
from alm_lightning.evaluation.harness import Record, Result
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
        seed: Of the random numbers; each prompt has its own, counted from here.
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
        write: Callable[[str], object] | None = None,
    ):
        if (prompt is None) == (prompts is None):
            given = "both" if prompt is not None else "neither of"
            raise ValueError(
                f'generate has {given} prompt and prompts: expected one of prompt="..." and '
                "prompts=FILE "
                "(harness.generate.prompts)."
            )
        self.prompt, self.path, self.chat = prompt, prompts, chat
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
        """Continues prompts one after another; yields prompt and continuation."""
        for key in keys:
            prompt = self.prompts[key]
            # the same text whether the run went through or was resumed
            place = int(key.partition(":")[0])
            sampling = replace(self.sampling, seed=self.sampling.seed + place)
            ids = prompt_ids(evaluated, prompt, name=f"prompt {place}")
            self.write(f"\n{evaluated.name}\n{_shown(prompt)}")
            [written] = generate_texts(
                evaluated, [ids], sampling, on_text=lambda _, piece: self.write(piece)
            )
            self.write("\n")
            yield (
                key,
                {
                    "prompt": prompt,
                    "continuation": written.text,
                    "num_bytes": len(written.text.encode("utf-8")),
                    "num_tokens": written.num_tokens,
                    "stopped": written.stopped,
                },
            )

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
