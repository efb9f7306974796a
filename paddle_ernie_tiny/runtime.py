"""Process settings that must be in place before Paddle is imported."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
import warnings


def tune_process() -> None:
    """Chooses CPU threads, GEMM kernels and malloc behaviour, unless the user's environment already does.

    - Paddle starts with one GEMM thread; here it gets every core this process may use.
    - Paddle's bundled MKL falls back to slow kernels on CPUs that are not Intel's. `MKL_DEBUG_CPU_TYPE`
      names the kernels to use: 7 for AVX-512, 5 for AVX2 (measured: 2 to 5 times the GEMM speed).
    - glibc returns large buffers to the system after each step and faults them in again in the next.

    `ERNIE_TINY_TUNE=0` leaves everything as it is. Call before `import paddle`.
    """
    warnings.filterwarnings("ignore", message="Setuptools is replacing distutils")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message="No ccache found")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if os.environ.get("ERNIE_TINY_TUNE") == "0":
        return
    sharing = int(os.environ.get("PADDLE_LOCAL_SIZE") or 1)  # processes of a distributed run on this machine
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_cores() // sharing)))
    vendor, flags = _cpu()
    if vendor == "AuthenticAMD" and "avx2" in flags:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512vl" in flags else "5")
    if sys.platform == "linux":
        keep_memory_in_process()


def cpu_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_paddle() -> None:
    """Imports Paddle without its note that OMP_NUM_THREADS is not 1, which `tune_process` means."""
    noise = io.StringIO()
    with contextlib.redirect_stderr(noise):
        import paddle  # noqa: F401
    for line in noise.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)


def keep_memory_in_process() -> None:
    """Raises glibc's mmap and trim thresholds to 1 GiB (no effect on other C libraries)."""
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)
    except (OSError, AttributeError):
        return


def _cpu() -> tuple[str, set[str]]:
    vendor, flags = "", set()
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() == "vendor_id":
                    vendor = value.strip()
                elif key.strip() == "flags":
                    return vendor, set(value.split())
    except OSError:
        pass
    return vendor, flags
