"""The same jobs on a real Ray cluster of three nodes on this machine, each a set of processes of its own."""

import os
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from atft_gat_fan.config.schema import TrialsConfig
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.validation.outcome import TrialOutcome
from tests.ray_cluster import three_nodes
from tests.validation.children import child_command, make_jobs, spans, times

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")
NODE = "(folder / 'node').write_text(os.environ['RAY_RAYLET_PID'])\n"
"""Which node it is on: the process id of its Ray daemon."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    with three_nodes() as cluster:
        yield cluster


@pytest.fixture
def runner(cluster, tmp_path: Path):
    from atft_gat_fan.validation.ray_runner import RayRunner

    def make(body: str = "", workers: int = 8, command=None, poll=lambda: None, progress=lambda _: None, **keys):
        trials = TrialsConfig(executor="ray", **keys)
        command = command or child_command(tmp_path, body)
        return RayRunner(command, TrialOutcome.read, trials, workers=workers, poll=poll, progress=progress)

    return make


def test_jobs_run_on_all_nodes_a_timing_alone_and_no_finished_one_again(runner, tmp_path: Path) -> None:
    told = []
    work = make_jobs(tmp_path, "a", "b", "c", "d")
    alone = make_jobs(tmp_path, "t", "u", kind="timing", alone=True)
    results = runner(NODE + "time.sleep(1.0)", progress=told.append).run([*alone, *work])
    assert {name: outcome.seconds for name, outcome in results.outcomes.items()} == dict.fromkeys("abcdtu", 2.5)
    assert [each.done for each in told] == [1, 2, 3, 4, 5, 6]
    ran = spans([*work, *alone])
    assert max(sum(start <= at < end for start, end in ran.values()) for at, _ in ran.values()) <= 3
    assert len({(job.folder / "node").read_text() for job in work}) >= 2
    assert min(ran["t"][0], ran["u"][0]) >= max(ran[name][1] for name in "abcd")
    assert ran["t"][1] <= ran["u"][0] or ran["u"][1] <= ran["t"][0]
    assert set(runner().run([*work, *make_jobs(tmp_path, "e")]).outcomes) == set("abcde")
    assert [len(times(job.folder, "starts")) for job in work] == [1, 1, 1, 1]


def test_failures_have_the_words_that_a_local_runner_has(runner, tmp_path: Path) -> None:
    body = """
    if folder.name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if folder.name == "failing":
        sys.stderr.write("no memory"); sys.exit(69)
    """
    results = runner(body, max_retries=1).run(make_jobs(tmp_path, "killed", "failing", "sound"))
    assert set(results.outcomes) == {"sound"}
    assert str(results.failures["killed"]).startswith("killed 2 times, last by SIGKILL")
    assert str(results.failures["failing"]).startswith("exit code 69: no memory (all of it: ")
    assert results.failures["failing"].exit_code == 69


def test_a_stop_lets_the_processes_save_and_leaves_none(runner, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    body = """
    def told(*_):
        time.sleep(0.5)
        (folder / "saved").touch()
        sys.exit(143)
    if not (folder / "saved").exists():
        signal.signal(signal.SIGTERM, told)
        (folder / "pid").write_text(str(os.getpid()))
        time.sleep(60)
    """
    running, waiting = make_jobs(tmp_path, "a", "b"), make_jobs(tmp_path, "c", "d", "e")

    def stop() -> None:
        if sum((job.folder / "pid").exists() for job in (*running, *waiting)) == 3:
            raise StopError

    began = time.monotonic()
    with pytest.raises(StopError):
        runner(body, poll=stop).run([*running, *waiting])
    assert time.monotonic() - began < 100
    begun = [job for job in (*running, *waiting) if (job.folder / "pid").exists()]
    assert len(begun) == 3
    for job in begun:
        assert (job.folder / "saved").exists()
        with pytest.raises(ProcessLookupError):
            os.kill(int((job.folder / "pid").read_text()), 0)


def test_a_task_that_does_not_end_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cluster: a worker that heeds no interrupt cannot be had from a real one."""
    from atft_gat_fan.validation import process_runner, ray_runner

    waited, cancelled = [], []

    def wait(tasks: list[object], timeout: float) -> tuple[list[object], list[object]]:
        waited.append(timeout)
        return [], tasks

    class Remote:
        def options(self, **_: object) -> "Remote":
            return self

        def remote(self, task: object) -> object:
            return object()

    monkeypatch.setattr(ray_runner, "_remote", Remote)
    monkeypatch.setattr(ray_runner, "_nodes", list)
    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "cancel", lambda task, force=False: cancelled.append(force))
    monkeypatch.setattr(ray_runner, "GRACE", 0.5)
    monkeypatch.setattr(ray_runner, "MARGIN", 0.5)
    (job,) = make_jobs(tmp_path, "a")
    process = ray_runner.RayProcess(lambda folder: ["true"], job, ray_runner.Needs(1.0, 0.0, 0.0))
    running = process_runner.Running(job, process)
    assert not running.overdue
    running.stop()
    running.stop()
    time.sleep(0.6)
    assert not running.overdue
    running.close()
    assert 0 < waited[0] <= 0.4
    time.sleep(0.5)
    assert running.overdue
    running.close()
    assert waited[1] == 0
    assert cancelled == [False, True, True]


def test_what_no_node_can_do_is_refused(runner, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a node with 64 CPUs.* found none among 1, 0, .*lower trials\.num_cpus"):
        runner(num_cpus=64.0).run(make_jobs(tmp_path, "a"))
    with pytest.raises(StorageError, match=r"cannot start /no/such/python.*trials\.executor=local"):
        runner(command=lambda folder: ["/no/such/python"]).run(make_jobs(tmp_path, "a"))


def test_a_trial_whose_node_is_lost_is_run_elsewhere_and_the_others_are_not_touched(
    cluster, runner, tmp_path: Path
) -> None:
    head = str(cluster.head_node.all_processes["raylet"][0].process.pid)
    body = NODE + f"time.sleep(0 if os.environ['RAY_RAYLET_PID'] == '{head}' or (folder / 'again').exists() else 8)"
    work = make_jobs(tmp_path, "a", "b", "c", "d")
    struck: list[tuple[Path, str]] = []

    def strike() -> None:
        """Kill the first node that a trial sleeps on; the head node holds the cluster, and is spared."""
        for job, node in product(work, list(cluster.worker_nodes)):
            file = job.folder / "node"
            if struck or not file.exists():
                continue
            on = file.read_text()
            if str(node.all_processes["raylet"][0].process.pid) == on:
                (job.folder / "again").touch()
                struck.append((job.folder, on))
                cluster.remove_node(node, allow_graceful=False)

    results = runner(body, poll=strike).run(work)
    assert set(results.outcomes) == set("abcd")
    ((folder, on),) = struck
    assert [len(times(job.folder, "starts")) for job in work] == [1 + (job.folder == folder) for job in work]
    assert (folder / "node").read_text() != on
