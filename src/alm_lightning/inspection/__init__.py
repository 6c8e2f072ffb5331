"""Two tokenizations and their chunks, shown in the terminal or as an HTML page.

`build` makes a `report.Report` of an aligned text; `terminal` and `page` draw it. The program is
`python -m alm_lightning.inspect`.
"""
