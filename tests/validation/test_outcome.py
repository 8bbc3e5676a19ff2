"""What a trial leaves is read back as it was, and only where the trial is finished."""

import math

import pytest

from atft_gat_fan.errors import StorageError
from atft_gat_fan.validation.divergence import Divergence
from atft_gat_fan.validation.outcome import OUTCOME, TrialOutcome


def test_an_outcome_is_read_back(tmp_path):
    outcome = TrialOutcome(
        days=("2020-01-01", "2020-01-02"),
        daily_rank_ic={1: (0.25, math.nan), 5: (-0.5, 0.125)},
        seconds=3.5,
        peak_private_bytes=1000,
        divergence=Divergence(("spike", "collapse")),
        baseline_seconds=(1.0, 2.0),
    )
    outcome.write(tmp_path)
    there = TrialOutcome.read(tmp_path)
    assert there is not None
    assert there.daily_rank_ic == {1: (0.25, None), 5: (-0.5, 0.125)}
    assert (there.divergence, there.baseline_seconds) == (outcome.divergence, outcome.baseline_seconds)
    assert (there.seconds, there.peak_cuda_bytes) == (3.5, None)
    assert [path.name for path in tmp_path.iterdir()] == [OUTCOME]


def test_without_the_file_a_trial_is_not_finished(tmp_path):
    assert TrialOutcome.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"days": []}', '{"seconds": NaN}'])
def test_something_else_is_named(tmp_path, content):
    (tmp_path / OUTCOME).write_text(content)
    with pytest.raises(StorageError, match=r"trial\.json: expected the outcome of a trial"):
        TrialOutcome.read(tmp_path)
