import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data import graph as graph_module
from atft_gat_fan.data.graph import Graph, build_graph, cached_graph, refresh_days
from atft_gat_fan.data.store import Store
from atft_gat_fan.types import Neighbours

CONFIG = GraphConfig(lookback=12, min_periods=4, num_neighbours=4, threshold=0.1)
NUM_DAYS, NUM_STOCKS = 60, 8


@pytest.fixture
def store(make_frame, make_store) -> Store:
    return make_store(make_frame(NUM_DAYS, NUM_STOCKS), shard_days=16, max_window=8)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of stocks of each refresh that is computed, as they are."""
    computed: list[int] = []
    compute = graph_module.neighbour_lists

    def counted(lookback, static, config):
        computed.append(lookback.shape[1])
        return compute(lookback, static, config)

    monkeypatch.setattr(graph_module, "neighbour_lists", counted)
    return computed


def opened(store: Store, folder: Path, config: GraphConfig = CONFIG) -> Graph:
    return cached_graph(store, store.static, config, folder, lambda stage, share: None)


def by_code(store: Store, graph: Graph, day: int, codes: list[str]) -> Neighbours:
    stocks = np.array([store.codes.index(code) for code in codes])
    return graph.at(np.array([day]), stocks, store.column("present", slice(day, day + 1))[:, stocks])


def assert_same(one: Neighbours, other: Neighbours) -> None:
    assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("index", "mask", "edge"))


def files(folder: Path) -> list[Path]:
    return sorted((folder / "graphs").iterdir())


def num_refreshes(store: Store) -> int:
    return len(refresh_days(store.days, CONFIG.refresh_days))


@pytest.mark.parametrize("same_sector", [False, True])
def test_lists_from_the_cache_are_those_of_a_graph_in_memory(store: Store, tmp_path: Path, same_sector: bool) -> None:
    config = CONFIG.model_copy(update={"same_sector": same_sector})
    present = store.column("present")
    plain = build_graph(store.column("returns"), store.days, store.static, config, present=present)
    num_edges = 0
    for _ in range(2):
        cached = opened(store, tmp_path, config)
        for first in range(0, NUM_DAYS, 7):
            days, stocks = np.arange(first, min(first + 7, NUM_DAYS)), np.array([0, 2, 3, 5, 6, 7])
            here = present[np.ix_(days, stocks)]
            found = cached.at(days, stocks, here)
            assert_same(found, plain.at(days, stocks, here))
            num_edges += int(found.mask[..., 1:].sum())
    assert num_edges > 100


def test_a_refresh_is_computed_once_and_only_when_it_is_needed(store: Store, tmp_path: Path, made: list[int]) -> None:
    graph = opened(store, tmp_path)
    assert not made
    graph.prepare(np.array([NUM_DAYS - 1]))
    assert len(made) == len(files(tmp_path)) == 1
    graph.prepare(np.arange(NUM_DAYS))
    assert len(made) == len(files(tmp_path)) == num_refreshes(store)
    opened(store, tmp_path).prepare(np.arange(NUM_DAYS))
    assert len(made) == num_refreshes(store)


def test_progress_is_told(store: Store, tmp_path: Path) -> None:
    told: list[float] = []
    graph = cached_graph(store, store.static, CONFIG, tmp_path, lambda stage, share: told.append(share))
    graph.prepare(np.arange(NUM_DAYS))
    assert told == sorted(told)
    assert (told[0], told[-1], len(told)) == (0.0, 1.0, num_refreshes(store) + 1)


def test_days_and_codes_that_are_added_cost_their_own_refreshes_alone(
    make_frame, make_store, tmp_path: Path, made: list[int]
) -> None:
    frame = make_frame(NUM_DAYS, NUM_STOCKS)
    days = frame["date"].unique().sort()
    old = make_store(frame.filter(pl.col("date") < days[45]), name="old")
    # A code that sorts first shifts the positions of all others.
    listed = frame.filter((pl.col("code") == "C00") & (pl.col("date") >= days[45])).with_columns(code=pl.lit("A00"))
    new = make_store(pl.concat([frame, listed]), name="new")
    opened(old, tmp_path).prepare(np.arange(45))
    assert len(made) == num_refreshes(old)
    graph = opened(new, tmp_path)
    graph.prepare(np.arange(NUM_DAYS))
    assert len(made) == num_refreshes(new) > num_refreshes(old)
    codes = [code for code in new.codes if code != "A00"]
    for day in range(45):
        assert_same(by_code(new, graph, day, codes), by_code(old, opened(old, tmp_path), day, codes))


def test_settings_that_shape_a_list_do_and_the_grid_does_not_ask_for_new_ones(
    store: Store, tmp_path: Path, made: list[int]
) -> None:
    opened(store, tmp_path, CONFIG.model_copy(update={"refresh_days": 1})).prepare(np.arange(NUM_DAYS))
    assert len(made) == NUM_DAYS
    opened(store, tmp_path).prepare(np.arange(NUM_DAYS))
    assert len(made) == NUM_DAYS
    for changed in ({"shrinkage": 0.3}, {"halflife": 5.0}, {"threshold": 0.2}, {"same_sector": True}):
        before = len(made)
        opened(store, tmp_path, CONFIG.model_copy(update=changed)).prepare(np.arange(NUM_DAYS))
        assert len(made) == before + num_refreshes(store)


def test_what_becomes_known_later_asks_for_no_new_lists(
    make_frame, make_store, tmp_path: Path, made: list[int]
) -> None:
    frame = make_frame(NUM_DAYS, NUM_STOCKS)
    cut = frame["date"].unique().sort()[40]
    later = frame.with_columns(
        returns_1d=pl.when(pl.col("date") >= cut).then(0.5 * pl.col("returns_1d")).otherwise("returns_1d")
    )
    opened(make_store(frame, name="as_it_was"), tmp_path).prepare(np.arange(40))
    before = len(made)
    opened(make_store(later, name="as_it_is"), tmp_path).prepare(np.arange(40))
    assert len(made) == before
    opened(make_store(later, name="as_it_is"), tmp_path).prepare(np.arange(40, NUM_DAYS))
    assert len(made) > before


def flipped(content: bytes) -> bytes:
    return content[:50] + bytes([content[50] ^ 1]) + content[51:]


@pytest.mark.parametrize("damage", [flipped, lambda content: content[:-8], lambda content: b"", lambda content: None])
def test_a_damaged_file_is_made_again_even_under_an_open_graph(
    store: Store, tmp_path: Path, made: list[int], damage
) -> None:
    graph = opened(store, tmp_path)
    everyone, present = np.arange(NUM_STOCKS), store.column("present")
    expected = graph.at(np.arange(NUM_DAYS), everyone, present)
    before = len(made)
    intact = [path.read_bytes() for path in files(tmp_path)]
    for path, content in zip(files(tmp_path), intact, strict=True):
        damaged = damage(content)
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
    assert_same(graph.at(np.arange(NUM_DAYS), everyone, present), expected)
    assert len(made) == 2 * before
    assert [path.read_bytes() for path in files(tmp_path)] == intact


def test_without_a_folder_to_write_to_lists_stay_in_memory(store: Store, tmp_path: Path, made: list[int]) -> None:
    (tmp_path / "file").touch()
    graph = opened(store, tmp_path / "file")
    with pytest.warns(UserWarning, match="stay in memory") as warned:
        graph.prepare(np.arange(NUM_DAYS))
    assert len(warned) == 1
    graph.prepare(np.arange(NUM_DAYS))
    assert len(made) == num_refreshes(store)
    everyone, present = np.arange(NUM_STOCKS), store.column("present")
    expected = opened(store, tmp_path).at(np.arange(NUM_DAYS), everyone, present)
    assert_same(graph.at(np.arange(NUM_DAYS), everyone, present), expected)


def test_threads_share_a_graph(store: Store, tmp_path: Path, made: list[int]) -> None:
    graph, present = opened(store, tmp_path), store.column("present")
    expected = opened(store, tmp_path / "other").at(np.arange(NUM_DAYS), np.arange(NUM_STOCKS), present)
    del made[:]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda _: graph.at(np.arange(NUM_DAYS), np.arange(NUM_STOCKS), present), range(16))
        for one in found:
            assert_same(one, expected)
    assert len(made) == num_refreshes(store)


PRIVATE_MEMORY = """
import sys
from pathlib import Path
import numpy as np
from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.graph import cached_graph


class Noise:
    days = np.busday_offset("2000-01-03", np.arange(int(sys.argv[2]))).astype("datetime64[D]")

    def column(self, name, days):
        shape = (days.stop - days.start, 1000)
        if name == "present":
            return np.ones(shape, bool)
        draws = [np.random.default_rng(day).normal(size=1000) for day in range(days.start, days.stop)]
        return np.stack(draws).astype(np.float32)


def private():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))


panel = Noise()
graph = cached_graph(panel, np.zeros(1000, np.int64), GraphConfig(), Path(sys.argv[1]), lambda stage, share: None)
graph.at(np.arange(5), np.arange(1000), np.ones((5, 1000), bool))
before = private()
graph.prepare(np.arange(len(panel.days)))
for first in range(0, len(panel.days), 5):
    graph.at(np.arange(first, first + 5), np.arange(1000), np.ones((5, 1000), bool))
print(private() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the private memory from /proc")
def test_private_memory_does_not_grow_with_the_days(tmp_path: Path) -> None:
    def kib(num_days: int) -> int:
        command = [sys.executable, "-c", PRIVATE_MEMORY, str(tmp_path / str(num_days)), str(num_days)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # The lists of the 500 days more are 100 x 1000 x 15 x 8 bytes, 11,700 KiB; what malloc keeps varies by some 4,000.
    assert kib(600) - kib(100) < 6000
