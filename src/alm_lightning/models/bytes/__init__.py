"""Byte models: a model of transformers that reads and writes bytes.

`student.byte_student` makes one from a model with subwords. The three files `byte_config`,
`byte_expansion` and `byte_lm` are copied into an exported folder, so they need torch and
transformers alone, and keep their long names there.
"""
