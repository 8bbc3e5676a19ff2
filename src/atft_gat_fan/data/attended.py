"""Work that waits for others, on threads, while the calling thread watches whether it should go on."""

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")
TICK_SECONDS = 0.2


def attended(
    tasks: Sequence[Callable[[], T]], threads: int, tick: Callable[[], None], cancel: threading.Event
) -> Iterator[tuple[int, T]]:
    """Do the tasks and yield (position, result) as they end; while none does, `tick` is called a few times a second.

    The first error of a task, or of `tick`, ends all: `cancel` is set, and is for the tasks to look at. Threads that
    wait for a server meanwhile are left behind, as they would hold up the end of the process. No more than `threads`
    results wait to be taken.
    """
    todo: Queue[int] = Queue()
    for position in range(len(tasks)):
        todo.put(position)
    done: Queue[tuple[int, T | None, BaseException | None]] = Queue(maxsize=threads)

    def work() -> None:
        while not cancel.is_set():
            try:
                position = todo.get_nowait()
            except Empty:
                return
            try:
                answer: tuple[int, T | None, BaseException | None] = (position, tasks[position](), None)
            except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that asked
                answer = (position, None, error)
            while not cancel.is_set():
                try:
                    done.put(answer, timeout=TICK_SECONDS)
                    break
                except Full:
                    continue

    for _ in range(min(threads, len(tasks))):
        threading.Thread(target=work, daemon=True, name="remote").start()
    try:
        for _ in range(len(tasks)):
            while True:
                try:
                    position, result, error = done.get(timeout=TICK_SECONDS)
                    break
                except Empty:
                    tick()
            if error is not None:
                raise error
            yield position, result  # type: ignore[misc]
    finally:
        cancel.set()
