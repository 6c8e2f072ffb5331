"""Special tokens: which there are, what each is for, and what of a vocabulary is text.

`roles` finds the special token of one tokenizer that does what one of another does, `others` gives
a tokenizer other special tokens, `text` tells special tokens that are text from those that are
not, and `content_only` makes a tokenizer treat a text as text alone.
"""
