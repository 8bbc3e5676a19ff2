"""The tool as a user meets it: a process, its output, its exit code."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "polars", "matplotlib", "pyarrow", "hydra", "numpy", "lightning_fabric")


def atft(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from atft_gat_fan.cli.main import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


def test_help_is_instant() -> None:
    def cpu_seconds() -> float:  # the clock on the wall would count what other processes do
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    taken = []
    for _ in range(3):
        before = cpu_seconds()
        result = atft("--help")
        taken.append(cpu_seconds() - before)
    assert result.returncode == 0
    for name in ("demo", "train", "evaluate", "report", "predict", "data"):
        assert name in result.stdout
    assert min(taken) < 0.5


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["train", "--help"], ["data", "fetch", "jquants", "--help"], ["predict", "-h"], ["monitor", "-h"]],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys; from atft_gat_fan.cli.main import app\n"
        f"try: app({arguments!r})\n"
        f"except SystemExit: pass\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_a_bad_configuration_ends_before_torch_is_loaded() -> None:
    program = (
        "import sys; from atft_gat_fan.cli.main import app\n"
        "try: app(['train', 'lr=3'])\nexcept SystemExit as stop: print(stop.code, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["78", "False"]
    assert result.stderr == "error: unknown key lr; did you mean optimizer.lr?\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["train", "data=nope"], 78, "unknown option data=nope; expected one of nasdaq, parquet, sample, synthetic"),
        (["train", "improvements.gat_temperature=0"], 78, "improvements.gat_temperature: expected greater than 0"),
        (["train", "--dry-run", "loss.huber_delta=[1,2]"], 78, "horizons 1,2,3,5,10 need 5 deltas, got 2"),
        (["train", "data=nasdaq"], 78, "data.source must be given here"),
        (["train", "seed=1,2"], 78, "add -m"),
        (["train", "-m", "seed=1,2", "run.dir=x"], 78, "expected a folder for each run, found 2 runs in x"),
        (["train", "-m", "seed=1,x"], 78, 'seed: expected a valid integer, found "x"'),
        (["train", "-m", "seed=1,2", "--supervise"], 2, "expected one training to look after"),
        (["train", "--dry-run", "--supervise"], 2, "expected one training to look after"),
        (["train", "--supervise", "lr=3"], 78, "unknown key lr"),
        (["train", "run.stop_after=55"], 78, "run.stop_after: expected"),
        (["nosuch"], 2, "No such command"),
        (["train", "--nosuch"], 2, "No such option"),
        (["evaluate"], 2, "Missing argument 'RUN'"),
        (["evaluate", "x", "--split", "train"], 2, "--split"),
        (["predict", "x", "--out", "y"], 2, "--data"),
        (["predict", "x", "--data", "s", "--out", "y", "--date", "2012-01-01", "--to", "2012-01-02"], 2, "found both"),
        (["predict", "x", "--data", "s", "--out", "y", "--from", "2012-01-03", "--to", "2012-01-02"], 2, "before --to"),
        (["predict", "x", "--data", "s", "--out", "y", "--date", "yesterday"], 2, "expected newest or a day such as"),
        (["predict", "x", "--data", "s", "--out", "y", "--date", "newest", "--to", "2012-01-02"], 2, "found both"),
        (["predict", "--data", "s", "--out", "y"], 2, "Missing argument 'RUN..."),
        (["data", "build", "x"], 2, "--out"),
        (["monitor", "x"], 2, "--data"),
        (["monitor", "x", "--data", "s", "--fail-on", "pssi>1"], 78, "did you mean psi?"),
        (["monitor", "x", "--data", "s", "seed=1"], 78, "expected keys of monitor"),
        (["monitor", "x", "--data", "s"], 74, "expected a trained model"),
    ],
)
def test_what_a_user_can_get_wrong_has_its_exit_code(
    arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    result = atft(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_dry_run_shows_the_whole_configuration_and_writes_nothing(tmp_path: Path) -> None:
    result = atft("train", "-m", "config=atft/train/production", "seed=3,4", "--dry-run", "--json", cwd=tmp_path)
    runs = json.loads(result.stdout)["runs"]
    assert [run["config"]["seed"] for run in runs] == [3, 4]
    for run in runs:
        assert run["config"]["loss"]["multi_horizon_weights"] == [1.0, 0.8, 0.7, 0.5, 0.3]
        assert run["plan"]["loss"] == {"kind": "mse", "delta": None, "by": []}
        assert run["run"].startswith("runs/atft-")
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_the_parameter_groups_and_what_they_were_counted_for(tmp_path: Path) -> None:
    arguments = [
        "train",
        "--dry-run",
        "data.features=[a,b,c]",
        "optimizer.groups.head.lr=0.5",
        "data.source=no.parquet",
    ]
    text = atft(*arguments, cwd=tmp_path)
    assert text.returncode == 0, text.stderr
    assert (
        "parameter groups, counted for the 3 features the configuration lists or derives and no static" in text.stdout
    )
    run = json.loads(atft(*arguments, "--json", cwd=tmp_path).stdout)
    assert "no.parquet" in run["param_groups_counted_for"]
    names = [name for group in run["param_groups"] for name in group["names"]]
    assert len(names) == len(set(names)) == sum(group["num_tensors"] for group in run["param_groups"])
    for group in run["param_groups"]:
        assert group["lr"] == (0.0005 if group["group"] == "head" else 0.001)
        assert group["weight_decay"] == (0.01 if group["decay"] else 0.0)
        line = next(
            line for line in text.stdout.splitlines() if line.startswith(group["group"]) and group["names"][0] in line
        )
        assert f"{group['num_parameters']:,}" in line
        assert all(name in text.stdout for name in group["names"])
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_counts_the_columns_of_a_store_that_is_there(tmp_path: Path) -> None:
    overrides = ["data=synthetic", "data.synthetic.num_days=120", "data.synthetic.num_stocks=6", "model=small"]
    unbuilt = json.loads(atft("train", "--dry-run", "--json", *overrides, cwd=tmp_path).stdout)
    assert "the store of synthetic is not built yet" in unbuilt["param_groups_counted_for"]
    built = atft("data", "build", "synthetic", "--out", "store", *overrides, "--json", cwd=tmp_path)
    num_features = len(json.loads(built.stdout)["features"])
    run = json.loads(atft("train", "--dry-run", "--json", *overrides, "data.source=store", cwd=tmp_path).stdout)
    assert run["param_groups_counted_for"].startswith(f"{num_features} features and 6 static categories of store")
    assert any("static.weight" in group["names"] for group in run["param_groups"])
