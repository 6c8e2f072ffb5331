"""Rows of embeddings beyond the last token, as many as another model has."""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def padded_weights(
    model: PreTrainedModel, weights: Mapping[str, Tensor], num_rows: int
) -> dict[str, Tensor]:
    """Weights with more rows of embeddings, each of which is the mean of those that there are.

    Models are padded to round numbers, and engines that draft for one ask for a draft of exactly as
    many rows. The logit of a mean row is the mean of the others: never above all of them, so that
    greedy decoding takes none. By Jensen's inequality it is at most as likely as a row is on
    average: n rows after v have at most n / (v + n) of the probability together. (A soft cap leaves
    the first as it is, and the second where logits before it are below twice the cap.)

    Args:
        model: A causal language model; it is left as it is.
        weights: Its weights by name, as they are now; a tied matrix may be there once.
        num_rows: How many rows are wanted, at least as many as there are.

    Returns:
        The same weights, embeddings and output bias with `num_rows` rows.

    Raises:
        ValueError: There are more rows already.
    """
    old = model.get_input_embeddings().num_embeddings
    if num_rows < old:
        raise ValueError(f"num_rows is {num_rows:,}: expected at least the model's {old:,}.")
    if num_rows == old:
        return dict(weights)
    names = embedding_names(model)
    log.info("student: %s rows, of which %s are padding", f"{num_rows:,}", num_rows - old)
    return {
        name: _padded(table, num_rows) if name in names else table
        for name, table in weights.items()
    }


def embedding_names(model: PreTrainedModel) -> set[str]:
    """Names of what has a row for each token: embeddings, output layer and its bias.

    Args:
        model: A causal language model.

    Returns:
        Names of parameters, of which a model need not have all.
    """
    ends = {id(each) for each in (model.get_input_embeddings(), model.get_output_embeddings())}
    return {
        f"{name}.{kind}"
        for name, module in model.named_modules()
        if id(module) in ends
        for kind in ("weight", "bias")
    }


def _padded(table: Tensor, num_rows: int) -> Tensor:
    mean = table.mean(0, keepdim=True)
    return torch.cat([table, mean.expand(num_rows - len(table), *table.shape[1:])])
