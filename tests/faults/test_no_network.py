"""Nothing here needs a network, and nothing tries one."""

import json

import pytest

WATCH = """
import sys
# AF_UNIX is no network; sockets that are never connected ask nobody.
def audit(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        if event in ("socket.connect", "socket.sendto") and isinstance(args[1], (str, bytes)):
            return
        print("TRIED", event, args, file=sys.stderr)
sys.addaudithook(audit)
"""
PROOF = """
import socket
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except OSError as error:
    print(error.errno)
"""


@pytest.mark.slow
@pytest.mark.fault("no network", "train, evaluate, report, predict work and try none")
def test_every_command_works_without_a_network(commands, small_run, tmp_path, struck):
    struck("101" in commands.python(PROOF, network=False).out or "99" in commands.python(PROOF, network=False).out)
    run, places = tmp_path / "run", small_run.places(tmp_path / "cache", tmp_path / "run")
    ways = [
        ["train", *small_run.arguments, *places],
        ["evaluate", run],
        ["report", run],
        ["predict", run, "--data", small_run.panel, "--out", tmp_path / "scores.parquet"],
    ]
    for arguments in ways:
        done = commands.atft(*arguments, network=False, before=WATCH).succeeded()
        assert "TRIED" not in done.err, done.err
    straight = json.loads((small_run.folder / "metrics.json").read_text())
    assert json.loads((run / "metrics.json").read_text())["test"] == straight["test"]


def test_the_watch_sees_an_attempt(commands):
    """Else the test above could not fail."""
    assert "TRIED" in commands.python(PROOF, before=WATCH).err
