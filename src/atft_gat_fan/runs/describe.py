"""What a run would be, without running it. Light: reads no data and builds no network."""

from typing import Any

from atft_gat_fan.config.improvements import resolve
from atft_gat_fan.config.load import run_folder
from atft_gat_fan.config.schema import Config


def describe(config: Config) -> dict[str, Any]:
    """The run's folder and its plan. Raises ConfigError as `train` would."""
    return {"run": str(run_folder(config)), "plan": resolve(config).to_json()}
