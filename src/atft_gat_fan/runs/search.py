"""Search: draw configurations, train them, give up bad ones early, and say what the best is worth."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from atft_gat_fan.errors import ConfigError, NonFiniteError, TrialError
from atft_gat_fan.runs.event_tail import EventTail
from atft_gat_fan.runs.pace import duration
from atft_gat_fan.runs.search_plan import QUESTION, TRIALS, SearchPlan, settle_question
from atft_gat_fan.runs.search_results import BEST, PAGE, RESULT, write_results
from atft_gat_fan.runs.search_study import JOURNAL, Study, Tried
from atft_gat_fan.runs.train import seconds_left
from atft_gat_fan.runs.trial import RUN, TRIAL_MODULE, write_request
from atft_gat_fan.runs.trial_runner import trial_runner
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.run_folder import RunFolder
from atft_gat_fan.validation.outcome import TrialOutcome
from atft_gat_fan.validation.search_result import SearchResult, score
from atft_gat_fan.validation.trials import Failure, Job

EVERY = 2.0
"""Seconds between two looks into the record of a training."""


def search(plan: SearchPlan, console: Console, command: str, began: float | None = None) -> SearchResult:
    """Try what is not tried yet, and leave search.json, search.html and best.yaml.

    `command` is printed in the report; `run.stop_after` counts from `began` (`time.monotonic`), by default from now.
    Raises InterruptedRunError after a stop signal (the same command goes on), ConfigError where the folder holds
    another search, TrialError where no training came to its end, StorageError.
    """
    config = plan.config
    with RunFolder(plan.folder), StopSignals(seconds_left(config, began)) as signals:
        if config.run.fresh:
            _clear(plan.folder)
        settle_question(plan)
        study = Study(plan.folder, plan.space, config.search)
        queue = SearchQueue(plan, study, lambda text: console.print(text, style="dim", highlight=False, markup=False))
        with trial_runner(
            TRIAL_MODULE,
            TrialOutcome.read,
            config.trials,
            workers=config.trials.workers,
            poll=lambda: signals.raise_if_received("between trials", saved="what was tried is kept"),
        ) as runner:
            runner.run_queue(queue)
        tried = study.tried
        if not any(each.state == "complete" for each in tried):
            why = next((each.why for each in tried if each.why), "none was finished")
            raise TrialError(f"{plan.folder}: none of {len(tried)} trials came to its end; {why}", 1)
        return write_results(plan, tried, study.importances(), command)


class SearchQueue:
    """Draws the next configuration when there is room for it, and tells the study how each went."""

    def __init__(self, plan: SearchPlan, study: Study, message: Callable[[str], None]) -> None:
        self._plan, self._study, self._message = plan, study, message
        self._begun = {each.number: each for each in study.tried if each.state == "running"}
        self._again = list(self._begun.values())
        self._looked: dict[int, float] = {}
        self._tails: dict[int, EventTail] = {}
        self._began, self._ended = time.monotonic(), 0

    def next(self) -> Job | None:
        """Those that a stop left running first; then new ones, up to the number that was asked for."""
        while True:
            tried = self._again.pop(0) if self._again else self._draw()
            if tried is None:
                return None
            job = self._job(tried)
            if job is not None:
                return job

    def unwanted(self, job: Job) -> bool:
        number = int(job.name)
        if time.monotonic() - self._looked.get(number, -EVERY) < EVERY:
            return False
        self._looked[number] = time.monotonic()
        self._report(number)
        return self._study.hopeless(number)

    def over(self, job: Job, end: TrialOutcome | Failure | None) -> None:
        number = int(job.name)
        self._report(number)
        if isinstance(end, TrialOutcome) and end.seconds is None:
            # Its RankIC of 0 would beat all that rank worse than chance.
            end = Failure("the training diverged: no finite weights", NonFiniteError.exit_code)
        if isinstance(end, Failure):
            self._study.fail(number, str(end))
            self._say(number, f"failed: {end}")
        elif end is None:
            self._study.prune(number)
            shutil.rmtree(job.folder / RUN / "checkpoints", ignore_errors=True)  # nobody goes on with it
            self._say(number, "given up")
        else:
            value = score(end)
            self._study.finish(number, value)
            self._say(number, f"RankIC {value:+.4f}")

    def _draw(self) -> Tried | None:
        enough = len(self._study.tried) >= self._plan.config.search.num_trials
        return None if enough else self._study.draw()

    def _job(self, tried: Tried) -> Job | None:
        """The trial's folder made ready; None where it is settled without a training."""
        folder = self._plan.trial_folder(tried.number)
        job = Job(f"{tried.number:04d}", "trial", folder)
        outcome = TrialOutcome.read(folder)
        if outcome is not None:  # finished just as the search was stopped
            self.over(job, outcome)
            return None
        try:
            config = self._plan.trial_config(tried.number, tried.arguments)
        except ConfigError as error:
            self.over(job, Failure(str(error), error.exit_code))
            return None
        write_request(folder, self._plan.trial(tried.number, tried.arguments), config)
        return job

    def _report(self, number: int) -> None:
        tail = self._tails.setdefault(number, EventTail(self._plan.trial_folder(number) / RUN, "valid"))
        for event in tail.new():
            value, epoch = event.get("smoothed_rank_ic"), event.get("epoch")
            if isinstance(value, float | int) and isinstance(epoch, int):
                self._study.report(number, epoch, float(value))

    def _say(self, number: int, what: str) -> None:
        self._ended += 1
        tried = {each.number: each for each in self._study.tried}
        wanted = self._plan.config.search.num_trials
        done = sum(each.state != "running" for each in tried.values())
        to_go = (time.monotonic() - self._began) / self._ended * max(0, wanted - done)
        best = max((each.value for each in tried.values() if each.value is not None), default=None)
        known = "" if best is None else f" (best {best:+.4f})"
        line = f"{done} of {wanted} trials, about {duration(to_go)} to go: {number:04d} {what}{known}"
        self._message(f"{line}; {' '.join(tried[number].arguments)}")


def _clear(folder: Path) -> None:
    """Delete what an earlier search left, and nothing else."""
    shutil.rmtree(folder / TRIALS, ignore_errors=True)
    for name in (QUESTION, JOURNAL, RESULT, PAGE, BEST):
        (folder / name).unlink(missing_ok=True)


def describe_search(plan: SearchPlan) -> dict[str, Any]:
    """The plan as JSON."""
    settings = plan.config.search
    return {
        "folder": str(plan.folder),
        "space": list(plan.space.varied),
        "shared": list(plan.space.fixed),
        "days": [plan.valid_days[0], plan.valid_days[-1], len(plan.valid_days)],
        "trials": settings.num_trials,
        "at_once": plan.config.trials.workers,
        "pruning": settings.pruning,
    }
