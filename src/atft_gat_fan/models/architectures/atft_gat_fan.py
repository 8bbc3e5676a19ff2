"""Door: the path by which the migration memo knows the network."""

from atft_gat_fan.models.network import ATFT_GAT_FAN

__all__ = ["ATFT_GAT_FAN"]
