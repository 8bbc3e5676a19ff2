"""A blend beside its parts: the network alone and LightGBM alone, on the same days.

The parts are evaluated as baselines are, under names of their own, and then told apart from these.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from atft_gat_fan.evaluation.evaluate import Evaluation, ScoreSeries

PART = "blend:"
"""How the name of a part begins among the scorers: a baseline may have the same."""
TITLES = {"network": "the network alone", "lightgbm": "LightGBM alone"}
SECTION = "blend"

Json = dict[str, Any]


def parts_apart(evaluation: Evaluation) -> Evaluation:
    """With the parts' metrics under `blend` instead of among the baselines: by part, and `versus`, the model minus it.

    As it is where there are no parts. The series keep theirs, see `without_parts` and `part_series`.
    """
    metrics = evaluation.metrics
    baselines, parts = _apart(metrics["baselines"])
    if not parts:
        return evaluation
    versus, versus_parts = _apart(metrics["versus"])
    section = {**parts, "versus": versus_parts}
    return replace(evaluation, metrics={**metrics, "baselines": baselines, "versus": versus, SECTION: section})


def without_parts(evaluation: Evaluation) -> Evaluation:
    """The model and the baselines alone."""
    series = {name: series for name, series in evaluation.series.items() if not name.startswith(PART)}
    return replace(evaluation, series=series)


def part_series(evaluation: Evaluation) -> dict[str, ScoreSeries]:
    """By name of the part."""
    return {name.removeprefix(PART): series for name, series in evaluation.series.items() if name.startswith(PART)}


def _apart(by_name: Mapping[str, Any]) -> tuple[Json, Json]:
    parts = {name.removeprefix(PART): value for name, value in by_name.items() if name.startswith(PART)}
    return {name: value for name, value in by_name.items() if not name.startswith(PART)}, parts
