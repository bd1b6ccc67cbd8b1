"""The innermost loop of matrix products on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from learning.inference.llvm_vectors import LANES, VectorBuilder

_VECTORS = 2
ROWS, COLUMNS = 4, _VECTORS * LANES
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
    return types.void(a, number, number, b, number, number, c, number, number), _write_block_product


def _write_block_product(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    write = VectorBuilder(context, builder, signature, arguments)
    _, a_at, a_step, _, b_at, depth, _, c_at, c_step = arguments

    def rows(argument: int, at: Any, step: Any) -> list[Any]:
        first = write.after(write.array(argument), at)
        return [write.after(first, write.times(step, i)) for i in range(ROWS)]

    left, panel = rows(0, a_at, a_step), write.after(write.array(3), b_at)
    sums = [[write.variable() for _ in range(_VECTORS)] for _ in range(ROWS)]
    with write.loop(depth) as k:
        line = write.after(panel, write.times(k, COLUMNS))
        right = [write.load(write.after(line, LANES * j)) for j in range(_VECTORS)]
        for row, totals in zip(left, sums, strict=True):
            value = write.everywhere(write.after(row, k))
            for column, total in zip(right, totals, strict=True):
                write.multiply_add(total, value, column)
    for row, totals in zip(rows(6, c_at, c_step), sums, strict=True):
        for j, total in enumerate(totals):
            write.store(write.value(total), write.after(row, LANES * j))
    return write.end()
