"""What a teacher says of a corpus, written once and read by every run that learns from it.

`score_corpus` reads a corpus with a teacher and writes a store; `StoreReader` reads it, and
`StoredTeacher` takes the place of the teacher in a run. `TokenScores` is what a store has of one
sequence of tokens.
"""
