import pytest
from tests.conftest import SENTENCES

from alm_lightning.alignment.boundaries import Finest
from alm_lightning.corpus.chat import Chat
from alm_lightning.corpus.document import Document
from alm_lightning.data.collator import Collator
from alm_lightning.data.packing import FirstFit, OnePerRow
from alm_lightning.data.pairing import Pairing
from alm_lightning.scores import writing
from alm_lightning.scores.kinds import Kinds
from alm_lightning.scores.local import LocalScorer
from alm_lightning.scores.manifest import ScorePlan
from alm_lightning.scores.reader import StoreReader
from alm_lightning.scores.teacher import StoredTeacher
from alm_lightning.scores.writing import Part, StoreWriter

EXACT = Kinds(kinds=("next_byte", "top_k", "hidden"), top=None, dtype="float32", least_share=0.0)
CUT, LENGTH = 70, 80


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(writing, "SHARD_BYTES", 80)


@pytest.fixture
def texts():
    long = " ".join(SENTENCES)
    return [Document(text, name=f"text {n}") for n, text in enumerate([*SENTENCES, long])]


@pytest.fixture
def chats():
    turns = [("user", "Say cat."), ("assistant", "cat 123"), ("user", "Again!"), ("assistant", "")]
    return [
        Chat.of([{"role": r, "content": f"{c}{n}"} for r, c in turns], f"chat {n}")
        for n in range(3)
    ]


@pytest.fixture
def pairing_of(scorers):
    """How documents become windows, of a student or of the teacher with itself."""
    _, teacher = scorers

    def make(student=None, scores=None, on_bad=None, cut_bytes=CUT, length=LENGTH, alignment=None):
        return Pairing(
            student=student or teacher.view,
            teacher=teacher.view,
            alignment=alignment or Finest(),
            student_length=2 * length if student else length,
            teacher_length=length,
            on_bad=on_bad,
            cut_bytes=cut_bytes,
            scores=scores,
        )

    return make


@pytest.fixture
def write(scorers, pairing_of, tmp_path):
    """Writes a store, or what is missing of it."""
    _, teacher = scorers

    def run(
        documents, *, kinds=EXACT, part=None, scorer=None, folder="store", pairing=None, **changes
    ):
        settings = {
            "teacher": "tiny",
            "licence": "none",
            "weights": "0",
            "tokenizer": teacher.view.fingerprint,
            "num_tokens": teacher.view.num_tokens,
            "hidden_size": teacher.hidden_size,
            "precision": "32-true",
            "template": {},
            "cut_bytes": CUT,
            "length": LENGTH,
            "kinds": kinds,
            "corpus": ("texts",),
            "documents": len(documents),
            "texts": "0",
        }
        writer = StoreWriter(
            tmp_path / folder,
            plan=ScorePlan(**settings | changes),
            documents=documents,
            pairing=pairing or pairing_of(),
            versions={},
        )
        local = LocalScorer(teacher, kinds=kinds, batch_tokens=200)
        writer.write(scorer or local, part or Part())
        return tmp_path / folder

    return run


@pytest.fixture
def batches(scorers, pairing_of):
    """Batches of some documents with what a store has of them, and the stored teacher."""
    student, teacher = scorers

    def make(folder, documents, *, packed=False, on_bad=None):
        store = StoreReader(folder)
        pairing = pairing_of(student.view, store, on_bad)
        packing = FirstFit(student_length=400, teacher_length=300) if packed else OnePerRow()
        collator = Collator(
            student=student.view,
            teacher=teacher.view,
            micro_batch_size=4,
            packing=packing,
            scores=store,
        )
        windows = [window for document in documents for window in pairing.windows(document)]
        return collator(windows), StoredTeacher(store)

    return make
