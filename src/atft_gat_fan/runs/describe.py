"""What a run would be, without running it: nothing is built, trained or written."""

from typing import Any

import torch

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import run_folder
from atft_gat_fan.config.plan import ModelSpec, RunPlan
from atft_gat_fan.config.schema import Config
from atft_gat_fan.data.calendar import CALENDAR_COVARIATES
from atft_gat_fan.data.conversion import cached_store
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import AtftError, ConfigError
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.models.spec import model_spec, spec_from_mapping
from atft_gat_fan.training.optim import parameter_groups_table
from atft_gat_fan.training.settings import TrainSettings


class _NotBuiltError(Exception):
    """The store would have to be built first."""


def describe(config: Config) -> dict[str, Any]:
    """The run's folder, its plan, and its parameter groups with what they were counted for.

    Raises ConfigError as `train` would.
    """
    plan = resolve(config)
    spec, counted_for = _spec(config, plan)
    with torch.device("meta"):  # shapes without memory
        model = ATFT_GAT_FAN(spec)
    groups = parameter_groups_table(model, TrainSettings.from_config(config, plan, huber_deltas=None))
    return {
        "run": str(run_folder(config)),
        "plan": plan.to_json(),
        "param_groups": groups,
        "param_groups_counted_for": counted_for,
    }


def _spec(config: Config, plan: RunPlan) -> tuple[ModelSpec, str]:
    """The network as far as it can be known without building a store, and how far that is."""
    try:
        store = _built_store(config)
    except (_NotBuiltError, AtftError) as error:
        why = str(error) or f"the store of {config.data.source} is not built yet"
        return _guess(config, plan, why.splitlines()[0])
    spec = model_spec(
        config,
        plan,
        num_features=len(store.feature_names),
        num_categories=len(store.static_categories),
        num_covariates=len(CALENDAR_COVARIATES),
    )
    return spec, (
        f"{spec.num_features} features and {spec.num_categories} static categories of {store.path}; "
        "columns constant on the training days are dropped when training starts"
    )


def _built_store(config: Config) -> Store:
    def refuse(stage: str, share: float) -> None:
        raise _NotBuiltError

    # The first thing a conversion does is to say what it begins with.
    return cached_store(config, refuse)


def _guess(config: Config, plan: RunPlan, why: str) -> tuple[ModelSpec, str]:
    try:
        spec = spec_from_mapping(config.model_dump(mode="json"))
        which = f"the {spec.num_features} features the configuration lists or derives"
    except ConfigError:  # patterns: only data can say how many columns they match
        spec = model_spec(config, plan, num_features=1, num_categories=0, num_covariates=len(CALENDAR_COVARIATES))
        which = "one feature"
    return spec, f"{which} and no static category, because {why}; the run counts its own into param_groups.json"
