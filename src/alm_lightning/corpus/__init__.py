"""Text: what a document is, where documents come from, and which are held out."""
