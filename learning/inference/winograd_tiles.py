"""The transforms of F(4x4, 3x3) (Lavin and Gray 2016) for one tile, a vector of channels at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from learning.inference.llvm_vectors import LANES, VectorBuilder

TILE = 4
"""pixels of the result, a side"""
SIDE = 6
"""pixels of what it depends on, a side"""
KERNEL_TRANSFORM = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)
"""G: three taps of a kernel to six numbers"""


@intrinsic
def transform_tile(
    typing_context: Any, x: Any, places: Any, zeros: Any, values: Any, at: Any, step: Any, channels: Any
) -> Any:
    """values[at + step k] = (B^T d B)[k] of the 36 pixels d.

    Args:
        x: contiguous float32, channels last.
        places: (36,) int64, where each pixel begins in x; negative for one that is 0.
        zeros: as many as there are channels.
        values: contiguous float32.
    """
    number = types.intp
    return types.void(x, places, zeros, values, number, number, number), _write_transform


def _write_transform(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    write = VectorBuilder(context, builder, signature, arguments)
    *_, at, step, channels = arguments
    x, places, zeros = (write.array(argument) for argument in range(3))
    pixels = [write.place(x, zeros, write.after(places, k)) for k in range(SIDE * SIDE)]
    first = write.after(write.array(3), at)
    results = [write.after(first, write.times(step, k)) for k in range(SIDE * SIDE)]

    def along(d: list[Any]) -> list[Any]:
        add = write.combine
        even, odd = add((1, d[4]), (-4, d[2])), add((1, d[3]), (-4, d[1]))
        near, far = add((1, d[4]), (-1, d[2])), add((1, d[3]), (-1, d[1]))
        return [
            add((4, d[0]), (-5, d[2]), (1, d[4])),
            add((1, even), (1, odd)),
            add((1, even), (-1, odd)),
            add((1, near), (2, far)),
            add((1, near), (-2, far)),
            add((4, d[1]), (-5, d[3]), (1, d[5])),
        ]

    with write.loop(channels, LANES) as c:
        columns = [along([write.load(write.after(pixels[SIDE * i + j], c)) for i in range(SIDE)]) for j in range(SIDE)]
        for i in range(SIDE):
            for j, value in enumerate(along([column[i] for column in columns])):
                write.store(value, write.after(results[SIDE * i + j], c))
    return write.end()


@intrinsic
def transform_tile_back(
    typing_context: Any,
    products: Any,
    at: Any,
    step: Any,
    bias: Any,
    residual: Any,
    y: Any,
    y_at: Any,
    row_step: Any,
    channels: Any,
    added: Any,
) -> Any:
    """4x4 pixels of y, from y_at on, = ReLU(A^T m A + bias + residual) of the 36 m[k] = products[at + step k].

    Args:
        products, bias, residual, y: contiguous float32, channels last; residual at the same place as y.
        row_step: from a row of y to the next.
        added: 0 if there is no residual.
    """
    number = types.intp
    arguments = (products, number, number, bias, residual, y, number, number, number, number)
    return types.void(*arguments), _write_transform_back


def _write_transform_back(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    write = VectorBuilder(context, builder, signature, arguments)
    _, at, step, _, _, _, y_at, row_step, channels, added = arguments
    first, bias = write.after(write.array(0), at), write.array(3)
    products = [write.after(first, write.times(step, k)) for k in range(SIDE * SIDE)]

    def along(m: list[Any]) -> list[Any]:
        add = write.combine
        near, near_off = add((1, m[1]), (1, m[2])), add((1, m[1]), (-1, m[2]))
        far, far_off = add((1, m[3]), (1, m[4])), add((1, m[3]), (-1, m[4]))
        return [
            add((1, m[0]), (1, near), (1, far)),
            add((1, near_off), (2, far_off)),
            add((1, near), (4, far)),
            add((1, near_off), (8, far_off), (1, m[5])),
        ]

    def pixels(argument: int) -> list[list[Any]]:
        begin = write.after(write.array(argument), y_at)
        rows = [write.after(begin, write.times(row_step, i)) for i in range(TILE)]
        return [[write.after(row, write.times(channels, j)) for j in range(TILE)] for row in rows]

    def loop(with_residual: bool) -> None:
        leaving = pixels(5)
        adding = pixels(4) if with_residual else None
        with write.loop(channels, LANES) as c:
            columns = [
                along([write.load(write.after(products[SIDE * i + j], c)) for i in range(SIDE)]) for j in range(SIDE)
            ]
            offset = write.load(write.after(bias, c))
            for i in range(TILE):
                for j, value in enumerate(along([column[i] for column in columns])):
                    value = write.combine((1, value), (1, offset))
                    if adding is not None:
                        value = write.combine((1, value), (1, write.load(write.after(adding[i][j], c))))
                    write.store(write.positive(value), write.after(leaving[i][j], c))

    write.choose(added, loop)
    return write.end()
