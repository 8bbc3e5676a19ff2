"""Optuna's part of a search: what to try next, and what to give up. Its journal in the search's folder is the record.

The sampler is seeded anew for each trial by the search's seed and the trial's number, so that a search that was stopped
goes on with what it would have drawn; with several trials at once, what is drawn depends on which ended first.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from atft_gat_fan.config.schema import SearchConfig
from atft_gat_fan.config.search_space import Choice, Numbers, Space
from atft_gat_fan.errors import StorageError
from atft_gat_fan.untrusted import parse_json, read_plain

JOURNAL = "journal.jsonl"
MOST_BYTES = 1 << 28
NAME = "search"
WHY = "why"
State = Literal["running", "complete", "pruned", "failed"]
STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Tried:
    """A configuration that was drawn, by its number from 0 on."""

    number: int
    arguments: tuple[str, ...]
    state: State
    by_epoch: dict[int, float]
    """Smoothed validation RankIC after each epoch."""
    value: float | None
    """Validation RankIC of the weights that were kept; None where training did not come to its end."""
    why: str = ""
    """It failed."""


class Study:
    """The record of one search. Whoever opens it holds the search's folder: nobody else writes there.

    Raises StorageError where the journal is not that of this space.
    """

    def __init__(self, folder: Path, space: Space, settings: SearchConfig) -> None:
        self._space, self._settings = space, settings
        self._distributions = {each.key: _distribution(each) for each in space.parameters}
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        journal = folder / JOURNAL
        _mend(journal)
        with _readable(journal):
            storage = JournalStorage(JournalFileBackend(str(journal), JournalFileOpenLock(str(journal))))
            self._study = optuna.create_study(
                study_name=NAME,
                storage=storage,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(settings),
            )
            for trial in self._study.trials:
                if trial.state.is_finished() or self._whole(trial):
                    self._tried(trial)
                else:
                    self._study.tell(trial.number, state=TrialState.FAIL)  # killed while it was drawn

    @property
    def tried(self) -> list[Tried]:
        """All that was drawn, in order."""
        return [self._tried(trial) for trial in self._study.trials if self._whole(trial)]

    def draw(self) -> Tried:
        """The next configuration to try."""
        number = len(self._study.trials)
        seed = int(np.random.SeedSequence([self._settings.seed, number]).generate_state(1)[0])
        self._study.sampler = optuna.samplers.TPESampler(n_startup_trials=self._settings.startup_trials, seed=seed)
        drawn = self._study.ask(self._distributions)
        return self._tried(self._study.trials[drawn.number])

    def report(self, number: int, epoch: int, value: float) -> None:
        """Smoothed validation RankIC of a running trial after an epoch; one that is known already stays."""
        trial = self._running(number)
        if epoch not in self._study.trials[number].intermediate_values:
            trial.report(value, epoch)

    def hopeless(self, number: int) -> bool:
        """Whether a running trial is to be given up."""
        return self._running(number).should_prune()

    def finish(self, number: int, value: float) -> None:
        self._study.tell(number, value)

    def prune(self, number: int) -> None:
        self._study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, why: str) -> None:
        self._running(number).set_user_attr(WHY, why)
        self._study.tell(number, state=TrialState.FAIL)

    def importances(self) -> dict[str, float]:
        """Share of each parameter in what tells good trials from others (PED-ANOVA); none where too few were finished
        or all did alike.
        """
        values = {trial.value for trial in self._study.trials if trial.state == TrialState.COMPLETE}
        if len(values) < 4 or len(self._distributions) < 2:
            return {}
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(self._study, evaluator=evaluator)
        return {name: share for name, share in found.items() if math.isfinite(share)}

    def _running(self, number: int) -> optuna.trial.Trial:
        return optuna.trial.Trial(self._study, self._study.trials[number]._trial_id)

    def _whole(self, trial: FrozenTrial) -> bool:
        return trial.params.keys() == self._distributions.keys()

    def _tried(self, trial: FrozenTrial) -> Tried:
        drawn = trial.params if self._whole(trial) else None
        return Tried(
            number=trial.number,
            arguments=() if drawn is None else tuple(self._space.arguments(drawn)),
            state=STATES[trial.state],
            by_epoch=dict(trial.intermediate_values),
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            why=str(trial.user_attrs.get(WHY, "")),
        )


def _distribution(parameter: Choice | Numbers) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values)
    low, high, log, step = parameter.low, parameter.high, parameter.log, parameter.step
    if parameter.whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=step)


def _pruner(settings: SearchConfig) -> optuna.pruners.BasePruner:
    if not settings.pruning:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=settings.pruning_startup_trials, n_warmup_steps=settings.pruning_warmup_epochs
    )


def _mend(journal: Path) -> None:
    """Take away what a killed process left: its lock, and a last line torn, to which nothing can be appended."""
    try:
        # A lock without a holder, as the search's folder is ours: Optuna would wait for it.
        journal.with_name(f"{JOURNAL}.lock").unlink(missing_ok=True)
        content = read_plain(journal, MOST_BYTES)
        whole = content[: content.rfind(b"\n") + 1]
        for line in whole.splitlines():
            parse_json(line)
        if len(whole) < len(content):
            with journal.open("r+b") as file:
                file.truncate(len(whole))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _unreadable(journal, error) from error


@contextmanager
def _readable(journal: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
        raise _unreadable(journal, error) from error


def _unreadable(journal: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{journal}: expected the journal of this search, found {type(error).__name__}: {error}; start over with "
        "run.fresh=true, or choose another run.dir"
    )
