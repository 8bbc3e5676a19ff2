"""Numbers as the pages write them."""

import pytest

from atft_gat_fan.reporting.numbers import compact, fixed, percent


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.03124, "0.0312"), (-12.0, "−12"), (1.2e-4, "1.2e−4"), (-5e-4, "−5e−4"), (-1500.0, "−1,500")],
)
def test_compact_is_short_with_a_true_minus(value: float, text: str) -> None:
    assert compact(value) == text


def test_fixed_has_no_negative_zero_and_a_dash_for_the_unknown() -> None:
    assert fixed(-0.00001) == "0.0000"
    assert fixed(-0.02, 2, sign=True) == "−0.02"
    assert fixed(0.02, 2, sign=True) == "+0.02"
    assert fixed(None) == "–"


def test_percent_is_of_a_share() -> None:
    assert percent(0.784) == "78\u202f%"
    assert percent(0.0042, 1) == "0.4\u202f%"
    assert percent(None) == "–"
