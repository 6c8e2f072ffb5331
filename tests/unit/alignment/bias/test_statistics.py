import numpy as np
import pytest
from tests.conftest import SENTENCES
from tests.unit.alignment.bias.byte_bpe import bpe

from alm_lightning.alignment.bias import jobs as bias_jobs
from alm_lightning.alignment.bias import statistics as bias_statistics
from alm_lightning.alignment.bias.counts import BiasCounts, count_documents, merged
from alm_lightning.alignment.bias.store import bias_key, load_arrays, save_arrays
from alm_lightning.corpus.document import CorpusError, Document

DOCUMENTS = [Document(f"{text} {n}", f"{n}") for n in range(4) for text in SENTENCES]


@pytest.fixture
def pair(views):
    return {"student": views["byte_level"], "teacher": views["metaspace"]}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(bias_statistics, "SHARD_CHARACTERS", 150)
    monkeypatch.setattr(bias_statistics, "SHARDS_AT_ONCE", 2)
    monkeypatch.setattr(bias_statistics, "BLOCK_PAIRS", 20)


def compute(pair, folder, *, documents=DOCUMENTS, workers=0, told=None):
    return bias_statistics.bias_statistics(
        documents,
        **pair,
        workers=workers,
        cache_folder=folder,
        progress=lambda *step: told.append(step) if told is not None else None,
    )


def assert_equal(found, expected):
    for name, value in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], value)


def naive_counts(pair, documents):
    """Pairs of tokens with the same end, by two dictionaries a document."""
    ends, last = {}, {}
    for document in documents:
        sides = []
        for view in pair.values():
            encoding = view.encode(document.text)
            sides.append(dict(zip(encoding.ends.tolist(), encoding.ids.tolist(), strict=True)))
        common = sorted(sides[0].keys() & sides[1].keys())
        for position in common:
            key = sides[0][position] * pair["teacher"].num_tokens + sides[1][position]
            ends[key] = ends.get(key, 0) + 1
        last[key] = last.get(key, 0) + 1
    return ends, last


def test_counts_are_those_of_a_loop(pair):
    counts = count_documents(DOCUMENTS, **pair)
    ends, last = naive_counts(pair, DOCUMENTS)
    assert dict(zip(counts.keys.tolist(), counts.ends.tolist(), strict=True)) == ends
    assert {
        key: n for key, n in zip(counts.keys.tolist(), counts.last_ends.tolist(), strict=True) if n
    } == last
    assert counts.keys.tolist() == sorted(ends)
    ids = np.concatenate([pair["student"].encode(d.text).ids for d in DOCUMENTS])
    assert counts.student.tolist() == [
        int((ids == i).sum()) for i in range(pair["student"].num_tokens)
    ]


def test_counts_of_shards_add_up(pair):
    whole = count_documents(DOCUMENTS, **pair)
    parts = [count_documents(DOCUMENTS[i : i + 3], **pair) for i in range(0, len(DOCUMENTS), 3)]
    total = BiasCounts.of(merged(parts).arrays())
    for name, value in whole.arrays().items():
        np.testing.assert_array_equal(total.arrays()[name], value)


def test_parts_make_no_difference(pair, tmp_path, small_parts):
    told = []
    in_parts = compute(pair, tmp_path / "parts", told=told)
    shards, blocks = (
        [t for t in told if t[0] == stage] for stage in ("counting", "weighing pairs")
    )
    assert len(shards) > 4
    assert len(blocks) > 4
    for reports in (shards, blocks):
        assert [done for _, done, _ in reports] == [*range(reports[-1][2] + 1)]
    # what is left is the whole alone
    (folder,) = (path for path in (tmp_path / "parts").iterdir() if path.is_dir())
    assert [path.name for path in folder.iterdir()] == ["statistics.npz"]
    counts = count_documents(DOCUMENTS, **pair)
    np.testing.assert_array_equal(in_parts.keys, counts.keys)
    np.testing.assert_array_equal(in_parts.ends, counts.ends)


def test_one_part_and_many_weigh_the_same(pair, tmp_path, monkeypatch):
    whole = compute(pair, tmp_path / "whole")
    monkeypatch.setattr(bias_statistics, "SHARD_CHARACTERS", 100)
    monkeypatch.setattr(bias_statistics, "BLOCK_PAIRS", 7)
    assert_equal(compute(pair, tmp_path / "parts"), whole)


@pytest.mark.parametrize("where", ["count_documents", "pair_bias"])
def test_an_interrupted_run_goes_on(pair, tmp_path, small_parts, monkeypatch, where):
    unbroken = compute(pair, tmp_path / "unbroken")
    real = getattr(bias_jobs, where)
    calls = []

    def killed(*arguments, **named):
        calls.append(arguments)
        if len(calls) == (2 if where == "count_documents" else 30):
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(bias_jobs, where, killed)
    with pytest.raises(KeyboardInterrupt):
        compute(pair, tmp_path / "broken")
    parts = sorted((tmp_path / "broken").rglob("*.npz"))
    assert parts
    assert not list((tmp_path / "broken").rglob("*.part"))
    before = [(part, part.stat().st_mtime_ns) for part in parts]

    kept = []

    def watched(*arguments, **named):
        # the parts stay as they were while the rest is done
        kept.append([(part, part.stat().st_mtime_ns) for part, _ in before])
        calls.append(arguments)
        return real(*arguments, **named)

    first_calls = list(calls)
    calls.clear()
    monkeypatch.setattr(bias_jobs, where, watched)
    assert_equal(compute(pair, tmp_path / "broken"), unbroken)
    assert all(state == before for state in kept)
    if where == "count_documents":
        counted = [document.name for (documents,) in calls for document in documents]
        done = [document.name for document in first_calls[0][0]]
        assert sorted(counted + done) == sorted(document.name for document in DOCUMENTS)
    else:
        # one block of 20 was done, 10 pairs of the second were lost
        assert len(calls) == len(unbroken.keys) - 20


@pytest.mark.slow
def test_processes_make_no_difference(pair, tmp_path, small_parts):
    assert_equal(compute(pair, tmp_path / "two", workers=2), compute(pair, tmp_path / "none"))


def test_what_is_computed_is_found_again(pair, tmp_path, monkeypatch):
    first = compute(pair, tmp_path)
    monkeypatch.setattr(bias_jobs, "count_documents", None)
    told = []
    assert_equal(compute(pair, tmp_path, told=told), first)
    assert told == []


def test_the_key_knows_all_that_matters(views, pair):
    key = bias_key(DOCUMENTS, **pair)
    assert key == bias_key([Document(d.text, "other name") for d in DOCUMENTS], **pair)
    others = [
        bias_key(DOCUMENTS, student=views["bytes"], teacher=pair["teacher"]),
        bias_key(DOCUMENTS, student=pair["student"], teacher=views["bytes"]),
        bias_key(DOCUMENTS, student=pair["teacher"], teacher=pair["student"]),
        bias_key(DOCUMENTS[1:], **pair),
        bias_key([Document(d.text + "!", d.name) for d in DOCUMENTS], **pair),
    ]
    joined = [bias_key([Document(t, t) for t in texts], **pair) for texts in (["ab", "c"], ["abc"])]
    merges = [bias_key(DOCUMENTS, student=bpe(m), teacher=bpe()) for m in ("a b", "b a")]
    keys = [key, *others, *joined, *merges]
    assert len(set(keys)) == len(keys)


def test_a_damaged_file_is_refused(pair, tmp_path):
    compute(pair, tmp_path)
    (file,) = tmp_path.rglob("statistics.npz")
    arrays = load_arrays(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"can't be read.*Remove"):
        compute(pair, tmp_path)
    np.savez_compressed(file, **arrays | {"bias": arrays["bias"] * 0, "digest": np.array("0")})
    with pytest.raises(ValueError, match="was changed after it was written"):
        compute(pair, tmp_path)


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    file = tmp_path / "x.npz"
    save_arrays(file, {"x": np.arange(3)})
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_arrays(file, {"x": np.arange(4)})
    assert list(tmp_path.iterdir()) == [file]
    np.testing.assert_array_equal(load_arrays(file)["x"], np.arange(3))


def test_a_corpus_without_text_is_refused(pair, tmp_path):
    with pytest.raises(CorpusError, match="there are no documents"):
        compute(pair, tmp_path, documents=[])
    with pytest.raises(CorpusError, match="hold no text"):
        compute(pair, tmp_path, documents=[Document("", "empty")])
