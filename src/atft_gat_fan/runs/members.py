"""The trained models that a prediction is made of: one, or several that rank the same stocks over the same horizons."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.conversion import build_key
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.inference.bundle import DESCRIPTION, Bundle, load_bundle
from atft_gat_fan.runs.run_files import BUNDLE


@dataclass(frozen=True)
class Member:
    """A model, and the run's folder it is called by."""

    run: Path
    bundle: Bundle

    def recipe(self, source: str, cache: Path | None) -> Config:
        """That of the training data, for another source and all of its days; `cache` None: the training's."""
        changes = {"source": source, "start": None, "end": None} | ({} if cache is None else {"cache": str(cache)})
        return Config(data=self.bundle.data.model_copy(update=changes), graph=self.bundle.graph)


def load_members(runs: Sequence[Path]) -> tuple[Member, ...]:
    """The models of `runs`: folders of runs, or of the models themselves (`RUN/model`) that were copied elsewhere.

    Raises StorageError where one holds no trained model, ConfigError where they do not rank the same: other horizons,
    other columns that tell rows apart, other stocks, or one model given twice.
    """
    assert runs, "expected at least one run"
    members = tuple(Member(run, load_bundle(_bundle_folder(run))) for run in runs)
    for member in members[1:]:
        _require_same(_ranked(members[0].bundle), _ranked(member.bundle), members[0].run, member.run)
    for number, member in enumerate(members):
        for other in members[:number]:
            if member.bundle.fingerprint == other.bundle.fingerprint:
                raise ConfigError(
                    f"{member.run}: expected different models, found that of {other.run} again: it would count twice; "
                    "name each run once"
                )
    return members


def fingerprint(members: Sequence[Member]) -> str:
    """The model's own; of several one of them all, whatever their order."""
    fingerprints = sorted(member.bundle.fingerprint for member in members)
    return fingerprints[0] if len(members) == 1 else hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()[:16]


def by_recipe(members: Sequence[Member], source: str) -> list[tuple[Member, ...]]:
    """Members whose inputs are made in one way together: they read one store."""

    def key(member: Member) -> str:
        return build_key("", member.recipe(source, None).data, need_labels=False)

    return [tuple(group) for _, group in groupby(sorted(members, key=key), key)]


def _bundle_folder(run: Path) -> Path:
    return run if (run / DESCRIPTION).is_file() else run / BUNDLE


def _ranked(bundle: Bundle) -> dict[str, object]:
    """What has to be one for ranks to be of the same stocks and for the same days ahead, by configuration key."""
    data = bundle.data
    return {
        "data.horizons": list(data.horizons),
        "data.codes": data.codes and list(data.codes),
        "data.columns.code": data.columns.code,
        "data.columns.date": data.columns.date,
    }


def _require_same(one: Mapping[str, object], other: Mapping[str, object], run: Path, other_run: Path) -> None:
    different = [f"{key} {one[key]} there, {other[key]} here" for key in one if one[key] != other[key]]
    if different:
        raise ConfigError(
            f"{other_run}: expected a model that ranks as {run} does, found {'; '.join(different)}; "
            "predict with each by itself"
        )
