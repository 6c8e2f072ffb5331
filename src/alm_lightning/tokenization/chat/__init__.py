"""Chat templates: which parts of a rendered chat are content, and which are structure.

`template.ChatTemplate` renders a chat with placeholders to learn it. `formats` has templates by
name for tokenizers without one, and `choice` picks the template of a tokenizer.
"""
