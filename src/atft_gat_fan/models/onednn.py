"""The library that computes matrix products and the LSTM on a CPU, and doing without it."""

import torch


def use_onednn(enabled: bool) -> None:
    """Whether torch computes with oneDNN where it can, from now on and in all of the process."""
    torch.backends.mkldnn.set_flags(enabled, _fp32_precision=None)  # type: ignore[no-untyped-call]
