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
class Environment:
    """Facts of the surroundings: how things look, and who may fetch; never what is computed."""

    columns: int | None
    """Width of the output as `COLUMNS` has it; None where it is not set."""
    jquants_api_key: str | None = field(repr=False)  # a secret must not be seen where an object is printed
    """Key of the J-Quants API as `JQUANTS_API_KEY` has it; None where it is not set or empty."""

    @classmethod
    def read(cls, variables: Mapping[str, str] = os.environ) -> "Environment":
        columns = variables.get("COLUMNS", "")
        return cls(
            columns=int(columns) if columns.isdecimal() and int(columns) > 0 else None,
            jquants_api_key=variables.get("JQUANTS_API_KEY", "").strip() or None,
        )
