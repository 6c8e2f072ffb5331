"""Text: what a document is, where documents come from, and which are held out.

`document.Document` and `chat.Chat` are checked when they are made; what is wrong with one is a
`document.BadDocument`, which `bad_documents` refuses or counts. `sources` reads documents, and
`reading` splits them into those to train on and those held out (`heldout`), stored by
`document_store` or as a stream.
"""
