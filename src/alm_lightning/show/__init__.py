"""Presentation: numbers, charts and bytes, as text, SVG and HTML. Knows nothing of models.

`visible` makes bytes readable, and `scale` and `charts` draw. Used by the inspection of a text and
by the report of a run.
"""
