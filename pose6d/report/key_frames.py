"""A few small pictures spread over a recording whose length is not known beforehand."""

from __future__ import annotations

import cv2
import numpy as np

from pose6d.errors import OutputError


class KeyFrames:
    """Keeps every k-th of the pictures it is given as JPEG, and doubles k whenever there are more than `most`.

    Args:
        most: how many to keep.
        width: of the kept pictures, pixels; smaller ones keep their size.
    """

    def __init__(self, most: int = 12, width: int = 480) -> None:
        self.most, self.width = most, width
        self.pictures: list[tuple[str, bytes]] = []  # name and JPEG
        self._every = 1
        self._seen = 0

    def add(self, name: str, image: np.ndarray) -> None:
        """Offer the next picture (H, W, 3) uint8 RGB."""
        if self._seen % self._every == 0:
            self.pictures.append((name, self._jpeg(image)))
            if len(self.pictures) > self.most:
                self.pictures = self.pictures[::2]
                self._every *= 2
        self._seen += 1

    def _jpeg(self, image: np.ndarray) -> bytes:
        height, width = image.shape[:2]
        if width > self.width:
            size = (self.width, max(1, round(height * self.width / width)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
        if not done:
            raise OutputError(f"a picture of {width}x{height} cannot be compressed as JPEG")
        return data.tobytes()
