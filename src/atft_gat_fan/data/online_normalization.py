"""Standardising features where they are computed on, in float32, into one buffer that is used again and again."""

import math

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from atft_gat_fan.data.normalizer import Normalizer


class OnlineNormalizer:
    """(x - mean) / std on `device`; a missing value becomes 0. Within rounding of `Normalizer.apply`, in float32.

    The mean is subtracted in two float32 parts. Near its mean, x minus the upper part is exact (Sterbenz), so that a
    feature of mean 10,000 and deviation 1 keeps every digit it has; a mean rounded to float32 would move it by 0.0005.
    """

    def __init__(self, normalizer: Normalizer, device: torch.device) -> None:
        self.device = device
        upper = normalizer.mean.astype(np.float32)
        lower = normalizer.mean - upper
        self._upper, self._lower, self._std = (
            torch.tensor(values, dtype=torch.float32, device=device) for values in (upper, lower, normalizer.std)
        )
        kept = torch.tensor(normalizer.kept, device=device)
        self._kept = None if normalizer.feature_names == normalizer.input_names else kept
        self._buffer = torch.empty(0, device=device)

    def __call__(self, raw: Float32[Tensor, "*rows inputs"]) -> Float32[Tensor, "*rows features"]:
        """Features of `raw`, in the buffer: the one copy that is made, overwritten by the next call.

        What autograd still needs of an earlier result is not lost silently: its backward pass then raises.
        """
        out = self._out(*raw.shape[:-1], len(self._std))
        if self._kept is None:
            torch.sub(raw, self._upper, out=out)
        else:
            torch.index_select(raw, -1, self._kept, out=out).sub_(self._upper)
        out.sub_(self._lower).div_(self._std)
        return torch.nan_to_num(out, nan=0.0, posinf=math.inf, neginf=-math.inf, out=out)

    def _out(self, *shape: int) -> Tensor:
        size = math.prod(shape)
        if size > len(self._buffer):
            # Prediction runs in inference mode; a tensor made there could not be trained on later.
            with torch.inference_mode(False):
                self._buffer = torch.empty(size, device=self.device)
        return self._buffer[:size].view(shape)
