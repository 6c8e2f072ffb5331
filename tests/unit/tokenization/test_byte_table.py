"""Ends by the byte table alone, with and without a dummy space."""

import numpy as np
import pytest

from alm_lightning.tokenization.byte_table import ByteTable

SURFACES = [b" ", b" a", b"a", b"bcdefgh", b" 0123456789", b"<" * 40, None, b""]


@pytest.mark.parametrize(
    ("dummy", "ids"),
    [
        *((b"", ids) for ids in ([2], [1, 0, 2], [2, 3, 4], [5, 4, 1], [2, 7, 3], [4, 7, 5])),
        *((b" ", ids) for ids in ([0, 1], [1, 0, 2], [4, 7, 5], [1, 5, 4], [0])),
    ],
)
def test_ends_count_the_text_s_own_bytes(ids, dummy):
    surfaces = [SURFACES[i] for i in ids]
    spelled = b"".join(surfaces)
    table, ids = ByteTable(SURFACES), np.array(ids, dtype=np.int32)
    content = spelled.removeprefix(dummy)
    ends, is_exact = table.ends(ids, content)
    assert is_exact
    assert ends.tolist() == (np.cumsum([len(s) for s in surfaces]) - len(dummy)).tolist()
    # one byte that differs, wherever it is
    for place in range(len(content)):
        other = content[:place] + b"\x7f" + content[place + 1 :]
        ends, is_exact = table.ends(ids, other)
        assert not is_exact
        assert ends[-1] == len(spelled)  # counted as spelled


def test_only_one_space_is_a_dummy():
    table = ByteTable(SURFACES)
    assert not table.ends(np.array([0, 0, 2]), b"a")[1]
    assert table.ends(np.array([0]), b"")[1]
    assert not table.ends(np.array([], dtype=np.int32), b"a")[1]
