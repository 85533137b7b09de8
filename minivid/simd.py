"""Explicit SIMD for compiled loops: one vector register as one value.

LLVM vectorises loops over arrays, but keeps running sums in memory: every multiply-add also loads and stores its
sum. A vector that is a *value* stays in a register. A vector fills a register of the machine, 64 bytes with AVX-512
and 32 elsewhere: 16 or 8 float32, half as many float64. The element type of the array it comes from decides, so one
kernel serves both precisions, and the float64 instance is the one that gradient checks run. Where registers are
narrower, LLVM splits the vectors and the code stays the same.

    x, y = load(a, i), load(b, i)                 a.flat[i : i + V] with V = width(a), and b's
    store(c, i, x * 2 + y)                        arithmetic is written as on numbers
    store(c, i, where(x < y, x, y))               comparisons give masks

A `Tile` is a block of vectors, rows x columns of them, as one value: the sums of the inner loop of a matrix product.

    sums = tile_full(x, offsets, 0.0)             as many rows as there are offsets, two vectors wide
    sums = add_outer(sums, x, offsets, q, w, i)   sums[r,c] += x.flat[offsets[r] + q] · w.flat[i + cV : i + cV + V]

How it works: Numba lets a library add a type (`Vector`), say what it is in LLVM (``<16 x float>``), and write
functions that emit LLVM instructions for it (``@intrinsic``). A function marked so is called twice over: once by
Numba's type inference, to learn the type of the result, and once to generate code. Offsets count elements from the
start of a C-contiguous array, and nothing is checked: the callers' entry points do that.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, overload, register_model

__all__ = [
    "BYTES",
    "REGISTERS",
    "Mask",
    "Tile",
    "Vector",
    "add_outer",
    "entries",
    "fma",
    "full",
    "load",
    "splat",
    "store",
    "tile_full",
    "tile_load",
    "tile_repeat",
    "tile_store",
    "where",
    "width",
]


def _machine() -> tuple[int, int]:
    """Return the bytes of a vector register and how many there are, on the machine that Numba compiles for."""
    features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
    return (64, 32) if "+avx512f" in features.split(",") else (32, 16)


#: Bytes of a vector, and the vector registers that a kernel may count on.
BYTES, REGISTERS = _machine()


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


@intrinsic
def add_outer(typing_context, tile, x, offsets, q, w, i):
    """Return ``tile[r,c] + x.flat[offsets[r] + q] * w.flat[i + cV : i + cV + V]`` for all rows r and columns c.

    One step of a sum of outer products: a column of x, one number per row, times a row of w, one vector per column.
    """

    def generate(context, builder, signature, arguments):
        sums, x_array, offset_tuple, q_value, w_array, i_value = arguments
        llvm_vector = context.get_value_type(tile.vector)
        w_row = _vectors(context, builder, w, w_array, i_value, tile)
        for r in range(tile.rows):
            offset = builder.add(builder.extract_value(offset_tuple, r), q_value)
            element = builder.load(_address(context, builder, x, x_array, offset, llvm_vector.element))
            x_splat = _everywhere(builder, element, llvm_vector)
            for c in range(tile.columns):
                at = r * tile.columns + c
                total = _fma(builder, x_splat, w_row[c], builder.extract_value(sums, at))
                sums = builder.insert_value(sums, total, at)
        return sums

    return tile(tile, x, offsets, types.intp, w, types.intp), generate


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


def _everywhere(builder, element, llvm_vector):
    undefined = ir.Constant(llvm_vector, ir.Undefined)
    first = builder.insert_element(undefined, element, _index(0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), llvm_vector.count), [0] * llvm_vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def _fma(builder, a, b, c):
    bits = {"float": 32, "double": 64}[str(a.type.element)]
    signature = ir.FunctionType(a.type, [a.type] * 3)
    name = f"llvm.fma.v{a.type.count}f{bits}"
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), [a, b, c])


def _vectors(context, builder, array, array_value, offset, tile: Tile) -> list:
    """Load the vectors of one row of a tile."""
    address = _address(context, builder, array, array_value, offset, context.get_value_type(tile.vector))
    return [_load(builder, builder.gep(address, [_index(c)]), tile.vector) for c in range(tile.columns)]


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
