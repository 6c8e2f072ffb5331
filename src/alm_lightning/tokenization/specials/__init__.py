"""Special tokens: which there are, what each is for, and what of a vocabulary is text.

`roles` finds the special token of one tokenizer that does what one of another does, `exchange`
gives a tokenizer other special tokens, `classify` says which added tokens are text and which are
special, and `content_only` makes a tokenizer treat a text as text alone.
"""
