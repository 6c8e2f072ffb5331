"""The command `python -m alm_lightning.bias`: bias statistics of two tokenizers over a corpus."""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from alm_lightning.alignment.bias.statistics import (
    BiasStatistics,
    bias_statistics,
    statistics_file,
)
from alm_lightning.alignment.bias.threshold import check_threshold
from alm_lightning.app.commands import program_name
from alm_lightning.corpus.sources.columns import PlainText
from alm_lightning.corpus.sources.files import (
    JSON_LINES,
    PARQUET,
    TEXTS,
    JsonLines,
    Parquet,
    TextFile,
)
from alm_lightning.corpus.sources.paths import corpus_files, ends_in
from alm_lightning.corpus.sources.source import Source
from alm_lightning.models.weights.gguf import cache_root
from alm_lightning.show.progress import progress_bars
from alm_lightning.tokenization.load import load_tokenizer
from alm_lightning.tokenization.view import TokenizerView

DESCRIPTION = """\
How different are the tokens that end the chunks of two tokenizers? The bias of a pair of end
tokens is the probability of the continuations that one of the two excludes and the other does not:
" 12" of a tokenizer that has " 122" excludes a "2" after it. The alignment `bias` merges chunks
until the bias at their end is at most a threshold; this command computes the biases for it, and
shows what each threshold would merge.

The result is kept, and found again by the same tokenizers and the same corpus. Interrupt it when
you like: the next run with the same arguments goes on from there."""

EPILOG = """\
example:
  python -m alm_lightning.bias --student HuggingFaceTB/SmolLM2-135M --teacher google/gemma-3-270m \\
      --corpus prose_en.jsonl.gz --column text --workers 4"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Computes bias statistics and shows them.

    Args:
        arguments: Of the command line; those of the process if None.
    """
    options = _parser().parse_args(arguments)
    console = Console()
    logging.basicConfig(
        level=logging.INFO,
        format="%(message)s",
        handlers=[RichHandler(console=Console(stderr=True))],
    )
    try:
        _run(options, console)
    except (ValueError, OSError) as error:
        # what is wrong with an argument is said in a sentence; a traceback would bury it
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program_name("bias"),
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    tokenizer = "a folder, a hub id, a .gguf or a tiktoken file, or bytes"
    parser.add_argument("--student", required=True, metavar="SPEC", help=tokenizer)
    parser.add_argument("--teacher", required=True, metavar="SPEC", help=tokenizer)
    parser.add_argument(
        "--corpus",
        required=True,
        metavar="FILE",
        help="JSON lines (.jsonl), Parquet, or texts (.txt, .md) with blank lines between "
        "documents: a file, a folder or a pattern, compressed or not",
    )
    parser.add_argument(
        "--column",
        default="text",
        help="the key of JSON lines, or the column, that holds the text (default: text)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that share it (default: 1)"
    )
    parser.add_argument(
        "--thresholds",
        type=_thresholds,
        default="0.1,0.01,1e-4",
        metavar="X,Y,...",
        help="largest biases to show the effect of (default: 0.1,0.01,1e-4)",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="count the first N documents only (default: all)"
    )
    parser.add_argument(
        "--most", type=int, default=12, metavar="N", help="pairs of high bias to show (default: 12)"
    )
    return parser


def _thresholds(values: str) -> list[float]:
    try:
        thresholds = [float(value) for value in values.split(",")]
        for threshold in thresholds:
            check_threshold(threshold)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{values!r}: {error}") from error
    return thresholds


def _run(options: argparse.Namespace, console: Console) -> None:
    student, teacher = load_tokenizer(options.student), load_tokenizer(options.teacher)
    documents = list(islice(_source(options).documents(), options.limit))
    cache_folder = cache_root() / "bias"
    start = time.perf_counter()
    with progress_bars() as progress:
        statistics = bias_statistics(
            documents,
            student=student,
            teacher=teacher,
            workers=options.workers,
            cache_folder=cache_folder,
            progress=progress,
        )
    seconds = time.perf_counter() - start
    file = statistics_file(documents, student=student, teacher=teacher, cache_folder=cache_folder)
    console.print(_summary(statistics, seconds, file))
    console.print(_effects(statistics, options.thresholds))
    console.print(_most_biased(statistics, student, teacher, options.most))
    console.print(f"kept in {file}", soft_wrap=True)


def _source(options: argparse.Namespace) -> Source:
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit is {options.limit}; expected at least 1.")
    names = list(corpus_files(options.corpus))
    columns = {"column": options.column, "reader": PlainText()}
    for kind, suffixes in ((JsonLines, JSON_LINES), (Parquet, PARQUET)):
        if all(ends_in(name, suffixes) for name in names):
            return kind(path=options.corpus, **columns)
    if all(ends_in(name, TEXTS) for name in names):
        return TextFile(path=options.corpus, separator="\n\n")
    raise ValueError(
        f"--corpus is {options.corpus!r}, which is {', '.join(names[:5])}; expected files that end "
        f"in {' or '.join(JSON_LINES)}, in {' or '.join(PARQUET)}, or in {' or '.join(TEXTS)}, all "
        "of one kind."
    )


def _summary(statistics: BiasStatistics, seconds: float, file: Path) -> Table:
    table = Table(title="Bias statistics", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("documents", f"{statistics.num_documents:,}")
    table.add_row("seconds", f"{seconds:.1f}")
    table.add_row("pairs of end tokens", f"{len(statistics.keys):,}")
    table.add_row("file size, bytes", f"{file.stat().st_size:,}")
    table.add_row("a bias is exact to", f"{statistics.neglected:.1g}")
    return table


def _effects(statistics: BiasStatistics, thresholds: Sequence[float]) -> Table:
    table = Table(title="What a threshold does")
    for heading in (
        "threshold",
        "chunks",
        "merged",
        "student tokens/chunk",
        "teacher tokens/chunk",
    ):
        table.add_column(heading, justify="right")
    for name, threshold in [("finest", 1.0), *((f"{t:g}", t) for t in thresholds)]:
        chunks = statistics.num_chunks(threshold)
        table.add_row(
            name,
            f"{chunks:,}",
            f"{statistics.share_merged(threshold):.2%}",
            f"{statistics.num_student_tokens_seen / chunks:.3f}",
            f"{statistics.num_teacher_tokens_seen / chunks:.3f}",
        )
    return table


def _most_biased(
    statistics: BiasStatistics, student: TokenizerView, teacher: TokenizerView, most: int
) -> Table:
    table = Table(title="Pairs that weigh most: bias times frequency")
    table.add_column("student")
    table.add_column("teacher")
    for heading in ("bias", "ends"):
        table.add_column(heading, justify="right")
    weights = statistics.bias * statistics.ends
    for place in np.argsort(-weights, kind="stable")[:most].tolist():
        ids = divmod(int(statistics.keys[place]), statistics.num_teacher_tokens)
        cells = [repr(view.token_bytes[i]) for view, i in zip((student, teacher), ids, strict=True)]
        table.add_row(*cells, f"{statistics.bias[place]:.3g}", f"{statistics.ends[place]:,}")
    return table
