import pytest

from atft_gat_fan.config.plan import GraphAttentionPlan
from atft_gat_fan.training.temperature import TemperatureSchedule


def test_without_a_start_it_is_constant():
    schedule = TemperatureSchedule(GraphAttentionPlan(0.7), planned_steps=100)
    assert not schedule.moves
    assert {schedule(step) for step in range(100)} == {0.7}


@pytest.mark.parametrize(("start", "final"), [(4.0, 0.5), (0.1, 1.0)])
def test_it_moves_linearly_and_stays_at_the_end(start, final):
    schedule = TemperatureSchedule(GraphAttentionPlan(final, start, share=0.4), planned_steps=100)
    assert schedule.moves
    assert schedule(0) == start
    assert schedule(10) == pytest.approx(start + (final - start) / 4)
    assert schedule(20) == pytest.approx((start + final) / 2)
    assert {schedule(step) for step in range(40, 100)} == {final}
    assert all(min(start, final) <= schedule(step) <= max(start, final) for step in range(100))
