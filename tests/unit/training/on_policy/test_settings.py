import pytest

from alm_lightning.training.on_policy import OnPolicy

SETTINGS = {
    "share": 0.5,
    "begins": 0.25,
    "rises": 0.5,
    "temperature": 1.0,
    "top_p": 1.0,
    "max_new_tokens": 8,
    "every": 3,
    "batch_size": 4,
    "prompt_bytes": 16,
}


def test_the_share_rises():
    settings = OnPolicy(**SETTINGS)
    shares = [settings.share_at(progress) for progress in (0.0, 0.24, 0.25, 0.5, 0.75, 1.0)]
    assert shares == [0.0, 0.0, 0.0, 0.25, 0.5, 0.5]
    at_once = OnPolicy(**(SETTINGS | {"rises": 0.0}))
    assert [at_once.share_at(progress) for progress in (0.2, 0.25, 0.9)] == [0.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("share", 1.5),
        ("share", float("nan")),
        ("begins", 1.0),
        ("rises", -0.1),
        ("temperature", 0.0),
        ("top_p", 0.0),
        ("max_new_tokens", 0),
        ("every", 0),
        ("batch_size", 0),
        ("prompt_bytes", 3),
        ("every", 2.5),
        ("every", True),
        ("every", None),
        ("batch_size", 2.5),
        ("max_new_tokens", "64"),
        ("prompt_bytes", 16.5),
        ("share", "half"),
    ],
)
def test_what_makes_no_sense_is_refused(name, value):
    settings = OnPolicy(**SETTINGS)
    # afterwards: where annotations are checked, another type would be refused before
    object.__setattr__(settings, name, value)
    with pytest.raises(ValueError, match=rf"on_policy\.{name} is {value!r}: expected"):
        settings.__post_init__()
