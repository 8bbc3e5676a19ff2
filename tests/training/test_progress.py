import io

import pytest
from rich.console import Console

from atft_gat_fan.training import progress
from atft_gat_fan.training.progress import make_display


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_pipe_gets_one_plain_line_an_epoch_with_elapsed_and_eta(clock):
    console = Console(file=io.StringIO(), width=40)
    with make_display(console, planned_steps=100, first_step=0) as display:
        for step in range(1, 21):
            display.stepped(step, 0.5)
        clock[0] += 60
        display.validated(epoch=1, step=20, loss=0.012345, rank_ic=0.0312, best=True)
    assert console.file.getvalue() == (
        "epoch 1  step 20/100  loss 0.01235  RankIC +0.0312 (best)  elapsed 0:01:00  ETA 0:04:00\n"
    )


def test_eta_of_a_resumed_run_counts_only_its_own_steps(clock):
    console = Console(file=io.StringIO(), width=200)
    with make_display(console, planned_steps=100, first_step=80) as display:
        clock[0] += 30
        display.validated(epoch=9, step=90, loss=0.1, rank_ic=-0.01, best=False)
    assert "elapsed 0:00:30  ETA 0:00:30" in console.file.getvalue()
    assert "(best)" not in console.file.getvalue()


def test_a_terminal_shows_a_bar_with_loss_rank_ic_and_eta():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with make_display(console, planned_steps=100, first_step=0) as display:
        display.stepped(40, 0.125)
        display.validated(epoch=1, step=40, loss=0.125, rank_ic=0.0312, best=True)
    shown = console.file.getvalue()
    for text in ("40/100", "loss 0.125", "RankIC +0.0312 (best)", "ETA"):
        assert text in shown


def test_messages_are_shown_as_they_are():
    console = Console(file=io.StringIO(), width=20)
    with make_display(console, 10, 0) as display:
        display.message("path [bold]/a/b[/bold] is longer than the console is wide")
    assert console.file.getvalue() == "path [bold]/a/b[/bold] is longer than the console is wide\n"
