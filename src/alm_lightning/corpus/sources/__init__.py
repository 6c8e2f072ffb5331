"""Where documents come from: files, the Hugging Face hub, and the texts that come with Python.

A source is any object with a method `documents` (`source.Source`). `files` reads texts, JSON lines
and Parquet, plain or compressed; `hub` reads what `datasets.load_dataset` loads; `columns` makes a
document of the value of a column.
"""
