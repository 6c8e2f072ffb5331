"""A naive reference for the chunks of a chat: brute force over all pairs of token prefixes."""

from collections import Counter
from itertools import pairwise

SAY = 1


def steps_of(view, rendering):
    """Texts of a rendering, each with its step: 3n before content n, 3n + 1 it, 3n + 2 after it."""
    found = [(0, rendering.gaps[0])]
    for number, content in enumerate(rendering.contents):
        found.append((3 * number + SAY, content))
        gap = rendering.gaps[number + 1]
        stops = [gap.find(s) + len(s) for s in view.special_ids if s in gap]
        is_last = number == len(rendering.contents) - 1
        closing = min(stops, default=len(gap) if is_last else 0)
        found += [(3 * number + 2, gap[:closing]), (3 * number + 3, gap[closing:])]
    return found


def tokens_of(view, ids, rendering):
    """The steps of the bytes that each token spells: a list of steps a token."""
    stream = [(step, byte) for step, t in steps_of(view, rendering) for byte in t.encode()]
    names = {index: name for name, index in view.special_ids.items()}
    tokens, place = [], 0
    for index in ids.tolist():
        is_special = index in names
        piece = names[index].encode() if is_special else view.token_bytes[index]
        units = stream[place : place + len(piece)]
        assert bytes(byte for _, byte in units) == piece
        # a special token never comes out of a content
        assert not (is_special and any(step % 3 == SAY for step, _ in units))
        place += len(piece)
        steps = [step for step, _ in units]
        # the space before a word is the word's where a token has both
        if units[0][1:] == (32,) and len(steps) > 1 and steps[0] % 3 != SAY == steps[1] % 3:
            steps = steps[1:]
        tokens.append(steps)
    assert place == len(stream)
    return tokens


def is_content(step):
    return step % 3 == SAY


def states(tokens, paired):
    """Of each prefix: content bytes spelled, and structural pairs passed; None inside a pair."""
    total = Counter(step for steps in tokens for step in steps)
    spelled, found = Counter(), [(0, 0)]
    for steps in tokens:
        spelled.update(steps)
        passed = [step for step in paired if spelled[step] == total[step]]
        begun = [step for step in paired if spelled[step]]
        num_bytes = sum(count for step, count in spelled.items() if is_content(step))
        found.append((num_bytes, len(passed)) if begun == passed else None)
    return found


def brute_force(sides, trained_steps):
    """Content range, flag and tokens of each chunk."""
    alone = [{steps[0] for steps in tokens if len(set(steps)) == 1} for tokens in sides]
    paired = [step for step in sorted(alone[0] & alone[1]) if not is_content(step)]
    prefixes = [states(tokens, paired) for tokens in sides]
    first = {}
    for student_length, state in enumerate(prefixes[0]):
        for teacher_length, other in enumerate(prefixes[1]):
            # structure of one side changes no state: the shortest prefix is before it
            if state == other is not None:
                first.setdefault(state, (student_length, teacher_length))
    chunks = []
    for (state, lengths), (following, ends) in pairwise(sorted(first.items())):
        kept, is_fine, steps = [], True, set()
        for tokens, start, end in zip(sides, lengths, ends, strict=True):
            own = [
                not any(is_content(s) or s in paired for s in tokens[t]) for t in range(start, end)
            ]
            lead = own.index(False)
            is_fine &= not any(own[lead:])
            kept.append(list(range(start + lead, end)))
            for token in kept[-1]:
                # spans structure and content, or two contents
                is_fine &= len(set(tokens[token])) == 1 or not any(map(is_content, tokens[token]))
                steps |= set(tokens[token])
        is_fine &= len({is_content(step) for step in steps}) == 1
        is_trained = steps <= trained_steps and not any(0 in tokens for tokens in kept)
        if is_fine:
            chunks.append((state[0], following[0], is_trained, *kept))
    return chunks
