import pytest
import torch

from atft_gat_fan.errors import ConfigError
from atft_gat_fan.training.runtime import make_runtime


@pytest.mark.parametrize(("amp", "dtype"), [("none", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_is_the_configured_precision(make_settings, amp, dtype):
    x = torch.ones(2, 2)
    with make_runtime(make_settings(amp=amp)).fabric.autocast():
        assert (x @ x).dtype == dtype


def test_fp16_is_refused_on_a_cpu_instead_of_replaced(make_settings):
    with pytest.raises(ConfigError, match="amp=bf16"):
        make_runtime(make_settings(amp="fp16", device="cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_device_is_an_error_unless_auto(make_settings):
    with pytest.raises(ConfigError, match=r"run\.device"):
        make_runtime(make_settings(device="cuda"))
    assert make_runtime(make_settings(device="auto")).fabric.device.type == "cpu"
