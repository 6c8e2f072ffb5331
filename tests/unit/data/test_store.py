import json
import pickle
from dataclasses import is_dataclass

import numpy as np
import pyarrow
import pytest
import torch
from tests.unit.data.orders import RefusesSome, documents, make_pairing, texts_by_step

from alm_lightning.alignment.boundaries import Whitespace
from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import BadDocument, Document
from alm_lightning.data import store
from alm_lightning.data.examples import AllWindows, FirstWindow
from alm_lightning.data.pairing import ChatSettings, Pairing
from alm_lightning.data.shards import ARRAYS, NUMBERS, Shard
from alm_lightning.data.store import CachedWindows, cache_key

# more workers than this machine may have cores
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

DOCUMENTS = [
    Document(f"{text} " * repeats, name=f"{text}:{repeats}")
    for text in ("The quick brown fox, 12345 times", "naïve 日本語 and so on")
    for repeats in range(1, 8)
]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_DOCUMENTS", 3)


@pytest.fixture
def cached(tmp_path, views):
    def make(kept=DOCUMENTS, pairing=None, at_most=None, num_workers=0):
        return CachedWindows(
            kept,
            pairing=pairing or make_pairing(views),
            folder=str(tmp_path),
            windows_per_document=at_most,
            num_workers=num_workers,
        )

    return make


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(map(found.__getitem__, range(len(found))), expected, strict=True):
        assert (one.others, one.shares) == (other.others, other.shares) == ((), (1.0,))
        values, others = columns(one), columns(other)
        # every field of a window is kept
        assert {*values} == {*others} == {*ARRAYS, *NUMBERS}
        for name, left in values.items():
            right = others[name]
            assert type(left) is type(right), name
            if isinstance(left, np.ndarray):
                assert left.dtype == right.dtype, name
            assert np.array_equal(left, right), name


def columns(record, prefix=""):
    """The fields of a window and of the records in it, by the names of their columns."""
    found = {}
    for name, value in vars(record).items():
        if name in ("others", "shares"):
            continue
        inner = columns(value, f"{name}_") if is_dataclass(value) else {prefix + name: value}
        found |= inner
    return found


def test_a_file_with_more_columns_is_read(cached):
    """Files of earlier versions have two more."""
    windows = cached()
    path = windows.shards[0].path
    batch = pyarrow.ipc.open_file(path).get_batch(0)
    more = batch.append_column("student_content", batch.column("student_targets"))
    older = path.with_name("older.arrow")
    with pyarrow.OSFile(str(older), "wb") as file, pyarrow.ipc.new_file(file, more.schema) as out:
        out.write_batch(more)
    assert_same(Shard(older), windows.shards[0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_windows_come_back_as_they_were(cached, views, num_workers):
    assert_same(cached(num_workers=num_workers), AllWindows(DOCUMENTS, pairing=make_pairing(views)))


def test_the_first_window_of_each(cached, views):
    expected = FirstWindow(DOCUMENTS, pairing=make_pairing(views))
    assert_same(cached(at_most=1), [expected[index] for index in range(len(expected))])


def test_the_order_is_that_of_pairing_on_the_fly(cached, views):
    expected = texts_by_step(FirstWindow(DOCUMENTS, pairing=make_pairing(views)))
    windows = cached(at_most=1)
    for num_workers in (0, 1, 2, 3):
        assert texts_by_step(windows, num_workers=num_workers) == expected
        assert texts_by_step(windows, num_workers=num_workers, first_step=3) == expected[3:]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pairing_draws_nothing_that_a_run_draws_from(cached, num_workers):
    """A run begins with the same numbers whether or not it finds its windows."""
    before = torch.get_rng_state()
    cached(num_workers=num_workers)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_next_run_pairs_nothing(cached, monkeypatch):
    expected = cached()
    monkeypatch.setattr(Pairing, "pair", lambda *a: pytest.fail("paired again"))
    found = cached()
    assert found.folder == expected.folder
    assert_same(found, [expected[index] for index in range(len(expected))])


def test_a_run_that_was_killed_goes_on(cached, monkeypatch):
    whole = cached()
    for number in (1, 3):
        (whole.folder / f"{number:05d}.json").unlink()
    # another file in its place: what is mapped must stay as long as it is
    (whole.folder / "half").write_bytes(b"half of it")
    (whole.folder / "half").replace(whole.folder / "00003.arrow")
    (whole.folder / "00003.arrow.1.unfinished").write_bytes(b"half of it")
    met = []
    pair = Pairing.pair
    monkeypatch.setattr(Pairing, "pair", lambda *a: met.append(a[1].name) or pair(*a))
    found = cached()
    assert met == [d.name for n in (1, 3) for d in DOCUMENTS[3 * n : 3 * n + 3]]
    assert_same(found, [whole[index] for index in range(len(whole))])
    assert not [*whole.folder.glob("*.unfinished")]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"bytes, and [\d,]+ were written"),
        (lambda path: path.unlink(), "it is gone"),
        (lambda path: path.with_suffix(".json").write_text("{"), "its note can't be read"),
        (lambda path: path.with_suffix(".json").write_text("{}"), "its note can't be read"),
    ],
)
def test_damage_is_named(cached, damage, what):
    damage(cached().folder / "00002.arrow")
    with pytest.raises(ValueError, match=rf"damaged: .*00002\.arrow: .*{what}.*Delete the folder"):
        cached()


def test_a_changed_byte_is_noticed(cached):
    path = cached().folder / "00002.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its content is not what was written"):
        cached()


def test_everything_that_changes_the_result_changes_the_key(views, monkeypatch):
    key = cache_key(DOCUMENTS, make_pairing(views), None)
    assert key == cache_key(list(DOCUMENTS), make_pairing(views), None)
    swapped = {"bytes": views["metaspace"], "metaspace": views["bytes"]}
    chat = {"trained": "all", "system": "own", "student_template": None, "teacher_template": None}
    others = [
        cache_key(DOCUMENTS[1:], make_pairing(views), None),
        cache_key(DOCUMENTS[::-1], make_pairing(views), None),
        cache_key([Document("other", name="x"), *DOCUMENTS[1:]], make_pairing(views), None),
        cache_key(DOCUMENTS, make_pairing(views), 1),
        cache_key(DOCUMENTS, make_pairing(views, student_length=41), None),
        cache_key(DOCUMENTS, make_pairing(views, teacher_length=41), None),
        cache_key(DOCUMENTS, make_pairing(swapped), None),
        cache_key(DOCUMENTS, make_pairing(views | {"metaspace": views["byte_level"]}), None),
        cache_key(DOCUMENTS, make_pairing(views, alignment=Whitespace()), None),
        *(
            cache_key(DOCUMENTS, make_pairing(views, chat=ChatSettings(**chat | change)), None)
            for change in (
                {"trained": "assistant"},
                {"system": "drop"},
                {"student_template": "gemma"},
                {"teacher_template": "gemma"},
            )
        ),
    ]
    monkeypatch.setattr(store, "PAIRING_VERSION", store.PAIRING_VERSION + 1)
    others.append(cache_key(DOCUMENTS, make_pairing(views), None))
    monkeypatch.undo()
    monkeypatch.setattr(views["bytes"].hf, "chat_template", "{{ messages }}")
    others.append(cache_key(DOCUMENTS, make_pairing(views), None))
    monkeypatch.undo()
    # the same vocabulary, but a template that writes {{ eos_token }} writes another one
    monkeypatch.setattr(
        views["metaspace"].hf, "_special_tokens_map", {"eos_token": "<end_of_turn>"}
    )
    others.append(cache_key(DOCUMENTS, make_pairing(views), None))
    assert len({key, *others}) == len(others) + 1


def test_the_state_of_an_alignment_changes_the_key(views):
    one, other = Whitespace(), Whitespace()
    other.threshold = 0.1
    keys = [cache_key(DOCUMENTS, make_pairing(views, alignment=a), None) for a in (one, other)]
    assert keys[0] != keys[1]


def test_names_do_not_change_the_key(views):
    renamed = [Document(document.text, name="x") for document in DOCUMENTS]
    keys = {cache_key(kept, make_pairing(views), None) for kept in (DOCUMENTS, renamed)}
    assert len(keys) == 1
    assert json.loads(keys.pop())["documents"] == len(DOCUMENTS)


def test_bad_documents_are_in_the_cache_too(cached, views, monkeypatch):
    mixed = [*documents(5), Document("a bad one", name="bad"), *documents(9, start=5)]

    def pairing(on_bad):
        return make_pairing(views, alignment=RefusesSome(), on_bad=on_bad)

    for refused in range(2):
        # the first meets it, the second is told by the cache
        with pytest.raises(BadDocument, match="a bad one: can't be paired"):
            cached(mixed, pairing(None), num_workers=2 * (1 - refused))
    for _ in range(2):
        skip = Skip()
        assert len(cached(mixed, pairing(skip), num_workers=2)) == 9
        assert skip.counts() == {"bad chat": 1}


def test_no_window_at_all(cached, views):
    with pytest.raises(ValueError, match="gave no window"):
        cached([Document("", name="a")])


def test_few_files_for_many_documents(cached, monkeypatch):
    monkeypatch.setattr(store, "MOST_SHARDS", 2)
    assert len(cached().shards) == 2


def test_arrays_are_views_of_the_file(cached):
    shard = cached().shards[1]
    window = shard[0]
    for name in ARRAYS:
        array = columns(window)[name]
        # nothing was copied: memory that belongs to somebody else, and can't be written
        assert not array.flags.owndata, name
        assert not array.flags.writeable, name
    assert len(pickle.dumps(shard)) < 300
    assert_same(pickle.loads(pickle.dumps(shard)), list(Shard(shard.path)))
