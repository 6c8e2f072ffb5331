"""An evaluation that was stopped goes on where it was."""

import json

import pytest

from alm_lightning.evaluation.harness import Figure, Result
from alm_lightning.evaluation.store import Store


class Counting:
    """Scores an item by its length, and notes which ones it was asked for."""

    def __init__(self, stop_after=None):
        self.asked = []
        self.stop_after = stop_after

    def prepare(self):
        return ["a", "bb", "c\u2028c"]

    def records(self, evaluated, keys):
        for number, key in enumerate(keys):
            if number == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(key)
            yield key, {"length": len(key)}

    def result(self, records):
        total = float(sum(record["length"] for record in records.values()))
        return Result({"total": Figure(total, None, len(records), "characters")})


@pytest.fixture
def run(tmp_path, evaluated_models):
    def made(harness, settings=None):
        store = Store(tmp_path / "s", {"x": 1} if settings is None else settings)
        for _ in store.add(harness, evaluated_models["gemma"], store.missing(harness.prepare())):
            pass
        return store.finish(harness, harness.prepare(), {"model": "m"})

    return made


def test_only_what_has_no_record_is_scored_again(run, tmp_path):
    first = Counting(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        run(first)
    second = Counting()
    plain = run(second)
    assert (first.asked, second.asked) == (["a", "bb"], ["c\u2028c"])
    assert plain["figures"]["total"]["value"] == 6
    assert json.loads((tmp_path / "s" / "result.json").read_text("utf-8")) == plain
    third = Counting()
    assert run(third) == plain
    assert third.asked == []


def test_half_a_line_of_a_killed_process_is_scored_again(run, tmp_path):
    run(Counting())
    path = tmp_path / "s" / "records.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-4])
    again = Counting()
    assert run(again)["figures"]["total"]["value"] == 6
    assert again.asked == ["c\u2028c"]
    assert path.read_bytes() == whole


def test_other_settings_are_refused_by_name(run):
    run(Counting())
    with pytest.raises(ValueError, match=r"x: 1, now 2.*paths\.output_dir"):
        run(Counting(), {"x": 2})


def test_only_what_differs_is_told(run):
    before = {"a": {"b": 1, "c": [1, 2], "d": [{"e": 1}, {"e": 2}]}, "same": "long text", "old": 0}
    after = {"a": {"b": 1.0, "c": [1, 3], "d": [{"e": 1}, {"e": 3}]}, "same": "long text", "f": {}}
    run(Counting(), before)
    with pytest.raises(ValueError, match="other settings") as caught:
        run(Counting(), after)
    assert (
        "(a.c: [1, 2], now [1, 3]; a.d.1.e: 2, now 3; old: 0, now not there; f: not there, now {})"
    ) in str(caught.value)
    many = {"old": {str(number): number for number in range(10)}}
    with pytest.raises(ValueError, match=r"; and 3 more\)"):
        run(Counting(), {**before, **many})


def test_settings_without_a_record_bind_nobody(run, tmp_path, evaluated_models):
    store = Store(tmp_path / "s", {"x": 1})
    assert not (tmp_path / "s").exists()
    with pytest.raises(KeyboardInterrupt):
        next(store.add(Counting(stop_after=0), evaluated_models["gemma"], ["a"]))
    assert run(Counting(), {"x": 2})["settings"] == {"x": 2}
    assert json.loads((tmp_path / "s" / "settings.json").read_text("utf-8")) == {"x": 2}


def test_records_of_items_that_are_gone_make_no_figure(run):
    run(Counting())
    harness = Counting()
    harness.prepare = lambda: ["bb"]
    assert run(harness)["figures"]["total"] == {
        "value": 2,
        "stderr": None,
        "count": 1,
        "unit": "characters",
        "lower_is_better": None,
    }
