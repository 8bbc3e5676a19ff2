"""A real browser for the tests of our pages: headless Chromium, spoken to over its DevTools pipe.

The pipe (file descriptors 3 and 4, messages of JSON ended by a NUL byte) needs no port, no driver and no package.
https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path
from typing import Any, Literal

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SWITCHES = (
    "--headless",
    "--no-sandbox",  # the sandbox does not start for root, and our pages run no scripts
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever a page asks for, nothing leaves this machine
    "--remote-debugging-pipe",
)
PATIENCE = 60.0
"""Seconds to wait for any answer: a loaded machine is slow, a hung browser is for ever."""
DESKTOP, PHONE = 1280, 390
"""Widths of a window in CSS pixels."""

LOOK = """(() => ({
  title: document.title,
  text: document.body.innerText,
  page: document.documentElement.scrollWidth,
  height: document.documentElement.scrollHeight,
  charts: [...document.querySelectorAll('svg')].map(svg => {
    const box = svg.getBoundingClientRect();
    const marks = [...svg.querySelectorAll('path, use, text, rect, line, circle, image')];
    const closed = svg.closest('details:not([open])') !== null;
    return {
      label: svg.getAttribute('aria-label') || '',
      hidden: closed,
      width: box.width,
      height: box.height,
      marks: marks.filter(mark => { const b = mark.getBoundingClientRect(); return b.width + b.height > 0; }).length,
    };
  }),
}))()"""


@dataclass(frozen=True)
class Drawn:
    """An `<svg>` as the browser laid it out, in CSS pixels; `marks` are the shapes and words in it that take room."""

    label: str
    width: float
    height: float
    marks: int
    hidden: bool
    """In a closed `<details>`: without room until it is opened."""


@dataclass(frozen=True)
class Visit:
    """A page as one window showed it."""

    window: int
    title: str
    text: str
    page_width: float
    """More than the window where a reader would have to scroll sideways."""
    page_height: float
    charts: tuple[Drawn, ...]
    complaints: tuple[str, ...]
    """What the console got: errors, warnings, uncaught exceptions, malformed SVG among them."""
    requests: tuple[str, ...]
    """Addresses asked for besides the page itself."""

    def faults(self, num_charts: int | None = None) -> list[str]:
        """Everything that no page of ours may have, in words; `num_charts` is how many it must draw."""
        found = [f"console: {complaint}" for complaint in self.complaints]
        found += [f"asks for {address}" for address in self.requests]
        if num_charts is not None and len(self.charts) != num_charts:
            found.append(f"{len(self.charts)} charts, expected {num_charts}: {[chart.label for chart in self.charts]}")
        for chart in self.charts:
            if not chart.hidden and (min(chart.width, chart.height) < 1 or chart.marks == 0):
                found.append(f"empty chart {chart.label!r}: {chart.width} x {chart.height}, {chart.marks} marks")
        if self.page_width > self.window:
            found.append(f"{self.page_width} pixels wide in a window of {self.window}")
        return found


def find_chromium() -> str:
    """A Chromium of this machine; skips the test, aloud, where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    reason = f"no browser on the PATH ({', '.join(NAMES)}); pages were not opened; install chromium to check them"
    warnings.warn(reason, stacklevel=2)  # a reason to skip is not printed, a warning is
    pytest.skip(reason)


@contextmanager
def browser() -> Iterator["Browser"]:
    """A browser with a profile of its own, gone with the block."""
    executable = find_chromium()
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        opened = Browser(executable, Path(profile))
        try:
            yield opened
        finally:
            opened.close()


class Browser:
    """One process, one page at a time."""

    def __init__(self, executable: str, profile: Path) -> None:
        self._profile = profile
        self._said = (profile / "stderr.txt").open("wb")
        its_in, self._out = os.pipe()
        self._in, its_out = os.pipe()
        # Out of the way of 3 and 4, which they become in the child.
        ends = [fcntl(end, F_DUPFD_CLOEXEC, 10) for end in (its_in, its_out)]

        def take_places() -> None:
            for place, end in enumerate(ends, 3):
                os.dup2(end, place)

        self._process = subprocess.Popen(
            [executable, *SWITCHES, f"--user-data-dir={profile / 'profile'}", "about:blank"],
            stdout=self._said,
            stderr=self._said,
            stdin=subprocess.DEVNULL,
            preexec_fn=take_places,
            close_fds=False,  # Python's own are closed on exec; 3 and 4 must not be
            start_new_session=True,
        )
        for end in (its_in, its_out, *ends):
            os.close(end)
        self._buffer = b""
        self._last_id = 0
        self._events: list[dict[str, Any]] = []
        self._session = ""

    def open(
        self,
        page: Path,
        *,
        window: int = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
        picture: Path | None = None,
    ) -> Visit:
        """Show a page in a fresh tab until it has loaded; `picture` is where a PNG of all of it goes."""
        address = page.resolve().as_uri()
        self._session = ""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        self._set_window(window, 900)
        self._ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._events.clear()
        self._ask("Page.navigate", url=address)
        self._wait_for("Page.loadEventFired")
        seen = self._ask("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]["value"]
        if picture is not None:
            self._set_window(window, int(seen["height"]))
            picture.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))
        # The console is emptied before an answer is given to a later question of the same tab.
        self._ask("Runtime.evaluate", expression="0")
        visit = Visit(
            window=window,
            title=seen["title"],
            text=seen["text"],
            page_width=seen["page"],
            page_height=seen["height"],
            charts=tuple(Drawn(**chart) for chart in seen["charts"]),
            complaints=tuple(filter(None, map(_complaint, self._events))),
            requests=tuple(asked for asked in map(_request, self._events) if asked not in ("", address)),
        )
        self._session = ""
        self._ask("Target.closeTarget", targetId=target)
        return visit

    def close(self) -> None:
        """Ask it to end, and see to it."""
        try:
            os.write(self._out, _message({"id": 0, "method": "Browser.close"}))
            self._process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            os.close(self._out)
            os.close(self._in)
            self._said.close()

    def _set_window(self, width: int, height: int) -> None:
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def _ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events that come before it are kept."""
        self._last_id += 1
        command: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._out, _message(command))
        while True:
            answer = self._next()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, f"{method}: {answer['error']}"
                assert "exceptionDetails" not in answer["result"], answer["result"]["exceptionDetails"]
                return dict(answer["result"])
            self._events.append(answer)

    def _wait_for(self, event: str) -> None:
        while not any(seen.get("method") == event for seen in self._events):
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            received = os.read(self._in, 1 << 20) if ready else b""
            if not received:
                end = (self._profile / "stderr.txt").read_text(errors="replace")[-2000:]
                raise AssertionError(f"the browser {'ended' if ready else f'was silent for {PATIENCE:g} s'}: {end}")
            self._buffer += received
        message, _, self._buffer = self._buffer.partition(b"\0")
        return dict(json.loads(message))


def _message(command: dict[str, Any]) -> bytes:
    return json.dumps(command).encode() + b"\0"


def _complaint(event: dict[str, Any]) -> str:
    parameters = event.get("params", {})
    match event.get("method"):
        case "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            return f"exception: {details.get('exception', {}).get('description', details['text'])}"
        case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning", "assert"):
            return " ".join(str(each.get("value", each.get("description"))) for each in parameters["args"])
        case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
            return str(parameters["entry"]["text"])
    return ""


def _request(event: dict[str, Any]) -> str:
    if event.get("method") != "Network.requestWillBeSent":
        return ""
    return str(event["params"]["request"]["url"])
