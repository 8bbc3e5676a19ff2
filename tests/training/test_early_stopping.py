import pytest

from atft_gat_fan.training.early_stopping import SmoothedBest


def run(values, smoothing=0.3):
    state = SmoothedBest()
    return state, [state.update(value, step, smoothing) for step, value in enumerate(values)]


def test_smoothing_is_the_closed_form():
    values = [0.04, 0.01, 0.07, -0.02]
    state, _ = run(values)
    expected = 0.3**3 * 0.04 + 0.7 * (0.3**2 * 0.01 + 0.3 * 0.07 - 0.02)
    assert state.smoothed == pytest.approx(expected, rel=1e-12)


def test_a_lucky_validation_counts_less_when_smoothed():
    assert run([0.05, 0.02, 0.051], smoothing=0.0)[1] == [True, False, True]
    assert run([0.05, 0.02, 0.051], smoothing=0.5)[1] == [True, False, False]


def test_remembers_the_best_and_how_long_ago_it_was():
    state, improved = run([0.01, 0.05, 0.04, 0.03], smoothing=0.0)
    assert improved == [True, True, False, False]
    assert (state.best_step, state.since_best) == (1, 2)


def test_equal_is_not_better():
    assert run([0.02, 0.02], smoothing=0.0)[1] == [True, False]


def test_an_unknown_score_says_nothing():
    state, improved = run([None, 0.02, None, None])
    assert improved == [False, True, False, False]
    assert (state.best_step, state.since_best, state.smoothed) == (1, 0, 0.02)
