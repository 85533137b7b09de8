"""What `minivid doctor` says: what this machine has, what is missing, and what works without it."""

import platform
from importlib.metadata import version

import minivid
from minivid import jit

__all__ = ["report"]


def report() -> str:
    """Return the findings, one line each.

    Examples
    --------
    >>> print(report().splitlines()[0])
    minivid 0.1.0
    """
    findings = {
        "Python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "NumPy, Numba": f"{version('numpy')}, {version('numba')}",
        "threads": _threads(),
        "cache": _cache(),
        "video": _video(),
        "pictures": f"Matplotlib {version('matplotlib')}, Pillow {version('pillow')}",
        "emulator": _emulator(),
        "compile check": _compile_check(),
        "GPU": _gpu(),
    }
    width = max(map(len, findings))
    return "\n".join([f"minivid {minivid.__version__}", *(f"  {k:<{width}}  {v}" for k, v in findings.items())])


def _threads() -> str:
    import numba

    return f"{numba.get_num_threads()} (set NUMBA_NUM_THREADS to change)"


def _cache() -> str:
    home = jit.cache_home()
    if home is None:
        return "no writable folder: loops are compiled anew in every process; set MINIVID_CACHE_DIR"
    return f"{home} (set MINIVID_CACHE_DIR to move it)"


def _video() -> str:
    try:
        import av
    except ImportError as error:
        return f"PyAV does not load ({error}): no MP4; GIFs and folders of images still work; pip install av"
    encoder = (
        "reads video, writes MP4" if "libx264" in av.codecs_available else "reads video, no H.264 encoder: write GIF"
    )
    return f"PyAV {av.__version__}: {encoder}"


def _emulator() -> str:
    from minivid.cuda.emulator import compiler

    found = compiler()
    if found is None:
        return (
            "no C++ compiler, so CUDA kernels do not run without a GPU; install g++ (Linux) or Xcode's clang++ (macOS)"
        )
    return f"CUDA kernels run on the CPU, built by {found}"


def _compile_check() -> str:
    from minivid.cuda import nvrtc

    return nvrtc.missing() or f"NVRTC {nvrtc.version()}: `minivid cuda compile` checks the kernels for any GPU"


def _gpu() -> str:
    from minivid.cuda.device import missing

    problem = missing()
    if problem is not None:
        return f"{problem}; everything else runs without"
    import cupy

    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"{name}, CuPy {cupy.__version__}: model.to('gpu')"
