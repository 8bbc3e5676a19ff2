"""Frequency adaptive normalisation. Ye et al. 2024 (FAN, NeurIPS), eq. 1-4."""

import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

NUM_TIME_FEATURES = 4


class FrequencyAdaptiveNorm(nn.Module):
    """Takes the strongest frequencies out of every window, per sample and channel.

    main = inverse FFT of the `top_k` bins of largest amplitude (the constant is a candidate, as in the
    paper), residual = x - main. The residual goes on to the temporal layers; what was removed comes
    back as a summary: a learned projection of main along time, then one hidden layer, to be gated by
    the caller. Nothing is lost: main + residual = x.

    Selection is discontinuous in x: `near_ties` tells where rounding may decide it. It is made in
    float32 with autocast off. Bins of exactly equal amplitude are taken together. A window with
    NaN has a NaN residual.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    analysis: Tensor
    synthesis: Tensor

    def __init__(self, window: int, top_k: int, hidden_size: int) -> None:
        super().__init__()
        num_bins = window // 2 + 1
        assert 1 <= top_k < num_bins, f"top_k from 1 to {num_bins - 1} expected, got {top_k}"
        self.window = window
        self.top_k = top_k
        self.time = nn.Linear(window, NUM_TIME_FEATURES, bias=False)
        self.hidden = nn.Linear(NUM_TIME_FEATURES * hidden_size, hidden_size)
        # float64 buffers, cast where they are used: a network turned to float64 must not keep a rounded basis.
        analysis, synthesis = _fourier_basis(window)
        self.register_buffer("analysis", analysis, persistent=False)
        self.register_buffer("synthesis", synthesis, persistent=False)

    def forward(
        self, x: Float[Tensor, "window *batch hidden"]
    ) -> tuple[Float[Tensor, "window *batch hidden"], Float[Tensor, "*batch hidden"]]:
        """The residual, and the summary of what was removed."""
        main, residual = self.decompose(x)
        summary = torch.einsum("sl,l...->...s", self.time.weight, main)
        return residual, functional.elu(self.hidden(summary.flatten(-2)))

    def decompose(
        self, x: Float[Tensor, "window *batch hidden"]
    ) -> tuple[Float[Tensor, "window *batch hidden"], Float[Tensor, "window *batch hidden"]]:
        """(main, residual) along the first axis, which is time."""
        with torch.autocast(x.device.type, enabled=False):
            series = self._series(x)
            spectrum = self._spectrum(series)
            strongest = self._strongest(spectrum.detach().square().sum(0))
            main = self.synthesis.to(series.dtype) @ (spectrum * strongest).flatten(0, 1)
            return main.view(x.shape), (series - main).view(x.shape)

    @torch.no_grad()
    def near_ties(
        self, x: Float[Tensor, "window *batch hidden"], relative_gap: float = 1e-4
    ) -> Bool[Tensor, "*batch hidden"]:
        """Where the last amplitude taken is within `relative_gap` of the first one left: rounding decides there."""
        with torch.autocast(x.device.type, enabled=False):
            amplitude = self._spectrum(self._series(x)).square().sum(0).sqrt()
        last, following = amplitude.topk(self.top_k + 1, dim=0).values[-2:]
        close: Tensor = last - following <= relative_gap * last
        return close.view(x.shape[1:])

    @torch.no_grad()
    def taken(
        self, x: Float[Tensor, "window *batch hidden"]
    ) -> tuple[Bool[Tensor, "bins *batch hidden"], Float[Tensor, "bins *batch hidden"]]:
        """Which bins `decompose` takes out, and the energy of every bin.

        Bin k is the wave of period window / k days, bin 0 the constant. Energies of a window add up to its sum of
        squares (Parseval); that of main is what lies in the bins taken.
        """
        with torch.autocast(x.device.type, enabled=False):
            power = self._spectrum(self._series(x)).square().sum(0)
            strongest = self._strongest(power)
            energy = power * (_multiplicity(self.window) / self.window).to(power).unsqueeze(1)
        return strongest.view(-1, *x.shape[1:]), energy.view(-1, *x.shape[1:])

    def _series(self, x: Tensor) -> Float[Tensor, "window series"]:
        return x.to(torch.promote_types(x.dtype, torch.float32)).flatten(1)

    def _spectrum(self, series: Float[Tensor, "window series"]) -> Float[Tensor, "complex bins series"]:
        """The real FFT along time as one matrix product, several times faster than an FFT at these lengths."""
        spectrum: Tensor = self.analysis.to(series.dtype) @ series
        return spectrum.view(2, -1, series.shape[1])

    def _strongest(self, power: Float[Tensor, "bins series"]) -> Bool[Tensor, "bins series"]:
        # Maximum and comparison vectorise along the series; argmax and topk over this axis do not.
        strongest: Tensor = power >= power.amax(0)
        for _ in range(1, self.top_k):
            power = power.masked_fill(strongest, -1.0)
            strongest = strongest | (power >= power.amax(0))
        return strongest


def _fourier_basis(window: int) -> tuple[Float[Tensor, "coefficients window"], Float[Tensor, "window coefficients"]]:
    """rfft and irfft of one length as matrices, real parts first."""
    bins = torch.arange(window // 2 + 1, dtype=torch.float64)
    angle = 2 * math.pi / window * torch.outer(bins, torch.arange(window, dtype=torch.float64))
    analysis = torch.cat([angle.cos(), -angle.sin()])
    synthesis = (analysis * _multiplicity(window).repeat(2).unsqueeze(1)).t() / window
    return analysis, synthesis.contiguous()


def _multiplicity(window: int) -> Float[Tensor, " bins"]:
    """Every bin stands for itself and its conjugate, save the constant and, for even lengths, the highest."""
    multiplicity = torch.full((window // 2 + 1,), 2.0, dtype=torch.float64)
    multiplicity[0] = 1.0
    if window % 2 == 0:
        multiplicity[-1] = 1.0
    return multiplicity
