"""What this machine can do: cores, devices, the compiler, memory, disks and their file systems, the clock."""

import fcntl
import mmap
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from atft_gat_fan.data.durable_files import fsync_folder, replace_durably
from atft_gat_fan.runs.doctor_finding import Finding

COMPILE = "from atft_gat_fan.models.compiler import compiler_problem; print(compiler_problem() or '')"
COMPILE_SECONDS = 60.0
GIBIBYTE = 2**30
SCARCE_MEMORY, LEAST_MEMORY = 2 * GIBIBYTE, GIBIBYTE
"""`atft demo` takes 0.8 GiB."""
SCARCE_DISK, LEAST_DISK = 2 * GIBIBYTE, GIBIBYTE // 4
"""A store is about as large as its panel as Parquet; a run of the default network takes a few MiB."""
SLOW_CPUS = ("DEFAULT", "NO AVX")
ZONES = ("America/New_York", "Asia/Tokyo")
"""Of exchanges: their calendars need the zones' data."""
CGROUP = Path("/sys/fs/cgroup")
ROOM_TO_CHECK = b"atft doctor" * 1000


def torch_cpu(threads: int | None = None, capability: str | None = None, cores: float | None = None) -> Finding:
    """Threads, and the instructions that kernels can use."""
    import torch

    threads = torch.get_num_threads() if threads is None else threads
    capability = torch.backends.cpu.get_cpu_capability() if capability is None else capability
    cores = usable_cores() if cores is None else cores
    found = f"torch {torch.__version__}, {threads} threads on {cores:g} usable cores, {capability}"
    if threads > cores + 0.5:
        mend = f"run.num_threads={max(1, int(cores))}: more threads than cores wait for each other"
        return Finding("CPU", "warning", found, mend)
    if threads < cores / 2:
        mend = f"run.num_threads={int(cores)}, or unset OMP_NUM_THREADS: most cores are idle"
        return Finding("CPU", "warning", found, mend)
    if capability in SLOW_CPUS:
        return Finding("CPU", "warning", found, "training is several times slower without AVX2: take another machine")
    return Finding("CPU", "ok", found)


def usable_cores(cgroup: Path = CGROUP) -> float:
    """Those that this process may run on, as many as its container is given."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    return min(cores, int(quota) / int(period)) if quota.isdigit() and period.strip().isdigit() else cores


def devices() -> Iterator[Finding]:
    """Accelerators; `run.device: auto` takes CUDA where torch says there is one, so it has to work."""
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield cuda_device(number)
    elif Path("/dev/nvidia0").exists():
        build = "a build without CUDA" if torch.version.cuda is None else f"a build for CUDA {torch.version.cuda}"
        mend = "install torch for CUDA, or mend the driver (nvidia-smi tells); until then training is on the CPU"
        yield Finding("GPU", "warning", f"an NVIDIA device that torch ({build}) cannot use", mend)
    else:
        mps = ", Apple's MPS is not used" if torch.backends.mps.is_available() else ""
        yield Finding("GPU", "ok", f"none that is used{mps}: everything runs on the CPU")


def cuda_device(number: int) -> Finding:
    import torch

    name = f"cuda:{number}"
    try:
        right = float(torch.ones(8, device=name).sum()) == 8.0
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as error:
        return Finding(name, "problem", f"does not compute: {str(error).splitlines()[0]}", "run.device=cpu")
    if not right:
        return Finding(name, "problem", "computes wrong numbers", "run.device=cpu")
    described = torch.cuda.get_device_name(number)
    return Finding(name, "ok", f"{described}, {free / GIBIBYTE:.1f} of {total / GIBIBYTE:.1f} GiB free")


def begin_compiling() -> "subprocess.Popen[str]":
    """Try torch.compile in a process of its own: it takes as long as all the rest, and what is broken may crash it."""
    return subprocess.Popen(
        [sys.executable, "-P", "-c", COMPILE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def compiler(trial: "subprocess.Popen[str]", seconds: float = COMPILE_SECONDS) -> Finding:
    """What came of `begin_compiling`: the problem in a line, or nothing."""
    try:
        said, errors = trial.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        trial.kill()
        trial.communicate()
        problem = f"a small function took more than {seconds:g} s"
    else:
        problem = said.strip()
        if trial.returncode:
            lines = errors.strip().splitlines() or ["nothing said"]
            problem = f"it ended with exit code {trial.returncode}: {lines[-1]}"
    if problem:
        mend = "apt-get install g++ (training runs without, slower), or compile=false"
        return Finding("torch.compile", "warning", f"does not work: {problem}", mend)
    return Finding("torch.compile", "ok", "compiled a small function and ran it")


def memory(available: int | None = None) -> Finding:
    available = available_memory() if available is None else available
    if available is None:
        return Finding("memory", "ok", "not known on this system")
    found = f"{available / GIBIBYTE:.1f} GiB available"
    levers = "close other programs; for large panels improvements.online_normalization=true and a smaller batch_size"
    if available < LEAST_MEMORY:
        return Finding("memory", "problem", f"{found}, {LEAST_MEMORY / GIBIBYTE:.0f} are needed", levers)
    return Finding(
        "memory", "warning" if available < SCARCE_MEMORY else "ok", found, levers * (available < SCARCE_MEMORY)
    )


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int | None:
    """Bytes that can be had without swapping, in this container; None where the system does not say."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(meminfo), re.MULTILINE)
    if found is None:
        return None
    available = int(found.group(1)) * 1024
    limit, used = _read(cgroup / "memory.max").strip(), _read(cgroup / "memory.current").strip()
    return min(available, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else available


def disk(name: str, folder: Path, key: str, free: int | None = None) -> Finding:
    """Room in a folder, or where it will be made."""
    place = existing(folder)
    free = shutil.disk_usage(place).free if free is None else free
    found = f"{free / GIBIBYTE:,.1f} GiB free in {folder}"
    if free < LEAST_DISK:
        return Finding(name, "problem", found, f"free space, or choose another folder: {key}")
    if free < SCARCE_DISK:
        return Finding(name, "warning", found, f"free space, or choose another folder: {key}")
    return Finding(name, "ok", found)


def file_system(name: str, folder: Path, key: str) -> Finding:
    """Whether files can be written durably, renamed, locked and mapped there; what is tried is removed again."""
    place = existing(folder)
    step = "make a folder"
    try:
        with tempfile.TemporaryDirectory(prefix=".atft-doctor-", dir=place) as trial:
            step = "write, fsync and rename a file"
            replace_durably(Path(trial, "file"), ROOM_TO_CHECK)
            with Path(trial, "file").open("rb") as file:
                step = "lock a file"
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                step = "map a file into memory"
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    same = mapped[:] == ROOM_TO_CHECK
            step = "rename a folder"
            Path(trial, "a").mkdir()
            Path(trial, "a").rename(Path(trial, "b"))
            fsync_folder(Path(trial))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        return Finding(name, "problem", f"cannot {step} in {place}: {why}", f"choose another folder: {key}")
    if not same:
        return Finding(name, "problem", f"a file in {place} reads otherwise than written", f"check the disk, or {key}")
    return Finding(name, "ok", f"{place}: writes durably, renames, locks, maps")


def temporary_folder() -> Path | Finding:
    """Where temporary files go, or that there is no such place."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        why = error.strerror or str(error)
        return Finding("disk, temporary", "problem", why, "set TMPDIR to a folder that can be written")


def clock(now: datetime | None = None, files: Path = Path(__file__).parents[1]) -> Finding:
    """The clock stands after the making of this very code, and knows the zones of exchanges."""
    now = datetime.now(UTC) if now is None else now
    made = datetime.fromtimestamp(max(file.stat().st_mtime for file in files.rglob("*.py")), UTC)
    here = now.astimezone()
    found = f"{here:%Y-%m-%d %H:%M} {here.tzname()}"
    if now < made - timedelta(days=1):
        mend = "set the clock (timedatectl set-ntp true): times of runs are wrong, and downloads fail"
        return Finding("clock", "warning", f"{found}, before this code was written ({made:%Y-%m-%d})", mend)
    try:
        for zone in ZONES:
            ZoneInfo(zone)
    except ZoneInfoNotFoundError as error:
        return Finding("clock", "problem", f"{found}; {error.args[0]}: no exchange calendars", "pip install tzdata")
    return Finding("clock", "ok", found)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.expanduser().absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # another kind of system
        return ""
