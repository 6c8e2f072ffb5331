"""Tables of an evaluation."""

import pytest
from rich.console import Console

from alm_lightning.app.evaluate.table import format_figure, group_tables, main_table, write_tables


def result(model, harness, value, groups=None, unit="bits/byte", error=0.01):
    def figure(number):
        return {"value": number, "stderr": error, "count": 3, "unit": unit}

    return {
        "model": model,
        "harness": harness,
        "figures": {"score": figure(value)},
        "groups": {
            by: {name: {"score": figure(number)} for name, number in members.items()}
            for by, members in (groups or {}).items()
        },
    }


RESULTS = [
    result("a", "one", 1.25, {"lang": {"de": 1.5, "en": 1.0}}),
    result("a", "two", 0.5, unit="accuracy"),
    result("b", "one", 2.0, {"lang": {"en": 2.5, "fr|x": 3.0}}),
]


def test_a_row_a_figure_and_a_column_a_model(tmp_path):
    write_tables(tmp_path, RESULTS)
    assert (tmp_path / "results.md").read_text("utf-8").splitlines() == [
        "|  | unit | a | b |",
        "| --- | --- | --- | --- |",
        "| one: score | bits/byte | 1.250 ± 0.010 | 2.000 ± 0.010 |",
        "| two: score | accuracy | 0.500 ± 0.010 | - |",
        "",
        "### one: score by lang",
        "",
        "|  | a | b |",
        "| --- | --- | --- |",
        "| de | 1.500 ± 0.010 | - |",
        "| en | 1.000 ± 0.010 | 2.500 ± 0.010 |",
        "| fr\\|x | - | 3.000 ± 0.010 |",
    ]


def test_names_are_shown_as_they_are():
    results = [result("run[a]", "one", 1.25, {"lang": {"[/x]": 1.5}})]
    console = Console(width=120)
    with console.capture() as shown:
        for table in (main_table(results), *group_tables(results)):
            console.print(table)
    assert "run[a]" in shown.get()
    assert "[/x]" in shown.get()


def test_ensembles_are_told_with_their_weights(tmp_path):
    described = "mean_prob of a 0.250 (folder a), b 0.750 (folder b)"
    ensemble = {
        **result("both", "one", 1.0),
        "described": described,
        "weights": {"a": 0.25, "b": 0.75},
    }
    alone = {**RESULTS[0], "described": "folder a"}
    write_tables(tmp_path, [alone, ensemble, {**ensemble, "harness": "two"}])
    lines = (tmp_path / "results.md").read_text("utf-8").splitlines()
    assert lines[-3:] == ["### Ensembles", "", f"- both: {described}"]


def test_a_screen_gets_groups_that_fit_it():
    console = Console(width=80, record=True)
    console.print(main_table(RESULTS))
    [table] = group_tables(RESULTS)
    console.print(table)
    text = console.export_text()
    assert "two: score" in text
    assert "one: score by lang" in text
    many = {"phenomenon": {str(number): 0.5 for number in range(67)}}
    assert group_tables([result("a", "one", 1.0, many)]) == []


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [(12345.0, None, "12,345"), (0.5, None, "0.500"), (0.12345, 0.0456, "0.123 ± 0.046")],
)
def test_a_figure_in_words(value, error, expected):
    assert format_figure({"value": value, "stderr": error, "count": 1, "unit": "x"}) == expected
