"""The names of the axes: the only words that stand in a jaxtyping annotation of this project.

================  =================================================================================
``batch``         documents of a batch, or pieces of them; one row each
``student_pos``   token positions of the student's sequence, padding included
``teacher_pos``   token positions of the teacher's sequence, padding included
``pos``           token positions of either side, where a function does not care which
``row``           positions of a batch in one long list, padding left out
``chunk``         aligned chunks of a row, padding included
``vocab``         output rows of a model
``subset``        a selection of ``vocab``, the boundary tokens above all
``hidden``        channels of a hidden state
``byte``          bytes of a document
================  =================================================================================
"""

NO_CHUNK = -1
"""Chunk id of a token that belongs to no chunk: padding and special tokens."""
