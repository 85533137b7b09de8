"""Explicit SIMD for compiled loops: one vector register as one value.

LLVM vectorises loops over arrays, but keeps running sums in memory: every multiply-add also loads and stores its
sum. A vector that is a *value* stays in a register. A vector fills a register of the machine, 64 bytes with AVX-512
and 32 elsewhere: 16 or 8 float32, half as many float64. The element type of the array it comes from decides, so one
kernel serves both precisions, and the float64 instance is the one that gradient checks run. Where registers are
narrower, LLVM splits the vectors and the code stays the same.

    x, y = load(a, i), load(b, i)                 a.flat[i : i + V] with V = width(a), and b's
    store(c, i, x * 2 + y)                        arithmetic is written as on numbers
    store(c, i, where(x < y, x, y))               comparisons give masks
    store_part(c, i, tanh(x), size - i)           no more than is left of c

A `Tile` is a block of vectors, rows x columns of them, as one value: the sums of the inner loop of a matrix product.

    sums = tile_full(x, offsets, 0.0)             as many rows as there are offsets, two vectors wide
    sums = add_outer(sums, x, offsets, q, w, i)   sums[r,c] += x.flat[offsets[r] + q] · w.flat[i + cV : i + cV + V]

How it works: Numba lets a library add a type (`Vector`), say what it is in LLVM (``<16 x float>``), and write
functions that emit LLVM instructions for it (``@intrinsic``). A function marked so is called twice over: once by
Numba's type inference, to learn the type of the result, and once to generate code. Offsets count elements from the
start of a C-contiguous array, and nothing is checked: the callers' entry points do that.
"""

import functools
import math
import operator
from decimal import Decimal, localcontext
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, overload, register_model

from minivid.jit import inner

__all__ = [
    "BYTES",
    "REGISTERS",
    "Mask",
    "Tile",
    "Vector",
    "add_inner",
    "add_inner_part",
    "add_outer",
    "add_outer_part",
    "add_outers",
    "any_of",
    "entries",
    "exp",
    "fma",
    "full",
    "full_as",
    "load",
    "load_as",
    "load_part",
    "prefetch",
    "sigmoid",
    "spaced",
    "splat",
    "sqrt",
    "store",
    "store_part",
    "stream",
    "stream_copy",
    "tanh",
    "tile_at_least",
    "tile_full",
    "tile_load",
    "tile_load_part",
    "tile_load_transposed",
    "tile_repeat",
    "tile_scatter",
    "tile_scatter_totals",
    "tile_store",
    "tile_store_totals",
    "tile_stream",
    "where",
    "width",
]


def _machine() -> tuple[int, int]:
    """Return the bytes of a vector register and how many there are, on the machine that Numba compiles for."""
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return (64, 32) if "+avx512f" in features.split(",") else (32, 16)


#: Bytes of a vector, and the vector registers that a kernel may count on.
BYTES, REGISTERS = _machine()


#: Bytes that memory and caches hand over at a time.
CACHE_LINE = 64


class Vector(types.Type):
    """Numba's type of a vector of numbers.

    Parameters
    ----------
    element : numba.types.Float or numba.types.Integer
        Type of one element.
    width : int, optional
        How many elements; by default as many as fill a register.

    Examples
    --------
    >>> Vector(types.float64).width * 2 == Vector(types.float32).width
    True
    """

    def __init__(self, element: types.Number, width: int | None = None):
        self.element = element
        self.width = width or BYTES * 8 // element.bitwidth
        super().__init__(name=f"vector({element} x {self.width})")


class Mask(types.Type):
    """Numba's type of a vector of truth values, which comparisons of vectors give.

    Parameters
    ----------
    width : int
        How many elements.

    Examples
    --------
    >>> Mask(8)
    mask(8)
    """

    def __init__(self, width: int):
        self.width = width
        super().__init__(name=f"mask({width})")


class Tile(types.Type):
    """Numba's type of a block of vectors, all of them held in registers.

    Parameters
    ----------
    vector : Vector
        Type of one vector.
    rows, columns : int
        Size of the block in vectors.

    Examples
    --------
    >>> Tile(Vector(types.float32, 8), 6, 2)
    tile(6 x 2 vector(float32 x 8))
    """

    def __init__(self, vector: Vector, rows: int, columns: int):
        self.vector, self.rows, self.columns = vector, rows, columns
        super().__init__(name=f"tile({rows} x {columns} {vector})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector: Vector):
        element = manager.lookup(vector.element).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.width))


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, mask: Mask):
        super().__init__(manager, mask, ir.VectorType(ir.IntType(1), mask.width))


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, manager, tile: Tile):
        vector = manager.lookup(tile.vector).get_value_type()
        super().__init__(manager, tile, ir.ArrayType(vector, tile.rows * tile.columns))


# --- vectors -------------------------------------------------------------------------------------------------------


@intrinsic
def width(typing_context, array):
    """Return how many elements of ``array`` one vector holds."""

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.intp, Vector(array.dtype).width)

    return types.intp(array), generate


@intrinsic
def load(typing_context, array, offset):
    """Return ``array.flat[offset : offset + width(array)]`` as a vector."""
    vector = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        return _load(builder, _address(context, builder, array, *arguments, context.get_value_type(vector)), vector)

    return vector(array, types.intp), generate


@intrinsic
def store(typing_context, array, offset, vector):
    """Write a vector to ``array.flat[offset : offset + vector.width]``."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, array, *arguments[:2], context.get_value_type(vector))
        builder.store(arguments[2], address).align = vector.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def load_part(typing_context, array, offset, count):
    """Return ``array.flat[offset : offset + count]`` and zeros as a vector; ``count`` may be more than fits."""
    vector = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, array, *arguments[:2], context.get_value_type(vector))
        result = cgutils.alloca_once(builder, address.type.pointee)
        with builder.if_else(_all_of_it(builder, arguments[2], vector), likely=True) as (whole, part):
            with whole:
                builder.store(_load(builder, address, vector), result)
            with part:
                mask = _first(builder, arguments[2], vector)
                builder.store(_load_part(builder, address, vector, mask), result)
        return builder.load(result)

    return vector(array, types.intp, types.intp), generate


@intrinsic
def store_part(typing_context, array, offset, vector, count):
    """Write the first ``count`` elements of a vector, all of them if there are no more, to ``array.flat[offset:]``."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, array, *arguments[:2], context.get_value_type(vector))
        with builder.if_else(_all_of_it(builder, arguments[3], vector), likely=True) as (whole, part):
            with whole:
                _store(builder, arguments[2], address, vector)
            with part:
                _store(builder, arguments[2], address, vector, _first(builder, arguments[3], vector))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), generate


@intrinsic
def prefetch(typing_context, array, offset, count):
    """Ask for ``array.flat[offset : offset + count]`` in the cache, without waiting: it will be needed soon."""

    def generate(context, builder, signature, arguments):
        array_value, offset_value, count_value = arguments
        zero, step = (context.get_constant(types.intp, n) for n in (0, CACHE_LINE * 8 // array.dtype.bitwidth))
        with cgutils.for_range_slice(builder, zero, count_value, step, inc=True) as (i, _):  # from 0: LLVM unrolls it
            address = _address(context, builder, array, array_value, builder.add(offset_value, i), ir.IntType(8))
            kind = ir.FunctionType(ir.VoidType(), [address.type, *[ir.IntType(32)] * 3])
            function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(function, [address, _index(0), _index(3), _index(1)])  # to read, keep it near, data
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


@intrinsic
def stream(typing_context, array, offset, vector):
    """Write a vector to ``array.flat[offset:]`` past the caches; it must begin where a vector does in memory."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, array, *arguments[:2], context.get_value_type(vector))
        _stream(builder, arguments[2], address, vector)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@inner
def stream_copy(source, start, target, offset, count):
    """Copy ``source.flat[start : start + count]`` to ``target.flat[offset:]`` past the caches.

    The target's first element must be where a vector may begin for `stream`; the offset may be any.
    """
    V = width(target)
    head = min(-offset % V, count)
    store_part(target, offset, load_part(source, start, head), head)
    tail = head + (count - head) // V * V
    for i in range(head, tail, V):
        stream(target, offset + i, load(source, start + i))
    store_part(target, offset + tail, load_part(source, start + tail, count - tail), count - tail)


@intrinsic
def splat(typing_context, array, offset):
    """Return a vector whose every element is ``array.flat[offset]``."""
    vector = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        llvm_vector = context.get_value_type(vector)
        element = builder.load(_address(context, builder, array, *arguments, llvm_vector.element))
        return _everywhere(builder, element, llvm_vector)

    return vector(array, types.intp), generate


@intrinsic
def full(typing_context, like, value):
    """Return a vector of the type of the vector, or of the elements of the array, ``like``: ``value`` everywhere."""
    vector = like if isinstance(like, Vector) else Vector(like.dtype)

    def generate(context, builder, signature, arguments):
        element = context.cast(builder, arguments[1], value, vector.element)
        return _everywhere(builder, element, context.get_value_type(vector))

    return vector(like, value), generate


@intrinsic
def fma(typing_context, a, b, c):
    """Return the vector ``a * b + c``, rounded once."""

    def generate(context, builder, signature, arguments):
        return _fma(builder, *arguments)

    return a(a, a, a), generate


@intrinsic
def where(typing_context, mask, a, b):
    """Return the vector that takes its elements from ``a`` where the mask is true, and from ``b`` elsewhere."""

    def generate(context, builder, signature, arguments):
        return builder.select(*arguments)

    return a(mask, a, a), generate


@intrinsic
def magnitude(typing_context, v):
    """Return the vector of the absolute values."""

    def generate(context, builder, signature, arguments):
        return _llvm_function(builder, "fabs", *arguments)

    return v(v), generate


@intrinsic
def with_sign(typing_context, v, sign):
    """Return the vector with the magnitudes of ``v`` and the signs of ``sign``."""

    def generate(context, builder, signature, arguments):
        return _llvm_function(builder, "copysign", *arguments)

    return v(v, v), generate


@intrinsic
def to_bits(typing_context, v):
    """Return the vector of integers that have the same bits as the floating-point numbers of ``v``."""
    bits = Vector(types.Integer.from_bitwidth(v.element.bitwidth), v.width)

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(bits))

    return bits(v), generate


@intrinsic
def from_bits(typing_context, bits, like):
    """Return the vector of the type of ``like`` that has the same bits as the integers of ``bits``."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(like))

    return like(bits, like), generate


@intrinsic
def horner(typing_context, x, coefficients):
    """Return the vector ``c[0] + c[1]·x + c[2]·x² + ...`` for a tuple c of numbers."""

    def generate(context, builder, signature, arguments):
        x_value, numbers = arguments
        llvm_vector = context.get_value_type(x)
        terms = []
        for k, kind in enumerate(coefficients):
            number = context.cast(builder, builder.extract_value(numbers, k), kind, x.element)
            terms.append(_everywhere(builder, number, llvm_vector))
        total = terms.pop()
        while terms:
            total = _fma(builder, total, x_value, terms.pop())
        return total

    return x(x, coefficients), generate


def _operator(function, instruction: str, result=None) -> None:
    """Define an operator between two vectors (or two masks), or a vector and a number."""

    @intrinsic
    def between_vectors(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return _instruction(builder, instruction, a, *arguments)

        return (result(a) if result else a)(a, a), generate

    @overload(function)
    def between(a, b):
        if isinstance(a, Vector | Mask) and a == b:
            return lambda a, b: between_vectors(a, b)
        if isinstance(a, Vector) and isinstance(b, types.Number):
            return lambda a, b: between_vectors(a, full(a, b))
        if isinstance(a, types.Number) and isinstance(b, Vector):
            return lambda a, b: between_vectors(full(b, a), b)


def _instruction(builder, name: str, kind, a, b):
    """Emit an instruction on two vectors; those of LLVM's names fadd, add, ... and comparisons like "<"."""
    integer = isinstance(kind, Mask) or isinstance(kind.element, types.Integer)
    if name in ("<", "<=", "==", "!=", ">", ">="):
        if integer:
            return builder.icmp_signed(name, a, b)
        return (builder.fcmp_unordered if name == "!=" else builder.fcmp_ordered)(name, a, b)
    emitted = getattr(builder, name if integer or name in ("and_", "or_") else "f" + name)(a, b)
    if not integer:
        emitted.flags.append("contract")
    return emitted


for _function, _name in [(operator.add, "add"), (operator.sub, "sub"), (operator.mul, "mul")]:
    _operator(_function, _name)
_operator(operator.truediv, "div")
_operator(operator.lshift, "shl")
_operator(operator.rshift, "ashr")
_operator(operator.and_, "and_")
_operator(operator.or_, "or_")
for _function, _name in [
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.eq, "=="),
    (operator.ne, "!="),
    (operator.gt, ">"),
    (operator.ge, ">="),
]:
    _operator(_function, _name, result=lambda vector: Mask(vector.width))


# --- exp, sigmoid, tanh --------------------------------------------------------------------------------------------
#
#     eˣ = 2ⁿ · (1 + q(r))      n = x / ln 2, rounded to a whole number;  r = x − n · ln 2,  |r| ≤ ln 2 / 2
#     q(r) = eʳ − 1 = r + r²/2! + r³/3! + ...                             (Taylor)
#
# r is the difference of two nearly equal numbers, so ln 2 is taken in two parts, high + low, together twice as long
# as a number. The product n · high is not rounded inside the fma, and its difference from x fits into a number.
# docs/simd.md explains all this slowly.


class _Format(NamedTuple):
    """What exp needs to know of a floating-point format; every number follows from the format."""

    mantissa: int  # bits after the point
    bias: int  # of the exponent, in bits
    shift: float  # 1.5 · 2^mantissa: adding it rounds to a whole number, which ends up in the lowest bits
    ln2_high: float
    ln2_low: float
    lowest: float  # e^lowest rounds to zero
    highest: float  # e^highest overflows
    one: float  # tanh of it, and of all above, rounds to one
    taylor: tuple[float, ...]  # 1/2!, 1/3!, ...: the first term left out is below a fifth of a unit in the last place


def _format(dtype, terms: int) -> _Format:
    info = np.finfo(dtype)
    high = float(dtype(math.log(2)))
    with localcontext(prec=60):
        low = float(Decimal(2).ln() - Decimal(high))
    return _Format(
        mantissa=info.nmant,
        bias=info.maxexp - 1,
        shift=1.5 * 2.0**info.nmant,
        ln2_high=high,
        ln2_low=low,
        lowest=math.log(2) * (info.minexp - info.nmant) - 1,
        highest=math.log(2) * info.maxexp + 1,
        one=math.log(2) * (info.nmant + 5) / 2,
        taylor=tuple(1 / math.factorial(k) for k in range(2, terms + 1)),
    )


_SINGLE, _DOUBLE = _format(np.float32, terms=7), _format(np.float64, terms=13)


def _format_of(v):
    """Return the format of the elements of a vector."""


@overload(_format_of)
def _overload_format_of(v):
    if v.element == types.float32:
        return lambda v: _SINGLE
    return lambda v: _DOUBLE


@inner(forceinline=True)
def _reduce(x):
    """Return n as the lowest bits of a vector, and r: x = n · ln 2 + r."""
    f = _format_of(x)
    shifted = fma(x, full(x, 1 / f.ln2_high), full(x, f.shift))
    n = shifted - f.shift
    r = fma(n, full(x, -f.ln2_high), x)
    return to_bits(shifted) - to_bits(full(x, f.shift)), fma(n, full(x, -f.ln2_low), r)


@inner(forceinline=True)
def _exp_minus_1(r):
    """Return eʳ − 1 for |r| ≤ ln 2 / 2."""
    return fma(r * r, horner(r, _format_of(r).taylor), r)


@inner(forceinline=True)
def _power_of_2(n, like):
    """Return 2ⁿ for whole n in the range of normal numbers: n is the exponent, and the mantissa is zero."""
    f = _format_of(like)
    return from_bits((n + f.bias) << f.mantissa, like)


@inner(forceinline=True)
def exp(x):
    """Return eˣ of a vector.

    The error is below 1.1 units in the last place (tests/test_simd.py).
    Infinities, NaN and results too small for full precision (denormal) are right.
    """
    f = _format_of(x)
    x = where(x > f.highest, full(x, f.highest), x)  # NaN stays
    x = where(x < f.lowest, full(x, f.lowest), x)
    n, r = _reduce(x)
    half = n >> 1  # 2ⁿ itself may be too large or too small for a number where the result is not
    power = _power_of_2(half, x)
    return fma(power, _exp_minus_1(r), power) * _power_of_2(n - half, x)


_LIFT = 64  # doublings that bring the smallest results into the range of normal numbers


@inner(forceinline=True)
def sigmoid(x):
    """Return 1 / (1 + e⁻ˣ) of a vector.

    The error is below 2.5 units in the last place (tests/test_simd.py).
    Infinities, NaN and results too small for full precision (denormal) are right.
    """
    f = _format_of(x)
    size = -1 * magnitude(x)
    n, r = _reduce(where(size < f.lowest, full(x, f.lowest), size))
    power = _power_of_2(n + _LIFT, x)
    e = fma(power, _exp_minus_1(r), power) * 2.0**-_LIFT  # e^−|x|, at most 1
    return where(x < 0, e, full(x, 1)) / (1 + e)  # times eˣ/eˣ where x < 0


@inner(forceinline=True)
def tanh(x):
    """Return tanh x = (e²ˣ − 1) / (e²ˣ + 1) of a vector.

    The error is below 2.5 units in the last place (tests/test_simd.py).
    Infinities, NaN, signed zeros and tiny numbers are right.
    """
    f = _format_of(x)
    size = magnitude(x)
    n, r = _reduce(2 * where(size > f.one, full(x, f.one), size))
    scale = _power_of_2(n, x)
    e = fma(scale, _exp_minus_1(r), scale - 1)  # e²ˣ − 1, which keeps its digits where x is small
    return with_sign(e / (e + 2), x)


@intrinsic
def sqrt(typing_context, a):
    """Return the square roots of a vector."""

    def generate(context, builder, signature, arguments):
        llvm_vector = arguments[0].type
        name = f"llvm.sqrt.v{a.width}f{a.element.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(llvm_vector, [llvm_vector]), name)
        return builder.call(function, arguments)

    return a(a), generate


# --- masks, and vectors of the small integers that number the taps of a window -------------------------------------


@intrinsic
def any_of(typing_context, mask):
    """Return whether a mask is true anywhere."""

    def generate(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[0], ir.IntType(mask.width))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    return types.boolean(mask), generate


@intrinsic
def load_as(typing_context, like, array, offset):
    """Return as many elements of ``array.flat[offset:]`` as the vector ``like`` has, of the array's own type."""
    vector = Vector(array.dtype, like.width)

    def generate(context, builder, signature, arguments):
        return _load(builder, _address(context, builder, array, *arguments[1:], context.get_value_type(vector)), vector)

    return vector(like, array, types.intp), generate


@intrinsic
def full_as(typing_context, like, array, value):
    """Return a vector as long as ``like``, of the elements of the array: ``value`` everywhere."""
    vector = Vector(array.dtype, like.width)

    def generate(context, builder, signature, arguments):
        element = context.cast(builder, arguments[2], value, vector.element)
        return _everywhere(builder, element, context.get_value_type(vector))

    return vector(like, array, value), generate


# --- tiles ---------------------------------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def entries(typing_context, array, first, count):
    """Return the tuple ``array.flat[first : first + count]``; ``count`` is a constant."""
    result = types.UniTuple(array.dtype, count.literal_value)

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, array, *arguments[:2], context.get_value_type(array.dtype))
        values = [builder.load(builder.gep(address, [_index(r)])) for r in range(result.count)]
        return context.make_tuple(builder, result, values)

    return result(array, types.intp, count), generate


@intrinsic(prefer_literal=True)
def spaced(typing_context, first, step, count):
    """Return the tuple ``first, first + step, first + 2 * step, ...`` of ``count`` numbers, a constant."""
    result = types.UniTuple(types.intp, count.literal_value)

    def generate(context, builder, signature, arguments):
        first_value, step_value, _ = arguments
        values = [
            builder.add(first_value, builder.mul(step_value, context.get_constant(types.intp, i)))
            for i in range(result.count)
        ]
        return context.make_tuple(builder, result, values)

    return result(types.intp, types.intp, count), generate


@intrinsic(prefer_literal=True)
def tile_full(typing_context, like, rows, columns, value):
    """Return a tile of rows x columns (constants) vectors of the elements of ``like``, filled with ``value``."""
    tile = Tile(Vector(like.dtype), rows.literal_value, columns.literal_value)

    def generate(context, builder, signature, arguments):
        element = context.cast(builder, arguments[3], value, tile.vector.element)
        vector = _everywhere(builder, element, context.get_value_type(tile.vector))
        return _gather(context, builder, tile, [vector] * (tile.rows * tile.columns))

    return tile(like, rows, columns, value), generate


@intrinsic(prefer_literal=True)
def tile_repeat(typing_context, array, offset, rows, columns):
    """Return a tile whose every row is ``array.flat[offset : offset + columns * V]``; rows, columns: constants."""
    tile = Tile(Vector(array.dtype), rows.literal_value, columns.literal_value)

    def generate(context, builder, signature, arguments):
        row = _vectors(context, builder, array, *arguments[:2], tile)
        return _gather(context, builder, tile, row * tile.rows)

    return tile(array, types.intp, rows, columns), generate


@intrinsic(prefer_literal=True)
def tile_load(typing_context, array, offset, step, rows, columns):
    """Return a tile of rows x columns vectors, row r beginning at ``array.flat[offset + r * step]``."""
    tile = Tile(Vector(array.dtype), rows.literal_value, columns.literal_value)

    def generate(context, builder, signature, arguments):
        vectors = []
        for start in _row_starts(builder, *arguments[1:3], tile.rows):
            vectors += _vectors(context, builder, array, arguments[0], start, tile)
        return _gather(context, builder, tile, vectors)

    return tile(array, types.intp, types.intp, rows, columns), generate


@intrinsic
def tile_store(typing_context, array, offset, step, tile):
    """Write row r of a tile to ``array.flat`` from ``offset + r * step`` on."""

    def generate(context, builder, signature, arguments):
        for r, start in enumerate(_row_starts(builder, *arguments[1:3], tile.rows)):
            address = _address(context, builder, array, arguments[0], start, context.get_value_type(tile.vector))
            for c in range(tile.columns):
                value = builder.extract_value(arguments[3], r * tile.columns + c)
                builder.store(value, builder.gep(address, [_index(c)])).align = tile.vector.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, tile), generate


@intrinsic(prefer_literal=True)
def tile_load_part(typing_context, array, offset, step, rows, columns, count):
    """Like `tile_load`, reading only the first ``count`` elements of each row: the rest count as zeros."""
    tile = Tile(Vector(array.dtype), rows.literal_value, columns.literal_value)

    def generate(context, builder, signature, arguments):
        masks, vectors = _part_masks(builder, arguments[5], tile), []
        for start in _row_starts(builder, *arguments[1:3], tile.rows):
            vectors += _vectors(context, builder, array, arguments[0], start, tile, masks)
        return _gather(context, builder, tile, vectors)

    return tile(array, types.intp, types.intp, rows, columns, types.intp), generate


@intrinsic
def tile_at_least(typing_context, tile, low):
    """Return the tile with numbers below ``low`` raised to it; NaN stays NaN."""

    def generate(context, builder, signature, arguments):
        llvm_vector = context.get_value_type(tile.vector)
        floor = _everywhere(builder, context.cast(builder, arguments[1], low, tile.vector.element), llvm_vector)
        raised = []
        for at in range(tile.rows * tile.columns):
            value = builder.extract_value(arguments[0], at)
            raised.append(builder.select(builder.fcmp_ordered("<", value, floor), floor, value))
        return _gather(context, builder, tile, raised)

    return tile(tile, low), generate


@intrinsic
def tile_stream(typing_context, array, offsets, q, tile):
    """Like `tile_scatter` for whole rows, past the caches: every vector must begin where one does in memory."""

    def generate(context, builder, signature, arguments):
        array_value, offset_tuple, q_value, tile_value = arguments
        for r in range(tile.rows):
            start = builder.add(builder.extract_value(offset_tuple, r), q_value)
            row = _address(context, builder, array, array_value, start, context.get_value_type(tile.vector))
            for c in range(tile.columns):
                value = builder.extract_value(tile_value, r * tile.columns + c)
                _stream(builder, value, builder.gep(row, [_index(c)]), tile.vector)
        return context.get_dummy_value()

    return types.void(array, offsets, types.intp, tile), generate


@intrinsic
def tile_scatter(typing_context, array, offsets, q, tile, count):
    """Write the first ``count`` elements of row r of a tile to ``array.flat`` from ``offsets[r] + q`` on."""

    def generate(context, builder, signature, arguments):
        array_value, offset_tuple, q_value, tile_value, count_value = arguments
        whole = builder.icmp_signed(
            ">=", count_value, context.get_constant(types.intp, tile.columns * tile.vector.width)
        )
        part = _part_masks(builder, count_value, tile)
        with builder.if_else(whole) as (all_of_it, some_of_it):
            for side, masks in [(all_of_it, [None] * tile.columns), (some_of_it, part)]:
                with side:
                    for r in range(tile.rows):
                        start = builder.add(builder.extract_value(offset_tuple, r), q_value)
                        row = _address(context, builder, array, array_value, start, context.get_value_type(tile.vector))
                        for c in range(tile.columns):
                            value = builder.extract_value(tile_value, r * tile.columns + c)
                            _store(builder, value, builder.gep(row, [_index(c)]), tile.vector, masks[c])
        return context.get_dummy_value()

    return types.void(array, offsets, types.intp, tile, types.intp), generate


@intrinsic
def tile_load_transposed(typing_context, array, offset, step):
    """Return the transpose of V rows of V elements, row r beginning at ``array.flat[offset + r * step]``."""
    tile = Tile(Vector(array.dtype), Vector(array.dtype).width, 1)
    V = tile.rows

    def generate(context, builder, signature, arguments):
        starts = _row_starts(builder, *arguments[1:], V)
        rows = [_vectors(context, builder, array, arguments[0], start, tile)[0] for start in starts]
        # Swap bit by bit: an element's row and column exchange their bits of value 1, then those of value 2, ...
        bit = 1
        while bit < V:
            for r in [r for r in range(V) if not r & bit]:
                upper, lower = rows[r], rows[r | bit]
                rows[r] = _picked(builder, upper, lower, [c if not c & bit else V + c - bit for c in range(V)])
                rows[r | bit] = _picked(builder, upper, lower, [V + c if c & bit else c + bit for c in range(V)])
            bit *= 2
        return _gather(context, builder, tile, rows)

    return tile(array, types.intp, types.intp), generate


@intrinsic
def add_outer(typing_context, tile, x, offsets, q, w, i):
    """Return ``tile[r,c] + x.flat[offsets[r] + q] * w.flat[i + cV : i + cV + V]`` for all rows r and columns c.

    One step of a sum of outer products: a column of x, one number per row, times a row of w, one vector per column.
    """

    def generate(context, builder, signature, arguments):
        sums, x_array, offset_tuple, q_value, w_array, i_value = arguments
        w_row = _vectors(context, builder, w, w_array, i_value, tile)
        return _add_outer(context, builder, tile, sums, x, x_array, offset_tuple, q_value, w_row)

    return tile(tile, x, offsets, types.intp, w, types.intp), generate


@inner(forceinline=True)
def add_outers(tile, x, offsets, q, count, w, i, step):
    """Return the tile plus ``count`` outer products: `add_outer` at (q, i), (q + 1, i + step), and so on.

    Two in a round of the loop: an Intel core of 2024 then is 1.1 times as fast.
    """
    for k in range(0, count // 2 * 2, 2):
        tile = add_outer(tile, x, offsets, q + k, w, i + k * step)
        tile = add_outer(tile, x, offsets, q + k + 1, w, i + k * step + step)
    if count % 2:
        tile = add_outer(tile, x, offsets, q + count - 1, w, i + (count - 1) * step)
    return tile


@intrinsic
def add_outer_part(typing_context, tile, x, offsets, q, w, i, count):
    """Like `add_outer`, reading only ``count`` elements of w: the rest count as zeros."""

    def generate(context, builder, signature, arguments):
        sums, x_array, offset_tuple, q_value, w_array, i_value, count_value = arguments
        masks = _part_masks(builder, count_value, tile)
        w_row = _vectors(context, builder, w, w_array, i_value, tile, masks)
        return _add_outer(context, builder, tile, sums, x, x_array, offset_tuple, q_value, w_row)

    return tile(tile, x, offsets, types.intp, w, types.intp, types.intp), generate


@intrinsic
def add_inner(typing_context, tile, x, offsets, q, w, i, step):
    """Return ``tile[r,c] + x.flat[offsets[r] + q :] * w.flat[i + c * step :]``, vectors, for all rows r and columns c.

    One step of inner products, whose values are the totals of the vectors in the end (`tile_scatter_totals`).
    """

    def generate(context, builder, signature, arguments):
        return _add_inner(context, builder, signature, arguments, _load)

    return tile(tile, x, offsets, types.intp, w, types.intp, types.intp), generate


@intrinsic
def add_inner_part(typing_context, tile, x, offsets, q, w, i, step, count):
    """Like `add_inner`, reading only ``count`` elements of each row of x: the rest count as zeros."""

    def generate(context, builder, signature, arguments):
        mask = _first(builder, arguments[-1], tile.vector)
        return _add_inner(context, builder, signature, arguments[:-1], functools.partial(_load_part, mask=mask))

    return tile(tile, x, offsets, types.intp, w, types.intp, types.intp, types.intp), generate


@intrinsic
def tile_scatter_totals(typing_context, array, offsets, q, tile, b, f, low, count):
    """Write the sums of the elements of each vector of a tile, plus ``b.flat[f + c]``, and at least ``low``.

    Those of row r go to ``array.flat`` from ``offsets[r] + q`` on, of the first ``count`` columns c only.
    """

    def generate(context, builder, signature, arguments):
        array_value, offset_tuple, q_value, tile_value, b_array, f_value, low_value, count_value = arguments
        element = context.get_value_type(tile.vector.element)
        bias = _address(context, builder, b, b_array, f_value, element)
        for c in range(tile.columns):
            with builder.if_then(builder.icmp_signed(">", count_value, ir.Constant(count_value.type, c)), likely=True):
                bias_c = builder.load(builder.gep(bias, [_index(c)]))
                for r in range(tile.rows):
                    vector = builder.extract_value(tile_value, r * tile.columns + c)
                    total = builder.extract_element(_totals(builder, [vector])[0], _index(0))
                    total = builder.fadd(bias_c, total)
                    total = builder.select(builder.fcmp_ordered("<", total, low_value), low_value, total)
                    start = builder.add(builder.extract_value(offset_tuple, r), q_value)
                    row = _address(context, builder, array, array_value, start, element)
                    builder.store(total, builder.gep(row, [_index(c)]))
        return context.get_dummy_value()

    return types.void(array, offsets, types.intp, tile, b, types.intp, tile.vector.element, types.intp), generate


@intrinsic
def tile_store_totals(typing_context, array, offset, tile):
    """Write the sums of the elements of each vector of a tile, whose columns and rows are powers of 2, one by one."""

    def generate(context, builder, signature, arguments):
        vectors = [builder.extract_value(arguments[2], at) for at in range(tile.rows * tile.columns)]
        totals = _totals(builder, vectors)
        for at, vector in enumerate(totals):
            start = builder.add(arguments[1], ir.Constant(arguments[1].type, at * vector.type.count))
            address = _address(context, builder, array, arguments[0], start, vector.type)
            builder.store(vector, address).align = tile.vector.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, tile), generate


# --- the LLVM underneath -------------------------------------------------------------------------------------------


def _address(context, builder, array, array_value, offset, llvm_type):
    """Return a pointer of ``llvm_type`` to ``array.flat[offset]``.

    Indexing the array instead would test every index for being negative.
    """
    data = context.make_array(array)(context, builder, array_value).data
    return builder.bitcast(builder.gep(data, [offset]), llvm_type.as_pointer())


def _index(value: int) -> ir.Constant:
    return ir.Constant(ir.IntType(32), value)


def _load(builder, address, vector: Vector):
    value = builder.load(address)
    value.align = vector.element.bitwidth // 8
    return value


def _picked(builder, a, b, at):
    """Return the vector of the elements ``at`` of the vectors a and b, one after the other."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(at)), list(at)))


def _everywhere(builder, element, llvm_vector):
    undefined = ir.Constant(llvm_vector, ir.Undefined)
    first = builder.insert_element(undefined, element, _index(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), llvm_vector.count), [0] * llvm_vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _fma(builder, a, b, c):
    return _llvm_function(builder, "fma", a, b, c)


def _llvm_function(builder, name: str, *vectors):
    """Call one of the functions that LLVM has for vectors of floating-point numbers."""
    kind = vectors[0].type
    bits = {"float": 32, "double": 64}[str(kind.element)]
    signature = ir.FunctionType(kind, [kind] * len(vectors))
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.{name}.v{kind.count}f{bits}")
    return builder.call(function, vectors)


def _all_of_it(builder, count, vector: Vector):
    return builder.icmp_signed(">=", count, ir.Constant(count.type, vector.width))


def _first(builder, count, vector: Vector):
    """Return a mask that is true for the first ``count`` elements."""
    lanes = ir.VectorType(ir.IntType(64), vector.width)
    return builder.icmp_signed("<", ir.Constant(lanes, list(range(vector.width))), _everywhere(builder, count, lanes))


def _vectors(context, builder, array, array_value, offset, tile: Tile, masks: list | None = None) -> list:
    """Load the vectors of one row of a tile; of those with a mask only where it is true."""
    address = _address(context, builder, array, array_value, offset, context.get_value_type(tile.vector))
    addresses = [builder.gep(address, [_index(c)]) for c in range(tile.columns)]
    if masks is None:
        return [_load(builder, a, tile.vector) for a in addresses]
    return [_load_part(builder, a, tile.vector, mask) for a, mask in zip(addresses, masks, strict=True)]


def _add_outer(context, builder, tile: Tile, sums, x, x_array, offsets, q, w_row: list):
    llvm_vector = context.get_value_type(tile.vector)
    for r in range(tile.rows):
        offset = builder.add(builder.extract_value(offsets, r), q)
        element = builder.load(_address(context, builder, x, x_array, offset, llvm_vector.element))
        x_splat = _everywhere(builder, element, llvm_vector)
        for c in range(tile.columns):
            at = r * tile.columns + c
            total = _fma(builder, x_splat, w_row[c], builder.extract_value(sums, at))
            sums = builder.insert_value(sums, total, at)
    return sums


def _totals(builder, vectors: list) -> list:
    """Return the sums of the elements of each of so many vectors, a power of 2, as elements of vectors.

    The halves of two vectors are added side by side, then the halves of the halves, until groups are of one element.
    """
    size = vectors[0].type.count
    while size > 1:
        added = []
        for a, b in zip(vectors[::2], vectors[1::2] or vectors, strict=True):
            elements = range(a.type.count * min(2, len(vectors)))
            lower = _picked(builder, a, b, [i for i in elements if i % size < size // 2])
            upper = _picked(builder, a, b, [i for i in elements if i % size >= size // 2])
            added.append(builder.fadd(lower, upper))
        vectors, size = added, size // 2
    return vectors


def _add_inner(context, builder, signature, arguments, load_x):
    tile, x, _, _, w, *_ = signature.args
    sums, x_array, offsets, q, w_array, i, step = arguments
    llvm_vector = context.get_value_type(tile.vector)
    w_vectors = []
    for start in _row_starts(builder, i, step, tile.columns):
        w_vectors.append(_load(builder, _address(context, builder, w, w_array, start, llvm_vector), tile.vector))
    for r in range(tile.rows):
        offset = builder.add(builder.extract_value(offsets, r), q)
        x_vector = load_x(builder, _address(context, builder, x, x_array, offset, llvm_vector), tile.vector)
        for c in range(tile.columns):
            at = r * tile.columns + c
            total = _fma(builder, x_vector, w_vectors[c], builder.extract_value(sums, at))
            sums = builder.insert_value(sums, total, at)
    return sums


def _part_masks(builder, count, tile: Tile) -> list:
    """Return a mask for each column of a tile: true for the first ``count`` elements of the row."""
    lanes = ir.VectorType(ir.IntType(64), tile.vector.width)
    limit = _everywhere(builder, count, lanes)
    first = [range(c * tile.vector.width, (c + 1) * tile.vector.width) for c in range(tile.columns)]
    return [builder.icmp_signed("<", ir.Constant(lanes, list(elements)), limit) for elements in first]


def _stream(builder, value, address, vector: Vector) -> None:
    written = builder.store(value, address)
    written.align = vector.width * vector.element.bitwidth // 8
    written.set_metadata("nontemporal", builder.module.add_metadata([_index(1)]))


def _load_part(builder, address, vector: Vector, mask):
    kind, bits = address.type.pointee, vector.element.bitwidth
    signature = ir.FunctionType(kind, [address.type, ir.IntType(32), mask.type, kind])
    name = f"llvm.masked.load.v{vector.width}f{bits}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    zeros = ir.Constant(kind, [0.0] * vector.width)
    return builder.call(function, [address, _index(bits // 8), mask, zeros])


def _store(builder, value, address, vector: Vector, mask=None) -> None:
    bits = vector.element.bitwidth
    if mask is None:
        builder.store(value, address).align = bits // 8
        return
    signature = ir.FunctionType(ir.VoidType(), [value.type, address.type, ir.IntType(32), mask.type])
    name = f"llvm.masked.store.v{vector.width}f{bits}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    builder.call(function, [value, address, _index(bits // 8), mask])


def _row_starts(builder, offset, step, rows: int) -> list:
    starts = [offset]
    for _ in range(rows - 1):
        starts.append(builder.add(starts[-1], step))
    return starts


def _gather(context, builder, tile: Tile, vectors: list):
    value = ir.Constant(context.get_value_type(tile), ir.Undefined)
    for at, vector in enumerate(vectors):
        value = builder.insert_value(value, vector, at)
    return value
