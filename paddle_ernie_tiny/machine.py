"""Facts about the machine and the versions on it, and the settings for them that Paddle reads when it is imported."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from . import __version__
from .errors import InputError

_PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "numpy", "tokenizers", "datasets", "scikit-learn")


@cache
def cpu_facts() -> dict[str, str]:
    """What Linux says of the first processor: "vendor_id", "model name", "flags" (elsewhere empty)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def cpu_name() -> str:
    """The processor's name as the system gives it."""
    return cpu_facts().get("model name") or platform.processor() or "unknown"


def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets by their Linux names, such as "avx2" (empty if the system does not say)."""
    facts = cpu_facts()
    return frozenset((facts.get("flags") or facts.get("Features") or "").split())


def has_vnni() -> bool:
    """Does this CPU have the instructions that make int8 matrix products faster than fp32 ones?"""
    return not {"avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(cpu_flags())


def has_bf16() -> bool:
    """Does this CPU have instructions for products of bfloat16 matrices?"""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(cpu_flags())


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that this process's control groups may use, such as 1.5; None: no limit that can be read.

    The lowest limit of its own group and of those above it that are mounted: `cpu.max` in version 2 of Linux's control
    groups, `cpu.cfs_quota_us` over `cpu.cfs_period_us` in version 1. root: the folder that holds /proc and the mounts.
    """
    own: dict[str, str] = {}  # by the kind of file system, the path of its group
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if not controllers or "cpu" in controllers.split(","):
            own["cgroup" if controllers else "cgroup2"] = path
    limits = []
    for line in _lines(root / "proc/self/mountinfo"):
        mount, _, system = line.partition(" - ")
        kind, options = system.split(" ")[0], system.split(" ")[-1].split(",")
        if kind not in own or (kind == "cgroup" and "cpu" not in options):
            continue
        top, point = (
            re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), path) for path in mount.split(" ")[3:5]
        )
        below = os.path.relpath(own[kind], top)
        # in a container the group may be one that its mount does not show: then the mount's own is the nearest
        names = [] if below == "." or below.startswith("..") else below.split("/")
        limits += [_group_limit(Path(f"{root}/{point}", *names[:count])) for count in range(len(names) + 1)]
    return min((limit for limit in limits if limit is not None), default=None)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _group_limit(group: Path) -> float | None:
    """Cores that one control group allows; None: as many as there are, or its files do not say."""
    texts = _lines(group / "cpu.max") or _lines(group / "cpu.cfs_quota_us") + _lines(group / "cpu.cfs_period_us")
    try:
        quota, period = " ".join(texts).split()
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max" is no number
        return None
    return cores if cores > 0 else None


def cpu_cores() -> int:
    """Cores that this process may use: those that it may run on, at most as many as its CPU quota pays for.

    A quota is rounded down, to at least 1. With more threads than it pays for, the system stops some of them for the
    rest of every period, and at the end of each parallel loop the others wait for those.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def thread_count(threads: int | str, sharing: int = 1) -> int:
    """The number that `--threads` asks for; "auto": every core of `cpu_cores`, divided among so many that share them.

    The user's own OMP_NUM_THREADS, a number that fits, is taken in place of the cores.
    Raises InputError for what is neither "auto" nor a whole number from 1, and for more than `_most_threads`.
    """
    most = _most_threads()
    number = _whole(str(threads))
    if threads == "auto":
        wanted = _whole(os.environ.get("OMP_NUM_THREADS", ""))
        return max(1, (wanted if 1 <= wanted <= most else cpu_cores()) // sharing)
    if not 1 <= number <= most:
        remedy = f"give auto, or a whole number from 1 to {most}"
        raise InputError(f"not a number of threads that fits: {str(threads)[:50]!r}", "--threads", remedy)
    return number


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _most_threads() -> int:
    return max(64, 4 * (os.cpu_count() or 1))  # thousands of threads end in an error of the system


def available_memory() -> int:
    """Bytes of memory that are available without swapping."""
    return psutil.virtual_memory().available


def number_from(variable: str, default: int, least: int = 1) -> int:
    """A whole number from the environment; `default` if the variable is not set or empty. Raises InputError."""
    text = os.environ.get(variable) or str(default)
    if _whole(text) < least:
        remedy = f"set it to a whole number from {least}, or unset it"
        raise InputError(f"not a number that fits: {text[:50]!r}", f"environment variable {variable}", remedy)
    return _whole(text)


def versions(packages: tuple[str, ...] | list[str] = _PACKAGES) -> dict[str, str]:
    """Installed versions of the toolkit, Python and `packages`; those that are not installed are left out."""
    found = {"paddle_ernie_tiny": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe_machine() -> dict:
    """CPU, cores, the CPU quota if there is one, threads, system and versions."""
    quota = cpu_quota()
    return {
        "cpu": cpu_name(),
        "cores": cpu_cores(),
        **({} if quota is None else {"cpu_quota": round(quota, 2)}),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
    }


def git_commit() -> str | None:
    """The commit of the toolkit's own checkout; None for an installed copy."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[1]), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def tune_process() -> None:
    """Chooses CPU threads, GEMM kernels and malloc behaviour, unless the user's environment already does.

    - Paddle starts with one GEMM thread; here it gets every core this process may use (`cpu_cores`).
    - Paddle's bundled MKL falls back to slow kernels on CPUs that are not Intel's. `MKL_DEBUG_CPU_TYPE`
      names the kernels to use: 7 for AVX-512, 5 for AVX2 (measured: 2 to 5 times the GEMM speed).
    - Paddle transposes by views, and its CPU kernels then copy those number by number. A real transpose is ten times as
      fast (measured: a fifth off a BERT's forward and backward pass). A Paddle for GPUs keeps its views.
    - glibc returns large buffers to the system after each step and faults them in again in the next; here it keeps
      those up to 1 GiB.

    Thousands of threads end in an error of the system: `OMP_NUM_THREADS` beyond 64, or beyond four per processor where
    that is more, is replaced, and that is said. `ERNIE_TINY_TUNE=0` leaves everything as it is. Call before
    `import paddle`. Raises InputError for variables that are no numbers.
    """
    for noise in ("Setuptools is replacing distutils", "pkg_resources is deprecated", "No ccache found"):
        warnings.filterwarnings("ignore", message=noise)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if os.environ.get("ERNIE_TINY_TUNE") == "0":
        return
    sharing = number_from("PADDLE_LOCAL_SIZE", 1)  # processes of a distributed run on this machine
    if "," not in os.environ.get("OMP_NUM_THREADS", ""):  # a list is OpenMP's own: threads of nested levels
        usual = max(1, cpu_cores() // sharing)
        threads, most = number_from("OMP_NUM_THREADS", usual), _most_threads()
        if threads > most:
            print(f"OMP_NUM_THREADS={threads} is more than {most}: {usual} threads are used", file=sys.stderr)
        os.environ["OMP_NUM_THREADS"] = str(threads if threads <= most else usual)
    if cpu_facts().get("vendor_id") == "AuthenticAMD" and "avx2" in cpu_flags():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512vl" in cpu_flags() else "5")
    if "paddlepaddle-gpu" not in versions(("paddlepaddle-gpu",)):
        os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)


def restore_threads() -> None:
    """Gives Paddle the threads of `tune_process` again: Paddle Inference leaves it with one, once opened and run."""
    from paddle.base import core

    core.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))


def _own_handlers_again(after: Callable[[], None] = lambda: None) -> None:
    after()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.getsignal(number) or signal.SIG_DFL)


def import_paddle() -> None:
    """Imports Paddle in a tuned process, without its note on OMP_NUM_THREADS, which `tune_process` sets.

    Signals keep the handlers of this process. Paddle would report SIGTERM as a fatal error; PaddleNLP takes its
    handlers away when it is imported, and would take ours.
    """
    tune_process()
    noise = io.StringIO()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        with contextlib.redirect_stderr(noise):
            import paddle
        if not isinstance(paddle.disable_signal_handler, functools.partial):
            paddle.disable_signal_handler = functools.partial(_own_handlers_again, paddle.disable_signal_handler)
    finally:
        _own_handlers_again()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for line in noise.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)
