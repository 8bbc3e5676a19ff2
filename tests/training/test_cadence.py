import pytest

from atft_gat_fan.training import cadence
from atft_gat_fan.training.cadence import Cadence


def test_steps():
    every = Cadence(3)
    assert [step for step in range(1, 10) if every.due(step)] == [3, 6, 9]


def test_minutes_count_from_the_last_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(cadence.time, "monotonic", lambda: now[0])
    every, due = Cadence("10m"), []
    for minute in range(0, 41):
        now[0] = 60.0 * minute
        if every.due(step=1):
            due.append(minute)
            now[0] += 120
            every.done()
    assert due == pytest.approx([10, 22, 34])
