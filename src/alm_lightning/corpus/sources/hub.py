"""Documents from a data set on the Hugging Face hub."""

from collections.abc import Iterator, Sequence
from itertools import islice

import datasets

from alm_lightning.corpus.bad_documents import BadDocuments, Refuse, attempt
from alm_lightning.corpus.document import CorpusError
from alm_lightning.corpus.sources.columns import ColumnReader, check_column, names_of, value_of
from alm_lightning.corpus.sources.source import AnyDocument, at_least_one, check_limit

# OSError: no such data set, no network. ValueError: no such configuration or split, a row that
# cannot be decoded. DatasetsError: rows that cannot be read
FAILURES = (OSError, ValueError, datasets.exceptions.DatasetsError)


class HubDataset:
    """A data set that `datasets.load_dataset` can load: on the hub, or a folder of data files.

    A document is named by its row, counted from 0.

    Args:
        name: Id on the hub, such as ``allenai/tulu-3-sft-mixture``, or a folder.
        config: The configuration of the data set, if it has several; else None.
        revision: Branch, tag or commit; None for the newest.
        split: Such as ``train``.
        column: The column whose values become documents; several, for a reader of several.
        reader: Makes the document of a value.
        streaming: Whether to fetch rows while they are read, and not the whole data set before.
        max_documents: The most rows to read, from the first; None for all.
    """

    def __init__(
        self,
        *,
        name: str,
        config: str | None,
        revision: str | None,
        split: str,
        column: str | Sequence[str],
        reader: ColumnReader,
        streaming: bool,
        max_documents: int | None,
    ) -> None:
        check_limit(max_documents)
        self.name = name
        self.config = config
        self.revision = revision
        self.split = split
        self.column = column
        self.reader = reader
        self.streaming = streaming
        self.max_documents = max_documents

    def documents(self, on_bad: BadDocuments | None = None) -> Iterator[AnyDocument]:
        """One document a row; see `Source.documents`."""
        rows = self._load()
        # a stream may not know its columns before the first row
        if rows.column_names is not None:
            check_column(self.column, rows.column_names, self.name)
            # the other columns are neither read nor decoded
            rows = rows.select_columns(names_of(self.column))
        on_bad = on_bad or Refuse()
        return at_least_one(self._read(rows, on_bad), self.name, on_bad)

    def _load(self) -> datasets.Dataset | datasets.IterableDataset:
        try:
            return datasets.load_dataset(
                self.name,
                self.config,
                split=self.split,
                revision=self.revision,
                streaming=self.streaming,
            )
        except FAILURES as error:
            # the message of some is only "an error occurred while generating the dataset"
            reason = f"{error} ({error.__cause__})" if error.__cause__ else str(error)
            raise CorpusError(
                f"The data set '{self.name}' (config {self.config}, split {self.split}, revision "
                f"{self.revision}) cannot be loaded: {reason}\nCheck the name at "
                f"https://huggingface.co/datasets/{self.name}; log in with `hf auth login` if its "
                "owner asks for that; without a network, choose a local corpus."
            ) from error

    def _read(
        self, rows: datasets.Dataset | datasets.IterableDataset, on_bad: BadDocuments
    ) -> Iterator[AnyDocument]:
        for number, row in enumerate(islice(self._fetched(rows), self.max_documents)):
            name = f"{self.name}/{self.split}:{number}"
            # all rows have the same columns: not a fault of this row alone
            check_column(self.column, row, name)
            document = attempt(on_bad, self.reader, value_of(row, self.column), name)
            if document is not None:
                yield document

    def _fetched(
        self, rows: datasets.Dataset | datasets.IterableDataset
    ) -> Iterator[dict[str, object]]:
        """The rows; raises a CorpusError where one cannot be fetched."""
        number = -1
        try:
            for number, row in enumerate(_all_of(rows)):  # noqa: B007 (used in the error)
                yield row
        except FAILURES as error:
            raise CorpusError(
                f"{self.name}/{self.split}: no row can be read after number {number}: {error}. A "
                "data set is decoded many rows at a time, so that a bad one cannot be skipped: "
                "correct its file, check the network, or read a local file with JsonLines or "
                "Parquet (corpus=jsonl, corpus=parquet), which can skip rows."
            ) from error


def _all_of(
    rows: datasets.Dataset | datasets.IterableDataset,
) -> Iterator[dict[str, object]]:
    """Every row, in the same order in every process."""
    if isinstance(rows, datasets.Dataset):
        yield from rows
        return
    # not the stream itself: in a worker of a DataLoader it would give this worker's share of the
    # files alone, and `StepStream` needs all rows in each worker. Batches are not shared out
    for batch in rows.iter(batch_size=1):
        yield {name: values[0] for name, values in batch.items()}
