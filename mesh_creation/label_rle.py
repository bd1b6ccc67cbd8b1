"""Run lengths of masks as the COCO data set stores them (its API's mask format): columns first, zeros first."""

from __future__ import annotations

from typing import Any

import numpy as np


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """{"size": [height, width], "counts": text} of a mask (H, W) bool."""
    flat = np.concatenate([[False], np.asarray(mask, bool).ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    if len(edges) and edges[-1] == mask.size:  # the closing edge of a last run of ones ends the picture
        edges = edges[:-1]
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    return {"size": [int(length) for length in mask.shape], "counts": _to_text(counts.tolist())}


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """The mask (H, W) bool of what `encode_rle` wrote."""
    counts = _from_text(rle["counts"])
    values = np.arange(len(counts)) % 2 == 1
    height, width = rle["size"]
    return np.repeat(values, counts).reshape(width, height).T


def _to_text(counts: list[int]) -> str:
    """Each count, from the third on as the difference to the last but one, in digits of 5 bits, lowest first.

    A sixth bit says that more digits follow; the sign is the highest bit of the last digit. Digits start at "0".
    """
    letters = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            letters.append(chr(48 + digit + (32 if more else 0)))
            if not more:
                break
    return "".join(letters)


def _from_text(text: str) -> list[int]:
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        digit = ord(letter) - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return counts
