"""The local runner: real processes that do what a trial's may do."""

import os
import signal
import sys
import textwrap
import time

import pytest

from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.trials import GLANCE, Job, LocalRunner

CHILD = """
import json, os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    print(time.monotonic(), file=file)
BODY
outcome = json.loads(pathlib.Path(sys.argv[2]).read_text())
(folder / "trial.json").write_text(json.dumps(outcome | {"seconds": 2.5}))
with (folder / "ends").open("a") as file:
    print(time.monotonic(), file=file)
"""


@pytest.fixture
def runner(tmp_path):
    TrialOutcome().write(tmp_path)
    empty = (tmp_path / "trial.json").rename(tmp_path / "empty.json")

    def make(body="", **keywords):
        script = tmp_path / "child.py"
        script.write_text(CHILD.replace("BODY", textwrap.dedent(body)))
        command = [sys.executable, str(script)]
        started = lambda folder: [*command, str(folder), str(empty)]  # noqa: E731
        return LocalRunner(started, TrialOutcome.read, **{"workers": 2, **keywords})

    return make


def jobs(tmp_path, *names, kind="rank_ic", **keywords):
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
    return [Job(name, kind, tmp_path / name, **keywords) for name in names]


def times(folder, what):
    return [float(line) for line in (folder / what).read_text().split()]


def test_every_trial_has_its_outcome_and_no_finished_one_runs_again(runner, tmp_path):
    told = []
    work = jobs(tmp_path, "a", "b", "c")
    results = runner(progress=told.append).run(work)
    assert {name: outcome.seconds for name, outcome in results.outcomes.items()} == {"a": 2.5, "b": 2.5, "c": 2.5}
    assert [each.done for each in told] == [1, 2, 3]
    assert told[-1].seconds_left == 0
    again = runner().run([*work, *jobs(tmp_path, "d")])
    assert set(again.outcomes) == {"a", "b", "c", "d"}
    assert [len(times(job.folder, "starts")) for job in work] == [1, 1, 1]


def test_as_many_run_at_once_as_there_are_workers_and_a_timing_alone(runner, tmp_path):
    work = jobs(tmp_path, "a", "b", "c", "d")
    alone = jobs(tmp_path, "t", kind="timing", alone=True)
    runner("time.sleep(0.5)", workers=2).run([*alone, *work])
    spans = {job.name: (times(job.folder, "starts")[0], times(job.folder, "ends")[0]) for job in (*work, *alone)}
    at_once = [sum(start <= at < end for start, end in spans.values()) for at, _ in spans.values()]
    assert max(at_once) == 2
    assert spans["t"][0] >= max(spans[name][1] for name in "abcd")


def test_a_killed_one_is_started_again(runner, tmp_path):
    body = """
    if len((folder / "starts").read_text().split()) < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    """
    (job,) = jobs(tmp_path, "a")
    results = runner(body).run([job])
    assert results.outcomes["a"].seconds == 2.5
    assert len(times(job.folder, "starts")) == 2


def test_one_that_is_always_killed_or_fails_is_given_up_with_the_reason(runner, tmp_path):
    body = """
    if folder.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if folder.name == "failing":
        sys.exit("the disk is full")
    """
    results = runner(body).run(jobs(tmp_path, "killed", "failing", "sound"))
    assert set(results.outcomes) == {"sound"}
    assert "killed 3 times, last by SIGKILL" in str(results.failures["killed"])
    assert "the disk is full" in str(results.failures["failing"])


def test_a_stop_ends_the_processes_and_the_same_jobs_go_on(runner, tmp_path):
    class StopError(Exception):
        pass

    body = """
    if folder.name == "b" and len((folder / "starts").read_text().split()) < 2:
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(60)
    """
    work = jobs(tmp_path, "a", "b")

    def stop():
        if (work[0].folder / "trial.json").exists() and (work[1].folder / "pid").exists():
            raise StopError

    began = time.monotonic()
    with pytest.raises(StopError):
        runner(body, poll=stop).run(work)
    assert time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((work[1].folder / "pid").read_text()), signal.SIG_DFL)
    results = runner(body).run(work)
    assert set(results.outcomes) == {"a", "b"}
    assert len(times(work[0].folder, "starts")) == 1


def test_the_time_to_go_is_what_the_finished_ones_took_in_proportion_to_the_estimates(runner, tmp_path):
    told = []
    work = [*jobs(tmp_path, "a", "b", seconds=1000.0), *jobs(tmp_path, "c", seconds=3000.0)]
    runner("time.sleep(0.4)", workers=1, progress=told.append).run(work)
    assert 4 * 0.4 <= told[0].seconds_left < 4 * (5 + GLANCE)
    assert told[0].name == "a"


def test_a_failure_keeps_the_exit_code_of_its_process(runner, tmp_path):
    results = runner('sys.stderr.write("no memory"); sys.exit(69)').run(jobs(tmp_path, "a"))
    assert results.failures["a"].exit_code == 69
    assert str(results.failures["a"]).startswith("exit code 69: no memory")
