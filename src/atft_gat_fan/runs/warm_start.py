"""Training that starts from the weights of a finished run, which must not have seen what this one is tested on.

The exported weights are taken over, nothing else: with an EMA they are its average, from which both the trained weights
and the new average begin. The normaliser is fitted on this run's own training days, the optimizer has no moments yet,
and warm-up and schedule begin anew.
"""

from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.inference.bundle import DESCRIPTION, Bundle, load_bundle
from atft_gat_fan.models.network import ATFT_GAT_FAN
from atft_gat_fan.runs.assembly import Assembly, build_model
from atft_gat_fan.runs.run_files import BUNDLE

MEMORY_LEVERS = ("gat_chunk_size", "gradient_checkpointing")
"""Of the network's description, what changes neither weights nor scores."""
KNOWN_UNTIL = "known_until"
"""Key of the training's fingerprint: last day of any label that the weights, or those they began from, have seen."""


def load_initial(run: Path) -> Bundle:
    """The model of the finished run that `train.warm_start` names.

    Raises StorageError without one, ConfigError for one that does not say up to which day it has seen labels.
    """
    bundle = load_bundle(run / BUNDLE)
    try:
        date.fromisoformat(bundle.training[KNOWN_UNTIL])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"train.warm_start={run}: expected a model that says up to which day its labels reach ({KNOWN_UNTIL} in "
            f"{run / BUNDLE / DESCRIPTION}), found {error!r:.80}; train it again with this release"
        ) from error
    return bundle


def warm_started(assembly: Assembly, initial: Bundle) -> ATFT_GAT_FAN:
    """The run's network with the weights of `initial`.

    Raises ConfigError where its features or network are others, or where labels it has seen reach the test days.
    """
    where = f"train.warm_start={assembly.config.train.warm_start}"
    features, theirs = assembly.normalizer.feature_names, initial.normalizer.feature_names
    if features != theirs:
        other = [name for name in features if name not in theirs] + [name for name in theirs if name not in features]
        what = f"it differs in {', '.join(other[:5])}" if other else "in another order"
        raise ConfigError(
            f"{where}: expected a model of the {len(features)} features that vary on the training days, found one of "
            f"{len(theirs)} ({what}); name features that both periods have in data.features, or start without it"
        )
    if initial.static_categories != assembly.store.static_categories:
        raise ConfigError(
            f"{where}: expected a model of the static categories {_some(assembly.store.static_categories)}, found one "
            f"of {_some(initial.static_categories)}; train that run on this panel, or start without it"
        )
    here, there = asdict(assembly.spec), asdict(initial.spec)
    if found := [f"{key}: {there[key]} there, {here[key]} here" for key in here if _differs(key, here, there)]:
        raise ConfigError(
            f"{where}: expected a model of this run's network, found another ({'; '.join(found)}); set these alike"
        )
    _require_earlier(assembly, initial, where)
    model = build_model(assembly)
    model.load_state_dict(initial.model.state_dict())
    return model


def origin_of_weights(assembly: Assembly, initial: Bundle | None) -> dict[str, Any]:
    """What the fingerprint of a training says of its beginning, and of the last day that it knows of."""
    store = assembly.store
    last_label = min(int(assembly.split.valid[-1]) + max(store.horizons), len(store.days) - 1)
    known = str(store.days[last_label])
    if initial is None:
        return {"initial_weights": None, KNOWN_UNTIL: known}
    return {
        "initial_weights": initial.fingerprint,
        KNOWN_UNTIL: max(known, initial.training[KNOWN_UNTIL]),
    }


def _differs(key: str, here: dict[str, Any], there: dict[str, Any]) -> bool:
    return key not in MEMORY_LEVERS and bool(here[key] != there[key])


def _require_earlier(assembly: Assembly, initial: Bundle, where: str) -> None:
    known_until, first_test = initial.training[KNOWN_UNTIL], assembly.store.days[assembly.split.test[0]]
    if np.datetime64(known_until) >= first_test:
        raise ConfigError(
            f"{where}: expected a model that has seen no label of the test days, from {first_test} on, found one "
            f"trained and validated with labels up to {known_until}; start from an earlier model, or test later days"
        )


def _some(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:3]) or 'none'}{', …' if len(names) > 3 else ''} ({len(names)})"
