import pytest
import torch

from alm_lightning.objectives.combine import Fixed, GradMag, GradNorm, faded


def scalars(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_gradmag_by_hand():
    weights = GradMag()(scalars(a=1.0, b=1.0, c=1.0), scalars(a=1.0, b=2.0, c=4.0))
    assert [float(weights[n]) for n in "abc"] == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_gradmag_leaves_out_a_term_without_a_gradient():
    weights = GradMag()(scalars(a=1.0, b=0.0), scalars(a=3.0, b=0.0))
    assert [float(weights[n]) for n in "ab"] == [1.0, 0.0]
    assert not any(map(float, GradMag()(scalars(a=0.0), scalars(a=0.0)).values()))


def test_a_fading_term_hands_its_weight_over():
    weights = scalars(a=0.75, b=0.25)
    found = [faded(weights, {"a": None, "b": 0.5}, step / 8) for step in range(8)]
    # of the second weight 1, 3/4, 1/2, 1/4, 0, ... are left
    left = [max(0.0, 1 - step / 4) * 0.25 for step in range(8)]
    assert [float(w["b"]) for w in found] == pytest.approx([b / (0.75 + b) for b in left])
    assert [float(w["a"] + w["b"]) for w in found] == pytest.approx([1.0] * 8)


def test_without_a_fading_term_weights_stay():
    weights = scalars(a=5.0, b=1.0)
    assert faded(weights, {"a": None, "b": None}, 0.9) == weights


def test_a_fading_term_may_have_all_the_weight():
    """The others have no gradient in this step."""
    found = faded(scalars(a=0.0, b=1.0), {"a": None, "b": 0.5}, 0.7)
    assert [float(w) for w in found.values()] == [0.0, 0.0]
    found = faded(scalars(a=0.0, b=1.0), {"a": None, "b": 0.5}, 0.25)
    assert [float(w) for w in found.values()] == [0.0, 0.5]


def gradnorm():
    balance = GradNorm(alpha=1.5, lr=0.025)
    balance.setup(["a", "b"])
    return balance


def test_gradnorm_gives_more_to_the_term_that_lags_behind():
    balance = gradnorm()
    assert [float(w) for w in balance(scalars(a=2.0, b=2.0), scalars(a=1.0, b=1.0)).values()] == [
        0.5,
        0.5,
    ]
    for _ in range(5):
        weights = balance(scalars(a=2.0, b=0.5), scalars(a=1.0, b=1.0))
    assert float(weights["a"]) > 0.55
    assert float(weights["a"] + weights["b"]) == pytest.approx(1.0)


def test_gradnorm_evens_out_norms():
    balance = gradnorm()
    for _ in range(5):
        weights = balance(scalars(a=2.0, b=2.0), scalars(a=10.0, b=1.0))
    assert float(weights["b"]) > 0.55


@pytest.mark.parametrize(
    "nothing",
    [
        (scalars(a=0.0, b=0.0), scalars(a=0.0, b=0.0)),
        (scalars(a=0.0, b=0.0), scalars(a=1.0, b=0.0)),
        (scalars(a=2.0, b=1.0), scalars(a=0.0, b=0.0)),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_gradnorm_learns_nothing_of_an_empty_step(nothing, is_first):
    one, other = gradnorm(), gradnorm()
    inputs = (scalars(a=2.0, b=1.0), scalars(a=1.0, b=3.0))
    if not is_first:
        assert one(*inputs) == other(*inputs)
    found = one(*nothing)
    assert [float(w) for w in found.values()] == one.weights.tolist() == other.weights.tolist()
    assert float(one.steps) == float(not is_first)
    for _ in range(2):
        assert one(*inputs) == other(*inputs)
    assert one.weights.isfinite().all()


def test_gradnorm_continues_from_its_state():
    one, other = gradnorm(), gradnorm()
    for step in range(3):
        one(scalars(a=2.0 - step, b=1.0), scalars(a=1.0, b=3.0))
    other.load_state_dict(one.state_dict())
    inputs = (scalars(a=0.5, b=0.9), scalars(a=1.0, b=2.0))
    for _ in range(2):
        assert one(*inputs) == other(*inputs)


def test_fixed_needs_a_weight_for_each_term():
    balance = Fixed(weights={"a": 2.0})
    balance.setup(["a"])
    assert float(balance({}, {})["a"]) == 2.0
    with pytest.raises(ValueError, match=r"give a weight for \['b'\]"):
        balance.setup(["a", "b"])


def test_fixed_gives_the_weights_of_the_terms_alone():
    balance = Fixed(weights={"a": 2.0, "b": 1.0, "c": 3.0})
    for names in (["c", "a"], ["b"]):
        balance.setup(names)
        assert {n: float(w) for n, w in balance({}, {}).items()} == {
            name: {"a": 2.0, "b": 1.0, "c": 3.0}[name] for name in names
        }
