from io import StringIO
from typing import Any

from rich.console import Console

from atft_gat_fan.cli.metrics import metrics_tables


def scorer(value: float, liquid: dict[str, float] | None) -> dict[str, Any]:
    horizons = {"1d": value, "5d": None}
    metrics = {"rank_ic": horizons, "rank_ic_skip1": horizons, "rank_ic_liquid": liquid, "icir": horizons}
    return metrics | ({} if liquid else {"rank_ic_liquid_reason": "no volume"})


def test_the_model_stands_beside_every_baseline_on_every_kind_of_rank_ic() -> None:
    baselines = {"ridge": scorer(0.0321, None), "lightgbm": {"unavailable": "not installed"}}
    split = {"days": 237, **scorer(0.04567, None), "baselines": baselines}
    text = StringIO()
    Console(file=text, width=100).print(metrics_tables({"train": {"seconds": 3.0}, "test": split}))
    lines = [line.split() for line in text.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["test,", "237", "days"]
    assert lines[1] == ["1d", "5d"]
    assert lines[2:5] == [["RankIC", "model", "+0.0457", "-"], ["ridge", "+0.0321", "-"], ["lightgbm", "-", "-"]]
    assert lines[-1] == ["RankIC", "liquid:", "no", "volume"]
    assert len(lines) == 2 + 3 * 3 + 1


def test_the_parts_of_a_blend_stand_below_it() -> None:
    parts = {"network": scorer(0.03, None), "lightgbm": scorer(0.02, None), "versus": {}}
    split = {"days": 9, **scorer(0.04, None), "baselines": {"ridge": scorer(0.01, None)}, "blend": parts}
    text = StringIO()
    Console(file=text, width=100).print(metrics_tables({"test": split}))
    lines = [line.split() for line in text.getvalue().splitlines() if line.strip()]
    names = [line[:-2] for line in lines[2:6]]
    assert names == [["RankIC", "model"], ["its", "network"], ["its", "lightgbm"], ["ridge"]]
