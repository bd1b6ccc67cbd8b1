"""Reading a user's folder of images as textures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pose6d.errors import FrameError
from pose6d.scenes.images import read_color

_NAMED = 3  # broken files that a warning names


def read_sample(
    paths: Sequence[Path], limit: int, seed: int, size: int = 256, *, progress: bool = True
) -> list[np.ndarray]:
    """Read images, or a random sample of them, cut to their middle square.

    Images that cannot be read are left out, with one warning that counts them; in a sample, others take their place.
    No more than `limit` images are in memory.

    Args:
        paths: image files.
        limit: how many to read at most.
        seed: chooses the sample.
        size: pixels of a side.
        progress: show a progress bar.

    Returns:
        (size, size, 3) uint8 RGB each, in the order of `paths`.

    Raises:
        FrameError: none of them can be read.
    """
    order = range(len(paths)) if len(paths) <= limit else np.random.default_rng([seed, 0x7E]).permutation(len(paths))
    images: dict[int, np.ndarray] = {}
    broken: list[str] = []
    count = 0
    with tqdm(total=min(limit, len(paths)), desc="reading images", unit="image", disable=not progress) as bar:
        for index in order:
            if len(images) == limit:
                break
            try:
                images[int(index)] = _crop_square(read_color(paths[index]), size)
                bar.update()
            except FrameError as error:
                count += 1
                if len(broken) < _NAMED:
                    broken.append(str(error))
    found = "; ".join(broken) + (f"; and {count - _NAMED} more" if count > _NAMED else "")
    if not images:
        raise FrameError(f"none of the {len(paths)} images can be read: {found}")
    if broken:
        warnings.warn(f"{count} images are left out, they cannot be read: {found}", stacklevel=2)
    return [images[index] for index in sorted(images)]


def _crop_square(image: np.ndarray, size: int) -> np.ndarray:
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    cut = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(cut.resize((size, size), Image.Resampling.BOX))
