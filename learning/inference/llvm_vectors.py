"""Loops over vectors of numbers, written in LLVM's instructions, for functions that numba compiles.

numba vectorises simple loops. Blocks of sums that stay in registers, and tiles of pixels that are transformed in them,
it leaves in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils, types

LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8
"""float32 numbers in a vector"""
_MAY_FUSE = ("contract",)  # a product and a sum into one instruction


class VectorBuilder:
    """Writes instructions on vectors of float32.

    Args:
        context, builder, signature, arguments: as numba gives them to the code generator of an intrinsic, whose arrays
            are contiguous float32 or int64.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any):
        self._context, self._builder, self._signature, self._arguments = context, builder, signature, arguments
        self._index = context.get_value_type(types.intp)
        self._vector = ir.VectorType(ir.FloatType(), LANES)

    def array(self, argument: int) -> Any:
        """Pointer to the first number of an array that is an argument."""
        make = self._context.make_array(self._signature.args[argument])
        return make(self._context, self._builder, self._arguments[argument]).data

    def after(self, pointer: Any, steps: Any) -> Any:
        """The pointer so many numbers further."""
        return self._builder.gep(pointer, [ir.Constant(self._index, steps) if isinstance(steps, int) else steps])

    def times(self, value: Any, factor: int) -> Any:
        """Product of an index and a constant."""
        return self._builder.mul(value, ir.Constant(self._index, factor))

    @contextmanager
    def loop(self, stop: Any, step: int = 1) -> Iterator[Any]:
        """Repeat what is written inside for an index of 0, step, ... below `stop`."""
        with cgutils.for_range_slice(
            self._builder, ir.Constant(self._index, 0), stop, ir.Constant(self._index, step)
        ) as (index, _):
            yield index

    def load(self, pointer: Any) -> Any:
        """The vector that begins there."""
        return self._builder.load(self._builder.bitcast(pointer, self._vector.as_pointer()), align=4)

    def store(self, vector: Any, pointer: Any) -> None:
        """Write a vector."""
        self._builder.store(vector, self._builder.bitcast(pointer, self._vector.as_pointer()), align=4)

    def everywhere(self, pointer: Any) -> Any:
        """A vector of the one number that the pointer names."""
        undefined, first = ir.Constant(self._vector, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        lane = self._builder.insert_element(undefined, self._builder.load(pointer), first)
        return self._builder.shuffle_vector(
            lane, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )

    def constant(self, value: float) -> Any:
        """A vector of one number."""
        return ir.Constant(self._vector, [value] * LANES)

    def variable(self) -> Any:
        """Pointer to a vector of zeros, which becomes a register."""
        return cgutils.alloca_once_value(self._builder, self.constant(0.0))

    def combine(self, *terms: tuple[float, Any]) -> Any:
        """Sum of factors times vectors."""
        total: Any = None
        for factor, vector in terms:
            if total is None:
                total = vector if factor == 1 else self._builder.fmul(self.constant(factor), vector, flags=_MAY_FUSE)
            elif factor in (1, -1):
                total = (self._builder.fadd if factor > 0 else self._builder.fsub)(total, vector, flags=_MAY_FUSE)
            else:
                product = self._builder.fmul(self.constant(factor), vector, flags=_MAY_FUSE)
                total = self._builder.fadd(total, product, flags=_MAY_FUSE)
        return total

    def multiply_add(self, total: Any, a: Any, b: Any) -> None:
        """Add a * b to a variable."""
        product = self._builder.fmul(a, b, flags=_MAY_FUSE)
        self._builder.store(self._builder.fadd(self._builder.load(total), product, flags=_MAY_FUSE), total)

    def value(self, variable: Any) -> Any:
        """Of a variable."""
        return self._builder.load(variable)

    def positive(self, vector: Any) -> Any:
        """ReLU, which keeps NaN."""
        zero = self.constant(0.0)
        return self._builder.select(self._builder.fcmp_ordered("<=", vector, zero), zero, vector)

    def place(self, array: Any, otherwise: Any, offset: Any) -> Any:
        """The array from the offset that the pointer names on; `otherwise` where it is negative."""
        at = self._builder.load(offset)
        outside = self._builder.icmp_signed("<", at, ir.Constant(self._index, 0))
        return self._builder.select(outside, otherwise, self.after(array, at))

    def choose(self, condition: Any, write: Callable[[bool], None]) -> None:
        """What `write(True)` writes where an argument that is a number is not 0, else what `write(False)` does."""
        with self._builder.if_else(self._builder.icmp_signed("!=", condition, ir.Constant(self._index, 0))) as (
            yes,
            no,
        ):
            with yes:
                write(True)
            with no:
                write(False)

    def end(self) -> Any:
        """What a code generator returns whose function returns nothing."""
        return self._context.get_dummy_value()
