"""What is installed: Python, packages and their versions, optional parts, baselines, sample data, configuration."""

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from atft_gat_fan.config.compose import CHECKOUT, PACKAGE
from atft_gat_fan.runs.doctor_finding import Finding

DISTRIBUTION = "atft-gat-fan"
LEAST_PYTHON = (3, 11)
NAMED = 6
"""Packages that a line names before it counts the rest."""
INSTALL = "pip install -r requirements.txt"
PURPOSES = {
    "wandb": "logging to Weights & Biases",
    "onnx": "atft export to ONNX",
    "jquants": "atft data fetch jquants",
    "yfinance": "atft data fetch yfinance",
    "s3": "data in S3-compatible object storage",
    "ray": "trainings on a Ray cluster (trials.executor=ray)",
    "search": "atft search",
}
"""What an optional part is for, by its extra."""
FOR_DEVELOPERS = "dev"

Versions = Callable[[str], str | None]
"""The installed version of a package; None where it is not installed."""


def installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements_of_the_package() -> list[str]:
    """Requirements of the installed distribution, each with its marker; none where it is not installed."""
    try:
        return importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def python(version: tuple[int, int, int] = sys.version_info[:3], wide: bool = sys.maxsize > 2**32) -> Finding:
    found = f"{'.'.join(map(str, version))}, {'64' if wide else '32'} bits, {sys.executable}"
    if version[:2] < LEAST_PYTHON or not wide:
        least = ".".join(map(str, LEAST_PYTHON))
        return Finding("Python", "problem", found, f"install a 64-bit Python {least} or newer")
    return Finding("Python", "ok", found)


def packages(requirements: Sequence[str] | None = None, version_of: Versions = installed_version) -> Finding:
    """Whether all that the product imports is installed."""
    if requirements is None:
        requirements = requirements_of_the_package()
    needed = [_name(each) for each in requirements if _extra(each) is None]
    if not needed:
        return Finding("packages", "warning", f"{DISTRIBUTION} is not installed as a package", "pip install -e .")
    missing = [name for name in needed if version_of(name) is None]
    if missing:
        return Finding("packages", "problem", f"not installed: {_some(missing)}", INSTALL)
    return Finding("packages", "ok", f"{DISTRIBUTION} {version_of(DISTRIBUTION)} and the {len(needed)} it needs")


def versions(pins: Mapping[str, str] | None = None, version_of: Versions = installed_version) -> Finding:
    """Whether the versions are those that everything was tested with. Local parts (`+cpu`) do not count."""
    if pins is None:
        pins = read_pins()
    if not pins:
        return Finding("versions", "warning", "requirements.txt is not at hand to compare with", "install again")
    unlike = [
        f"{name} {version} (tested with {pin})"
        for name, pin in pins.items()
        if (version := version_of(name)) is not None and version.partition("+")[0] != pin
    ]
    if unlike:
        return Finding("versions", "warning", f"other than those tested with: {_some(unlike)}", INSTALL)
    return Finding("versions", "ok", f"those of the {len(pins)} pins")


def read_pins(folders: Sequence[Path] = (CHECKOUT, PACKAGE)) -> dict[str, str]:
    """Exact versions of requirements.txt, of the checkout or the package; none where there is no such file."""
    for folder in folders:
        file = folder / "requirements.txt"
        if file.is_file():
            lines = (line.strip().partition("==") for line in file.read_text().splitlines())
            return {name: pin for name, found, pin in lines if found and not name.startswith("#")}
    return {}


def optional_parts(
    requirements: Sequence[str] | None = None,
    version_of: Versions = installed_version,
    wanted: frozenset[str] = frozenset(),
) -> Iterator[Finding]:
    """Each part of the package that can be left out, and how to get it; `wanted` are extras that the run asks for."""
    if requirements is None:
        requirements = requirements_of_the_package()
    parts: dict[str, list[str]] = {}
    for each in requirements:
        extra = _extra(each)
        if extra is not None and extra != FOR_DEVELOPERS:
            parts.setdefault(extra, []).append(_name(each))
    for extra, names in parts.items():
        title = PURPOSES.get(extra, extra)
        missing = [name for name in names if version_of(name) is None]
        if missing:
            mend = f"pip install '{DISTRIBUTION}[{extra}]'"
            found = f"not installed ({', '.join(missing)})"
            if extra in wanted:
                yield Finding(title, "warning", f"asked for, {found}", mend)
            else:
                yield Finding(title, "ok", f"optional, {found}", mend)
        else:
            yield Finding(title, "ok", ", ".join(f"{name} {version_of(name)}" for name in names))


def lightgbm() -> Finding:
    """Whether the LightGBM baseline can be trained: it needs an OpenMP library of the system."""
    try:
        import lightgbm

        steps = np.repeat([0.0, 1.0], 40)
        settings = {"objective": "regression", "verbosity": -1, "num_threads": 1}
        trees = lightgbm.train(settings, lightgbm.Dataset(steps[:, None], steps, params=settings), 1)
        low, high = trees.predict(np.array([[0.0], [1.0]]))
    except (ImportError, OSError) as error:
        mend = "apt-get install libgomp1 or brew install libomp; without it evaluations lack this baseline"
        return Finding("LightGBM", "warning", f"does not load: {_first_line(error)}", mend)
    if not low < high:
        return Finding("LightGBM", "warning", "trains, but to wrong numbers", f"{INSTALL} --force-reinstall")
    return Finding("LightGBM", "ok", f"{lightgbm.__version__}, with its OpenMP library")


def sample_data() -> Finding:
    """The prices that `atft demo` runs on; found, not read."""
    spec = importlib.util.find_spec("skfolio")
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    file = next((f for place in places if (f := Path(place, "datasets/data/sp500_dataset.csv.gz")).is_file()), None)
    if file is None:
        return Finding("sample data", "problem", "not found in the installed skfolio: no atft demo", INSTALL)
    return Finding("sample data", "ok", f"{file.stat().st_size / 2**20:.1f} MiB, inside skfolio")


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return found.group()


def _extra(requirement: str) -> str | None:
    found = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
    return None if found is None else found.group(1)


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
