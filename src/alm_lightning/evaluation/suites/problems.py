"""Problems whose reference answers end in a number, from a file of JSON lines."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path

from alm_lightning.corpus.document import CorpusError, Document, shortened
from alm_lightning.evaluation.suites.final_figure import final_figure, stated_figure
from alm_lightning.evaluation.texts import digest, json_lines


@dataclass(frozen=True)
class Problem:
    """A problem in words.

    Attributes:
        question: What is asked.
        answer: The reference answer, with the way to it.
        figure: The final number of the answer.
        name: Its place: ``"gsm8k_test.jsonl:12"``.
        key: Its line, and a hash of question, answer and figure.
    """

    question: str
    answer: str
    figure: Decimal
    name: str
    key: str


@dataclass(frozen=True)
class Columns:
    """Columns of a file of problems, and the mark before final figures (see `Gsm8k`)."""

    question: str
    answer: str
    figure: str | None
    mark: str | None


def read_problems(path: Path, columns: Columns, count: int | None) -> list[Problem]:
    """The first problems of a file of JSON lines, plain or compressed; blank lines are skipped.

    A CorpusError says that the file is missing, holds no problems, or has one without a figure.
    """
    expected = f"a problem with the columns '{columns.question}' and '{columns.answer}'"
    rows = islice(json_lines(path, expected), count)
    problems = [_problem(row, name, columns) for name, row in rows]
    if not problems:
        raise CorpusError(f"{path} holds no problems. Expected one JSON object a line.")
    return problems


def _problem(row: Mapping[str, object], name: str, columns: Columns) -> Problem:
    used = [columns.question, columns.answer, columns.figure]
    missing = [column for column in used if column is not None and column not in row]
    if missing:
        raise CorpusError(
            f"{name}: there is no column {' and no '.join(map(repr, missing))}; it has "
            f"{', '.join(sorted(row)) or '(none)'}. Say which ones to read: "
            "question_column, answer_column, figure_column (of harness.gsm8k)."
        )
    question, answer = (
        Document.of(row[column], f"{name}, column '{column}'").text
        for column in (columns.question, columns.answer)
    )
    if not answer.strip():
        raise CorpusError(f"{name}: the answer is empty. Leave out problems that have none.")
    number = name.rpartition(":")[2]
    figure = _figure(row, answer, name, columns)
    whole = digest("\n".join((question, answer, str(figure))))
    return Problem(question, answer, figure, name, f"{number}:{whole}")


def _figure(row: Mapping[str, object], answer: str, name: str, columns: Columns) -> Decimal:
    if columns.figure is not None:
        figure = stated_figure(str(row[columns.figure]), columns.mark)
        if figure is None:
            raise CorpusError(
                f"{name}: there is no number in column '{columns.figure}': "
                f"{shortened(row[columns.figure])}. Leave out problems whose answer is none."
            )
        return figure
    if columns.mark and columns.mark not in answer:
        raise CorpusError(
            f"{name}: there is no '{columns.mark}' in column '{columns.answer}', which ends in "
            f"{answer[-60:]!r}; the file has the columns {', '.join(sorted(row))}. If another "
            "column holds final figures, give figure_column (harness.gsm8k.figure_column); "
            "mark=None (harness.gsm8k.mark=null) takes the one in the last \\boxed{}, or the last "
            "number."
        )
    figure = final_figure(answer, columns.mark)
    if figure is None:
        raise CorpusError(
            f"{name}: there is no number in column '{columns.answer}', which ends in "
            f"{answer[-60:]!r}. Leave out problems whose answer is none."
        )
    return figure
