"""Explicit SIMD for compiled loops: one vector register as one value.

LLVM vectorises loops over arrays, but keeps running sums in memory: every multiply-add also loads and stores its
sum. A vector that is a *value* stays in a register. A vector holds 32 bytes, 8 float32 or 4 float64, decided by the
element type of the array that it comes from: one kernel serves both precisions, and the float64 instance is the
one that gradient checks run. Where registers are narrower, LLVM splits the vectors and the code stays the same.

How it works: Numba lets a library add a type (`Vector`), say what it is in LLVM (``<8 x float>``), and write
functions that emit LLVM instructions for it (``@intrinsic``). A function marked so is called twice over: once by
Numba's type inference, to learn the type of the result, and once to generate code. Offsets count elements from the
start of a C-contiguous array, and nothing is checked: the callers' entry points do that.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = ["BYTES", "Vector", "fma", "load", "splat", "store", "width"]

BYTES = 32


class Vector(types.Type):
    """Numba's type of a vector of float32 or float64.

    Parameters
    ----------
    element : numba.types.Float
        Type of one element.

    Examples
    --------
    >>> Vector(types.float32).width, Vector(types.float64).width
    (8, 4)
    """

    def __init__(self, element: types.Float):
        self.element = element
        self.width = BYTES * 8 // element.bitwidth
        super().__init__(name=f"vector({element} x {self.width})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, vector: Vector):
        element = manager.lookup(vector.element).get_value_type()
        super().__init__(manager, vector, ir.VectorType(element, vector.width))


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
        value = builder.load(_address(context, builder, array, *arguments, context.get_value_type(vector)))
        value.align = array.dtype.bitwidth // 8
        return value

    return vector(array, types.intp), generate


@intrinsic
def store(typing_context, array, offset, vector):
    """Write a vector to ``array.flat[offset : offset + width(array)]``."""

    def generate(context, builder, signature, arguments):
        address = _address(context, builder, array, *arguments[:2], context.get_value_type(vector))
        builder.store(arguments[2], address).align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic
def splat(typing_context, array, offset):
    """Return a vector whose every element is ``array.flat[offset]``."""
    vector = Vector(array.dtype)

    def generate(context, builder, signature, arguments):
        llvm_vector = context.get_value_type(vector)
        element = builder.load(_address(context, builder, array, *arguments, llvm_vector.element))
        undefined = ir.Constant(llvm_vector, ir.Undefined)
        first = builder.insert_element(undefined, element, ir.Constant(ir.IntType(32), 0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.width), [0] * vector.width)
        return builder.shuffle_vector(first, undefined, everywhere)

    return vector(array, types.intp), generate


@intrinsic
def fma(typing_context, a, b, c):
    """Return the vector ``a * b + c``, rounded once."""

    def generate(context, builder, signature, arguments):
        llvm_vector = context.get_value_type(a)
        name = f"llvm.fma.v{a.width}f{a.element.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(llvm_vector, [llvm_vector] * 3), name)
        return builder.call(function, arguments)

    return a(a, a, a), generate


def _address(context, builder, array, array_value, offset, llvm_type):
    """Return a pointer of ``llvm_type`` to ``array.flat[offset]``.

    Indexing the array instead would test every index for being negative.
    """
    data = context.make_array(array)(context, builder, array_value).data
    return builder.bitcast(builder.gep(data, [offset]), llvm_type.as_pointer())
