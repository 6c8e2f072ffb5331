"""Batches: from aligned documents to tensors, for Lightning.

`DistillDataModule` (`datamodule`) is the entry. `windows` cuts aligned documents to the lengths of
the two models, `packing` puts them into rows, and `collator` makes a `DistillBatch` of them.
Windows come from memory, from shards on disk (`store`), or as a stream.
"""
