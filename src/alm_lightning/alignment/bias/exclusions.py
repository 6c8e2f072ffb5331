r"""Tokenization bias: what a token at the end of a chunk says about the text after it.

A tokenizer that has the token " 122" never emits " 12" where "2" follows, so a model over it gives
"2" almost no mass after " 12": the token has excluded it. Two chunks with the same bytes are only
comparable as far as their last tokens exclude the same (docs/method.md, section 2; Minixhofer,
Vulić and Ponti 2025, arXiv:2503.20083; covers go back to Phan et al. 2024, arXiv:2410.09303). For a
token t that spells the bytes b:

* cover(t): the encodings :math:`e = (u_1, \ldots, u_k)` whose bytes start with b, whose tokens
  before the last are together shorter than b, and which are canonical: the tokenizer encodes what e
  spells to e again. Only the last token crosses the end of b.
* exclusions(t): the strings x that these encodings spell beyond b, the empty one left out.
* The mass of x on t's side is the probability of its encoding under the unigram model of that
  side's own corpus counts, :math:`p(u_1) \cdots p(u_k)`.
* The bias of a pair is the mass of the exclusions that one side has and the other lacks: the larger
  of the two directions.

"""

import math
from bisect import bisect_right

import numpy as np
from jaxtyping import Int

from alm_lightning.tokenization.view import TokenizerView

NEGLIGIBLE = 1e-9
"""Estimated mass below which a cover of several tokens is not looked at: there are very many of
these, and each takes an encoding. `ExclusionModel.neglected` says what a token loses by it: on 0.9
million characters 1e-7 at most, and no share of merged chunks differed from that at 1e-10."""


class ExclusionModel:
    """One side's exclusions and their masses.

    Only tokens that occur in the corpus have mass, so only these are looked for as the last token
    of a cover. One alone is canonical, for it occurred. Covers of several tokens are spelled,
    encoded and compared. Bytes that are not valid UTF-8 are not text and have no encoding: where a
    token starts within a character, or a cover ends within one, only covers of one token count.

    Args:
        view: The tokenizer.
        counts: How often each token occurs in the corpus.

    Attributes:
        view: The tokenizer.
        neglected: The most mass that any token so far may lack, by `NEGLIGIBLE`.
    """

    def __init__(self, view: TokenizerView, counts: Int[np.ndarray, " vocab"]):
        self.view = view
        self.neglected = 0.0
        self._probs = counts / max(int(counts.sum()), 1)
        spelled = ((view.token_bytes[i], i) for i in np.flatnonzero(counts).tolist())
        ordered = sorted((surface, i) for surface, i in spelled if surface)
        self._surfaces = [surface for surface, _ in ordered]
        self._ids = [i for _, i in ordered]
        self._sorted_probs = self._probs[self._ids]
        self._vocabulary = frozenset(surface for surface in view.token_bytes if surface)
        # a tokenizer with a dummy space adds none within a text: look at what follows a line end
        plain = view.encode("a", continued=True)
        self._lead = "" if view.table.spelled(plain.ids).tobytes() == b"a" else "\n"
        self._encodings: dict[bytes, list[int] | None] = {}
        self._exclusions: dict[int, dict[bytes, float]] = {}

    def exclusions(self, token_id: int) -> dict[bytes, float]:
        """The exclusions of a token that have mass, with their masses.

        The token must spell at least one byte.
        """
        known = self._exclusions.get(token_id)
        if known is None:
            known = self._exclusions[token_id] = self._find(self._surface(token_id))
        return known

    def excludes(self, token_id: int, continuation: bytes) -> bool:
        """Whether a token excludes a string, with mass or without.

        True if a token of their canonical encoding crosses from one to the other.
        """
        if continuation in self.exclusions(token_id):
            return True
        surface = self._surface(token_id)
        text = surface + continuation
        # a token that crosses has these bytes; looked up first, which is quicker than encoding
        if not any(text[start:] in self._vocabulary for start in range(len(surface))):
            return False
        ids = self.canonical(text)
        if ids is None:
            return text in self._vocabulary
        return bool(self.view.byte_lengths[ids[-1]] > len(continuation))

    def canonical(self, spelled: bytes) -> list[int] | None:
        """The encoding of a string within a text.

        None if no tokens spell exactly this: it is not valid UTF-8, or the normaliser changes it.
        """
        if spelled not in self._encodings:
            self._encodings[spelled] = self._encode(spelled)
        return self._encodings[spelled]

    def _find(self, surface: bytes) -> dict[bytes, float]:
        masses: dict[bytes, float] = {}
        neglected = 0.0
        for start in range(len(surface)):
            first, past = self._crossing(surface[start:])
            if start == 0:
                for place in range(first, past):
                    rest = self._surfaces[place][len(surface) :]
                    mass = float(self._sorted_probs[place])
                    masses[rest] = masses.get(rest, 0.0) + mass
                continue
            estimates = self._prior(surface[:start]) * self._sorted_probs[first:past]
            looked_at = estimates >= NEGLIGIBLE
            neglected += float(estimates[~looked_at].sum())
            for place in (first + np.flatnonzero(looked_at)).tolist():
                ids = self.canonical(surface[:start] + self._surfaces[place])
                if ids is not None and len(ids) > 1 and ids[-1] == self._ids[place]:
                    rest = self._surfaces[place][len(surface) - start :]
                    masses[rest] = masses.get(rest, 0.0) + self._mass(ids)
        self.neglected = max(self.neglected, neglected)
        return {rest: mass for rest, mass in masses.items() if mass > 0}

    def _crossing(self, tail: bytes) -> tuple[int, int]:
        """Places of the tokens that start with a string and are longer."""
        first = bisect_right(self._surfaces, tail)
        past = bisect_right(self._surfaces, tail, first, key=lambda surface: surface[: len(tail)])
        return first, past

    def _prior(self, prefix: bytes) -> float:
        """Mass of the tokens that spell a prefix; 1, the largest there is, if that is unknown."""
        ids = self.canonical(prefix)
        return 1.0 if ids is None else self._mass(ids)

    def _mass(self, ids: list[int]) -> float:
        return float(math.prod(self._probs[ids].tolist()))

    def _encode(self, spelled: bytes) -> list[int] | None:
        try:
            text = self._lead + spelled.decode("utf-8")
        except UnicodeDecodeError:
            return None
        ids = self.view.encoder.ids(text, continued=True).tolist()
        surfaces = [self.view.token_bytes[i] or b"" for i in ids]
        if self._lead:
            # the lead has tokens of its own, and whatever dummy space stands before it
            length, past = 0, len(ids)
            while length < len(spelled) and past > 0:
                past -= 1
                length += len(surfaces[past])
            ids, surfaces = ids[past:], surfaces[past:]
        # equal bytes: nothing was rewritten, and no token spans the lead and the string
        return ids if b"".join(surfaces) == spelled else None

    def _surface(self, token_id: int) -> bytes:
        surface = self.view.token_bytes[token_id]
        if not surface:
            raise ValueError(
                f"token {token_id} of {self.view.name!r} spells no bytes: it excludes nothing. Ask "
                "for tokens of content only."
            )
        return surface


def pair_bias(
    student: ExclusionModel, student_id: int, teacher: ExclusionModel, teacher_id: int
) -> float:
    """Bias of a pair of tokens that end at the same byte.

    Args:
        student: The student's exclusions.
        student_id: The student's token.
        teacher: The teacher's exclusions.
        teacher_id: The teacher's token.

    Returns:
        Between 0 and 1. It is 1 where nothing is known: for a token of whitespace alone, by
        definition; for one that spells nothing; for two tokens of which neither ends in the other,
        which only a normaliser brings together.
    """
    ours, theirs = student.view.token_bytes[student_id], teacher.view.token_bytes[teacher_id]
    if not ours or not theirs or _is_white(ours) or _is_white(theirs):
        return 1.0
    if not (ours.endswith(theirs) or theirs.endswith(ours)):
        return 1.0
    return max(
        _one_sided(student, student_id, teacher, teacher_id),
        _one_sided(teacher, teacher_id, student, student_id),
    )


def _one_sided(
    having: ExclusionModel, having_id: int, lacking: ExclusionModel, lacking_id: int
) -> float:
    """Mass of the exclusions that one side has and the other lacks."""
    return math.fsum(
        mass
        for rest, mass in having.exclusions(having_id).items()
        if not lacking.excludes(lacking_id, rest)
    )


def _is_white(surface: bytes) -> bool:
    return surface.decode("utf-8", errors="replace").isspace()
