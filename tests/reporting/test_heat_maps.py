import re

import numpy as np

from atft_gat_fan.reporting.heat_maps import MAX_COLUMNS, heat_map

DAYS = np.datetime64("2020-01-01") + np.arange(200)


def strengths(svg: str) -> list[float]:
    return [float(value) for value in re.findall(r"fill: var\(--accent\); fill-opacity: ([0-9.]+)", svg)]


def test_the_largest_value_is_the_strongest_and_a_gap_stays_empty() -> None:
    values = np.array([[1.0, 2.0, 4.0], [np.nan, 1.0, 2.0]])
    svg = heat_map(["one", "other"], DAYS[:3], values, label="values")
    found = strengths(svg)
    assert len(found) == 5
    assert found.index(max(found)) == 2
    assert found[0] == found[3] == min(found)
    assert found[1] == found[4]
    for text in ("one", "other", "2.33", "1.5", "2020-01-01"):
        assert text in svg


def test_many_days_are_averaged_into_as_many_columns_as_fit() -> None:
    values = np.stack([np.arange(200.0), np.zeros(200)])
    found = strengths(heat_map(["rising", "still"], DAYS, values, label="values"))
    assert len(found) == 2 * MAX_COLUMNS
    assert found[:MAX_COLUMNS] == sorted(found[:MAX_COLUMNS])
    assert len(set(found[MAX_COLUMNS:])) == 1


def test_what_is_alike_everywhere_is_drawn_too() -> None:
    assert len(set(strengths(heat_map(["still"], DAYS[:4], np.ones((1, 4)), label="values")))) == 1
