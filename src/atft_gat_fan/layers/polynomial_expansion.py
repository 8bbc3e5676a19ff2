"""Features bent into polynomials, so that what is best in the middle, or at the ends, can be told by one weight."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

NUM_TERMS = 3
HALF_WIDTH = math.sqrt(3)
"""Of a uniform distribution of unit variance: daily ranks scaled to unit variance reach from minus to plus this."""


def polynomial_expansion(z: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows features terms"]:
    """x, 2x³ - x and 2x² - 0.7 of x = z/√3, the last two of x clipped to [-1, 1].

    Under a uniform distribution, as that of ranks is, the terms have mean near 0. What is exactly 0 (a missing value,
    which the normaliser puts at the training mean) is 0 in all of them: it says nothing, and not that the stock lies in
    the middle. Values outside [-√3, √3], which only z-scores have, keep their first term.
    """
    x = z / HALF_WIDTH
    bent = x.clamp(-1.0, 1.0)
    square = bent.square()
    curve = torch.where(z == 0, 0.0, 2 * square - 0.7)
    return torch.stack([x, 2 * square * bent - bent, curve], dim=-1)
