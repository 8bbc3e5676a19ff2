"""The verdict says no more than the intervals allow."""

from typing import Any

import pytest

from atft_gat_fan.evaluation.verdict import judge


def metrics(
    interval: tuple[float | None, float | None] = (0.02, 0.04),
    *,
    versus: dict[str, str] | None = None,
    skip1: float = 0.025,
    liquid: float | None = 0.025,
    net: float = 0.001,
    collapsed: float = 0.0,
) -> dict[str, Any]:
    low, high = interval
    value = 0.03 if low is None or high is None else (low + high) / 2
    versus = {} if versus is None else versus
    return {
        "days": 250,
        "rank_ic": {"1d": value, "5d": value},
        "rank_ic_t": {"1d": 3.0, "5d": 3.0},
        "rank_ic_interval": {"1d": [low, high], "5d": [low, high]},
        "rank_ic_skip1": {"1d": skip1, "5d": skip1},
        "rank_ic_liquid": None if liquid is None else {"1d": liquid, "5d": liquid},
        "rank_ic_liquid_reason": "the panel has no volume",
        "collapse_share": {"1d": collapsed, "5d": 0.0},
        "portfolio": {
            "groups": 10,
            "cost_bps": 10.0,
            "turnover": 1.5,
            "mean_return_gross": 0.002,
            "mean_return_net": net,
            "mean_return_net_interval": [net - 0.0005, net + 0.0005],
        },
        "baselines": {name: {"rank_ic": {"1d": 0.01, "5d": 0.01}} for name in versus},
        "versus": {
            name: {"1d": {"mean": 0.01, "low": 0.0, "high": 0.02, "verdict": verdict}}
            for name, verdict in versus.items()
        },
    }


@pytest.mark.parametrize(
    ("case", "headline", "tone"),
    [
        (metrics((0.02, 0.04)), "It ranks stocks.", "good"),
        (metrics((-0.01, 0.04)), "No evidence that it ranks stocks", "plain"),
        (metrics((-0.04, -0.02)), "the wrong way round", "bad"),
        (metrics((None, None)), "Too few days", "plain"),
        (metrics(collapsed=0.2), "The model has collapsed", "bad"),
        (metrics(versus={"ridge": "beats", "lightgbm": "beats"}), "beats all 2 baselines", "good"),
        (metrics(versus={"ridge": "beats", "lightgbm": "loses"}), "loses to LightGBM", "good"),
        (
            metrics(versus={"ridge": "beats", "lightgbm": "ties"}),
            "beats ridge; no clear difference from LightGBM",
            "good",
        ),
        (metrics(versus={"lightgbm": "beats"}), "beats LightGBM", "good"),
    ],
)
def test_the_headline_follows_the_intervals(case: dict[str, Any], headline: str, tone: str) -> None:
    verdict = judge(case)
    assert headline in verdict.headline
    assert verdict.tone == tone


def test_doubts_are_said_beside_a_good_headline() -> None:
    assert judge(metrics()).caveats == ()
    doubtful = judge(metrics(skip1=0.002, liquid=0.001, net=-0.001)).caveats
    assert [word in " ".join(doubtful) for word in ("first day", "illiquid", "costs")] == [True] * 3
    assert judge(metrics((-0.01, 0.02), net=-0.001)).caveats == ()


def test_an_unavailable_baseline_and_missing_volume_are_explained() -> None:
    case = metrics(liquid=None)
    case["baselines"]["lightgbm"] = {"unavailable": "it does not load; install libgomp1"}
    words = {finding.name: finding.text for finding in judge(case).findings}
    assert "install libgomp1" in words["Against LightGBM"]
    assert "no volume" in words["In liquid stocks"]
