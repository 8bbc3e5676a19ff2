"""The migration memo's path to the settings."""

from atft_gat_fan.config.settings import get_settings

__all__ = ["get_settings"]
