import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from atft_gat_fan.data.running_moments import RunningMoments


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=8),
    shift=st.sampled_from([0.0, 1.0, 1e4]),
)
def test_parts_merge_to_the_moments_of_the_whole(seed, sizes, shift):
    rng = np.random.default_rng(seed)
    whole = (rng.standard_t(3, (sum(sizes), 3)) + shift).astype(np.float32)
    whole[rng.random(whole.shape) < 0.2] = np.nan
    parts = [RunningMoments.of(part) for part in np.split(whole, np.cumsum(sizes)[:-1])]
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[-1]
    for part in parts[-2::-1]:
        right = part.merge(right)
    for merged in (left, right):
        for column in range(3):
            values = whole[:, column][~np.isnan(whole[:, column])].astype(np.float64)
            assert merged.count[column] == len(values)
            if len(values):
                assert_allclose(merged.mean[column], values.mean(), rtol=1e-12, atol=1e-12)
                # The deviation itself is known only to the rounding of the values.
                assert_allclose(merged.std[column], values.std(), rtol=1e-12, atol=1e-15 * abs(shift))
                assert merged.constant[column] == (len(set(values)) == 1)
