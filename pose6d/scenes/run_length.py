"""Masks as run lengths, as the COCO data set stores them (its API's mask format): columns first, zeros first."""

from __future__ import annotations

from typing import Any

import numpy as np

from pose6d.errors import FrameError


def encode_rle(mask: np.ndarray, *, compressed: bool = False) -> dict[str, Any]:
    """{"size": [H, W], "counts": runs} of a (H, W) bool mask; the runs as a list, or as COCO's compressed text."""
    flat = np.asarray(mask, dtype=bool).T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    runs = [0, *runs] if flat.size and flat[0] else runs
    return {"size": [int(length) for length in mask.shape], "counts": _compress(runs) if compressed else runs}


def decode_rle(segmentation: dict[str, Any]) -> np.ndarray:
    """(H, W) bool of a COCO run-length encoding {"size": [H, W], "counts": list or text}.

    The runs go down the columns and begin with one of zeros.

    Raises:
        FrameError: the runs do not fill the image.
    """
    try:
        height, width = (int(length) for length in segmentation["size"])
        counts = segmentation["counts"]
        runs = _decompress(counts) if isinstance(counts, str) else [int(count) for count in counts]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FrameError(f"the segmentation is no COCO run-length encoding: {error!r}") from error
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise FrameError(f"the segmentation covers {sum(runs)} pixels of an image of {height * width}")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _compress(counts: list[int]) -> str:
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


def _decompress(text: str) -> list[int]:
    """The runs of COCO's compressed text: 5 bits per character from 48 on, least first, bit 6 says that more follow.

    From the fourth run on, the difference to the run two before is stored. (COCO API, maskApi.)
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("the text ends inside a number")
    return runs
