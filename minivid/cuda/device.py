"""Is there a GPU that minivid can use, and if not, what is missing?"""

import functools
import importlib

__all__ = ["missing", "require"]


@functools.cache
def missing() -> str | None:
    """Say in one sentence what stands between this machine and the GPU kernels; None if nothing does.

    Returns
    -------
    str or None

    Notes
    -----
    CuPy can be imported without a driver, and without NVIDIA's run-time compiler; each is asked for by itself, in the
    order in which a user would install them. Imports CuPy, which `import minivid` does not.

    Examples
    --------
    >>> missing() is None or "GPU" in missing()
    True
    """
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        return f"no GPU: CuPy does not load ({error}); pip install 'minivid[gpu]'"
    if not cupy.cuda.is_available():
        return "no GPU: CuPy finds no NVIDIA driver or no device; install the driver, then nvidia-smi lists the GPU"
    try:
        cupy.cuda.nvrtc.getVersion()
    except RuntimeError:
        return (
            "no GPU kernels: NVIDIA's run-time compiler (NVRTC) does not load; "
            'pip install "cuda-toolkit[nvrtc,cudart]" for the CUDA version of your CuPy'
        )
    return None


def require() -> None:
    """Raise an error that says what is missing, unless the GPU can be used.

    Raises
    ------
    RuntimeError
        With the sentence of `missing`.

    Examples
    --------
    >>> require()  # doctest: +SKIP
    """
    problem = missing()
    if problem is not None:
        raise RuntimeError(problem)
