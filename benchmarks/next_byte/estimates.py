"""Estimates of the next byte where a token might have ended, and what they lose."""

import string
from collections.abc import Mapping

import numpy as np

from alm_lightning.tokenization.view import TokenizerView
from next_byte.places import CLASSES, SPECIAL, Places

OPENERS = [*string.whitespace.encode(), *string.punctuation.encode(), SPECIAL]
"""What opens a word."""


class Counted:
    """Mean first byte after each token of a text, and after all tokens of one last byte.

    Args:
        ids: Tokens.
        after: Distribution of the byte after each.
        view: Their tokenizer.
    """

    def __init__(self, ids: np.ndarray, after: np.ndarray, view: TokenizerView):
        self.last_byte = np.array([surface[-1] if surface else 256 for surface in view.token_bytes])
        self.overall = after.mean(axis=0)
        self.tokens, of_token = np.unique(ids, return_inverse=True)
        self.of_tokens = self._summed(of_token, after, len(self.tokens))
        self.of_bytes = self._summed(self.last_byte[ids], after, CLASSES)

    @staticmethod
    def _summed(key: np.ndarray, after: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
        sums = np.zeros((size, CLASSES))
        np.add.at(sums, key, after)
        return sums, np.bincount(key, minlength=size)[:, None]

    def after_byte(self, token: np.ndarray, shrink: float) -> np.ndarray:
        """The mean of the token's last byte, with `shrink` tokens of the mean of all."""
        sums, counts = self.of_bytes
        return ((sums + shrink * self.overall) / (counts + shrink))[self.last_byte[token]]

    def after(
        self, token: np.ndarray, shrink: float, *, without: np.ndarray | None = None
    ) -> np.ndarray:
        """The token's mean, with `shrink` more tokens of the mean of its last byte.

        `without`: for tokens that were counted themselves, what came after each.
        """
        sums, counts = self.of_tokens
        row = np.searchsorted(self.tokens, token).clip(max=len(self.tokens) - 1)
        is_known = (self.tokens[row] == token)[:, None]
        total, number = sums[row] * is_known, counts[row] * is_known
        if without is not None:
            total, number = (total - without).clip(min=0), number - 1
        return (total + shrink * self.after_byte(token, shrink)) / (number + shrink)


def afters(places: Places, counted: Counted, shrink: float, own: float) -> dict[str, np.ndarray]:
    """Estimates of N, by name."""
    of_token = counted.after(places.token, shrink)
    return {
        "global": np.broadcast_to(counted.overall, of_token.shape),
        "last byte": counted.after_byte(places.token, shrink),
        "counted": of_token,
        "own-word": places.at_end,
        "counted + own-word": (1 - own) * of_token + own * places.at_end,
    }


class Losses:
    """What estimates lose at places within tokens; nothing where N was not computed.

    Attributes:
        inner: The places.
        scored: Those of them where N was computed.
        kl: KL of the exact distribution from each estimate, nats, by the estimate's name.
        variation: Total variation between the two.
        merging: What is left unsaid by making one class of all that opens a word, nats.
        noise: Mean KL from the exact distribution of a target that is cont / (1 - e) or N, as the
            token goes on or ends, nats.
    """

    def __init__(self, places: Places, guesses: Mapping[str, np.ndarray], floor: float):
        self.inner = places.where(places.is_inner)
        self.scored = self.inner.after.sum(axis=1) > 0
        part = self.inner.where(self.scored)
        e = part.e[:, None]
        exact = part.cont + e * part.after
        drop = part.cont / (1 - e)
        found = {"drop": drop} | {name: part.cont + e * after for name, after in guesses.items()}
        pairs = {name: (exact, guess) for name, guess in found.items()}
        pairs["boundary, its classes"] = (merged(exact), merged(part.cont, part.e))
        self.kl = {name: self._everywhere(kl(*pair, floor)) for name, pair in pairs.items()}
        self.variation = {
            name: self._everywhere(abs(true - guess).sum(axis=1) / 2)
            for name, (true, guess) in pairs.items()
        }
        self.merging = self._everywhere(entropy(exact) - entropy(merged(exact)))
        self.noise = self._everywhere(
            (1 - part.e) * kl(drop, exact, 0) + part.e * kl(part.after, exact, 0)
        )

    def _everywhere(self, values: np.ndarray) -> np.ndarray:
        found = np.zeros(len(self.scored))
        found[self.scored] = values
        return found


def scored(places: Places) -> Places:
    """Places within tokens where N was computed."""
    return places.where(places.is_inner & (places.after.sum(axis=1) > 0))


def kl(exact: np.ndarray, estimate: np.ndarray, floor: float) -> np.ndarray:
    """KL of each row, nats; `floor` is spread evenly over the estimate."""
    estimate = (1 - floor) * estimate + floor / estimate.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(exact > 0, exact * np.log(exact / estimate), 0).sum(axis=1)


def entropy(probs: np.ndarray) -> np.ndarray:
    """Of each row, nats."""
    return -np.where(probs > 0, probs * np.log(np.maximum(probs, 1e-300)), 0).sum(axis=1)


def merged(probs: np.ndarray, more: np.ndarray | float = 0.0) -> np.ndarray:
    """All that opens a word in one class, at the end, with `more` added to it."""
    alone = np.delete(probs, OPENERS, axis=1)
    return np.column_stack([alone, probs[:, OPENERS].sum(axis=1) + more])
