"""What a checkpoint of a run holds beside optimizer states, and how a run takes it up."""

from collections.abc import Mapping
from typing import Any

import lightning as L
from torch import nn

from alm_lightning.training.on_policy import OwnAnswers
from alm_lightning.training.resume import check_continued


class CheckpointedModule(L.LightningModule):
    """The checkpoints of a `DistillModule`, which sets the attributes.

    Attributes:
        student: The student; frozen weights are in no checkpoint.
        config: The resolved configuration.
        own_answers: Has the answers that are not used yet; None in a run without.
        num_teacher_tokens: Tokens that teachers have read so far; None after a checkpoint of an
            earlier version, which does not know.
    """

    student: nn.Module
    config: Mapping[str, Any]
    own_answers: OwnAnswers | None
    num_teacher_tokens: int | None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leaves frozen weights out: their source has them, and they are half of the size."""
        frozen = self._frozen_names()
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if k not in frozen}
        checkpoint["config"] = self.config
        checkpoint["teacher_tokens"] = self.num_teacher_tokens
        if self.own_answers is not None:
            checkpoint["own_answers"] = self.own_answers.states()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuses another run's settings; completes the weights, so that loading stays strict."""
        check_continued(checkpoint["config"], self.config)
        if self.own_answers is not None:
            self.own_answers.load_states(checkpoint["own_answers"], self.trainer.global_rank)
        self.num_teacher_tokens = checkpoint.get("teacher_tokens")
        own = self.state_dict()
        missing = own.keys() - checkpoint["state_dict"].keys()
        checkpoint["state_dict"] |= {name: own[name] for name in missing & self._frozen_names()}

    def _frozen_names(self) -> set[str]:
        # a tied matrix has two names in the state
        named = self.student.named_parameters(remove_duplicate=False)
        return {f"student.{name}" for name, p in named if not p.requires_grad}
