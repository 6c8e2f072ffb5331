"""Settings of speed, and what they do to a student and its teacher."""

from dataclasses import dataclass

from transformers import PreTrainedModel

from alm_lightning.models.speed.attention import attention_for, check_attention, set_attention
from alm_lightning.models.speed.compiled import compile_blocks, uncompile_blocks
from alm_lightning.models.speed.kernels import check_liger, use_liger
from alm_lightning.models.structure import layers_of


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How student and teacher compute. Values and gradients are the same but for rounding.

    Attributes:
        attention: ``eager``, ``sdpa``, ``flex_attention`` or another name of transformers;
            ``auto`` chooses one for each model; None leaves models as they were loaded.
        checkpointing: Whether the student's blocks are computed again in the backward pass, in
            place of holding their activations.
        keep_graphs: Whether the graphs of all micro-batches of a step are held where norms of
            gradients are measured, in place of a second forward pass.
        compile: Whether blocks are compiled.
        liger: Whether norms, rotations and MLPs are computed by Liger's kernels.
    """

    attention: str | None = None
    checkpointing: bool = False
    keep_graphs: bool = False
    compile: bool = False
    liger: bool = False

    def check(self, device: str) -> None:
        """Refuses what this device can't do, before anything is loaded.

        Args:
            device: The accelerator of the run, as Lightning names it.

        Raises:
            ValueError: The attention is unknown or not for this device, or Liger's kernels are
                asked for without CUDA.
            ImportError: Liger's kernels are asked for, and not installed.
        """
        check_attention(self.attention, device)
        if self.liger:
            check_liger(device)

    def apply_loaded(self, model: PreTrainedModel, device: str) -> None:
        """What is done to a model as it was loaded: a student that is made of it has it too.

        Args:
            model: A causal language model; changed in place.
            device: The accelerator of the run.

        Raises:
            ValueError: The model does not have this kind of attention.
        """
        if self.attention is not None:
            set_attention(model, attention_for(model, self.attention, device))

    def apply(self, student: PreTrainedModel, teacher: PreTrainedModel | None) -> None:
        """What is done to the two models of a run when all of their modules are there.

        Args:
            student: The student, with its adapters; changed in place.
            teacher: The teacher; likewise. None where it is not loaded.

        Raises:
            ValueError: The student's family has no activation checkpointing, Liger has no kernels
                for one of the models, or a model has no list of blocks.
        """
        if self.liger:
            for model in (student, *([] if teacher is None else [teacher])):
                use_liger(model)
        if self.checkpointing:
            checkpoint_blocks(student)
        if self.compile:
            compile_blocks(student, keep_last=True)
            if teacher is not None:
                compile_blocks(teacher)

    def undo(self, student: PreTrainedModel) -> None:
        """Gives a trained student the blocks that it would have without these settings.

        Args:
            student: As `apply` got it; its attention and kernels stay.
        """
        if self.compile:
            uncompile_blocks(student)
        if self.checkpointing:
            # as above
            named = getattr(student, "activation_checkpointing_disable", None)
            (named or student.gradient_checkpointing_disable)()


def checkpoint_blocks(model: PreTrainedModel) -> None:
    """Lets the blocks of a model be computed again in the backward pass.

    Args:
        model: A causal language model in training; in evaluation nothing changes.

    Raises:
        ValueError: Its family can't.
    """
    if not model.supports_gradient_checkpointing or not len(layers_of(model)):
        raise ValueError(
            f"speed.checkpointing is true, but {type(model).__name__} has no blocks that can be "
            "computed again. Take speed.checkpointing=false and a smaller micro_batch_size."
        )
    # transformers 5.24 has another name for it, and will drop the first one
    named = getattr(model, "activation_checkpointing_enable", None)
    (named or model.gradient_checkpointing_enable)({"use_reentrant": False})
