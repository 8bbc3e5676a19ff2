"""Files that somebody else made, to run code, to lead elsewhere or to fill the memory: refused before any of it.

Each command has less address space than what the file asks for; the same command does its work in it with an honest
file, as the last test shows.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atft_gat_fan.data.store_manifest import _canonical, _digest

LIMITS: dict[str, Any] = {"memory": 3 * 2**30, "timeout": 30}
QUICK_SECONDS = 15
"""Generous: such a command takes less than one, but tests may share their cores."""
HUGE = 10**9
DEEP = b"[" * 100_000 + b"]" * 100_000


class Bomb:
    """Unpickled, it leaves a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


def refused_quickly(answer, code: int, *words: str) -> str:
    answer.refused(code, *words)
    assert answer.seconds < QUICK_SECONDS
    return answer.err


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    """A copy of a finished run, to be spoilt."""
    return Path(shutil.copytree(small_run.folder, tmp_path / "run"))


@pytest.fixture
def predict(commands, small_run, run, tmp_path):
    def call():
        return commands.atft("predict", run, "--data", small_run.panel, "--out", tmp_path / "out.parquet", **LIMITS)

    return call


def edit(file: Path, change: Callable[[dict], object]) -> None:
    body = json.loads(file.read_bytes())
    change(body)
    # Who forges a file forges its checksum as well.
    file.write_text(json.dumps({**body, "sha256": sealed_as_it_is(body)}))


def sealed_as_it_is(body: dict) -> str:
    values = {key: body[key] for key in body if key != "sha256"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def spec(**values: object) -> Callable[[dict], object]:
    return lambda body: body["spec"].update(values)


def both(**values: object) -> Callable[[dict], object]:
    return lambda body: (body["spec"].update(values), body["data"].update(values))


def normalizer(**values: object) -> Callable[[dict], object]:
    return lambda body: body["normalizer"].update(values)


DESCRIPTIONS: dict[str, tuple[Callable[[dict], object], str]] = {
    "hidden_size": (spec(hidden_size=HUGE), "hidden_size"),
    "lstm_layers": (spec(lstm_layers=HUGE), "lstm_layers"),
    "variable_size": (spec(variable_size=HUGE), "variable_size"),
    "features": (spec(num_features=HUGE), "num_features"),
    "categories": (spec(num_categories=HUGE), "num_categories"),
    "covariates": (spec(num_covariates=HUGE), "num_covariates"),
    "window": (spec(window=10**12), "window"),
    "window everywhere": (both(window=10**12), "window"),
    "horizons": (both(horizons=list(range(1, 100_000))), "horizons"),
    "fewer than no heads": (spec(num_heads=-1), "num_heads"),
    "negative width": (spec(hidden_size=-8), "hidden_size"),
    "text for a number": (spec(hidden_size="64"), "hidden_size"),
    "number beyond 64 bits": (spec(hidden_size=10**4000), "hidden_size"),
    "unknown part": (spec(import_module="os"), "import_module"),
    "threads": (lambda body: body["numerics"].update(threads=HUGE), "threads"),
    "short normalizer": (normalizer(mean=[0.0]), "mean"),
    "std of 0": (lambda body: body["normalizer"]["std"].__setitem__(0, 0.0), "std"),
    "nan in the normalizer": (lambda body: body["normalizer"]["std"].__setitem__(0, float("nan")), "NaN"),
    "names that repeat": (lambda body: body["normalizer"].update(input_names=["x"] * 9), "input_names"),
    "list for a description": (lambda body: body.update(spec=[]), "model.json"),
}


@pytest.mark.fault("model.json of absurd or contradictory sizes", "refused (74) before anything is allocated")
@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_that_cannot_be_is_refused(name, run, predict, struck):
    change, word = DESCRIPTIONS[name]
    edit(run / "model" / "model.json", change)
    struck(refused_quickly(predict(), 74, "model.json", word))


@pytest.mark.fault("JSON nested 100,000 deep, or with a key twice", "refused and named")
@pytest.mark.parametrize(
    "content", [b'{"format": ' + DEEP + b"}", b'{"format": 1, "format": 1}'], ids=["deep", "twice"]
)
@pytest.mark.parametrize("file", ["model/model.json", "metrics.json"])
def test_json_that_is_a_trap_is_refused(file, content, commands, run, predict, struck):
    (run / file).write_bytes(content)
    answer = predict() if "model" in file else commands.atft("report", run, **LIMITS)
    struck(refused_quickly(answer, 74, file.split("/")[-1]))


def sign(model: Path) -> None:
    """The description vouches for the weights, as a forger's would."""
    digest = hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()
    edit(model / "model.json", lambda body: body.update(weights_sha256=digest))


def with_header(change: Callable[[dict], object], size: int | None = None) -> Callable[[Path], None]:
    """The weights with another header; `size` makes the file as long as it claims to be, without a byte on the disk."""

    def spoil(file: Path) -> None:
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        if size is not None:
            os.truncate(file, size)

    return spoil


def first(header: dict) -> dict:
    return header[min(name for name in header if name != "__metadata__")]


def as_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def as_link(file: Path) -> None:
    outside = file.parents[2] / "outside"
    file.rename(outside)
    file.symlink_to(outside)


def as_device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


TERABYTES = 8 * 2**40
WEIGHTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "terabytes": (with_header(lambda header: first(header).update(shape=[2**40], data_offsets=[0, 2**42])), "expected"),
    "terabytes, sparse": (with_header(lambda header: first(header).update(shape=[2**40]), 2**42), "expected"),
    "longer than its tensors": (lambda file: os.truncate(file, TERABYTES), "bytes"),
    "endless header": (lambda file: file.write_bytes((2**63).to_bytes(8, "little") + b"{" * 999), "header"),
    "deep header": (lambda file: file.write_bytes(len(DEEP).to_bytes(8, "little") + DEEP), "header"),
    "another type": (with_header(lambda header: first(header).update(dtype="F64")), "F32"),
    "a tensor less": (with_header(lambda header: header.pop(min(set(header) - {"__metadata__"}))), "missing"),
    "empty": (lambda file: file.write_bytes(b""), "header"),
    "a pipe": (as_pipe, "plain file"),
    "a link to outside": (as_link, "link"),
    "a link to a device": (as_device, "link"),
}


@pytest.mark.fault(
    "weights that declare terabytes, another network or lead elsewhere", "refused (74) before they are read"
)
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_not_the_models_are_refused(name, run, predict, struck):
    spoil, word = WEIGHTS[name]
    spoil(run / "model" / "weights.safetensors")
    struck(refused_quickly(predict(), 74, "weights.safetensors", word))


@pytest.mark.fault("NaN among the weights, checksum forged", "refused (74)")
def test_weights_that_are_no_numbers_are_refused(run, predict, struck):
    file = run / "model" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-4:] = b"\xff\xff\xff\x7f"
    file.write_bytes(content)
    sign(run / "model")
    struck(refused_quickly(predict(), 74, "weights.safetensors", "NaN"))


@pytest.mark.fault("a pickle under the name of any file that is read", "never unpickled")
@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("model/weights.safetensors", "predict"),
        ("model/model.json", "predict"),
        ("metrics.json", "report"),
        ("predictions.parquet", "report"),
        ("config.yaml", "report"),
    ],
)
def test_a_pickle_bomb_does_not_go_off(file, command, commands, run, predict, tmp_path, struck):
    trace = tmp_path / "went off"
    (run / file).write_bytes(pickle.dumps(Bomb(trace)))
    if file.endswith("safetensors"):
        sign(run / "model")
    answer = predict() if command == "predict" else commands.atft("report", run, **LIMITS)
    refused_quickly(answer, 78 if file.endswith("yaml") else 74, file.split("/")[-1])
    assert not trace.exists()
    commands.python(f"import pickle; pickle.loads(open({str(run / file)!r}, 'rb').read())").succeeded()
    struck(trace.exists())


@pytest.mark.fault(
    "predictions.parquet of millions of rows in a few bytes, or of other columns", "refused (74) before it is read"
)
@pytest.mark.parametrize(
    ("columns", "word"), [(("date", "code", "horizon_1d", "horizon_5d"), "rows"), (("x",), "column")]
)
def test_a_table_of_scores_that_is_none_is_refused(columns, word, commands, run, struck):
    rows = 5_000_000
    arrays = {
        "date": pa.array([0], pa.date32()), "code": pa.array(["A"]),
        "horizon_1d": pa.array([0.0], pa.float32()), "horizon_5d": pa.array([0.0], pa.float32()), "x": pa.array([1]),
    }  # fmt: skip
    table = pa.table({name: arrays[name] for name in columns}).take(pa.array([0] * rows, pa.int32()))
    with pq.ParquetWriter(run / "predictions.parquet", table.schema) as writer:
        for _ in range(4 if "date" in columns else 1):
            writer.write_table(table)
    assert (run / "predictions.parquet").stat().st_size < 2**20
    struck(refused_quickly(commands.atft("report", run, **LIMITS), 74, "predictions.parquet", word))


@pytest.fixture(scope="module")
def honest_store(commands, small_run, tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("store") / "store"
    commands.atft("data", "build", small_run.panel, "--out", store).succeeded()
    return store


def shard(**values: object) -> Callable[[dict], object]:
    return lambda body: body["shards"][0].update(values)


MANIFESTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "a file above": (shard(file="../outside.arrow"), "inside"),
    "an absolute file": (shard(file="/etc/hostname"), "inside"),
    "terabytes": (shard(nbytes=10**15), "10"),
    "a body beyond": (shard(body=10**15), "contradicts"),
    "days without end": (shard(stop=10**12), "own each day once"),
    "negative days": (shard(first_held=-5), "greater than or equal to 0"),
    "overlapping files": (lambda body: body["shards"].append(body["shards"][0]), "own each day once"),
    "stocks beyond": (shard(stocks=[0, 10**12]), "positions"),
    "no window": (lambda body: body.update(max_window=-1), "max_window"),
    "a name twice": (lambda body: body["feature_names"].__setitem__(0, body["feature_names"][1]), "distinct"),
    "days backwards": (lambda body: body["days"].reverse(), "increasing"),
    "a category beyond": (lambda body: body["static"].__setitem__(0, HUGE), "static"),
    "endless horizons": (lambda body: body.update(horizons=[10**4000]), "horizons"),
}


@pytest.mark.fault(
    "a manifest that escapes its folder, or of absurd or overlapping ranges", "refused (65), checksum right or not"
)
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_cannot_be_is_refused(name, honest_store, commands, tmp_path, struck):
    store = Path(shutil.copytree(honest_store, tmp_path / "store"))
    change, word = MANIFESTS[name]
    body = json.loads((store / "manifest.json").read_bytes())
    del body["sha256"]
    change(body)
    (store / "manifest.json").write_bytes(_canonical({**body, "sha256": _digest(body)}))
    struck(refused_quickly(commands.atft("data", "check", store, **LIMITS), 65, word))


@pytest.mark.fault("a store without the facts about its features", "refused (65)")
def test_a_store_that_says_too_little_is_not_trained_on(honest_store, commands, small_run, tmp_path, struck):
    store = Path(shutil.copytree(honest_store, tmp_path / "store"))
    body = json.loads((store / "manifest.json").read_bytes())
    del body["sha256"]
    body["metadata"] = {}
    (store / "manifest.json").write_bytes(_canonical({**body, "sha256": _digest(body)}))
    places = [f"data.source={store}", f"data.horizons={json.dumps(body['horizons'], separators=(',', ':'))}"]
    answer = commands.atft("train", *small_run.arguments, *places, f"run.dir={tmp_path / 'run'}", **LIMITS)
    struck(refused_quickly(answer, 65, "manifest.json", "features"))


@pytest.mark.fault(
    "a store whose files are links or pipes, or whose manifest is a trap", "refused (65, or 74 where unreadable)"
)
@pytest.mark.parametrize(
    ("spoil", "file", "code", "word"),
    [
        (as_link, "shard", 65, "link"),
        (as_pipe, "shard", 65, "plain file"),
        (as_link, "manifest.json", 74, "link"),
        (lambda file: file.write_bytes(b'{"version": ' + DEEP + b"}"), "manifest.json", 65, "nested"),
        (lambda file: os.truncate(file, 2**40), "manifest.json", 74, "bytes"),
    ],
    ids=["linked file", "pipe", "linked manifest", "deep manifest", "endless manifest"],
)
def test_a_store_of_something_else_than_files_is_refused(
    spoil, file, code, word, honest_store, commands, tmp_path, struck
):
    store = Path(shutil.copytree(honest_store, tmp_path / "a" / "store"))
    spoil(next(store.glob("*.arrow")) if file == "shard" else store / file)
    struck(refused_quickly(commands.atft("data", "check", store, **LIMITS), code, word))


def test_honest_files_serve_under_the_same_limits(predict, commands, run, honest_store):
    """Else the refusals above could be the limits' doing."""
    predict().succeeded()
    commands.atft("report", run, **LIMITS).succeeded()
    commands.atft("data", "check", honest_store, **LIMITS).succeeded()
