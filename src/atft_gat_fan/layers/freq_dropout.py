"""Dropout of frequencies: a random band of the window's spectrum is taken out in training.

Band masking as in SpecAugment (Park et al. 2019, section 2), of the Fourier coefficients along time as in FrAug
(Chen et al. 2023, frequency masking).
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor, nn

from atft_gat_fan.types import RandomKey


class FreqDropout(nn.Module):
    """Takes one circular band of frequencies out of some windows, out of all channels alike.

    In training, each sample (a stock on a day) is drawn with chance `p`; of its K - 1 = window // 2 frequencies above
    the constant, a band of width w ~ U{1..max_width} starting anywhere is removed, going on at the lowest after the
    highest. The constant, and so the mean over the window, always stays. `max_width` is at most K - 1. Any one
    frequency is then removed with chance `mask_rate` = p (max_width + 1) / (2 (K - 1)).

    With `rescale` everything but the constant, in every sample, is divided by 1 - mask_rate, so that the expected
    output is the input.

    In evaluation, with p = 0, and where the window has no frequency but the constant, the very same tensor returns.
    Bands are a function of (seed, step, day, layer) alone; without a key they come from torch's global generator.
    Computed in float32 or better with autocast off; the output has the input's type. A sample with NaN stays NaN.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    basis: Tensor

    def __init__(self, window: int, p: float, max_width: int, layer: int, *, rescale: bool = False) -> None:
        """`layer` sets the draws apart from those of the network's other layers."""
        super().__init__()
        assert 0 <= p < 1, f"chance of a masked sample in [0, 1) expected, got {p}"
        assert max_width >= 1, f"max_width of at least 1 expected, got {max_width}"
        self.p = p
        self.layer = layer
        self.rescale = rescale
        self.num_bins = window // 2
        self.max_width = min(max_width, self.num_bins)
        # float64, cast where it is used: a network turned to float64 must not keep a rounded basis.
        self.register_buffer("basis", _orthonormal_waves(window), persistent=False)

    @property
    def mask_rate(self) -> float:
        """Chance q that one frequency of one sample is removed, the constant aside."""
        return self.p * (self.max_width + 1) / (2 * self.num_bins) if self.num_bins else 0.0

    def forward(
        self, x: Float[Tensor, "window days stocks channels"], dates: Sequence[int], key: RandomKey | None
    ) -> Float[Tensor, "window days stocks channels"]:
        """`dates` are the days since 1970-01-01 of the days axis; without a key they are not looked at."""
        if not self.training or self.p == 0 or not self.num_bins:
            return x
        _, days, stocks, _ = x.shape
        samples, masked = (torch.from_numpy(part).to(x.device) for part in self._draw(days, stocks, dates, key))
        kept: Tensor = _TakeOut.apply(x, samples, masked, self.basis)  # type: ignore[no-untyped-call]
        return self._rescaled(kept) if self.rescale else kept

    def _rescaled(self, x: Tensor) -> Tensor:
        full = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = full.mean(0, keepdim=True)
        return (mean + (full - mean) / (1 - self.mask_rate)).to(x.dtype)

    def _draw(
        self, days: int, stocks: int, dates: Sequence[int], key: RandomKey | None
    ) -> tuple[Int64[NDArray[np.int64], " samples"], Bool[NDArray[np.bool_], "bins samples"]]:
        """Positions of the drawn samples among days * stocks, and their masked bins (row 0 is the first above 0).

        Drawn on the host: finding the drawn samples on a GPU would make the host wait for it.
        """
        part = None if key is None else key.part
        assert part is None or part.stop - part.start == stocks, f"{part} of {stocks} stocks"
        if key is None:
            generators = [np.random.default_rng(int(torch.randint(2**63 - 1, ())))] * days
        else:
            assert len(dates) == days, f"{days} days but {len(dates)} dates"
            generators = [np.random.default_rng(key.sequence(date, self.layer)) for date in dates]
        samples, starts, widths = [], [], []
        for day, generator in enumerate(generators):
            drawn = np.flatnonzero(generator.random(stocks if part is None else part.total) < self.p)
            start = generator.integers(self.num_bins, size=len(drawn))
            width = generator.integers(1, self.max_width, size=len(drawn), endpoint=True)
            if part is not None:
                ours = (part.start <= drawn) & (drawn < part.stop)
                drawn, start, width = drawn[ours] - part.start, start[ours], width[ours]
            samples.append(day * stocks + drawn)
            starts.append(start)
            widths.append(width)
        distance = (np.arange(self.num_bins)[:, None] - np.concatenate(starts)) % self.num_bins
        return np.concatenate(samples), distance < np.concatenate(widths)


class _TakeOut(torch.autograd.Function):
    """x without the masked frequencies of some samples: an orthogonal projection, so its own adjoint.

    Only the few drawn samples are transformed, and only the masks are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, samples: Tensor, masked: Tensor, basis: Tensor) -> Tensor:
        ctx.save_for_backward(samples, masked, basis)
        return _take_out(x, samples, masked, basis)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        taken_out: Tensor = _TakeOut.apply(gradient, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return taken_out, None, None, None


def _take_out(
    x: Float[Tensor, "window days stocks channels"],
    samples: Int64[Tensor, " samples"],
    masked: Bool[Tensor, "bins samples"],
    basis: Float[Tensor, "waves window"],
) -> Float[Tensor, "window days stocks channels"]:
    columns = x.flatten(1, 2)
    with torch.autocast(x.device.type, enabled=False):
        drawn = columns.index_select(1, samples)
        series = drawn.to(torch.promote_types(x.dtype, torch.float32))
        basis = basis.to(series.dtype)
        # Shapes spelled out: -1 has no meaning where no sample was drawn.
        coefficients = (basis @ series.flatten(1)).view(2, *masked.shape, x.shape[-1]) * masked.unsqueeze(-1)
        band = (basis.t() @ coefficients.flatten(0, 1).flatten(1)).view(series.shape)
        return columns.index_copy(1, samples, (series - band).to(x.dtype)).view(x.shape)


def _orthonormal_waves(window: int) -> Float[Tensor, "waves window"]:
    """Cosines, then sines, of the frequencies above 0, each row of norm 1."""
    bins = torch.arange(1, window // 2 + 1, dtype=torch.float64)
    angle = 2 * math.pi / window * torch.outer(bins, torch.arange(window, dtype=torch.float64))
    waves = torch.cat([angle.cos(), angle.sin()]) * math.sqrt(2 / window)
    if window % 2 == 0:
        # The highest frequency of an even length alternates in sign: one wave, no sine.
        waves[len(bins) - 1] *= math.sqrt(0.5)
        waves[-1] = 0.0
    return waves
