"""What a search is made of: a space, the validation days that judge, and a folder for each configuration that is tried.

A trial is one of a validation whose "test" days are the validation days: it trains, scores them with the weights it
kept, and never looks at the test days.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import PLACES, load_config, overridden
from atft_gat_fan.config.schema import Config
from atft_gat_fan.config.search_space import Space, read_space
from atft_gat_fan.errors import ConfigError, StorageError
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_files import MOST_BYTES, write_json
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.runs.trial import OF_EVERY_TRIAL, RUN, require_network
from atft_gat_fan.runs.trial_runner import threads_of_each
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.untrusted import parse_json, read_plain
from atft_gat_fan.validation.plan import Trial

QUESTION, TRIALS = "question.json", "trials"


@dataclass(frozen=True)
class SearchPlan:
    """A search on its data. `config` is what all trials share."""

    config: Config
    space: Space
    folder: Path
    data: str
    fingerprint: str
    valid_days: tuple[str, ...]
    """ISO dates."""

    @property
    def question(self) -> dict[str, Any]:
        """What the folder's trials are trials of; another question needs another folder."""
        shared = self.config.model_dump(mode="json", exclude=PLACES)
        return {"space": _described(self.space), "shared": shared, "data": self.fingerprint}

    def trial_folder(self, number: int) -> Path:
        return self.folder / TRIALS / f"{number:04d}"

    def trial_config(self, number: int, drawn: Sequence[str]) -> Config:
        """Raises ConfigError where what was drawn does not fit together."""
        config = load_config([*self.space.fixed, *drawn])
        resolve(config)
        require_network(config)
        changed = overridden(config, OF_EVERY_TRIAL)
        run = {
            "dir": str(self.trial_folder(number) / RUN),
            "num_threads": threads_of_each(self.config, self.config.trials.workers),
        }
        return changed.model_copy(update={"run": changed.run.model_copy(update=run)})

    def trial(self, number: int, drawn: Sequence[str]) -> Trial:
        first, last = self.valid_days[0], self.valid_days[-1]
        return Trial(f"{number:04d}", "search", self.config.seed, 0, "rank_ic", tuple(drawn), first, last)


def require_optuna() -> None:
    """Raises ConfigError where the optional part is not installed; to be asked before anything that imports it."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"atft search: expected the package optuna, found no {error.name} -> pip install 'atft-gat-fan[search]'"
        ) from error


def plan_search(arguments: Sequence[str], console: Console) -> SearchPlan:
    """Read space and data. Raises ConfigError for what cannot be searched over, and what reading data raises."""
    space = read_space(arguments)
    config = load_config(space.fixed)
    resolve(config)
    require_network(config)
    prepare_process(threads_of_each(config, config.trials.workers))
    with StopSignals() as signals, Stages(console, signals) as stages:
        # Online: nothing is materialised here, where nothing is trained.
        assembly = assemble(overridden(config, ["improvements.online_normalization=true"]), stages)
    store = assembly.store
    return SearchPlan(
        config=config,
        space=space,
        folder=_folder(config, space),
        data=f"{config.data.source}, {len(store.codes)} stocks, {store.days[0]} to {store.days[-1]}",
        fingerprint=store.fingerprint,
        valid_days=tuple(str(day) for day in store.days[assembly.split.valid]),
    )


def settle_question(plan: SearchPlan) -> None:
    """A folder belongs to the question it was first used for. Raises ConfigError for another, StorageError."""
    file = plan.folder / QUESTION
    if not file.exists():
        write_json(file, plan.question)
        return
    try:
        there = parse_json(read_plain(file, MOST_BYTES))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{file}: expected what a search was asked, found {error}; choose another run.dir"
        ) from error
    asked = json.loads(json.dumps(plan.question))
    if there != asked:
        other = [key for key in asked if not isinstance(there, dict) or there.get(key) != asked[key]]
        raise ConfigError(
            f"{plan.folder}: expected a search of the same {' and '.join(other)}, found another one's; choose another "
            "run.dir, or start over with run.fresh=true"
        )


def _folder(config: Config, space: Space) -> Path:
    """`run.dir`; by default beside the run folders, one for each question. More trials go on in the same one."""
    if config.run.dir is not None:
        return Path(config.run.dir)
    asked = [config.model_dump(mode="json", exclude=PLACES), _described(space)]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    return Path(config.run.root) / f"search-{config.run.name}-{digest}"


def _described(space: Space) -> list[str]:
    return [repr(each) for each in space.parameters]
