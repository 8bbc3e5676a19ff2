"""Whether torch.compile works on this machine, found out by using it."""

import os
import tempfile
from functools import cache

import torch

ROOM = 16 * 2**20
"""Bytes that a network's compiled code may take."""


@cache
def compiler_problem() -> str | None:
    """Why nothing can be compiled here, in a line; None where a small function compiled and ran.

    Takes a few seconds the first time in a process. Compiled code is kept in TORCHINDUCTOR_CACHE_DIR, else in a folder
    of the temporary directory; that it can be written to is part of the question, for what an earlier run left
    there would hide a disk that is full or read-only by now.
    """
    x = torch.arange(4.0)
    # Torch raises errors of many kinds here, some at the import and most not public: each is an answer.
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.runtime.cache_dir_utils import cache_dir

        get_cpp_compiler()
        with tempfile.NamedTemporaryFile(dir=cache_dir()) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
        with torch.no_grad():
            compiled = torch.compile(_double_plus_one, fullgraph=True)(x)
    except Exception as error:  # noqa: BLE001
        return _first_line(error)
    return None if torch.equal(compiled, 2 * x + 1) else "a small function computes wrong numbers"


def _double_plus_one(x: torch.Tensor) -> torch.Tensor:
    return 2 * x + 1


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
