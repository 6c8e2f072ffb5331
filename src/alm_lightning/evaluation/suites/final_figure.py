r"""The final figure of an answer: found in a text, and compared as a number."""

import re
from decimal import Decimal

MARK = "####"
"""Stands before the final figure in GSM8K, and in what models that learnt from it write."""

_NUMBER = re.compile(
    r"""
    (?P<minus>(?<![\w)])-)?                # after a word, a figure or a bracket it subtracts
    (?:[$€£]\s?)?(?P<inner>(?<=[$€£])-)?
    (?P<digits>
        \d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?   # 1,234.50
        | \d+(?:\.\d+)?                        # 1234, 12.5; the dot that ends a sentence is none
        | (?<!\d)\.\d+
    )
    """,
    re.VERBOSE,
)
_FRACTION = re.compile(
    r"(?P<minus>-?)[ \t]*(?P<whole>\d*)[ \t]*"
    r"\\[dt]?frac\s*\{?(?P<top>-?\d+)\}?\s*\{?(?P<bottom>\d+)\}?"
)
r"""\frac{1}{2}, or 1\frac{1}{2}."""
_SLASH = re.compile(
    r"(?P<minus>-?)[ \t]*(?:(?P<whole>\d+)[ \t]+)?(?P<top>\d+)[ \t]*/[ \t]*(?P<bottom>\d+)"
    r"(?![ \t]*[-+*/=]|[.,]?\d)"
)
"""1/2, or 1 1/2; neither a date nor the start of a sum."""
_SPACING = re.compile(r"\\[!,;: ]")
_WORDS = re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf)\s*\{[^{}]*\}")


def final_figure(text: str, mark: str | None = MARK) -> Decimal | None:
    r"""The final figure of a text, or None if it has no number.

    That is the number after the last mark; without one, that in the last ``\boxed{}``; or else the
    last number of the text. Separators of thousands, currencies and units are no part of it. After
    a mark and in a box it may be a fraction.

    >>> final_figure("16 - 3 - 4 = 9 eggs, so 9 * 2 = $18.\n#### 18")
    Decimal('18')
    >>> final_figure(r"The total is $\boxed{1{,}250.00}$ dollars, not 7.")
    Decimal('1250.00')
    """
    if mark and mark in text:
        after = text.rpartition(mark)[2].lstrip(" \t$")
        fraction = _value(_FRACTION.match(after) or _SLASH.match(after))
        if fraction is not None:
            return fraction
        if found := _numbers(after):
            return found[0]
    boxed = _last_boxed(text)
    figure = None if boxed is None else _boxed_figure(boxed)
    if figure is not None:
        return figure
    numbers = _numbers(text)
    return numbers[-1] if numbers else None


def stated_figure(text: str, mark: str | None = MARK) -> Decimal | None:
    r"""The figure that a whole text states, as a column of final figures does.

    >>> [stated_figure(text) for text in ("3/4", r"1\frac{1}{2}", "x = 5")]
    [Decimal('0.75'), Decimal('1.5'), Decimal('5')]
    """
    if (mark and mark in text) or _last_boxed(text) is not None:
        return final_figure(text, mark)
    return _boxed_figure(text)


def spelled_figure(figure: Decimal | None) -> str | None:
    """A figure in one spelling: no exponent, no zeros at the end of a fraction.

    >>> [spelled_figure(Decimal(figure)) for figure in ("1250.00", "-0.50")]
    ['1250', '-0.5']
    """
    if figure is None:
        return None
    spelled = f"{figure:f}"
    return spelled.rstrip("0").rstrip(".") if "." in spelled else spelled


def _numbers(text: str) -> list[Decimal]:
    """All numbers of a text, in order."""
    # LaTeX's ways to part thousands, and Unicode's minus
    plain = _SPACING.sub("", text.replace("{,}", ",").replace(",\\!", ","))
    plain = plain.replace("\u2212", "-").replace("\\$", "$")
    found = []
    for match in _NUMBER.finditer(plain):
        value = Decimal(match["digits"].replace(",", ""))
        found.append(-value if match["minus"] or match["inner"] else value)
    return found


def _boxed_figure(content: str) -> Decimal | None:
    content = _WORDS.sub("", content)
    fraction = _value(_FRACTION.search(content) or _SLASH.fullmatch(content.strip()))
    if fraction is not None:
        return fraction
    found = _numbers(content)
    return found[-1] if found else None


def _value(fraction: re.Match[str] | None) -> Decimal | None:
    if fraction is None or not int(fraction["bottom"]):
        return None
    value = Decimal(fraction["whole"] or 0) + Decimal(fraction["top"]) / Decimal(fraction["bottom"])
    return -value if fraction["minus"] else value


def _last_boxed(text: str) -> str | None:
    r"""What the last ``\boxed{}`` holds; braces in it are balanced, or it is not closed."""
    _, found, rest = text.rpartition("\\boxed{")
    if not found:
        return None
    depth = 1
    for place, character in enumerate(rest):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return rest[:place]
    return rest
