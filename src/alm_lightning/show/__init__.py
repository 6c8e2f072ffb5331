"""Presentation: numbers, tables, charts and chunks, as text, SVG and HTML. Knows nothing of models.

Callers hand over plain records. `numbers` formats values; `charts` and `dots` draw with matplotlib,
which `svg` makes part of a page; `chunks` and `tables` hold what `page` fills into the templates;
`visible` makes bytes readable.
"""
