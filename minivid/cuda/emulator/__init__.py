"""Run CUDA kernels on NumPy arrays, without a GPU, and find what is wrong with them.

    build       rewrites a ``.cu`` file as C++ and compiles it
    module      launches a kernel: ``RawModule(code).get_function(name)(grid, block, args)``, as CuPy spells it
    report      puts what was found into words
    profiling   counts what the accesses of each line would cost on a GPU
    checking    checks a file that says itself how to launch its kernels

The rest is C++: ``shim.h`` gives the words of CUDA a meaning, ``scheduler.cpp`` runs the threads as ``fibers.cpp``,
``checker.cpp`` watches their accesses to memory, ``profile.cpp`` counts them. docs/cuda_emulator.md explains how.
"""

from minivid.cuda.emulator.build import EmulatorError, compiler
from minivid.cuda.emulator.checking import check_file
from minivid.cuda.emulator.module import RawModule, mode, schedule
from minivid.cuda.emulator.profiling import profile, table

__all__ = ["EmulatorError", "RawModule", "check_file", "compiler", "mode", "profile", "schedule", "table"]
