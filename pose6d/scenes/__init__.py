"""Recordings on disk, read frame by frame in metres: `open_scene` picks the reader by what the folder holds."""

from __future__ import annotations

import os

from pose6d.errors import SceneError, as_path, listing
from pose6d.scenes.bop import BopScene
from pose6d.scenes.capture import CaptureScene
from pose6d.scenes.folder import FolderScene
from pose6d.scenes.frame import Frame, Scene, SceneOptions
from pose6d.scenes.reference_folder import ReferenceFolderScene

__all__ = ["Frame", "Scene", "open_scene"]

_LAYOUTS: tuple[type[Scene], ...] = (BopScene, CaptureScene, ReferenceFolderScene, FolderScene)
"""All readers; the first one of which a folder holds a marker reads it. A new layout is a file and an entry here."""


def open_scene(
    path: str | os.PathLike[str],
    *,
    object_id: str | int | None = None,
    mask_dir: str | os.PathLike[str] | None = None,
    depth_scale: float | None = None,
    cropped: bool = False,
) -> Scene:
    """Open a recording; its layout is told by its marker files.

    Args:
        path: the folder of one recording.
        object_id: which object of the scene: the number of a BOP object, or the name of a folder masks/<object>/.
        mask_dir: a folder of masks named like the frames, instead of the scene's own.
        depth_scale: metres per depth unit, instead of what the scene's files say (0.001 where they say nothing).
        cropped: the images are cut out of larger ones, so that the principal point may be anywhere (an estimator is
            told too, by its attribute `cropped`). Else one that looks like that of another resolution is refused.

    Raises:
        SceneError: no layout matches (the message lists what was looked for and what was found), or the scene
            cannot be used as a whole: intrinsics, missing folders, frames that do not pair up.
    """
    folder = as_path(path, "scene", SceneError)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise SceneError(f"scene {folder} {what}: pass the folder of one recording")
    if depth_scale is not None and not 0 < depth_scale < 1e3:
        raise SceneError(f"depth_scale is {depth_scale}, wanted metres per depth unit, such as 0.001 for millimetres")
    masks = None if mask_dir is None else as_path(mask_dir, "mask_dir", SceneError)
    if masks is not None and not masks.is_dir():
        raise SceneError(f"the mask folder {masks} does not exist")
    name = None if object_id is None else str(object_id)

    options = SceneOptions(name, masks, depth_scale, cropped)
    for layout in _LAYOUTS:
        if any((folder / marker).exists() for marker in layout.markers):
            return layout(folder, options)

    looked_for = "\n".join(f"  {layout.kind + ':':<11}{layout.files}" for layout in _LAYOUTS)
    inside = sorted(marker.parent.name for marker in folder.glob("*/scene_camera.json"))
    hint = f"; it holds BOP scenes, pass one of them: {', '.join(inside[:8])}" if inside else ""
    raise SceneError(f"{folder} is no scene. Looked for one of\n{looked_for}\nand found: {listing(folder)}{hint}")
