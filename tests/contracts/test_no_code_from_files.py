"""No module turns the contents of a file into code: what is loaded is numbers and names."""

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle", "runpy"}
CALLS = {
    "torch.load", "torch.jit.load", "torch.package.PackageImporter", "numpy.memmap", "np.fromfile",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all",
    "pd.read_pickle", "pandas.read_pickle", "hydra.utils.instantiate", "hydra.utils.call", "importlib.import_module",
    "eval", "exec", "compile", "__import__", "os.system", "os.popen",
}  # fmt: skip
KEYWORDS = {("allow_pickle", True), ("weights_only", False), ("shell", True)}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def found_in(text: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = []
        found += [name for name in names if name.split(".")[0] in MODULES or name in CALLS]
        if isinstance(node, ast.Call):
            called = dotted(node.func)
            found += [called] if called in CALLS else []
            found += [
                f"{called}({keyword.arg}={keyword.value.value})"
                for keyword in node.keywords
                if isinstance(keyword.value, ast.Constant) and (keyword.arg, keyword.value.value) in KEYWORDS
            ]
            if called in ("np.load", "numpy.load"):
                found.append(called)
    return found


@pytest.mark.parametrize("file", sorted(SOURCES.rglob("*.py")), ids=lambda file: str(file.relative_to(SOURCES)))
def test_nothing_is_executed_from_a_file(file: Path):
    assert not found_in(file.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from joblib import load", "import torch\ntorch.load('x')", "from torch import load",
        "yaml.load(text, Loader=yaml.UnsafeLoader)", "np.load('x', allow_pickle=True)", "eval('1')",
        "import importlib\nimportlib.import_module(name)", "subprocess.run(text, shell=True)",
    ],
)  # fmt: skip
def test_what_is_forbidden_is_found(text: str):
    """Else the test above could not fail."""
    assert found_in(text)
