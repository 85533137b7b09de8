"""How many warps of a kernel a multiprocessor holds at a time: the rules of the CUDA C++ Programming Guide.

A multiprocessor takes whole blocks as long as all four of its stocks last:

    warps        a block takes its threads / 32, rounded up
    blocks       at most so many
    registers    each warp takes 32 times those of a thread, rounded up to 256, from one of four equal parts
    shared       each block takes its own bytes and those of the system, rounded up

The occupancy is the warps that fit, as a part of the warps that the multiprocessor could hold. While one warp waits for
memory, another computes; so a kernel needs enough warps, but not more. A register tile, which has independent
arithmetic in each thread, does well with a quarter.
"""

from typing import NamedTuple

__all__ = ["ARCHITECTURES", "Architecture", "blocks_that_fit", "occupancy"]

WARP = 32  # threads that run in step
REGISTERS, PARTS, REGISTER_UNIT = 65536, 4, 256  # per multiprocessor, in so many parts, given out in units


class Architecture(NamedTuple):
    """The stocks of one multiprocessor."""

    warps: int
    blocks: int
    shared: int  # bytes
    system_shared: int  # bytes of shared memory that the system takes per block
    shared_unit: int  # bytes


#: Turing (2018: T4, RTX 20), Ampere (2020: A100) and Hopper (2022: H100, H200).
ARCHITECTURES = {
    "sm_75": Architecture(32, 16, 64 * 1024, 0, 256),
    "sm_80": Architecture(64, 32, 164 * 1024, 1024, 128),
    "sm_90": Architecture(64, 32, 228 * 1024, 1024, 128),
}


def blocks_that_fit(architecture: str, threads: int, registers: int, shared: int) -> int:
    """Return how many blocks of a kernel one multiprocessor holds at a time.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    threads : int
        Per block.
    registers : int
        Per thread.
    shared : int
        Bytes of shared memory per block.

    Returns
    -------
    int
        0 if not even one block fits.

    Notes
    -----
    Tables 15 and following of the CUDA C++ Programming Guide, "Compute Capabilities".

    Examples
    --------
    >>> blocks_that_fit("sm_90", threads=256, registers=128, shared=16 * 1024)
    2
    """
    stock = ARCHITECTURES[architecture]
    warps = _units(threads, WARP)
    registers_per_warp = WARP * registers
    registers_per_warp = REGISTER_UNIT * _units(registers_per_warp, REGISTER_UNIT)
    warps_by_registers = PARTS * (REGISTERS // PARTS // registers_per_warp)
    shared_per_block = stock.shared_unit * _units(shared + stock.system_shared, stock.shared_unit)
    by_shared = stock.shared // shared_per_block if shared_per_block else stock.blocks
    return min(stock.warps // warps, stock.blocks, warps_by_registers // warps, by_shared)


def occupancy(architecture: str, threads: int, registers: int, shared: int) -> float:
    """Return the warps that one multiprocessor holds at a time, as a part of the most that it could hold.

    Parameters
    ----------
    architecture : str
        A key of `ARCHITECTURES`.
    threads : int
        Per block.
    registers : int
        Per thread.
    shared : int
        Bytes of shared memory per block.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> occupancy("sm_90", threads=256, registers=128, shared=16 * 1024)
    0.25
    """
    blocks = blocks_that_fit(architecture, threads, registers, shared)
    return blocks * _units(threads, WARP) / ARCHITECTURES[architecture].warps


def _units(size: int, unit: int) -> int:
    return -(-size // unit)
