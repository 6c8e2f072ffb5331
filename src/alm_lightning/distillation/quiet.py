"""Warnings of Lightning that do not apply here."""

import logging
import warnings

MESSAGES = (
    ".*LeafSpec.*",  # Lightning 2.6 calls an API that torch 2.13 deprecates
    ".*does not have many workers.*",  # pairing takes a hundredth of a step
    ".*Experiment logs directory .* exists and is not empty.*",  # Hydra made it a second ago
    ".*Checkpoint directory .* exists and is not empty.*",
    # the state after a step is what a resumed run continues from
    ".*ModelCheckpoint with manual optimization and every_n_train_steps.*",
    # the loader of a resumed run starts at the step that the checkpoint ended with
    ".*resuming from a checkpoint that ended before.*",
    ".*Total length of `list` across ranks is zero.*",  # no evaluation within a run
    ".*You have overridden `transfer_batch_to_device`.*",  # batches are the module's own
)


def quiet_warnings() -> None:
    """Hides advice of Lightning that does not apply here."""
    for message in MESSAGES:
        warnings.filterwarnings("ignore", message=message)
    # which accelerators are absent, and advertisements
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
