"""What a download says of itself."""

import pytest

from atft_gat_fan.data.remote_download import size_text


@pytest.mark.parametrize(
    ("nbytes", "said"),
    [
        (0, "0 bytes"), (10, "10 bytes"), (999, "999 bytes"), (1000, "1 kB"), (5120, "5.12 kB"), (67.5e6, "67.5 MB"),
        (999.4e6, "999 MB"), (999.7e6, "1 GB"), (1.57e9, "1.57 GB"), (999.7e9, "1 TB"), (1.3e12, "1.3 TB"),
    ],
)  # fmt: skip
def test_sizes_are_said_in_their_unit(nbytes: float, said: str) -> None:
    assert size_text(nbytes) == said
