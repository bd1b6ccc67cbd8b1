"""What a recording says of its objects: the mesh of the one, and where each is in the first frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from live.options import LiveOptions
from pose6d.errors import SceneError
from pose6d.scenes import open_scene
from pose6d.scenes.frame import Frame, Scene


@dataclass(frozen=True)
class RecordedObjects:
    """The objects of a recording with several; of one with a single object, its mesh alone, for frames have its mask.

    Attributes:
        mesh: the file, where there is one mesh, or one object was chosen that has one.
        names: of the objects that it has masks of, masks/NAME/, or poses of, the numbers of BOP; none once one is
            chosen.
        masks: (H, W) bool by name, of those that have a mask in the first frame.
    """

    mesh: Path | None = None
    names: tuple[str, ...] = ()
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)


def recorded_objects(options: LiveOptions, first: Frame) -> RecordedObjects:
    """What the source says, if it is the folder of a recording.

    Args:
        options: of the command line.
        first: the first frame that is used.

    Raises:
        SceneError: a mask cannot be read.
    """
    if not Path(options.source).is_dir():
        return RecordedObjects()

    def open_for(name: str | None) -> Scene:
        return open_scene(options.source, object_id=name, depth_scale=options.depth_scale, cropped=options.cropped)

    try:
        scene = open_for(options.object_id)
    except SceneError:  # a bag of ROS 2 is a folder, too
        return RecordedObjects()
    if options.object_id is not None:
        return RecordedObjects(scene.mesh_file)
    index, masks = scene.names.index(first.name), {}
    for name in scene.objects:
        mask = open_for(name)[index].mask
        if mask is not None:
            masks[name] = mask
    return RecordedObjects(scene.mesh_file, tuple(scene.objects), masks)
