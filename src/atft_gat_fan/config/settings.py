"""The settings of this place: its configuration, and its environment, which no other file reads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from atft_gat_fan.config.schema import Config


def get_settings() -> Config:
    """The configuration of `configs/atft/config.yaml` as it stands, validated; its `__dict__` has one key a section."""
    # Brings Hydra, which a command that only looks at the environment, such as `atft predict`, does not need.
    from atft_gat_fan.config.load import load_config

    return load_config()


@dataclass(frozen=True)
class RankVariables:
    """Which process of how many this one is, by the variables that torchrun sets; alone without them."""

    rank: int = 0
    """`RANK`: 0 to `world_size` - 1."""
    world_size: int = 1
    """`WORLD_SIZE`: processes of the training, on all machines."""
    local_rank: int = 0
    """`LOCAL_RANK`: number of the process on its machine, which is the number of its GPU."""
    missing: tuple[str, ...] = ()
    """Variables that are not there, or no numbers, though `WORLD_SIZE` says that there are others."""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> "RankVariables":
        size = variables.get("WORLD_SIZE", "")
        if not size.isdecimal() or int(size) < 2:
            return cls()
        numbers = {name: variables.get(name, "") for name in ("RANK", "LOCAL_RANK", "MASTER_PORT")}
        missing = [name for name, value in numbers.items() if not value.isdecimal()]
        missing += [] if variables.get("MASTER_ADDR") else ["MASTER_ADDR"]
        rank, local_rank = (0 if name in missing else int(numbers[name]) for name in ("RANK", "LOCAL_RANK"))
        return cls(rank, int(size), local_rank, tuple(missing))


@dataclass(frozen=True)
class Environment:
    """Facts of the surroundings: how things look, who may fetch, and who computes beside; never what is computed."""

    columns: int | None
    """Width of the output as `COLUMNS` has it; None where it is not set."""
    jquants_api_key: str | None = field(repr=False)  # a secret must not be seen where an object is printed
    """Key of the J-Quants API as `JQUANTS_API_KEY` has it; None where it is not set or empty."""
    ranks: RankVariables = RankVariables()
    """What torchrun says of this process and of those beside it."""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> "Environment":
        columns = variables.get("COLUMNS", "")
        return cls(
            columns=int(columns) if columns.isdecimal() and int(columns) > 0 else None,
            jquants_api_key=variables.get("JQUANTS_API_KEY", "").strip() or None,
            ranks=RankVariables.read(variables),
        )
