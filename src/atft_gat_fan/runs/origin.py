"""The data that a run was begun with, written down in its folder, and how what is there now differs from it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from atft_gat_fan.data.splits import Split
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import ConfigError
from atft_gat_fan.runs.run_files import DATA, MOST_BYTES, write_json
from atft_gat_fan.untrusted import parse_json, read_plain

INITIAL_WEIGHTS = "initial weights"
NAMED = 5
"""Features or codes that a message names before it counts the rest."""


def settle_data(run: Path, store: Store, split: Split, *, begun: bool, initial_weights: str | None = None) -> None:
    """Write data.json; where training has `begun`, refuse other data than it holds.

    `initial_weights`: fingerprint of the model that training starts from, None for random ones.
    Raises ConfigError that says what differs: features, codes, days, split, initial weights, or values alone;
    StorageError.
    """
    facts = data_facts(store, split) | {INITIAL_WEIGHTS: initial_weights}
    file = run / DATA
    there = _read(file) if begun else None
    if there is None:
        write_json(file, facts)
    elif there != facts:
        found = "; ".join(differences(there, facts))
        raise ConfigError(
            f"{run}: expected the data this run was begun with, found others ({found}): its checkpoints cannot go on "
            "with them; bring the data back, choose another run.dir, or start over with run.fresh=true"
        )


def data_facts(store: Store, split: Split) -> dict[str, Any]:
    """What tells one training set from another, as JSON."""
    days = [str(day) for day in store.days]
    parts = {"train": split.train, "valid": split.valid, "test": split.test}
    return {
        "source": store.fingerprint,
        "features": list(store.feature_names),
        "horizons": list(store.horizons),
        "categories": list(store.static_categories),
        "codes": list(store.codes),
        "days": _period(days),
        **{f"{part} days": _period([days[position] for position in positions]) for part, positions in parts.items()},
    }


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Each difference in words, from what was there to what is now."""
    return list(_differences(there, now)) or ["values of the source"]


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for key in ("features", "codes", "categories", "horizons"):
        yield from _of_lists(key, there[key], now[key])
    for key in ("days", "train days", "valid days", "test days", INITIAL_WEIGHTS):
        if there[key] != now[key]:
            yield f"{key}: {there[key] or 'random'} there, {now[key] or 'random'} now"


def _of_lists(key: str, there: Sequence[Any], now: Sequence[Any]) -> Iterator[str]:
    gone, new = ([item for item in one if item not in set(other)] for one, other in ((there, now), (now, there)))
    if gone:
        yield f"{key} gone: {_some(gone)}"
    if new:
        yield f"{key} new: {_some(new)}"
    if there != now and not gone and not new:
        yield f"{key} in another order"


def _some(items: Sequence[Any]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(map(str, items[:NAMED])) + more


def _period(days: Sequence[str]) -> str:
    return f"{len(days)} from {days[0]} to {days[-1]}" if days else "none"


def _read(file: Path) -> dict[str, Any] | None:
    """None where the file is missing or damaged: the checkpoint's own fingerprint of the data still guards the run."""
    try:
        facts: dict[str, Any] = parse_json(read_plain(file, MOST_BYTES))
        differences(facts, facts)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts
