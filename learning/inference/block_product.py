"""The innermost loop of matrix products on a CPU, in its registers, for compiled loops.

numba's loops over single numbers do not become blocks of registers, so this one is written in LLVM's instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8  # numbers in a register
_VECTORS = 2
ROWS, COLUMNS = 4, _VECTORS * _LANES
"""of a block: eight sums keep two units for fused multiplications and additions busy"""


def pack_columns(matrices: np.ndarray) -> np.ndarray:
    """(M, depth, columns) as `block_product` reads them: (M, columns / COLUMNS, depth, COLUMNS) float32."""
    count, depth, columns = matrices.shape
    panels = matrices.reshape(count, depth, columns // COLUMNS, COLUMNS).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(panels, dtype=np.float32)


@intrinsic
def block_product(
    typing_context: Any, a: Any, a_at: Any, a_step: Any, b: Any, b_at: Any, depth: Any, c: Any, c_at: Any, c_step: Any
) -> Any:
    """c[i, j] = sum over k < depth of a[i, k] b[k, j], for i < ROWS and j < COLUMNS.

    Args:
        a, b, c: contiguous float32 arrays.
        a_at, b_at, c_at: where each begins, numbers from the array's first.
        a_step, c_step: from a row to the next; b is packed (`pack_columns`).
    """
    number = types.intp
    signature = types.void(a, number, number, b, number, number, c, number, number)
    return signature, _write_block_product


def _write_block_product(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    a, a_at, a_step, b, b_at, depth, c, c_at, c_step = arguments
    index, single = context.get_value_type(types.intp), ir.FloatType()
    vector = ir.VectorType(single, _LANES)
    zero, undefined = ir.Constant(vector, [0.0] * _LANES), ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)

    def begin(argument: int, array: Any, at: Any) -> Any:
        data = context.make_array(signature.args[argument])(context, builder, array).data
        return builder.gep(data, [at])

    def after(pointer: Any, steps: Any) -> Any:
        return builder.gep(pointer, [ir.Constant(index, steps) if isinstance(steps, int) else steps])

    def vectors(pointer: Any) -> list[Any]:
        return [builder.bitcast(after(pointer, _LANES * j), vector.as_pointer()) for j in range(_VECTORS)]

    def rows(pointer: Any, step: Any) -> list[Any]:
        return [after(pointer, builder.mul(step, ir.Constant(index, i))) for i in range(ROWS)]

    sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(_VECTORS)] for _ in range(ROWS)]
    left, panel = rows(begin(0, a, a_at), a_step), begin(3, b, b_at)
    with cgutils.for_range(builder, depth) as loop:
        right = [
            builder.load(place, align=4)
            for place in vectors(after(panel, builder.mul(loop.index, ir.Constant(index, COLUMNS))))
        ]
        for row, row_sums in zip(left, sums, strict=True):
            lane = builder.insert_element(undefined, builder.load(after(row, loop.index)), ir.Constant(ir.IntType(32), 0))
            everywhere = builder.shuffle_vector(lane, undefined, first_lane)
            for column, total in zip(right, row_sums, strict=True):
                product = builder.fmul(everywhere, column, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
    for row, row_sums in zip(rows(begin(6, c, c_at), c_step), sums, strict=True):
        for place, total in zip(vectors(row), row_sums, strict=True):
            builder.store(builder.load(total), place, align=4)
    return context.get_dummy_value()
