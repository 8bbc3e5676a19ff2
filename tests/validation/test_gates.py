"""Gates hold on what was measured, and on nothing else."""

import pytest

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.gates import check_gate, parse_gate
from atft_gat_fan.validation.result import DeltaRankIC, DivergenceResult, ImprovementResult, RatioResult

NOTHING = RatioResult(None, None, None, 0, None, None)


def result(mean=0.01, time=1.05):
    return ImprovementResult(
        title="",
        overrides=(),
        delta_rank_ic={"1d": DeltaRankIC(mean, mean - 0.02, mean + 0.02, 0.3)},
        divergence=DivergenceResult(0, 0, 0, 0, 0, None, None, None, None),
        time=RatioResult(time, None, None, 6, 1.0, time),
        memory=NOTHING,
        cuda_memory=None,
        verdict="underpowered",
        reason="",
    )


RESULTS = {"huber_loss": result(-0.02), "all": result(0.01)}


@pytest.mark.parametrize(
    ("expression", "held"),
    [
        ("rank_ic_1d>=0", True),
        ("rank_ic_1d >= 0.01", True),
        ("rank_ic_1d>0.01", False),
        ("rank_ic_1d_low>=0", False),
        ("rank_ic_1d_p<0.05", False),
        ("huber_loss.rank_ic_1d>=0", False),
        ("all.time_ratio<=1.1", True),
        ("time_ratio<=1.04", False),
        ("memory_ratio<=100", False),
        ("divergence_change<=100", False),
        ("rank_ic_5d>=-1", False),
        ("use_ema.rank_ic_1d>=-1", False),
    ],
)
def test_a_gate_holds_only_where_it_was_measured_to(expression, held):
    assert check_gate(parse_gate(expression), RESULTS).held is held


def test_without_all_the_one_that_was_compared_is_meant():
    assert check_gate(parse_gate("rank_ic_1d<0"), {"huber_loss": RESULTS["huber_loss"]}).held


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("rank_ic_1d", "expected"),
        ("rank_ic>=0", "expected one of rank_ic_1d"),
        ("hubber_loss.rank_ic_1d>=0", "huber_loss"),
        ("time_ratio<=1.2.3", "expected a number"),
    ],
)
def test_something_else_is_refused(expression, message):
    with pytest.raises(ConfigError, match=message):
        parse_gate(expression)
