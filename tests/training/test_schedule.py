import math

import pytest

from atft_gat_fan.training.schedule import Schedule


def factors(schedule: Schedule) -> list[float]:
    return [schedule(step) for step in range(schedule.planned_steps)]


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_warms_up_linearly_to_the_full_rate(kind):
    schedule = Schedule(kind, planned_steps=200, warmup_steps=10)
    assert factors(schedule)[:11] == pytest.approx([*(i / 10 for i in range(1, 11)), 1.0])


@pytest.mark.parametrize(("kind", "half"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_closed_form_after_the_warm_up(kind, half):
    schedule = Schedule(kind, planned_steps=210, warmup_steps=10)
    assert schedule(10) == 1.0
    assert schedule(110) == pytest.approx(half)
    quarter = {"cosine": 0.5 * (1 + math.cos(math.pi / 4)), "linear": 0.75, "constant": 1.0}[kind]
    assert schedule(60) == pytest.approx(quarter)


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_decays_to_almost_nothing_but_every_step_learns(kind):
    decay = factors(Schedule(kind, planned_steps=100, warmup_steps=0))
    assert decay == sorted(decay, reverse=True)
    assert 0 < decay[-1] < 0.011


@pytest.mark.parametrize(
    ("wish", "planned", "effective"), [(1500, 100_000, 1500), (1500, 400, 40), (1500, 9, 0), (0, 99, 0)]
)
def test_warm_up_is_at_most_a_tenth_of_the_plan(wish, planned, effective):
    schedule = Schedule("cosine", planned, wish)
    assert schedule.effective_warmup == effective
    assert max(factors(schedule)) == 1.0
