"""`atft data`: convert a panel into a store; check a panel or a store."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from atft_gat_fan.config.load import load_config
from atft_gat_fan.config.overrides import assignment
from atft_gat_fan.config.remote_section import is_remote
from atft_gat_fan.data.conversion import convert, is_store
from atft_gat_fan.data.panel import PanelReport, check_panel
from atft_gat_fan.data.remote import local_copy
from atft_gat_fan.data.remote_store import convert_to_address
from atft_gat_fan.data.sources import open_source
from atft_gat_fan.data.store import Store
from atft_gat_fan.data.store_checks import check_store
from atft_gat_fan.data.store_manifest import MANIFEST
from atft_gat_fan.errors import DataError
from atft_gat_fan.runs.stages import Stages
from atft_gat_fan.signals import StopSignals


def build(source: str, out: str, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    """Convert `source` into a store at `out`, a path or an address, going on from what an interrupted one has finished.

    Raises DataError with every problem of the panel, InterruptedRunError after a stop signal.
    """
    config = load_config([*overrides, assignment("data.source", source)])
    with StopSignals() as signals, Stages(console, signals) as stages:
        store = convert_to_address(config, out, stages) if is_remote(out) else convert(config, Path(out), stages)
    return {"store": out, **_facts(store)}


def check(path: str, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    """Verify every byte of a store, or every row of a panel, at a path or an address.

    Raises DataError with every problem found.
    """
    if is_remote(path):
        return _check_address(path, overrides, console)
    if (Path(path) / MANIFEST).exists():
        with StopSignals() as signals, Stages(console, signals) as stages:
            check_store(Path(path), partial(stages, "verify"))  # before opening, which stops at the first missing file
        return {"store": path, "verified": True, **_facts(Store.open(Path(path)))}
    config = load_config([*overrides, assignment("data.source", path)])
    with StopSignals() as signals, Stages(console, signals) as stages:
        report = check_panel(config.data, partial(stages, "check"))
    return _panel_facts(path, report)


def _check_address(address: str, overrides: Sequence[str], console: Console) -> dict[str, Any]:
    config = load_config([*overrides, assignment("data.source", address)])
    with StopSignals() as signals, Stages(console, signals) as stages:
        if is_store(config.data, stages):
            store = Store.open(local_copy(config.data, stages, verify=True))
            return {"store": address, "verified": True, **_facts(store)}
        source = open_source(config.data, stages)
        report = check_panel(config.data, partial(stages, "check"), source)
    return _panel_facts(address, report)


def _panel_facts(path: str, report: PanelReport) -> dict[str, Any]:
    if report.problems:
        raise DataError(report.problems, source=path)
    return {"panel": path, **report.facts, "warnings": list(report.warnings)}


def _facts(store: Store) -> dict[str, Any]:
    return {
        "days": len(store.days),
        "first": str(store.days[0]),
        "last": str(store.days[-1]),
        "stocks": len(store.codes),
        "features": list(store.feature_names),
        "horizons": list(store.horizons),
        "fingerprint": store.fingerprint,
        "warnings": list(store.metadata["warnings"]),
    }
