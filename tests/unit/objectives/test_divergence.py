import math

import pytest
import torch
from torch import Tensor

from alm_lightning.objectives.divergence import binarised

INF = float("inf")
KINDS = ("kl", "reverse_kl", "tvd")
TEMPERATURES = (1.0, 5.0, 100.0, INF)
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}

# (L_T, L_S): values at TEMPERATURES, the last times tau. From 40-digit arithmetic (mpmath):
#     p, q = e**(L_T / tau), e**(L_S / tau);  kl(p, q) = p*log(p/q) + (1-p)*log((1-p)/(1-q))
# tvd is 2|p - q|; at infinity kl is L_T - L_S + L_T*log(L_S / L_T), and tvd 2|L_T - L_S|.
GOLDEN = {
    "kl": {
        (-2.0, -5.0): (0.286117744856, 0.187584294634, 0.0115574753976, 1.167418536),
        (-0.1, -3.0): (2.40504996345, 0.506613590879, 0.0255859724586, 2.559880262),
        (-12.0, -0.01): (4.61005788019, 5.3477263721, 0.688689751601, 73.09092203),
        (-1e-06, -4.0): (3.99998120298, 0.799996674334, 0.0399998377813, 3.999983798),
        (-0.5, -0.5): (0.0, 0.0, 0.0, 0.0),
        (-5.0, -2.0): (0.117504632822, 0.190756134885, 0.0154238522729, 1.58145365937),
        (-0.001, -0.002): (
            0.000306699402514,
            6.13644269074e-05,
            3.06851285177e-06,
            0.00030685281944,
        ),
        (-300.0, -0.25): (1.50869154945, 3.02062810906, 5.49659127722, 1827.27305073),
        (-0.37, -41.0): (27.7015957049, 7.35806609338, 0.388137139854, 38.8881049942),
        (-7.5, -7.4): (2.86164674971e-06, 5.80525506235e-05, 6.47746000647e-06, 0.000672652491055),
        (-10000.0, -0.001): (6.90825523732, 8.51729318975, 11.512930465, 151180.95751),
    },
    "reverse_kl": {
        (-2.0, -5.0): (0.117504632822, 0.190756134885, 0.0154238522729, 1.58145365937),
        (-0.1, -3.0): (2.04215179465, 1.09216542493, 0.0719502207275, 7.30359214499),
        (-12.0, -0.01): (11.8248256495, 2.3809800097, 0.119184973076, 11.9190992316),
        (-1e-06, -4.0): (13.4710617351, 7.80606925085, 0.556858131798, 56.8072206763),
        (-5.0, -2.0): (0.286117744856, 0.187584294634, 0.0115574753976, 1.16741853625),
        (-0.001, -0.002): (0.00038590824091, 7.7243421843e-05, 3.86290498194e-06, 0.00038629436112),
        (-300.0, -0.25): (233.111813336, 56.8788862276, 2.9751800488, 297.977480791),
        (-0.37, -41.0): (1.17355460008, 2.63723036644, 1.24785735733, 152.390797942),
        (-7.5, -7.4): (2.95857788113e-06, 5.83276118964e-05, 6.45175415439e-06, 0.000669649542159),
        (-10000.0, -0.001): (9989.99709453, 1999.59813675, 99.9988748764, 9999.9828819),
    },
    "tvd": {
        (-2.0, -5.0): (0.257194672475, 0.604881209728, 0.0579384976121, 6),
        (-0.1, -3.0): (1.71010069934, 0.862774074425, 0.0571099325697, 5.8),
        (-12.0, -0.01): (1.98008737907, 1.81456809076, 0.225959136565, 23.98),
        (-1e-06, -4.0): (1.96336672222, 1.10134167177, 0.0784211016954, 7.999998),
        (-5.0, -2.0): (0.257194672475, 0.604881209728, 0.0579384976121, 6),
        (-0.001, -0.002): (0.00199700233208, 0.000399880018665, 1.99997000023e-05, 0.002),
        (-300.0, -0.25): (1.55760156614, 1.902458849, 1.89543210806, 599.5),
        (-0.37, -41.0): (1.38146866127, 1.85679408054, 0.665313172859, 81.26),
        (-7.5, -7.4): (0.000116336781963, 0.00901505647077, 0.00185641502547, 0.2),
        (-10000.0, -0.001): (1.99800099967, 1.99960004, 1.9999800001, 19999.998),
    },
}
CASES = [
    (kind, pair, temperature, value)
    for kind, rows in GOLDEN.items()
    for pair, values in rows.items()
    for temperature, value in zip(TEMPERATURES, values, strict=True)
]


def naive(teacher: Tensor, student: Tensor, temperature: float, kind: str) -> Tensor:
    """The definition, for values where float64 can bear it."""
    p, q = (teacher / temperature).exp(), (student / temperature).exp()
    f = {
        "kl": lambda a, b: a * (a / b).log(),
        "reverse_kl": lambda a, b: b * (b / a).log(),
        "tvd": lambda a, b: (a - b).abs(),
    }[kind]
    return f(p, q) + f(1 - p, 1 - q)


def leaf(values: list[float] | Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.as_tensor(values, dtype=dtype).clone().requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "pair", "temperature", "value"), CASES)
def test_golden_values(kind, pair, temperature, value, dtype):
    teacher, student = (torch.tensor(each, dtype=dtype) for each in pair)
    result = binarised(teacher, student, temperature=temperature, kind=kind)
    assert result.dtype == dtype
    assert float(result) == pytest.approx(value, rel=TOLERANCES[dtype], abs=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0, 100.0])
def test_values_and_gradients_are_those_of_the_definition(kind, temperature):
    generator = torch.Generator().manual_seed(0)
    teacher = leaf(-torch.rand(200, generator=generator, dtype=torch.float64) * 8 - 1e-3)
    student = leaf(-torch.rand(200, generator=generator, dtype=torch.float64) * 8 - 1e-3)
    result = binarised(teacher, student, temperature=temperature, kind=kind)
    expected = naive(teacher, student, temperature, kind)
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-13)
    weights = torch.rand(200, generator=generator, dtype=torch.float64)
    gradients = torch.autograd.grad((weights * result).sum(), (teacher, student))
    expected_gradients = torch.autograd.grad((weights * expected).sum(), (teacher, student))
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_gradcheck(kind, temperature):
    teacher = leaf([-0.01, -3.0, -0.5, -2.0, -40.0])
    student = leaf([-2.0, -0.2, -0.51, -1.0, -30.0])
    assert torch.autograd.gradcheck(
        lambda x, y: binarised(x, y, temperature=temperature, kind=kind), (teacher, student)
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1e-2, *TEMPERATURES, 1e35])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_finite_and_not_negative_over_the_whole_range(kind, temperature, dtype):
    # 1e-7: a certain token whose log-probability was rounded upwards
    values = torch.tensor(
        [1e-7, 0.0, -1e-12, -1e-7, -1e-3, -1.0, -88.0, -104.0, -745.0, -1e4], dtype=dtype
    )
    teacher, student = (leaf(each, dtype) for each in torch.meshgrid(values, values, indexing="ij"))
    result = binarised(teacher, student, temperature=temperature, kind=kind)
    gradients = torch.autograd.grad(result.sum(), (teacher, student))
    for each in (result, *gradients):
        assert bool(each.isfinite().all())
    assert bool((result >= 0).all())
    # equal sides: no divergence, and no push
    for each in (result, *gradients):
        assert not bool(each.diagonal().any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_close_values_keep_their_digits(kind, temperature):
    teacher = torch.logspace(-5, 1.5, 60)
    for step in (1e-5, 1e-3, 1e-1):
        near, nearer = -teacher, -teacher * (1 + step)
        result = binarised(near, nearer, temperature=temperature, kind=kind)
        expected = binarised(near.double(), nearer.double(), temperature=temperature, kind=kind)
        torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-36)


@pytest.mark.parametrize("kind", KINDS)
def test_high_temperatures_approach_the_limit(kind):
    teacher, student = torch.tensor([-2.0, -0.1, -12.0]), torch.tensor([-5.0, -3.0, -0.01])
    teacher, student = teacher.double(), student.double()
    limit = binarised(teacher, student, temperature=INF, kind=kind)
    high = 1e8 * binarised(teacher, student, temperature=1e8, kind=kind)
    torch.testing.assert_close(high, limit, rtol=1e-6, atol=0)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_reverse_is_kl_with_sides_exchanged(temperature):
    teacher, student = torch.tensor([-2.0, 0.0, -1e4]), torch.tensor([-5.0, -1.0, 0.0])
    reverse = binarised(teacher, student, temperature=temperature, kind="reverse_kl")
    assert torch.equal(reverse, binarised(student, teacher, temperature=temperature))


def test_a_surely_wrong_student_is_told_so():
    student = leaf([0.0])
    binarised(torch.tensor([-3.0]).double(), student, temperature=1.0).sum().backward()
    # d KL / d L_S = (q - p) / (1 - q), where 1 - q is the resolution of the dtype
    assert student.grad.item() == pytest.approx((1 - math.exp(-3)) / 2.0**-52, rel=1e-9)


def test_half_precision_is_computed_in_float32():
    teacher, student = torch.tensor([-2.0]).bfloat16(), torch.tensor([-5.0]).bfloat16()
    result = binarised(teacher, student, temperature=1)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(0.286117744856, rel=1e-5)


@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_any_shape(shape):
    values = torch.full(shape, -1.0)
    assert binarised(values, 2 * values, temperature=1.0).shape == shape


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), -INF])
def test_temperature_must_be_above_zero(temperature):
    values = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="expected a number above 0"):
        binarised(values, values, temperature=temperature)


def test_unknown_kind_lists_the_kinds():
    values = torch.tensor([-1.0])
    with pytest.raises(ValueError, match=r"'js'.*'kl', 'reverse_kl', 'tvd'"):
        binarised(values, values, temperature=1.0, kind="js")
