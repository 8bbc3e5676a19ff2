"""A condition is read once, for every option that takes one."""

import pytest

from atft_gat_fan.config.conditions import parse_condition
from atft_gat_fan.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "measured", "holds"),
    [("a>1", 1.0, False), ("a>=1", 1.0, True), ("a<-1e-3", -0.01, True), (" a <= .5 ", 0.6, False)],
)
def test_the_four_signs(text: str, measured: float, holds: bool) -> None:
    condition = parse_condition(text, "--gate", "x>1")
    assert condition.holds(measured) is holds
    assert condition.scope is None
    assert condition.expression == text.strip()


def test_a_scope_stands_before_a_point() -> None:
    condition = parse_condition("all.time_ratio<=1.1", "--gate", "x>1")
    assert (condition.scope, condition.what, condition.sign, condition.limit) == ("all", "time_ratio", "<=", 1.1)


@pytest.mark.parametrize("text", ["a", "a==1", "a>b", "a>1 b", "a.b.c>1", "__import__('os')>1"])
def test_anything_else_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--gate .*expected x>1"):
        parse_condition(text, "--gate", "x>1")
