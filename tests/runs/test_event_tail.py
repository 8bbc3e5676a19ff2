"""Each event of a kind once, as it comes, whatever else is in the record."""

import json
from pathlib import Path

from atft_gat_fan.runs.event_tail import EventTail


def line(kind: str, epoch: int) -> str:
    return json.dumps({"event": kind, "step": epoch, "epoch": epoch}) + "\n"


def test_each_event_is_told_once_and_torn_lines_never(tmp_path: Path) -> None:
    file, tail = tmp_path / "events.jsonl", EventTail(tmp_path, "valid")
    assert list(tail.new()) == []
    file.write_text(line("train", 1) + line("valid", 1) + line("warning", 1).replace("warning", "valid or not"))
    assert [event["epoch"] for event in tail.new()] == [1]
    with file.open("a") as record:
        record.write(line("valid", 2) + line("valid", 3)[:-9])
    assert [event["epoch"] for event in tail.new()] == [2]
    with file.open("a") as record:
        record.write("\n" + line("valid", 4))
    assert [event["epoch"] for event in tail.new()] == [4]
    assert list(tail.new()) == []
    file.write_text(line("valid", 1))
    assert [event["epoch"] for event in tail.new()] == [1]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(line("valid", 1))
    (tmp_path / "events.jsonl").symlink_to(tmp_path / "elsewhere")
    assert list(EventTail(tmp_path, "valid").new()) == []
