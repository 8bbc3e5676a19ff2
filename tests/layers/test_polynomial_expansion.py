import math

import torch

from atft_gat_fan.layers.polynomial_expansion import polynomial_expansion


def test_ranks_of_unit_variance_become_the_three_polynomials() -> None:
    x = torch.linspace(-1, 1, 41, dtype=torch.float64)
    x = x[x != 0]
    terms = polynomial_expansion(math.sqrt(3) * x)
    torch.testing.assert_close(terms, torch.stack([x, 2 * x**3 - x, 2 * x**2 - 0.7], dim=-1))


def test_a_missing_value_says_nothing_and_one_in_the_middle_does() -> None:
    assert (polynomial_expansion(torch.zeros(2, 3)) == 0).all()
    assert polynomial_expansion(torch.tensor([1e-6]))[0, 2].item() == torch.tensor(-0.7).item()


def test_beyond_the_ends_only_the_first_term_grows() -> None:
    ends, beyond = polynomial_expansion(torch.tensor([[3**0.5, -(3**0.5)], [4.0, -4.0]], dtype=torch.float64))
    torch.testing.assert_close(beyond[:, 1:], ends[:, 1:])
    torch.testing.assert_close(beyond[:, 0], torch.tensor([4.0, -4.0], dtype=torch.float64) / 3**0.5)
