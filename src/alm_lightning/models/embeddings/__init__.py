"""Embeddings of a new tokenizer's tokens, made from those of the old one.

Each class is one method of the literature, and an option of `conf/embeddings`: `fvt`, `omp`,
`simple` (mean, keep). `start.Start` copies the rows of shared tokens and special tokens.
"""
