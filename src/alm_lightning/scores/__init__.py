"""What a teacher says of a corpus, written once and read by every run that learns from it.

`StoreWriter` writes a store with what a `SequenceScorer` says: `LocalScorer`, a model in memory, or
`ServerScorer`, one behind an endpoint. `StoreReader` reads it, and `StoredTeacher` takes the place
of the teacher in a run.
"""
