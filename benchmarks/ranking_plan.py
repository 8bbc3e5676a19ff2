"""What a ranking benchmark is made of: the days of its fold, and one training for each model and seed."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from atft_gat_fan.config.load import load_config, overridden
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.config.run_sections import EvaluationConfig, LightGBMConfig
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.splits import Split, split_days, usable_days
from atft_gat_fan.data.store import Store
from atft_gat_fan.evaluation.evaluate import MODEL
from atft_gat_fan.runs.assembly import assemble
from atft_gat_fan.runs.pace import START_UP, measure_pace
from atft_gat_fan.runs.process import prepare_process
from atft_gat_fan.runs.run_status import finished_run
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals
from atft_gat_fan.training.settings import NOT_IN_DIGEST
from atft_gat_fan.validation.trials import Job, estimated_seconds
from benchmarks.gru import GruRecipe
from benchmarks.measuring import ROOT

Rival = Literal["lightgbm", "gru"]
RIVALS: tuple[Rival, ...] = ("lightgbm", "gru")
LIGHTGBM_SEEDS = 5
"""At most: averaged by rank, more change nothing that shows."""
OUT = ROOT / "runs" / "ranking"
"""Where trainings and results are kept, unless somewhere else is asked for."""
RECIPE = ("config=atft/train/ranking",)
PLACES = ("data.cache=", "run.")
"""Arguments that say where, which nobody else has."""
TRAINED = "trained.json"
"""Left by a finished rival in its folder."""
ALL_ROWS = 1_000_000_000

LIGHTGBM_PACE, GRU_PACE = 1e7, 2e4
"""Rows × rounds × horizons, and windows, a second of one core, about; the first that is finished corrects them."""


@dataclass(frozen=True)
class Dates:
    """Where the panel is cut (ISO dates). The days after `valid_end` are evaluated, to `test_end` (None: the newest).

    Between the parts the project's purge is left out. No weight is chosen by the validation days where the recipe has
    fixed epochs: where it has, as many as the project needs are enough, and the training keeps the others.
    """

    train_start: str | None
    train_end: str | None
    valid_end: str | None
    test_end: str | None

    @property
    def overrides(self) -> tuple[str, ...]:
        return tuple(f"split.{name}={'null' if day is None else day}" for name, day in asdict(self).items())


FOLDS = {
    "B": Dates("2003-01-02", "2012-11-30", "2012-12-31", "2015-12-31"),
    "valid": Dates("2003-01-02", "2015-11-30", "2015-12-31", "2016-12-31"),
    "test": Dates("2003-01-02", "2015-12-31", "2016-12-31", "2017-12-31"),
}
"""Of the NASDAQ panel of 2003 to 2017. Recipes are chosen on the first two."""
PANEL = "nasdaq_2003_2017"
"""Stem of that panel's file, as its README calls it."""


@dataclass(frozen=True)
class Request:
    """What was asked for. `recipe` and `overrides` are in Hydra's grammar; `against` names the rivals."""

    panel: Path
    fold: str
    dates: Dates
    out: Path
    results: Path
    recipe: Sequence[str] = RECIPE
    overrides: Sequence[str] = ()
    seeds: int = 5
    against: Sequence[Rival] = RIVALS
    workers: int = 1
    threads: int | None = None
    """Of each training; None: the cores, shared out among those at once."""
    gru: GruRecipe = field(default_factory=GruRecipe)
    opened: str | None = None
    """Why the test is opened."""
    quick: bool = False
    cache: Path | None = None

    @property
    def preset(self) -> bool:
        """Whether these are the days that the protocol names."""
        return self.dates == FOLDS[self.fold]


@dataclass(frozen=True)
class Member:
    """One training: of the recipe (`model`) or of a rival, with one seed."""

    model: str
    seed: int
    config: Config
    job: Job

    @property
    def finished(self) -> bool:
        return finished_member(self.job.folder) is not None


@dataclass(frozen=True)
class Plan:
    """The trainings on their data. `config` is the recipe's on the fold's days, `digest` names what of it is chosen."""

    request: Request
    config: Config
    digest: str
    store: Store
    split: Split
    members: tuple[Member, ...]
    folder: Path
    """Of the result."""

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(member.model for member in self.members))

    def of(self, model: str) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.model == model)

    @property
    def panel(self) -> str:
        """Fingerprint of the source's data, wherever it lies."""
        return str(self.store.metadata["source_fingerprint"])[:16]

    @property
    def seconds_left(self) -> float:
        return estimated_seconds([member.job for member in self.members if not member.finished], self.request.workers)


def finished_member(folder: Path) -> Path | None:
    """The folder itself where it holds a finished training. Raises StorageError where its state is damaged."""
    return folder if (folder / TRAINED).exists() else finished_run(folder)


def command_of(request: Request) -> str:
    """The command that asks for the same again."""
    words = ["python", "-m", "benchmarks.ranking", "--panel", str(request.panel), "--fold", request.fold]
    if not request.preset:
        for name in ("train_start", "train_end", "valid_end", "test_end"):
            day = getattr(request.dates, name)
            words += [] if day is None else [f"--{name.replace('_', '-')}", day]
    words += [] if request.out == OUT else ["--out", str(request.out)]
    words += ["--seeds", str(request.seeds)]
    words += [] if request.workers == 1 else ["--workers", str(request.workers)]
    words += [] if request.threads is None else ["--threads", str(request.threads)]
    words += ["--quick"] if request.quick else []
    words += [] if request.opened is None else ["--open-test", request.opened]
    words += request.overrides
    # An option of several values takes all that follows it.
    words += [] if tuple(request.recipe) == RECIPE else ["--recipe", *request.recipe]
    words += [] if tuple(request.against) == RIVALS else ["--against", *request.against]
    return shlex.join(words)


def without_places(arguments: Sequence[str]) -> tuple[str, ...]:
    """What of the arguments says the same on any machine."""
    return tuple(each for each in arguments if not each.startswith(PLACES))


def recipe_config(request: Request) -> Config:
    """The recipe on the panel and the fold's days. Raises ConfigError."""
    quick = ("train.max_steps=20", "train.max_epochs=1", "evaluation.lightgbm.num_rounds=10") if request.quick else ()
    cache = () if request.cache is None else (assignment("data.cache", str(request.cache)),)
    arguments = (
        "data=nasdaq",
        assignment("data.source", str(request.panel)),
        "data.start=null",
        *cache,
        *request.recipe,
        *request.overrides,
        *quick,
    )
    return overridden(load_config(arguments), (*request.dates.overrides, f"evaluation.lightgbm.max_rows={ALL_ROWS}"))


def recipe_digest(config: Config) -> str:
    """Of all that is chosen in a recipe: the same on any fold, seed, copy of the panel and machine.

    Keys at their defaults are no choice: one that the schema gains later makes no other recipe of those tried before.
    """
    left_out: dict[str, Any] = {
        **NOT_IN_DIGEST,
        "seed": True,
        "split": True,
        "compile": True,
        "data": {"cache", "num_workers", "source", "start", "end"},
    }
    return _digest(config.model_dump(mode="json", exclude=left_out, exclude_defaults=True))


def prepare(request: Request, console: Console) -> Plan:
    """Read the data and cut the fold; a few optimizer steps are timed to estimate what is left to train.

    Raises ConfigError for keys that cannot be used, and what reading data raises.
    """
    config = recipe_config(request)
    threads = request.threads or max(1, (os.cpu_count() or 1) // request.workers)
    prepare_process(threads)
    with StopSignals() as signals, Stages(console, signals) as stages:
        store = cached_store(config, stages)
        split = split_days(store.days, config.split, config.data.horizons, usable_days(store.days, config.data))
        planned = tuple(_members(request, config, store, threads))
        if all(member.finished for member in planned if member.model == MODEL):
            seconds = START_UP
        else:
            # Online: nothing is materialised here, where nothing is trained.
            assembly = assemble(overridden(config, ["improvements.online_normalization=true"]), stages)
            pace = measure_pace(assembly, stages)
            scored = len(split.valid) + len(split.test)
            seconds = START_UP + pace.training(pace.planned_steps, len(split.valid)) + pace.scoring(scored)
    estimates = _estimates(request, config, store, split, threads) | {MODEL: seconds}
    members = tuple(Member(each.model, each.seed, each.config, _job(each, estimates[each.model])) for each in planned)
    digest = recipe_digest(config)
    dates = "" if request.preset else f"-{_digest(asdict(request.dates))}"
    name = f"{request.fold}{dates}-{digest}-{request.seeds}-seeds{'-quick' if request.quick else ''}"
    return Plan(request, config, digest, store, split, members, request.out / name)


def describe_plan(plan: Plan) -> Iterator[str]:
    """The plan in lines of text."""
    days, split = plan.store.days, plan.split
    for name, part in (("trained", split.train), ("validated", split.valid), ("evaluated", split.test)):
        yield f"{name}: {days[part[0]]} to {days[part[-1]]}, {len(part):,} days"
    yield f"purged between them: {split.purge} days"
    yield f"features: {len(plan.store.feature_names)}; stocks: {len(plan.store.codes):,}; recipe {plan.digest}"
    for model in plan.models:
        members = plan.of(model)
        done = sum(member.finished for member in members)
        seconds = members[0].job.seconds
        yield f"{model}: {len(members)} trainings, {done} finished, about {seconds:,.0f} s each"


def _members(request: Request, config: Config, store: Store, threads: int) -> Iterator[Member]:
    seeds = range(1, request.seeds + 1)
    for seed in seeds:
        changes = (f"seed={seed}", "evaluation.baselines=[]", "train.tensorboard=false", "run.fresh=false")
        yield _placed(request, MODEL, overridden(config, changes), store, threads)
    for rival in request.against:
        for seed in seeds if rival == "gru" else seeds[:LIGHTGBM_SEEDS]:
            yield _placed(request, rival, _rival_config(rival, config, seed), store, threads)


def _rival_config(rival: Rival, config: Config, seed: int) -> Config:
    """What of the recipe a rival shares: data, label and days; the GRU the days of a batch as well, and LightGBM has
    keys of its own. So one that is trained stays so whatever else is changed.
    """
    defaults = Config()
    boosting = config.evaluation.lightgbm if rival == "lightgbm" else LightGBMConfig(max_rows=ALL_ROWS)
    return Config(
        seed=seed,
        batch_size=config.batch_size if rival == "gru" else defaults.batch_size,
        data=config.data,
        labels=config.labels,
        split=config.split,
        model=defaults.model.model_copy(update={"gat": defaults.model.gat.model_copy(update={"enabled": False})}),
        evaluation=EvaluationConfig(baselines=("lightgbm",), lightgbm=boosting),
        # LightGBM reads the store itself, and nothing need be materialised for it.
        improvements=defaults.improvements.model_copy(update={"online_normalization": rival == "lightgbm"}),
    )


def _placed(request: Request, model: str, config: Config, store: Store, threads: int) -> Member:
    """With a folder named by all that decides the outcome."""
    run = config.run.model_copy(update={"num_threads": threads, "stop_after": None, "dir": None})
    config = config.model_copy(update={"run": run})
    # LightGBM's own keys are those of the evaluation.
    left_out = {key: names for key, names in NOT_IN_DIGEST.items() if key != "evaluation" or model == MODEL}
    left_out["data"] = {"cache", "num_workers", "source"}
    decided = [config.model_dump(mode="json", exclude=left_out), store.fingerprint, threads]
    name = f"seed-{config.seed}-{_digest([*decided, asdict(request.gru) if model == 'gru' else None])}"
    folder = request.out / "trainings" / ("recipe" if model == MODEL else model) / name
    config = config.model_copy(update={"run": run.model_copy(update={"dir": str(folder)})})
    return Member(model, config.seed, config, Job(f"{folder.parent.name}/{name}", model, folder))


def _job(member: Member, seconds: float) -> Job:
    return Job(member.job.name, member.job.kind, member.job.folder, seconds)


def _estimates(request: Request, config: Config, store: Store, split: Split, threads: int) -> dict[str, float]:
    span = slice(int(split.train[0]), int(split.train[-1]) + 1)
    windows = int(store.column("present", span).sum())
    boosted = windows * config.evaluation.lightgbm.num_rounds * len(store.horizons)
    return {
        "lightgbm": START_UP + boosted / LIGHTGBM_PACE / threads,
        "gru": START_UP + windows * request.gru.epochs / GRU_PACE / threads,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
