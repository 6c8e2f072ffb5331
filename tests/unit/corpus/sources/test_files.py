import gzip
import json
import random
import re

import pyarrow
import pyarrow.parquet
import pytest

from alm_lightning.corpus.bad_documents import Skip
from alm_lightning.corpus.document import BadDocument, CorpusError
from alm_lightning.corpus.sources.columns import Messages, PlainText, QuestionAnswer
from alm_lightning.corpus.sources.files import JsonLines, Parquet, TextFile


def pairs(source):
    return [(document.name, document.text) for document in source.documents()]


def json_lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return JsonLines(path=str(path), column="text", reader=PlainText())


class TestTextFile:
    def test_whole(self, tmp_path):
        (tmp_path / "a.txt").write_bytes("eins\r\n\n\nzwei é".encode())
        source = TextFile(path=str(tmp_path / "a.txt"), separator=None)
        assert pairs(source) == [("a.txt:1", "eins\r\n\n\nzwei é")]

    def test_cut_and_named_by_line(self, tmp_path):
        (tmp_path / "a.txt").write_text(
            "one\nmore\n\n\ntwo\n\n\n\n\n\nthree\n\n\n", encoding="utf-8"
        )
        source = TextFile(path=str(tmp_path / "a.txt"), separator="\n\n\n")
        assert pairs(source) == [
            ("a.txt:1", "one\nmore"),
            ("a.txt:5", "two"),
            ("a.txt:11", "three"),
        ]

    def test_home_is_expanded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "a.txt").write_text("text", encoding="utf-8")
        assert pairs(TextFile(path="~/a.txt", separator=None)) == [("a.txt:1", "text")]

    def test_a_missing_file_is_refused_by_the_call(self, tmp_path):
        source = TextFile(path=str(tmp_path / "none.txt"), separator=None)
        with pytest.raises(CorpusError, match=r"no file at '.*none.txt' \(looked for "):
            source.documents()

    def test_windows_line_ends_separate_too(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"one\r\nmore\r\n\r\ntwo\n\nthree\n\r\nfour\r\n\r\n")
        source = TextFile(path=str(tmp_path / "a.txt"), separator="\n\n")
        assert pairs(source) == [
            ("a.txt:1", "one\r\nmore"),
            ("a.txt:4", "two"),
            ("a.txt:6", "three"),
            ("a.txt:8", "four"),
        ]

    @pytest.mark.parametrize("separator", ["\n\n", "\n", "ab", "a\nb\n\n", "."])
    @pytest.mark.parametrize("buffer", [1, 2, 3, 7])
    def test_a_separator_is_found_wherever_the_file_is_read_to(
        self, tmp_path, monkeypatch, separator, buffer
    ):
        monkeypatch.setattr("alm_lightning.corpus.sources.files.BUFFER_BYTES", buffer)
        content = "".join(random.Random(buffer).choices(["a", "b", "\n", "\r\n", "."], k=400))
        (tmp_path / "a.txt").write_bytes(content.encode())
        source = TextFile(path=str(tmp_path / "a.txt"), separator=separator)
        pattern = re.escape(separator).replace("\\\n", "\r?\n")
        expected = [piece for piece in re.split(pattern, content) if piece.strip()]
        found = pairs(source)
        assert [text for _, text in found] == expected
        lines = content.split("\n")
        for name, text in found:
            number = int(name.rpartition(":")[2])
            assert "\n".join(lines[number - 1 :]).find(text) >= 0

    @pytest.mark.parametrize("content", ["", " \n\n\n "])
    def test_empty(self, tmp_path, content):
        (tmp_path / "a.txt").write_text(content, encoding="utf-8")
        with pytest.raises(CorpusError, match=r"a.txt: the corpus is empty"):
            pairs(TextFile(path=str(tmp_path / "a.txt"), separator=None))

    def test_undecodable(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"ok \xff")
        with pytest.raises(CorpusError, match=r"byte 0xff at position 3"):
            pairs(TextFile(path=str(tmp_path / "a.txt"), separator=None))

    def test_an_empty_separator_is_refused(self):
        with pytest.raises(ValueError, match=r"separator is the empty string"):
            TextFile(path="a.txt", separator="")


class TestJsonLines:
    def test_lines_are_numbered_and_empty_ones_left_out(self, tmp_path):
        path = tmp_path / "a.jsonl"
        # line separators inside a string, and CRLF, end no line
        path.write_text(
            '{"text": "a\u2028b\x85"}\r\n\r\n{"text": "b"}', encoding="utf-8", newline=""
        )
        source = JsonLines(path=str(path), column="text", reader=PlainText())
        assert pairs(source) == [("a.jsonl:1", "a\u2028b\x85"), ("a.jsonl:3", "b")]

    def test_compressed(self, tmp_path):
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"text": "a"}\n{"text": "b"}\n'))
        source = JsonLines(path=str(path), column="text", reader=PlainText())
        assert pairs(source) == [("a.jsonl.gz:1", "a"), ("a.jsonl.gz:2", "b")]

    def test_damaged_compression(self, tmp_path):
        path = tmp_path / "a.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"text": "a"}\n')[:-9])
        with pytest.raises(CorpusError, match=r"damaged or cut off"):
            pairs(JsonLines(path=str(path), column="text", reader=PlainText()))

    def test_chats(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text(
            '{"messages": [{"role": "user", "content": "a"}, '
            '{"role": "assistant", "content": "b"}]}\n',
            encoding="utf-8",
        )
        source = JsonLines(path=str(path), column="messages", reader=Messages())
        assert pairs(source) == [("a.jsonl:1", "a\n\nb")]

    def test_missing_column(self, tmp_path):
        source = json_lines(tmp_path / "a.jsonl", {"body": "x", "id": 1})
        with pytest.raises(CorpusError, match=r"a.jsonl:1: there is no column 'text'.*body, id"):
            pairs(source)

    def test_malformed_line(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "a"}\n{"text": \n', encoding="utf-8")
        with pytest.raises(CorpusError, match=r"a.jsonl:2: not JSON"):
            pairs(JsonLines(path=str(path), column="text", reader=PlainText()))

    @pytest.mark.parametrize(
        ("name", "content", "advice"),
        [
            ("a.json", '[\n{"text": "a"}\n]', r"jq -c '\.\[\]' a\.json > rows\.jsonl"),
            ("a.csv", "text,label\na,1\n", r"corpus=parquet"),
            ("a.jsonl", "text,label\na,1\n", r"object a line\.$"),
        ],
    )
    def test_other_formats_say_how_to_convert(self, tmp_path, name, content, advice):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(CorpusError, match=advice):
            pairs(JsonLines(path=str(tmp_path / name), column="text", reader=PlainText()))

    def test_a_line_that_is_no_object(self, tmp_path):
        with pytest.raises(CorpusError, match=r"a.jsonl:1: expected a JSON object, found list"):
            pairs(json_lines(tmp_path / "a.jsonl", ["text"]))

    def test_a_value_that_is_no_text(self, tmp_path):
        with pytest.raises(CorpusError, match=r"a.jsonl:2: expected text"):
            pairs(json_lines(tmp_path / "a.jsonl", {"text": "a"}, {"text": None}))

    def test_an_escaped_surrogate(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"text": "x\\ud83d"}\n', encoding="utf-8")
        source = JsonLines(path=str(tmp_path / "a.jsonl"), column="text", reader=PlainText())
        with pytest.raises(CorpusError, match=r"a.jsonl:1: .*at character 1"):
            pairs(source)

    def test_undecodable_line(self, tmp_path):
        (tmp_path / "a.jsonl").write_bytes(b'{"text": "a"}\n{"text": "\xe9"}\n')
        with pytest.raises(CorpusError, match=r"a.jsonl:2: not UTF-8: byte 0xe9 at position 10"):
            pairs(JsonLines(path=str(tmp_path / "a.jsonl"), column="text", reader=PlainText()))

    def test_empty(self, tmp_path):
        with pytest.raises(CorpusError, match=r"a.jsonl: the corpus is empty"):
            pairs(json_lines(tmp_path / "a.jsonl"))

    def test_is_lazy(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text('{"text": "a"}\nbroken\n', encoding="utf-8")
        documents = JsonLines(path=str(path), column="text", reader=PlainText()).documents()
        assert next(documents).text == "a"

    def test_questions_and_answers(self, tmp_path):
        path = tmp_path / "sums.jsonl"
        path.write_text('{"answer": "2", "level": "easy", "question": "1+1"}\n{"question": "2"}\n')
        source = JsonLines(
            path=str(path),
            column=["question", "answer"],
            reader=QuestionAnswer(),
            group_column="level",
        )
        documents = source.documents()
        chat = next(documents)
        assert (chat.text, chat.group) == ("1+1\n\n2", "easy")
        with pytest.raises(CorpusError, match=r"sums.jsonl:2: there is no column 'answer'"):
            next(documents)

    def test_groups(self, tmp_path):
        rows = [{"text": "a", "lang": "de"}, {"text": "b", "lang": None}, {"text": "c", "lang": 3}]
        bad = {"text": "d", "lang": "\ud83d"}
        path = tmp_path / "a.jsonl"
        json_lines(path, *rows, bad)
        source = JsonLines(path=str(path), column="text", reader=PlainText(), group_column="lang")
        skip = Skip()
        assert [d.group for d in source.documents(skip)] == ["de", None, "3"]
        assert skip.counts() == {"lone surrogate": 1}
        with pytest.raises(
            BadDocument, match=r"a.jsonl:4: the group has a lone surrogate \(U\+D83D"
        ):
            list(source.documents())


class TestParquet:
    def write(self, path, **columns):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return str(path)

    def test_rows_are_numbered_over_batches(self, tmp_path):
        texts = [f"text {number}" for number in range(600)]
        path = self.write(tmp_path / "a.parquet", text=texts, id=list(range(600)))
        source = Parquet(path=path, column="text", reader=PlainText())
        assert pairs(source) == [(f"a.parquet:{n}", text) for n, text in enumerate(texts)]

    def test_chats(self, tmp_path):
        chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        path = self.write(tmp_path / "a.parquet", messages=[chat])
        source = Parquet(path=path, column="messages", reader=Messages())
        assert pairs(source) == [("a.parquet:0", "a\n\nb")]

    def test_questions_and_answers(self, tmp_path):
        path = self.write(tmp_path / "a.parquet", a=["2", "4"], source=[1, 2], q=["1+1", "2+2"])
        source = Parquet(path=path, column=["q", "a"], reader=QuestionAnswer())
        assert pairs(source) == [("a.parquet:0", "1+1\n\n2"), ("a.parquet:1", "2+2\n\n4")]
        with pytest.raises(CorpusError, match=r"no column 'answer'.*a, q, source"):
            Parquet(path=path, column=["q", "answer"], reader=QuestionAnswer()).documents()

    def test_missing_column_is_refused_by_the_call(self, tmp_path):
        path = self.write(tmp_path / "a.parquet", body=["x"])
        with pytest.raises(CorpusError, match=r"no column 'text'.*body"):
            Parquet(path=path, column="text", reader=PlainText()).documents()

    def test_other_files_are_refused_by_the_call(self, tmp_path):
        (tmp_path / "a.parquet").write_text("text", encoding="utf-8")
        source = Parquet(path=str(tmp_path / "a.parquet"), column="text", reader=PlainText())
        with pytest.raises(CorpusError, match=r"not a Parquet file"):
            source.documents()

    def test_values_that_are_no_text(self, tmp_path):
        path = self.write(tmp_path / "a.parquet", text=["a", None])
        with pytest.raises(CorpusError, match=r"a.parquet:1: expected text"):
            pairs(Parquet(path=path, column="text", reader=PlainText()))

    def test_undecodable(self, tmp_path):
        binary = pyarrow.array([b"ok", b"caf\xe9"], pyarrow.binary())
        path = self.write(tmp_path / "a.parquet", text=binary.view(pyarrow.string()))
        with pytest.raises(CorpusError, match=r"a.parquet:1: not UTF-8 at byte 3"):
            pairs(Parquet(path=path, column="text", reader=PlainText()))

    def test_empty(self, tmp_path):
        path = self.write(tmp_path / "a.parquet", text=pyarrow.array([], pyarrow.string()))
        with pytest.raises(CorpusError, match=r"empty"):
            pairs(Parquet(path=path, column="text", reader=PlainText()))
