"""A storage in memory, `faulty://`, that has ETags as S3 has them, counts what is asked, and fails when told to."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.implementations.memory import MemoryFileSystem


class FaultyFileSystem(MemoryFileSystem):
    protocol = "faulty"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    asked: ClassVar[list[str]] = []
    """`method path` of each request, in order."""
    fault: ClassVar[Callable[[str, bytes], bytes] | None] = None
    """Is given a request and its answer; raises, or answers otherwise."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("faulty://", "memory://"))

    def info(self, path: str, **keywords: Any) -> dict[str, Any]:
        self._answer("info", path)
        return self._with_etag(super().info(path, **keywords))

    def find(self, path: str, *arguments: Any, **keywords: Any) -> dict[str, Any]:
        self._answer("find", path)
        return {name: self._with_etag(info) for name, info in super().find(path, *arguments, **keywords).items()}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **keywords: Any) -> bytes:
        return self._answer("cat", path, super().cat_file(path, start, end))

    def put_file(self, lpath: str, rpath: str, **keywords: Any) -> None:
        self._answer("put", rpath)
        super().put_file(lpath, rpath, **keywords)

    def rm_file(self, path: str) -> None:
        self._answer("rm", path)
        super().rm_file(path)

    def _answer(self, method: str, path: str, content: bytes = b"") -> bytes:
        request = f"{method} {self._strip_protocol(path)}"
        self.asked.append(request)
        return content if self.fault is None else type(self).fault(request, content)

    def _with_etag(self, info: dict[str, Any]) -> dict[str, Any]:
        if info["type"] != "file":
            return info
        content = self.store[info["name"]].getvalue()
        return {**info, "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'}


@contextmanager
def faulty_storage() -> Iterator[type[FaultyFileSystem]]:
    """An empty one, without faults, for as long as the block goes on."""
    fsspec.register_implementation("faulty", FaultyFileSystem, clobber=True)
    # memory:// is known to be written in one step; so is this one.
    FaultyFileSystem.store.clear()
    FaultyFileSystem.pseudo_dirs[:] = [""]
    FaultyFileSystem.asked.clear()
    FaultyFileSystem.fault = None
    yield FaultyFileSystem
    FaultyFileSystem.fault = None
