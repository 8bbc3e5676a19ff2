import math

import numpy as np
import pytest
import torch
from scipy import stats

from atft_gat_fan.losses.label_transform import transform_labels


def labels(seed: int = 0) -> torch.Tensor:
    """Five days of 40 stocks and 3 horizons, with many ties and holes."""
    generator = torch.Generator().manual_seed(seed)
    values = (3 * torch.randn(5, 40, 3, generator=generator)).round() / 50
    values[torch.rand(5, 40, 3, generator=generator) < 0.25] = math.nan
    return values


def cross_sections(before: torch.Tensor, after: torch.Tensor) -> list[tuple[np.ndarray, np.ndarray]]:
    """The valid stocks of each day and horizon, before and after."""
    pairs = [(before[d, :, h], after[d, :, h]) for d in range(len(before)) for h in range(before.shape[-1])]
    return [(a[~a.isnan()].double().numpy(), b[~a.isnan()].double().numpy()) for a, b in pairs]


def test_rank_equals_scipy() -> None:
    before = labels()
    for x, y in cross_sections(before, transform_labels(before, "rank")):
        expected = ((stats.rankdata(x) - 0.5) / len(x) - 0.5) * math.sqrt(12)
        np.testing.assert_allclose(y, expected, rtol=0, atol=2e-7)


def test_zscore_equals_scipy() -> None:
    before = labels()
    for x, y in cross_sections(before, transform_labels(before, "zscore")):
        np.testing.assert_allclose(y, stats.zscore(x), rtol=2e-7, atol=2e-7)


def test_raw_is_untouched() -> None:
    before = labels()
    assert transform_labels(before, "raw") is before


@pytest.mark.parametrize("kind", ["zscore", "rank"])
def test_unknown_stays_unknown_and_days_stay_apart(kind: str) -> None:
    before = labels()
    after = transform_labels(before, kind)
    assert torch.equal(after.isnan(), before.isnan())
    assert after.dtype == before.dtype
    alone = torch.cat([transform_labels(day, kind) for day in before.split(1)])
    assert torch.equal(after.isnan(), alone.isnan())
    assert torch.equal(after[~after.isnan()], alone[~alone.isnan()])


@pytest.mark.parametrize("kind", ["zscore", "rank"])
def test_equal_labels_and_lone_stocks_become_zero(kind: str) -> None:
    values = torch.full((3, 7, 1), math.nan)
    values[0] = 0.1
    values[1, 2] = 0.1
    after = transform_labels(values, kind)
    assert (after[0] == 0).all()
    assert after[1, 2].item() == 0
    assert after[2].isnan().all()
