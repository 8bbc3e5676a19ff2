"""What a run cost this machine."""

import resource
import sys
from pathlib import Path

import torch

PROC_STATUS = Path("/proc/self/status")


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far, in bytes."""
    if PROC_STATUS.exists():
        # getrusage keeps the parent's peak across exec on Linux; VmHWM starts anew with the program.
        for line in PROC_STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_used(device: torch.device) -> dict[str, int]:
    """Peaks so far in bytes: `peak_rss_bytes` of this process and, on a GPU, `peak_device_bytes` of its tensors."""
    used = {"peak_rss_bytes": peak_rss_bytes()}
    if device.type == "cuda":
        used["peak_device_bytes"] = torch.cuda.max_memory_allocated(device)
    return used
