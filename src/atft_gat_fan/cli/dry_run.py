"""What a run would be, as people read it on a terminal: YAML, and the parameter groups as a table."""

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from omegaconf import OmegaConf

HEADERS = ("group", "decays", "tensors", "parameters", "lr", "weight decay", "names")
NAMES_WIDTH = 90


def run_description(run: Mapping[str, Any]) -> str:
    """What `runs.describe.describe` found, and the configuration."""
    facts = {key: value for key, value in run.items() if not key.startswith("param_groups")}
    return "\n".join(
        [
            OmegaConf.to_yaml(OmegaConf.create(facts)),
            f"parameter groups, counted for {run['param_groups_counted_for']}:\n",
            *_table(run["param_groups"]),
            "",
        ]
    )


def _table(groups: Sequence[Mapping[str, Any]]) -> list[str]:
    rows: list[tuple[str, ...]] = [HEADERS]
    for group in groups:
        first, *further = wrap(", ".join(group["names"]), NAMES_WIDTH)
        rows.append((*_cells(group), first))
        rows.extend(("",) * (len(HEADERS) - 1) + (line,) for line in further)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cells(group: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        group["group"],
        "yes" if group["decay"] else "no",
        str(group["num_tensors"]),
        f"{group['num_parameters']:,}",
        f"{group['lr']:g}",
        f"{group['weight_decay']:g}",
    )
