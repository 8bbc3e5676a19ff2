"""The local runner, and what every runner does with its processes: real ones that do what a trial's may do."""

import os
import signal
import time
from itertools import pairwise

import pytest

from atft_gat_fan.validation import local_runner
from atft_gat_fan.validation.local_runner import LocalRunner
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.process_runner import GLANCE
from atft_gat_fan.validation.trials import Failure
from tests.validation.children import child_command, make_jobs, spans, times


@pytest.fixture
def runner(tmp_path):
    def make(body="", **keywords):
        return LocalRunner(
            child_command(tmp_path, body), TrialOutcome.read, **{"workers": 2, "max_retries": 2, **keywords}
        )

    return make


def test_every_trial_has_its_outcome_and_no_finished_one_runs_again(runner, tmp_path):
    told = []
    work = make_jobs(tmp_path, "a", "b", "c")
    results = runner(progress=told.append).run(work)
    assert {name: outcome.seconds for name, outcome in results.outcomes.items()} == {"a": 2.5, "b": 2.5, "c": 2.5}
    assert [each.done for each in told] == [1, 2, 3]
    assert told[-1].seconds_left == 0
    again = runner().run([*work, *make_jobs(tmp_path, "d")])
    assert set(again.outcomes) == {"a", "b", "c", "d"}
    assert [len(times(job.folder, "starts")) for job in work] == [1, 1, 1]


def test_as_many_run_at_once_as_there_are_workers_and_a_timing_alone(runner, tmp_path):
    work = make_jobs(tmp_path, "a", "b", "c", "d")
    alone = make_jobs(tmp_path, "t", kind="timing", alone=True)
    runner("time.sleep(0.5)", workers=2).run([*alone, *work])
    ran = spans([*work, *alone])
    at_once = [sum(start <= at < end for start, end in ran.values()) for at, _ in ran.values()]
    assert max(at_once) == 2
    assert ran["t"][0] >= max(ran[name][1] for name in "abcd")


def test_a_killed_one_is_started_again(runner, tmp_path):
    body = """
    if len((folder / "starts").read_text().split()) < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    """
    (job,) = make_jobs(tmp_path, "a")
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
    results = runner(body).run(make_jobs(tmp_path, "killed", "failing", "sound"))
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
    work = make_jobs(tmp_path, "a", "b")

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
    work = [*make_jobs(tmp_path, "a", "b", seconds=1000.0), *make_jobs(tmp_path, "c", seconds=3000.0)]
    runner("time.sleep(0.4)", workers=1, progress=told.append).run(work)
    assert 4 * 0.4 <= told[0].seconds_left < 4 * (5 + GLANCE)
    assert told[0].name == "a"


def test_a_failure_keeps_the_exit_code_of_its_process(runner, tmp_path):
    results = runner('sys.stderr.write("no memory"); sys.exit(69)').run(make_jobs(tmp_path, "a"))
    assert results.failures["a"].exit_code == 69
    assert str(results.failures["a"]).startswith("exit code 69: no memory")


def test_the_number_of_retries_is_what_was_asked_for(runner, tmp_path):
    body = "os.kill(os.getpid(), signal.SIGKILL)"
    (job,) = make_jobs(tmp_path, "a")
    results = runner(body, max_retries=0).run([job])
    assert str(results.failures["a"]).startswith("killed once, last by SIGKILL")
    assert len(times(job.folder, "starts")) == 1


STUBBORN = """
    signal.signal(signal.SIGTERM, lambda *_: print("told", file=(folder / "told").open("a")))
    (folder / "deaf").touch()
    for _ in range(600):
        time.sleep(0.1)
"""


def test_those_that_do_not_end_have_the_same_time_for_it(runner, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    monkeypatch.setattr(local_runner, "GRACE", 2.0)
    work = make_jobs(tmp_path, "a", "b", "c")
    stopped = []

    def stop():
        if all((job.folder / "deaf").exists() for job in work):
            stopped.append(time.monotonic())
            raise StopError

    with pytest.raises(StopError):
        runner(STUBBORN, workers=3, poll=stop).run(work)
    assert 2.0 <= time.monotonic() - stopped[0] < 3.5


def test_an_unwanted_one_that_does_not_end_is_killed_while_the_others_are_looked_after(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(local_runner, "GRACE", 2.0)
    looks = []
    (job,) = make_jobs(tmp_path, "a")
    queue = OneByOne([job], unwanted=("a",), once="deaf")
    runner(STUBBORN, poll=lambda: looks.append(time.monotonic())).run_queue(queue)
    assert queue.ends == {"a": None}
    assert max(later - earlier for earlier, later in pairwise(looks)) < 1.5
    assert looks[-1] - looks[0] >= 2.0


def test_an_unwanted_one_is_not_told_again_by_a_stop(runner, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    monkeypatch.setattr(local_runner, "GRACE", 1.0)
    (job,) = make_jobs(tmp_path, "a")

    def stop():
        if (job.folder / "told").exists():
            raise StopError

    with pytest.raises(StopError):
        runner(STUBBORN, poll=stop).run_queue(OneByOne([job], unwanted=("a",), once="deaf"))
    assert (job.folder / "told").read_text().split() == ["told"]


class OneByOne:
    """Gives each job once the one before is over; does not want `unwanted` any more once they have left a file."""

    def __init__(self, jobs, unwanted=(), once="starts"):
        self.jobs, self.names, self.once, self.ends, self.given = list(jobs), unwanted, once, {}, 0

    def next(self):
        if not self.jobs or len(self.ends) < self.given:
            return None
        self.given += 1
        return self.jobs.pop(0)

    def unwanted(self, job):
        return job.name in self.names and (job.folder / self.once).exists()

    def over(self, job, end):
        self.ends[job.name] = end


def test_a_queue_gives_jobs_as_earlier_ones_end_and_has_unwanted_ones_stopped(runner, tmp_path):
    body = """
    if folder.name == "b":
        time.sleep(60)
    if folder.name == "c":
        sys.exit("out of luck")
    """
    work = make_jobs(tmp_path, "a", "b", "c", "d")
    queue = OneByOne(work, unwanted=("b",))
    began = time.monotonic()
    runner(body).run_queue(queue)
    assert time.monotonic() - began < 30
    assert queue.ends["a"].seconds == queue.ends["d"].seconds == 2.5
    assert queue.ends["b"] is None
    assert isinstance(queue.ends["c"], Failure)
    starts = [times(job.folder, "starts")[0] for job in work]
    assert starts == sorted(starts)
    assert len(times(work[1].folder, "starts")) == 1
