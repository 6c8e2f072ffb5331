"""The final figure of a text: cases made by hand."""

from decimal import Decimal

import pytest

from alm_lightning.evaluation.suites.final_figure import (
    final_figure,
    spelled_figure,
    stated_figure,
)

CASES = [
    ("She has 9 eggs.\n#### 18", "18"),
    ("#### 5\nNo, again.\n#### 7", "7"),
    ("#### 1,234", "1234"),
    ("#### $1,250.00", "1250"),
    ("#### -3", "-3"),
    ("#### $-3.50", "-3.5"),
    ("#### -$3.50", "-3.5"),
    ("#### \u22127", "-7"),
    ("#### 18.", "18"),
    ("#### 18.0 dollars", "18"),
    ("####18%", "18"),
    ("#### 12 apples and 3 pears", "12"),
    ("#### The answer is 12", "12"),
    (".5 of it", "0.5"),
    ("It is 12.5.", "12.5"),
    ("So 16 - 3 - 4 = 9", "9"),
    ("so 16-3", "3"),
    ("f(2)-3", "3"),
    ("it is -3", "-3"),
    ("3, 4 and 5.", "5"),
    ("1,2", "2"),
    ("in 1999 it was 1,299,000", "1299000"),
    ("12,345,67", "67"),
    ("$70,000 in all!", "70000"),
    (r"\boxed{42}, which is more than 7", "42"),
    (r"\boxed{1} and then \boxed{2}", "2"),
    (r"\boxed{\frac{1}{4}} of 12", "0.25"),
    (r"\boxed{-\frac{1}{4}}", "-0.25"),
    (r"\boxed{3/4}", "0.75"),
    (r"\boxed{-3/4}", "-0.75"),
    (r"\boxed{1{,}000}", "1000"),
    (r"\boxed{1,\!000}", "1000"),
    (r"\boxed{\$18\text{ dollars in 2 days}}", "18"),
    (r"\boxed{x = {5}} or 7", "5"),
    (r"\boxed{\text{none}} but 7", "7"),
    (r"\boxed{12", "12"),
    (r"\boxed{1} #### 2", "2"),
    (r"\boxed{1\frac{1}{2}}", "1.5"),
    (r"\boxed{-1\frac{1}{2}}", "-1.5"),
    (r"\boxed{1 1/2}", "1.5"),
    (r"\boxed{\frac12}", "0.5"),
    ("#### 1/2", "0.5"),
    ("#### -1/2", "-0.5"),
    ("#### 3/4 of them.", "0.75"),
    ("#### 2 1/2 cups", "2.5"),
    (r"#### $\frac{1}{4}$", "0.25"),
    ("#### 12/25/2020", "12"),
    ("#### 18\n3/4 of them are red", "18"),
    ("#### 18\n\\frac{3}{4} of them", "18"),
    ("#### 16/2 = 8", "16"),
    ("7 is it\n#### none", "7"),
    ("**18**", "18"),
    ("<<9*2=18>>18 every day.", "18"),
    ("- 5 apples", "5"),
    ("no number", None),
    ("", None),
    (r"\frac{1}{0} in \boxed{\frac{1}{0}}", "0"),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_final_figures(text, expected):
    found = final_figure(text)
    assert found == (None if expected is None else Decimal(expected))


def test_spellings_of_one_number_are_alike():
    assert len({final_figure(text) for text in ("18", "18.0", "18.00", "$18", "18.")}) == 1
    assert final_figure("0.30") == final_figure("0.3")
    # compared as decimals, since these are not so as floats
    assert final_figure("9007199254740993") != final_figure("9007199254740992")


def test_without_a_mark_a_text_ends_in_its_last_number():
    assert final_figure("#### 5 of 7", mark=None) == 7
    assert final_figure("A: 5 of 7", mark="A:") == 5


def test_a_figure_is_told_in_one_spelling():
    spelled = [spelled_figure(Decimal(text)) for text in ("100", "1E+2", "100.50", "0.0", "-3.0")]
    assert spelled == ["100", "100", "100.5", "0", "-3"]
    assert spelled_figure(None) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/2", "0.5"),
        (r"\frac{1}{2}", "0.5"),
        (r"$-\dfrac{3}{4}$", "-0.75"),
        ("3 1/2", "3.5"),
        ("5", "5"),
        ("1,250 dollars", "1250"),
        (r"\boxed{7} of 9", "7"),
        ("9 #### 3", "3"),
        ("none", None),
    ],
)
def test_what_a_column_states(text, expected):
    assert stated_figure(text) == (None if expected is None else Decimal(expected))
