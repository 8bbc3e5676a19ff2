"""The documentation as a site: it builds, every page is in it, and opened from the disk it asks no other server."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FETCHING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that a browser fetches by itself, and the attribute that says what."""


class Fetched(HTMLParser):
    """What opening a page fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(FETCHING.get(tag, ""))
        if address and values.get("rel") not in ("canonical", "edit"):
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_navigation() -> None:
    def files(entries: list) -> list[str]:
        return [
            file
            for entry in entries
            for value in (entry.values() if isinstance(entry, dict) else [entry])
            for file in (files(value) if isinstance(value, list) else [value])
        ]

    navigation = files(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(navigation) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def test_opening_a_page_asks_no_other_server(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 10
    for page in pages:
        parser = Fetched()
        parser.feed(page.read_text())
        assert parser.addresses
        assert [address for address in parser.addresses if re.match(r"(https?:)?//", address)] == [], page.name
        for address in parser.addresses:
            if page.name != "404.html" and not address.startswith("data:"):
                assert (site / address.split("?")[0].split("#")[0]).exists(), f"{page.name}: {address}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", style.read_text()), style.name


def test_the_site_can_be_searched_from_the_disk(site: Path) -> None:
    """The index is a script, as files may not be read from one, and the worker has its stand-in."""
    index = (site / "search" / "search_index.js").read_text()
    assert index.startswith("var __index = ")
    assert "split.purge" in index
    assert "IFrameWorker" in (site / "iframe-worker.js").read_text()
    assert '<script src="iframe-worker.js"></script>' in (site / "index.html").read_text()
