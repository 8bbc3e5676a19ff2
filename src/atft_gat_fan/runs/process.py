"""How this process computes: threads, memory, device. Set once, before the first tensor of a run."""

import ctypes
import platform

import torch

from atft_gat_fan.config.schema import Config

# malloc.h; the values are what mallopt takes at most, a C int.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**31 - 1


def prepare_process(num_threads: int | None) -> None:
    """Fix the number of threads (results are bit-identical for one number only), keep freed memory, and let a GPU
    compute what a CPU would: in float32 and in one order.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    keep_freed_memory()
    # By default cuDNN rounds the LSTM's float32 to TF32, and may add in another order each time.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def keep_freed_memory() -> None:
    """Stop glibc from handing the large buffers of each step back to the kernel, only to fault them in again.

    `benchmarks/main_job.py` measures what it gains. Elsewhere than on glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((M_TRIM_THRESHOLD, LARGEST), (M_MMAP_THRESHOLD, LARGEST), (M_TOP_PAD, 2**26)):
            libc.mallopt(option, value)


def device_of(config: Config) -> torch.device:
    """`auto` is CUDA where there is one."""
    if config.run.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(config.run.device)
