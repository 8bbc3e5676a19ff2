import threading
import time
import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from atft_gat_fan.config.schema import GraphConfig
from atft_gat_fan.data.batches import DayBatches, as_tensor, consecutive_blocks, day_blocks, prefetch
from atft_gat_fan.data.graph import build_graph
from atft_gat_fan.data.materialised import materialise
from atft_gat_fan.data.normalizer import Normalizer
from atft_gat_fan.data.normalizer_fit import fit_normalizer
from atft_gat_fan.data.store import Store
from atft_gat_fan.errors import DataError

WINDOW, SPAN = 5, 25
CONFIG = GraphConfig(lookback=20, min_periods=8, num_neighbours=4, threshold=0.1)


def day_batches(store: Store, normalizer: Normalizer | None = None) -> DayBatches:
    normalizer = normalizer or fit_normalizer(store, np.arange(20), strict=True)
    graph = build_graph(store.column("returns"), store.days, store.static, CONFIG, present=store.column("present"))
    calendar = np.stack([store.days.astype(int) % 7, store.days.astype(int) % 30], axis=1).astype(np.float32)
    return DayBatches(materialise(store, normalizer, SPAN), graph, calendar, WINDOW)


@pytest.fixture
def batches(make_frame, make_store) -> DayBatches:
    return day_batches(make_store(make_frame(50, 9)))


def test_a_block_holds_what_the_panel_holds(batches):
    batch = batches.block(10, 3)
    store, span = batches.store, slice(6, 13)
    assert_array_equal(batch.features, batches.data.normalizer.apply(store.column("features", span)))
    assert_array_equal(batch.labels, store.column("labels", slice(10, 13)))
    assert_array_equal(batch.present, store.column("present", slice(10, 13)))
    assert_array_equal(batch.calendar, batches.calendar[span])
    assert_array_equal(batch.static, store.static)
    assert_array_equal(np.array(batch.span_dates).astype("datetime64[D]"), store.days[span])
    assert_array_equal(np.array(batch.dates).astype("datetime64[D]"), store.days[10:13])
    assert torch.isnan(batch.labels[~batch.present]).all()
    assert torch.isfinite(batch.features).all()
    every = np.arange(len(store.codes))
    expected = batches.graph.at(np.arange(10, 13), every, store.column("present", slice(10, 13)))
    assert torch.equal(batch.neighbours.index, expected.index)


def test_features_of_a_block_are_a_contiguous_view(batches):
    (whole,) = batches.data.features
    for first, count in ((4, 1), (10, 3), (29, 21)):
        features = batches.block(first, count).features
        assert features.is_contiguous()
        assert features.data_ptr() == whole[first - WINDOW + 1].ctypes.data


def test_only_days_with_a_whole_window_are_predictable(batches):
    assert_array_equal(batches.predictable(np.arange(50)), np.arange(4, 50))
    for first, count in ((3, 1), (49, 2)):
        with pytest.raises(DataError):
            batches.block(first, count)
    with pytest.raises(DataError):
        batches.canonical(3)


def test_the_canonical_batch_is_the_block_without_the_absent(batches):
    num_edges = num_absent = 0
    for day in range(25, 50):
        whole, one = batches.block(day, 1), batches.canonical(day)
        stocks = batches.stocks(day)
        assert one.present.all()
        assert one.features.is_contiguous()
        assert one.span_dates == whole.span_dates
        assert torch.equal(one.features, whole.features[:, stocks])
        assert torch.equal(one.labels.nan_to_num(9), whole.labels[:, stocks].nan_to_num(9))
        assert torch.equal(one.static, whole.static[stocks])
        assert torch.equal(one.neighbours.mask, whole.neighbours.mask[:, stocks])
        assert torch.equal(one.neighbours.edge, whole.neighbours.edge[:, stocks])
        assert_array_equal(stocks[one.neighbours.index], whole.neighbours.index[:, stocks])
        num_edges += int(one.neighbours.mask[..., 1:].sum())
        num_absent += len(batches.store.codes) - len(stocks)
    assert num_edges > 0
    assert num_absent > 0


def test_a_block_has_the_stocks_of_its_file_and_neighbours_among_them(make_frame, make_store):
    frame = make_frame(60, 9)
    days = frame["date"].unique().sort()
    late, early = pl.col("code").is_in(["C03", "C05"]), pl.col("code").is_in(["C02", "C07"])
    listed = (~late | (pl.col("date") > days[40])) & (~early | (pl.col("date") < days[20]))
    batches = day_batches(make_store(frame.filter(listed), shard_days=10, max_window=9))
    store, sizes = batches.store, set()
    for first in range(4, 57):
        batch, stocks = batches.block(first, 3), batches.data.block(first, 3, WINDOW).stocks
        sizes.add(len(stocks))
        days_of_batch = np.arange(first, first + 3)
        assert_array_equal(batch.static, store.static[stocks])
        assert_array_equal(batch.labels, store.column("labels", slice(first, first + 3))[:, stocks])
        raw = store.column("features", slice(first - WINDOW + 1, first + 3))[:, stocks]
        assert_array_equal(batch.features, batches.data.normalizer.apply(raw))
        expected = batches.graph.at(days_of_batch, stocks, batch.present.numpy())
        assert torch.equal(batch.neighbours.index, expected.index)
        assert_array_equal(batches.stocks(first), np.flatnonzero(store.column("present", slice(first, first + 1))[0]))
        one = batches.canonical(first)
        assert_array_equal(one.static, store.static[batches.stocks(first)])
        there = np.isin(stocks, batches.stocks(first))
        assert torch.equal(one.features, batch.features[:WINDOW, there])
    assert len(sizes) > 1


def test_the_canonical_batch_does_not_depend_on_what_else_the_store_holds(make_frame, make_store):
    frame = make_frame(60, 9)
    days = frame["date"].unique().sort()
    later = frame.filter(pl.col("date") > days[44]).with_columns(code=pl.lit("A") + pl.col("code"))
    small = day_batches(make_store(frame.filter(pl.col("date") <= days[44]), name="small"))
    large = day_batches(make_store(pl.concat([frame, later]), name="large"), small.data.normalizer)
    assert len(large.store.codes) == 2 * len(small.store.codes)
    for day in range(4, 45):
        left, right = small.canonical(day), large.canonical(day)
        assert torch.equal(left.features, right.features)
        for name in ("index", "mask", "edge"):
            assert torch.equal(getattr(left.neighbours, name), getattr(right.neighbours, name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_pinned_batches_are_the_same_in_memory_a_gpu_fetches_from(batches):
    pinned = DayBatches(batches.data, batches.graph, batches.calendar, WINDOW, pinned=True)
    for one, other in ((batches.block(10, 3), pinned.block(10, 3)), (batches.canonical(30), pinned.canonical(30))):
        assert other.features.is_pinned()
        assert other.neighbours.index.is_pinned()
        moved = pinned.to_device(other, torch.device("cuda"))
        assert torch.equal(moved.features.cpu(), one.features)
        assert torch.equal(moved.neighbours.edge.cpu(), one.neighbours.edge)


def test_a_batch_moves_as_its_panel_says(batches):
    """The panel decides what the network is given; batches only pass it on."""
    batch = batches.block(10, 3)
    assert batches.to_device(batch, torch.device("cpu")).features.data_ptr() == batch.features.data_ptr()


def test_without_a_graph_there_are_no_neighbours(batches):
    bare = DayBatches(batches.data, None, batches.calendar, WINDOW)
    assert bare.block(10, 2).neighbours is None
    assert bare.canonical(10).neighbours is None


def test_categories_may_be_numbered_as_a_trained_model_does(batches):
    static = np.arange(9)[::-1].copy()
    renumbered = DayBatches(batches.data, batches.graph, batches.calendar, WINDOW, static=static)
    assert_array_equal(renumbered.block(10, 2).static, static)
    assert_array_equal(renumbered.canonical(30).static, static[batches.stocks(30)])


@dataclass
class Order:
    days: np.ndarray
    batch_days: int
    breaks: tuple[int, ...]


@st.composite
def orders(draw: st.DrawFn) -> Order:
    days = draw(st.sets(st.integers(0, 60), min_size=1, max_size=60))
    breaks = draw(st.sets(st.integers(0, 60), max_size=4))
    return Order(np.array(sorted(days)), draw(st.integers(1, 9)), tuple(sorted(breaks)))


def days_of(blocks: list[tuple[int, int]]) -> list[int]:
    return [day for first, count in blocks for day in range(first, first + count)]


@given(order=orders(), seed=st.integers(0, 2**31), epoch=st.integers(0, 100))
def test_every_day_is_in_one_block_and_no_block_bridges_a_gap_or_a_break(order, seed, epoch):
    shuffled = day_blocks(order.days, order.batch_days, seed, epoch, order.breaks)
    consecutive = consecutive_blocks(order.days, order.batch_days, order.breaks)
    assert sorted(days_of(shuffled)) == days_of(consecutive) == order.days.tolist()
    for blocks in (shuffled, consecutive):
        assert all(1 <= count <= order.batch_days for _, count in blocks)
        assert not any(first < at < first + count for first, count in blocks for at in order.breaks)
    assert len(consecutive) <= len(shuffled)


def test_the_order_is_a_function_of_seed_and_epoch():
    days = np.arange(5, 205)
    assert day_blocks(days, 8, seed=1, epoch=0) == day_blocks(days, 8, seed=1, epoch=0)
    orders = [day_blocks(days, 8, seed, epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert len({tuple(order) for order in orders}) == 6
    assert len({min(first for first, count in order if count == 8) for order in orders}) > 1, "blocks begin elsewhere"
    assert all(order != sorted(order) for order in orders)
    assert day_blocks(days[:0], 8, 1, 0) == []


def test_blocks_of_a_panel_can_all_be_read_from_its_store(make_frame, make_store):
    store = make_store(make_frame(50, 9), shard_days=12, max_window=8)
    batches = day_batches(store)
    for batch_days in (3, 9):
        shuffled = batches.day_blocks(np.arange(40), batch_days, seed=3, epoch=1)
        consecutive = batches.consecutive_blocks(np.arange(40), batch_days)
        assert sorted(days_of(shuffled)) == days_of(consecutive) == list(range(4, 40))
        for first, count in shuffled + consecutive:
            assert batches.block(first, count).features.shape[0] == count + WINDOW - 1


def test_a_read_only_array_becomes_a_tensor_of_the_same_memory_without_a_warning():
    array = np.arange(6.0)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert as_tensor(array).data_ptr() == array.ctypes.data


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_prefetch_keeps_the_order(num_workers):
    def task(number):
        time.sleep(0.002 * (number % 3))
        return number

    tasks = (lambda number=number: task(number) for number in range(30))
    assert list(prefetch(tasks, num_workers)) == list(range(30))


def test_prefetch_works_ahead_in_threads_and_only_a_little():
    threads, started = set(), []

    def task(number):
        threads.add(threading.current_thread())
        started.append(number)
        return number

    results = prefetch((lambda number=number: task(number) for number in range(50)), 2)
    assert next(results) == 0
    time.sleep(0.05)
    assert 1 < len(started) <= 3
    results.close()
    assert threading.current_thread() not in threads


def test_what_a_dead_worker_left_is_done_by_the_caller():
    caller = threading.current_thread()

    def task(number):
        if number % 4 == 1 and threading.current_thread() is not caller:
            raise SystemExit("the worker is gone")
        return number

    with pytest.warns(UserWarning, match="loader thread failed") as caught:
        assert list(prefetch((lambda number=number: task(number) for number in range(20)), 3)) == list(range(20))
    assert len(caught) == 1


def test_an_error_that_the_caller_meets_too_is_the_callers():
    def damaged():
        raise DataError("damaged")

    with pytest.warns(UserWarning, match="loader thread failed"), pytest.raises(DataError, match="damaged"):
        list(prefetch([damaged], 1))
