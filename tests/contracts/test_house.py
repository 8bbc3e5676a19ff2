"""The house keeps its own rules: one list of pins, a README that maps every folder, files in known rooms."""

import ast
import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)$")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(file: str) -> dict[str, str]:
    lines = [line.strip() for line in (ROOT / file).read_text().splitlines()]
    found = [match.groups() for line in lines if (match := PIN.match(line))]
    others = [line for line in lines if line and not line.startswith("#") and not PIN.match(line)]
    assert others in (["-e ."], ["-r requirements.txt"]), f"{file}: not an exact pin: {others}"
    names = [canonical(name) for name, _ in found]
    assert len(names) == len(set(names)), f"{file} pins a package twice"
    return {canonical(name): version for name, version in found}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_versions_stand_in_one_place():
    declared = project()
    product, dev = pins("requirements.txt"), pins("requirements-dev.txt")
    assert not product.keys() & dev.keys()
    names = [*declared["dependencies"], *(n for extra in declared["optional-dependencies"].values() for n in extra)]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names), "pyproject names carry no versions"
    runtime = {canonical(name) for name in declared["dependencies"]}
    assert runtime <= product.keys()
    assert {canonical(name) for name in declared["optional-dependencies"]["dev"]} <= product.keys() | dev.keys()
    assert product["torch"] == "2.13.0"
    assert (ROOT / "requirements.txt").read_text().rstrip().endswith("-e .")


def test_every_package_that_is_imported_is_declared():
    """What only comes along with something else may stop coming along."""
    providers = packages_distributions()
    nodes = [
        node for path in (ROOT / "src" / "atft_gat_fan").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module is not None]
    imported = {module.split(".")[0] for module in modules}
    extras = [name for extra, names in project()["optional-dependencies"].items() if extra != "dev" for name in names]
    declared = {canonical(name) for name in [*project()["dependencies"], *extras, "atft-gat-fan"]}
    undeclared = {
        name for name in imported if name in providers and not {canonical(d) for d in providers[name]} & declared
    }
    assert not undeclared


def test_readme_maps_every_folder():
    readme = (ROOT / "README.md").read_text()
    package = ROOT / "src" / "atft_gat_fan"
    rooms = {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    missing = [room for room in sorted(rooms) if f"{room}/" not in readme]
    assert not missing, f"README.md has no line for {missing}"


def test_every_test_stands_where_its_subject_does():
    package = ROOT / "src" / "atft_gat_fan"
    rooms = {path.name for path in package.iterdir() if path.is_dir()} | {"contracts", "faults", "integration"}
    strays = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.relative_to(ROOT / "tests").parts[0] not in rooms
    ]
    assert not strays
