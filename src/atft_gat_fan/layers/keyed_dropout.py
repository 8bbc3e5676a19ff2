"""Dropout that does not care how a batch is split, resumed or recomputed."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from atft_gat_fan.types import RandomKey


class KeyedDropout(nn.Module):
    """Dropout whose mask is a function of (seed, step, day, layer) alone.

    Each day's mask [stocks, channels] comes from a private generator, so neither the other days of
    the batch nor anything drawn before can change it; a part of the day's stocks has its part of that
    mask. Axes before the days (the window) share it: the dropout of recurrent networks of Gal &
    Ghahramani 2016, which also draws L times fewer numbers.

    In evaluation and with p = 0 the very same tensor returns. Without a key the mask comes from
    torch's global generator, as in ordinary dropout.
    """

    no_decay: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, p: float, layer: int) -> None:
        """`layer` sets this dropout apart from the network's others."""
        super().__init__()
        assert 0 <= p < 1, f"dropout probability in [0, 1) expected, got {p}"
        self.p = p
        self.layer = layer

    def forward(
        self, x: Float[Tensor, "*window days stocks channels"], dates: Sequence[int], key: RandomKey | None
    ) -> Float[Tensor, "*window days stocks channels"]:
        """`dates` are the days since 1970-01-01 of the days axis; without a key they are not looked at."""
        mask = self.mask((x.shape[-3], x.shape[-2], x.shape[-1]), dates, key, dtype=x.dtype, device=x.device)
        return x if mask is None else x * mask

    def mask(
        self,
        shape: tuple[int, int, int],
        dates: Sequence[int],
        key: RandomKey | None,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> Float[Tensor, "days stocks channels"] | None:
        """What `forward` multiplies by, 0 or 1 / (1 - p), for callers that compute without randomness; None: nothing.

        `shape` is (days, stocks, channels).
        """
        if not self.training or self.p == 0:
            return None
        keep = torch.empty(shape, dtype=dtype, device=device)
        if key is None:
            return functional.dropout(keep.fill_(1.0), self.p)
        assert len(dates) == shape[0], f"{shape[0]} days but {len(dates)} dates"
        part = key.part
        assert part is None or part.stop - part.start == shape[1], f"{part} of {shape[1]} stocks"
        whole_day = None if part is None else keep.new_empty(part.total, shape[2])
        generator = torch.Generator(device)
        for day, date in zip(keep, dates, strict=True):
            seed = int(key.sequence(date, self.layer).generate_state(1, np.uint64)[0] >> 1)
            generator.manual_seed(seed)
            if part is None or whole_day is None:
                day.bernoulli_(1 - self.p, generator=generator)
            else:
                day.copy_(whole_day.bernoulli_(1 - self.p, generator=generator)[part.start : part.stop])
        return keep.div_(1 - self.p)
