"""Two tokenizations of a text and their chunks, shown in the terminal or as an HTML page.

`report_of` makes a `Report` of an aligned text; `draw` prints it, `html_page` makes HTML of it. The
program is `python -m alm_lightning.inspect`.
"""

from alm_lightning.inspection.build import Report, report_of
from alm_lightning.inspection.inputs import GivenText, given_chat, given_text
from alm_lightning.inspection.page import html_page
from alm_lightning.inspection.terminal import draw

__all__ = ["GivenText", "Report", "draw", "given_chat", "given_text", "html_page", "report_of"]
