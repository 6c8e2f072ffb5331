"""Where documents come from: files, the hub, and the texts that come with Python.

A source is any object with an iterator over documents (`source.Source`). `files` reads texts, JSON
lines and Parquet, plain or compressed; `hub` reads data sets of the Hugging Face hub; `columns`
turns a value of a column into a document.
"""
