import json
import pickle
from dataclasses import replace

import pytest
import torch
from tests.unit.data.orders import RefusesSome
from tests.unit.scores.conftest import CUT, EXACT, LENGTH

from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import BadDocument, Document
from alm_lightning.corpus.pieces import pieces
from alm_lightning.data.pairing import ALL_TRAINED
from alm_lightning.data.scores import END
from alm_lightning.distillation.scoring import _template
from alm_lightning.scores.kinds import Kinds
from alm_lightning.scores.local import LocalScorer, sparse
from alm_lightning.scores.manifest import read_manifest
from alm_lightning.scores.reader import NOT_SCORED, StoreReader, check_cut
from alm_lightning.scores.writing import Part
from alm_lightning.tokenization.bytes.view import byte_view

ALM = Kinds(kinds=("alm",), top=None, dtype="float32", least_share=0.0)


class Stops:
    """A teacher that is killed after some shards."""

    def __init__(self, scorer, shards):
        self.scorer, self.left = scorer, shards

    def score(self, sequences):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        yield from self.scorer.score(sequences)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.arrow")}


def test_a_store_that_was_stopped_goes_on(scorers, write, texts, tmp_path):
    local = LocalScorer(scorers[1], kinds=ALM, batch_tokens=200)
    whole = files(write(texts, kinds=ALM, folder="whole"))
    assert len(whole) > 2
    with pytest.raises(KeyboardInterrupt):
        write(texts, kinds=ALM, scorer=Stops(local, 2))
    before = files(tmp_path / "store")
    assert len(before) == 2
    with pytest.raises(FileNotFoundError, match="not whole"):
        StoreReader(tmp_path / "store")
    # what is there is not asked for again
    folder = write(texts, kinds=ALM, scorer=Stops(local, len(whole) - 2))
    assert files(folder) == whole
    assert read_manifest(folder).sequences == read_manifest(tmp_path / "whole").sequences


def test_parts_make_one_store(scorers, write, texts, tmp_path):
    whole = files(write(texts, kinds=ALM, folder="whole"))
    folder = write(texts, kinds=ALM, part=Part(1, 2))
    assert 0 < len(files(folder)) < len(whole)
    assert not (folder / "store.json").exists()
    assert files(write(texts, kinds=ALM, part=Part(0, 2))) == whole
    assert (folder / "store.json").exists()


@pytest.mark.parametrize("text", ["4/4", "-1/2", "1", "a/b", "1/0"])
def test_no_part(text):
    with pytest.raises(ValueError, match=r"scores\.part"):
        Part.of(text)


def test_another_store_is_not_written_over(write, texts, tmp_path):
    write(texts, kinds=ALM)
    with pytest.raises(FileExistsError, match="weights: '0', not '1'"):
        write(texts, kinds=ALM, weights="1")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis\.txt"):
        write(texts, kinds=ALM, folder="other")


def test_a_text_that_was_not_scored(write, batches, texts, tmp_path):
    folder = write(texts[1:], kinds=ALM)
    with pytest.raises(BadDocument, match="no scores of this text"):
        batches(folder, texts)
    skip = Skip()
    made, _ = batches(folder, texts, on_bad=skip)
    assert skip.counts() == {NOT_SCORED: 1}
    assert made


def test_other_tokens_of_the_same_text(write, pairing_of, scorers, texts):
    folder = write(texts, kinds=ALM)
    store = StoreReader(folder)
    window = pairing_of(scorers[0].view).windows(texts[0])[0]
    store.check(window, "a")
    ids = window.teacher.ids.copy()
    ids[2] += 1
    other = replace(window, teacher=replace(window.teacher, ids=ids))
    with pytest.raises(BadDocument, match=r"token 3 is \d+, and in the store"):
        store.check(other, "a")


def test_cut_and_length_are_those_of_the_store(write, texts):
    store = StoreReader(write(texts, kinds=ALM))
    check_cut(store, cut_bytes=CUT, length=LENGTH - 5)
    with pytest.raises(ValueError, match=f"windows.cut_bytes={CUT}"):
        check_cut(store, cut_bytes=None, length=LENGTH)
    with pytest.raises(ValueError, match=f"Take teacher_length={LENGTH}"):
        check_cut(store, cut_bytes=CUT, length=LENGTH + 1)


def test_a_damaged_store(write, texts):
    folder = write(texts, kinds=ALM)
    path = folder / "00001.arrow"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"00001\.arrow has"):
        StoreReader(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"00001\.arrow has 0 bytes"):
        StoreReader(folder)


def test_another_tokenizer_in_the_folder(write, texts, byte_level_tokenizer):
    folder = write(texts, kinds=ALM)
    byte_level_tokenizer.save_pretrained(folder / "tokenizer")
    with pytest.raises(ValueError, match="fingerprint"):
        _ = StoreReader(folder).view


def test_workers_open_it_for_themselves(write, texts):
    store = StoreReader(write(texts, kinds=ALM))
    _ = store.view
    assert len(pickle.dumps(store)) < 1000
    assert pickle.loads(pickle.dumps(store)).identity == store.identity


def test_equal_texts_are_one(write, texts):
    twice = [Document(text.text, name="again") for text in texts]
    once = read_manifest(write(texts, kinds=ALM, folder="once"))
    store = StoreReader(write([*texts, *twice], kinds=ALM))
    assert len({*store._index[0].tolist()}) == once.sequences


def test_bytes_a_token(write, texts):
    # two float32 and an id of 32 bits, and Arrow's own
    folder = write(texts * 1, kinds=ALM)
    manifest = read_manifest(folder)
    columns = 12 * manifest.tokens
    size = sum(size for size, _ in manifest.shards.values())
    assert columns < size < columns + 3000 * len(manifest.shards)


def test_float16_does_not_overflow_in_silence(scorers, write, texts):
    class Large:
        def score(self, sequences):
            local = LocalScorer(scorers[1], kinds=EXACT, batch_tokens=200)
            for scores in local.score(sequences):
                scores.hidden[0, 0] = 1e5
                yield scores

    kinds = Kinds(kinds=("hidden",), top=None, dtype="float16", least_share=0.0)
    with pytest.raises(ValueError, match=r"hidden has values up to 100000.*scores\.dtype"):
        write(texts, kinds=kinds, scorer=Large())


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("kinds", ("logits",), r"scores\.kinds has \['logits'\]"),
        ("dtype", "bfloat16", r"scores\.dtype is 'bfloat16'"),
        ("top", 0, r"scores\.top is 0"),
        ("least_share", 0.7, r"scores\.least_share is 0\.7"),
    ],
)
def test_settings_that_are_refused(setting, value, message):
    with pytest.raises(ValueError, match=message):
        Kinds(**vars(ALM) | {setting: value})


def test_a_manifest_of_another_format(write, texts):
    folder = write(texts, kinds=ALM)
    path = folder / "store.json"
    values = json.loads(path.read_text())
    values["plan"]["format"] = 99
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="format 99"):
        StoreReader(folder)
    path.write_text("{")
    with pytest.raises(ValueError, match="can't be read"):
        StoreReader(folder)


def test_a_piece_is_not_the_text_that_it_begins_with(write, texts, batches):
    """One goes on, the other ends: they differ in the end token."""
    beginning = pieces(texts[-1], CUT)[0]
    folder = write([texts[-1], Document(beginning.text, name="ends here")], kinds=ALM)
    both = [texts[-1], Document(beginning.text, name="ends here")]
    made, _ = batches(folder, both)
    assert sum(len(batch.student.ids) for batch in made) == read_manifest(folder).sequences


def test_the_likeliest_byte_stays_whatever_is_left_out(scorers, write, texts, batches):
    kinds = Kinds(kinds=("next_byte",), top=None, dtype="float32", least_share=0.49)
    made, _ = batches(write(texts, kinds=kinds), texts)
    for batch in made:
        shares = batch.scores.next_bytes
        assert (shares.starts.diff() > 0).all()
        assert shares.shares.isfinite().all()


def test_settings_that_nothing_reads_make_no_other_store():
    plain = Kinds(kinds=(), top=None, dtype="float32", least_share=0.0)
    assert Kinds(kinds=("alm",), top=64, dtype="float16", least_share=1e-4) == plain
    both = [
        Kinds(kinds=kinds, top=top, dtype="float16", least_share=1e-4)
        for kinds, top in ((("hidden", "next_byte"), 64), (("next_byte", "alm", "hidden"), None))
    ]
    assert both[0] == both[1]


def test_a_first_call_that_was_killed_blocks_nothing(write, texts, tmp_path):
    folder = tmp_path / "store"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "tokenizer" / "half.json").write_text("{")
    (folder / "plan.json.1.unfinished").write_text("{")
    assert StoreReader(write(texts, kinds=ALM)).view
    assert not list(folder.glob("*.unfinished"))


def test_what_is_left_out_is_counted_whoever_met_it(write, texts, pairing_of):
    # a policy counts each document once: as it is called, and what is wrong with it
    first, last = (Document(f"a bad text, {n}", name=f"bad {n}") for n in range(2))

    def part(index):
        pairing = pairing_of(on_bad=Skip(), alignment=RefusesSome())
        return write([first, *texts, last], kinds=ALM, pairing=pairing, part=Part(index, 2))

    part(0)
    assert read_manifest(part(1)).bad == {"bad chat": 2}


def test_what_rarely_follows_keeps_its_digits():
    """A token that ends with probability 0.9995, and what comes where it does not."""
    shares = torch.zeros(1, END + 3)
    shares[0, END] = 0.9995
    shares[0, [65, 66, END + 2]] = 5e-4 * torch.tensor([0.7, 0.2999, 0.0001])
    found = sparse(shares, 1e-3)[0]
    assert found[END] == pytest.approx(5e-4, rel=1e-5)
    assert found[[65, 66]].tolist() == pytest.approx([0.7 / 0.9999, 0.2999 / 0.9999], rel=1e-5)
    assert found[END + 2] == 0.0
    certain = torch.zeros(1, END + 3).index_fill(1, torch.tensor([END]), 1.0)
    assert sparse(certain, 1e-3).sum() == 0.0


def test_starts_of_texts_that_are_not_cut(write, texts, pairing_of, scorers):
    """Such a store has no later window, whoever asks for all of them: evaluation does."""
    plain = pairing_of(cut_bytes=None)
    folder = write(texts, kinds=ALM, pairing=plain, cut_bytes=None)
    view, long = scorers[0].view, texts[-1]
    without = pairing_of(view, cut_bytes=None).windows(long)
    assert len(without) > 1
    (window,) = pairing_of(view, StoreReader(folder), cut_bytes=None).windows(long)
    assert window.student.ids.tolist() == without[0].student.ids.tolist()


NAMED = "ChatTemplate(view=TokenizerView(name='tiny', ...), name=\"of tokenizer 'tiny'\")"
"""As earlier versions wrote in place of a template's text."""


def test_another_chat_template_is_another_store(write, texts, tmp_path):
    write(texts, kinds=ALM, template={"system": "own", "template": "{{ a }}"})
    with pytest.raises(FileExistsError, match=r"template: .*\{\{ a \}\}.*, not .*\{\{ b \}\}"):
        write(texts, kinds=ALM, template={"system": "own", "template": "{{ b }}"})


def test_a_store_that_does_not_say_its_chat_template_goes_on(scorers, write, texts, tmp_path):
    local = LocalScorer(scorers[1], kinds=ALM, batch_tokens=200)
    old = {"system": "own", "template": NAMED}
    with pytest.raises(KeyboardInterrupt):
        write(texts, kinds=ALM, scorer=Stops(local, 1), template=old)
    with pytest.raises(FileExistsError, match=r"template: .*'own'.*, not .*'merge'"):
        write(texts, kinds=ALM, template={"system": "merge", "template": "{{ a }}"})
    folder = write(texts, kinds=ALM, template={"system": "own", "template": "{{ a }}"})
    # what was begun so says no more of itself than it did
    assert StoreReader(folder).manifest.plan.template == old


def test_the_text_of_a_chat_template_is_what_a_store_has(chats):
    for text in ("{{ messages[0].content }}", "{{ messages[-1].content }}"):
        view = byte_view(chat_template=text)
        assert _template(ALL_TRAINED, view, chats) == {"system": "own", "template": text}
    assert _template(ALL_TRAINED, view, []) == {}
