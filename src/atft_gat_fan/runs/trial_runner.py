"""Where many trainings run: on this machine, or on a Ray cluster, as the configuration says."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from atft_gat_fan.config.schema import Config, TrialsConfig
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.validation.local_runner import LocalRunner, python_module
from atft_gat_fan.validation.process_runner import ProcessRunner
from atft_gat_fan.validation.trials import Outcome, Progress


@contextmanager
def trial_runner(
    module: str,
    read: Callable[[Path], Outcome | None],
    trials: TrialsConfig,
    *,
    workers: int,
    poll: Callable[[], None],
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Iterator[ProcessRunner[Outcome]]:
    """A runner of `python -m module FOLDER`, for as long as inside. Raises ConfigError where Ray is asked for, and is
    not installed or not there.
    """
    command = python_module(module)
    if trials.executor == "local":
        yield LocalRunner(command, read, workers=workers, max_retries=trials.max_retries, poll=poll, progress=progress)
        return
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"trials.executor=ray: expected the package ray, found no {error.name} -> pip install 'atft-gat-fan[ray]', "
            "or set trials.executor=local"
        ) from error
    from atft_gat_fan.validation.ray_runner import RayRunner, connected

    with ExitStack() as stack:
        yield RayRunner(
            command,
            read,
            trials,
            workers=workers,
            connect=lambda: stack.enter_context(connected(trials)),
            poll=poll,
            progress=progress,
        )


def threads_of_each(config: Config, at_once: int) -> int | None:
    """CPU threads of each of `at_once` trainings: as configured, else all cores, shared out; on Ray what it reserves.

    None: all cores, of a training that has the machine to itself.
    """
    if config.run.num_threads is not None:
        return config.run.num_threads
    if config.trials.executor == "ray":
        return max(1, int(config.trials.num_cpus))
    return None if at_once == 1 else max(1, (os.cpu_count() or 1) // at_once)
