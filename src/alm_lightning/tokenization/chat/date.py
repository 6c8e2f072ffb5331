"""The date of chats: one for all days, so that a chat is the same text whenever it is written.

Some templates write today's date. Those of Llama 3 take a `date_string`; others call
`strftime_now`, which transformers gives them, and which knows no date but today's.
"""

from datetime import datetime

DATE = datetime(2024, 7, 26)
"""What the templates of Llama 3 write where nobody says which day it is."""
DATE_STRING = DATE.strftime("%d %b %Y")

_FORMS = {
    **{f"%{letter}": DATE.strftime(f"%{letter}") for letter in "aAwudbBmyYHIpMSfzZjUWcxX"},
    # not on every system
    "%-d": "26",
    "%e": "26",
    "%-m": "7",
    "%F": "2024-07-26",
}
# a macro, since transformers takes functions out of what it passes to a template
_STRFTIME_NOW = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{form}', '{written}')" for form, written in _FORMS.items())
    + " }}{% endmacro %}\n"
)


def with_fixed_date(jinja: str) -> str:
    """A template that writes `DATE` where it would write today's.

    Args:
        jinja: The template.

    Returns:
        The same one if it does not call `strftime_now`; else with a `strftime_now` of its own.

    Example:
        >>> with_fixed_date("{{ messages }}")
        '{{ messages }}'
        >>> dated = with_fixed_date("{{ strftime_now('%B %d, %Y') }}")
        >>> from jinja2 import Environment
        >>> Environment(trim_blocks=True).from_string(dated).render()
        'July 26, 2024'
    """
    return _STRFTIME_NOW + jinja if "strftime_now" in jinja else jinja
