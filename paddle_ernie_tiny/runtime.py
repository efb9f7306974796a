"""Process settings that must be made before Paddle is imported. The command line and the Python API make them."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
import warnings

from .machine import cpu_cores, cpu_facts, cpu_flags


def tune_process() -> None:
    """Chooses CPU threads, GEMM kernels and malloc behaviour, unless the user's environment already does.

    - Paddle starts with one GEMM thread; here it gets every core this process may use.
    - Paddle's bundled MKL falls back to slow kernels on CPUs that are not Intel's. `MKL_DEBUG_CPU_TYPE`
      names the kernels to use: 7 for AVX-512, 5 for AVX2 (measured: 2 to 5 times the GEMM speed).
    - glibc returns large buffers to the system after each step and faults them in again in the next.

    `ERNIE_TINY_TUNE=0` leaves everything as it is. Call before `import paddle`.
    """
    for noise in ("Setuptools is replacing distutils", "pkg_resources is deprecated", "No ccache found"):
        warnings.filterwarnings("ignore", message=noise)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if os.environ.get("ERNIE_TINY_TUNE") == "0":
        return
    sharing = int(os.environ.get("PADDLE_LOCAL_SIZE") or 1)  # processes of a distributed run on this machine
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpu_cores() // sharing)))
    if cpu_facts().get("vendor_id") == "AuthenticAMD" and "avx2" in cpu_flags():
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "7" if "avx512vl" in cpu_flags() else "5")
    if sys.platform == "linux":
        _keep_memory_in_process()


def import_paddle() -> None:
    """Imports Paddle without its note that OMP_NUM_THREADS is not 1, which `tune_process` means."""
    noise = io.StringIO()
    with contextlib.redirect_stderr(noise):
        import paddle  # noqa: F401
    for line in noise.getvalue().splitlines():
        if "OMP_NUM_THREADS" not in line:
            print(line, file=sys.stderr)


def _keep_memory_in_process() -> None:
    """Raises glibc's mmap and trim thresholds to 1 GiB (no effect on other C libraries)."""
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)
    except (OSError, AttributeError):
        return
