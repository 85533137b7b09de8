"""The GPU half: find a GPU, compile ``kernels/*.cu`` on first use, and launch them; or run them without a GPU.

    device    which of CuPy, driver and compiler are here, and what to install if one is not
    source    the text of ``kernels/<stem>.cu``, the signatures of its kernels and its tile sizes
    launcher  checks every argument of a launch against the kernel's signature, then launches
    nvrtc     compiles every kernel for several generations of GPUs, without having one
    emulator  runs the same sources on NumPy arrays on the CPU, and finds races and wild accesses

Arrays decide where a launch goes: CuPy arrays to the GPU, NumPy arrays to the emulator.
"""

from minivid.cuda.launcher import aligned, blocks, launch, resident_blocks
from minivid.cuda.source import constants

__all__ = ["aligned", "blocks", "constants", "launch", "resident_blocks"]
