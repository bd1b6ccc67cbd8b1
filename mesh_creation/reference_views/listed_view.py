"""Views as a layout lists them: named and posed, with their pictures still on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mesh_creation.reference_views.view import ReferenceView
from pose6d.errors import FrameError
from pose6d.scenes.frame import Frame


@dataclass(frozen=True)
class ListedView:
    """A view whose pictures are not read yet.

    Attributes:
        name: the colour file, which messages name.
        camera_in_object: (4, 4) float64 as it was given.
        read: reads the pictures; FrameError where a file cannot be used, or there is no mask.
    """

    name: str
    camera_in_object: np.ndarray
    read: Callable[[], ReferenceView]

    @classmethod
    def of_view(cls, view: ReferenceView) -> ListedView:
        """A view that is in memory already."""
        return cls(view.name, np.asarray(view.camera_in_object), lambda: view)

    @classmethod
    def of_frame(cls, name: str, camera_in_object: np.ndarray, read_frame: Callable[[], Frame]) -> ListedView:
        """A view whose pictures are those of a frame."""

        def read() -> ReferenceView:
            try:
                frame = read_frame()
            except FrameError as error:
                raise FrameError(f"view {name}: {error}") from error
            if frame.mask is None:
                raise FrameError(f"view {name} has no mask: wanted an image of its size that is not 0 on the object")
            return ReferenceView(name, frame.rgb, frame.depth, frame.mask, frame.K, camera_in_object)

        return cls(name, camera_in_object, read)


@dataclass(frozen=True)
class ViewListing:
    """What a layout holds.

    Attributes:
        views: in the order of their names.
        notes: what people should know of how they were found.
    """

    views: list[ListedView]
    notes: list[str]
