import io

import pytest
from rich.console import Console

from atft_gat_fan.errors import InterruptedRunError
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals


def test_a_stage_is_a_line_where_nobody_watches():
    text = io.StringIO()
    with Stages(Console(file=text), StopSignals()) as stages:
        for share in (0.0, 0.5):
            stages("sorting", share)
        stages("writing", 0.0)
    assert [line.split(":")[0] for line in text.getvalue().splitlines()] == ["sorting", "writing"]


def test_a_report_is_where_work_stops():
    text = io.StringIO()
    with (
        pytest.raises(InterruptedRunError, match='during "sorting"; what is finished is kept') as caught,
        Stages(Console(file=text), StopSignals(stop_after=0)) as stages,
    ):
        stages("sorting", 0.5)
    assert caught.value.exit_code == 75
    assert text.getvalue() == "", "a stage that was stopped is not told as done"
