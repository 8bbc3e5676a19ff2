import pytest

from atft_gat_fan.training.shares import BlockPart, in_order, step_share, whole_blocks

STEPS = [[(10, 8)], [(10, 3), (40, 5)], [(7, 1)], [(5, 4), (20, 4), (30, 4)], [(1, 2), (9, 7), (30, 1), (50, 6)]]


def days(part: BlockPart) -> list[int]:
    return list(range(part.first + part.start, part.first + part.stop))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("blocks", STEPS, ids=str)
def test_the_shares_of_a_step_hold_each_day_once_and_evenly(blocks: list[tuple[int, int]], size: int) -> None:
    shares = [[day for part in step_share(blocks, rank, size) for day in days(part)] for rank in range(size)]
    assert [day for share in shares for day in share] == [day for first, n in blocks for day in range(first, first + n)]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_one_rank_has_whole_blocks_and_as_many_ranks_as_equal_blocks_have_one_each() -> None:
    blocks = [(5, 4), (20, 4), (30, 4)]
    assert step_share(blocks, 0, 1) == whole_blocks(blocks)
    assert [step_share(blocks, rank, 3) for rank in range(3)] == [[part] for part in whole_blocks(blocks)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("blocks", STEPS, ids=str)
def test_blocks_that_cannot_be_divided_are_dealt_whole(blocks: list[tuple[int, int]], size: int) -> None:
    shares = [step_share(blocks, rank, size, divisible=False) for rank in range(size)]
    dealt = [(part.first, part.count) for share in shares for part in share]
    assert sorted(dealt) == sorted(blocks)
    assert all((part.start, part.stop) == (0, part.count) for share in shares for part in share)


def test_a_whole_part_is_the_very_batch_and_another_keeps_all_stocks(market) -> None:
    batch = market.batch(10, 4)
    assert BlockPart(10, 4, 0, 4).of(batch) is batch
    part = BlockPart(10, 4, 1, 3).of(batch)
    assert part.dates == batch.dates[1:3]
    assert part.num_stocks == batch.num_stocks
    assert part.labels.data_ptr() == batch.labels[1:].data_ptr(), "a view"


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_what_the_ranks_made_of_whole_blocks_comes_back_in_order(size: int) -> None:
    blocks = [(first, 2) for first in range(0, 14, 2)]
    by_rank = [[part.first for part in whole_blocks(blocks, rank, size)] for rank in range(size)]
    assert in_order(by_rank) == [first for first, _ in blocks]
