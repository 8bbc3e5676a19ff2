"""Where and how precisely to compute: Lightning Fabric, set up for the one device of this process.

What several processes have in common is `Ranks`: Fabric's own strategies bind it to the `forward` of a wrapped module.
"""

from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.training.settings import TrainSettings


@dataclass(frozen=True)
class Runtime:
    """Fabric, and the loss scaler of fp16 training (None otherwise)."""

    fabric: Fabric
    scaler: torch.amp.GradScaler | None


def make_runtime(settings: TrainSettings) -> Runtime:
    """Fabric for the settings' device and precision. Raises ConfigError where the machine lacks one of them."""
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("expected a CUDA device, found none (run.device); use run.device=auto or cpu")
    if settings.amp == "fp16" and device == "cpu":
        raise ConfigError(
            "expected a CUDA device for amp=fp16 (no fp16 LSTM on a CPU), found none; use amp=bf16 or none"
        )
    scaler = torch.amp.GradScaler(device, init_scale=settings.init_scale) if settings.amp == "fp16" else None
    precision = Precision()
    # As plugins, because only so Fabric takes our scaler.
    if settings.amp == "bf16":
        precision = MixedPrecision("bf16-mixed", device)
    elif settings.amp == "fp16":
        precision = MixedPrecision("16-mixed", device, scaler)
    # Of the GPUs, the current one, which each rank has chosen for itself. An environment of its own, because under
    # torchrun Fabric would want to be told of the other ranks.
    devices = [torch.cuda.current_device()] if device == "cuda" else 1
    fabric = Fabric(accelerator=device, devices=devices, plugins=[precision, LightningEnvironment()])
    return Runtime(fabric, scaler)
