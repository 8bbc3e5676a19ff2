"""A machine on which LightGBM is installed and does not load."""

import builtins
import sys
from collections.abc import Callable
from typing import Any

import pytest

NO_OPENMP = OSError("libgomp.so.1: cannot open shared object file")


def without_lightgbm(monkeypatch: pytest.MonkeyPatch, error: Exception = NO_OPENMP) -> None:
    """Importing it raises `error`, by default that of a missing OpenMP runtime."""
    load: Callable[..., Any] = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name == "lightgbm":
            raise error
        return load(name, *args, **options)

    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
