"""The names of the axes that several modules share in jaxtyping annotations.

An axis that one module alone has is explained there.

================= ================================================================================
``batch``         documents of a batch, or pieces of them; one row each
``student_pos``   token positions of the student's sequence, padding included
``teacher_pos``   token positions of the teacher's sequence, padding included
``pos``           token positions of one side, whichever it is
``row``           positions of a batch in one long list, padding left out
``chunk``         aligned chunks of a row, padding included
``merged``        merged chunks of a batch in one long list
``vocab``         output rows of a model
``column``        output rows of a block, a slice of ``vocab``
``shared``        tokens that both vocabularies have
``field``         totals that figures are made of
``subset``        a selection of ``vocab``, the boundary tokens above all
``cell``          what two vocabularies are compared on: shared tokens, and the rest
``hidden``        channels of a hidden state; ``student_hidden``, ``teacher_hidden`` of one side's
``byte``          bytes of a document
``boundary``      common boundaries of a document
``position``      positions of a chat's axis: content bytes, and structural pairs
``seam``          positions where one message or structure ends and the next begins
``character``     characters of a text
``x_plus_one``    one more than there are of ``x``: ``byte_plus_one``, ``position_plus_one``, ...
``step``          steps of a chat: headers, contents, ends of turns
``fragment``      pieces of a rendered chat, each of one step
``marked``        a selection of ``chunk``
``reason``        why bytes lie in no chunk
``document``      documents of a corpus
``pair``          pairs of a student's and a teacher's token that end together
``teacher_vocab`` ids of the teacher, where ``vocab`` are the student's
``unused``        output rows that no token has
``old_vocab``     ids of the tokenizer that a model was trained with
``new_vocab``     ids of the tokenizer that it gets
``donor_vocab``   ids of a model that has the new tokenizer
``width``         channels of an embedding, 1 for a bias; ``donor_width`` of a donor's; ``both`` of
                  two side by side
``other_width``   channels of another matrix of the same tokens
``token``         tokens of a vocabulary that are worked on
``term``          terms of an objective
``teacher``       several teachers of one student
``piece``         old tokens that new ones are cut into, one new token after another
``text``          texts that are tokenized at once
``atom``          tokens of a donor that others are written in; ``other_atom`` the same again
``sparsity``      atoms that one token is written in
``node``          nodes of a trie of tokens; ``edge`` its edges
``rank``          tokens in the order of their bytes
``prefix``        prefixes of tokens, from the shortest on, one token after another
``special``       tokens without bytes
``symbol``        what may follow a prefix: bytes, its end, tokens without bytes
``entry``         symbols that a store has, of all prefixes in one list
``top``           the likeliest tokens of a position
``bound``         ranks where sums over a vocabulary begin, and its end
``whole``         pieces of a vocabulary that are sums of others
``item``          items of an evaluation: documents, pairs of sentences, problems
``scored``        tokens of a row that are scored, the last ones
``target``        scored tokens of all rows in one list
``member``        members of an ensemble
``beam``          rows of a batch in the order that beam search wants
``kept``          a selection of positions or rows
``other_pos``     positions of another sequence
``lead``          any axes before the last one; ``rest`` any axes after the first one
================= ================================================================================
"""

NO_CHUNK = -1
"""Chunk id of a token that belongs to no chunk: padding and special tokens."""
