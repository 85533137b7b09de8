"""What `minivid doctor` says: what this machine has, what is missing, and what works without it."""

import importlib.util
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


def _gpu() -> str:
    found = "CuPy is installed" if importlib.util.find_spec("cupy") else "CuPy is not installed"
    return f"{found}; this version of minivid has no GPU kernels yet: everything runs on the CPU"
