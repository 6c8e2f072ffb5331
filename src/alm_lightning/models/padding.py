"""Rows of embeddings beyond the last token, as many as another model has."""

import logging

import torch
from transformers import PreTrainedModel

log = logging.getLogger(__name__)


@torch.no_grad()
def pad_rows(model: PreTrainedModel, num_rows: int) -> None:
    """Gives a model more rows than it has, in place, each of them the mean of those it has.

    Models are padded to round numbers, and engines that draft for one ask for a draft of exactly as
    many rows. By Jensen's inequality a mean row is at most as likely as a row is on average: n rows
    after v have a probability of at most n / v together.

    Args:
        model: A causal language model, before adapters are put in.
        num_rows: How many rows it is to have, at least as many as it has.
    """
    old = model.get_input_embeddings().num_embeddings
    if num_rows <= old:
        return
    # those drawn at random by transformers' own mean_resizing have no such bound
    model.resize_token_embeddings(num_rows, mean_resizing=False)
    head = model.get_output_embeddings()
    tables = {id(table): table for table in (model.get_input_embeddings().weight, head.weight)}
    if head.bias is not None:
        tables[id(head.bias)] = head.bias
    for table in tables.values():
        table[old:] = table[:old].mean(0)
    log.info(
        "student: %s rows, %s of them padding, as the teacher has", f"{num_rows:,}", num_rows - old
    )
