"""Views from recordings with ground truth and masks: all that `open_scene` reads, and folders of BOP scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mesh_creation.reference_views.listed_view import ListedView, ViewListing
from pose6d.errors import SceneError, shorten
from pose6d.json_file import read_json
from pose6d.scenes import Frame, Scene, open_scene


def list_recording(
    folder: Path,
    object_id: str | None = None,
    mask_dir: Path | None = None,
    depth_scale: float | None = None,
    cropped: bool = False,
) -> ViewListing:
    """The frames of a recording that have both a pose and a mask of the object; arguments as of `open_scene`.

    Where the recording of a scan has no masks/, those of its labels/ are taken.

    Raises:
        SceneError: it is no recording, has several objects of which none is chosen, or no frame with pose and mask.
    """
    labelled = folder / "labels" / "masks"
    if mask_dir is None and not (folder / "masks").is_dir() and labelled.is_dir():
        mask_dir = labelled
    scene = open_scene(folder, object_id=object_id, mask_dir=mask_dir, depth_scale=depth_scale, cropped=cropped)
    return _list_scene(scene)


def list_bop_scenes(
    folder: Path, object_id: str | None = None, depth_scale: float | None = None, cropped: bool = False
) -> ViewListing:
    """The views of one object in all BOP scenes of a folder, such as the two of a static onboarding (up and down).

    Raises:
        SceneError: they show several objects and none is chosen, or none shows the one that is.
    """
    known = {scene: _bop_objects(scene) for scene in sorted(file.parent for file in folder.glob("*/scene_camera.json"))}
    objects = sorted(set().union(*known.values()))
    if object_id is None and len(objects) != 1:
        listed = shorten([str(number) for number in objects], 20) or "none with poses"
        raise SceneError(
            f"{folder} holds BOP scenes of several objects ({listed}): choose one (--object_id of from_views)"
        )
    wanted = objects[0] if object_id is None else int(object_id) if object_id.isdigit() else -1
    scenes = [scene for scene, inside in known.items() if wanted in inside]
    if not scenes:
        listed = shorten([str(number) for number in objects], 20)
        raise SceneError(f"object_id {object_id}: no scene in {folder} shows it; they show {listed}")
    listings = [list_recording(s, str(wanted), depth_scale=depth_scale, cropped=cropped) for s in scenes]
    notes = [note for listing in listings for note in listing.notes]
    return ViewListing([view for listing in listings for view in listing.views], notes)


def _list_scene(scene: Scene) -> ViewListing:
    if scene.objects and scene.object_id is None:
        raise SceneError(
            f"{scene.path} has masks or poses of several objects ({', '.join(scene.objects)}): choose one "
            f"(--object_id of from_views, for example {scene.objects[0]})"
        )
    views, unposed, unmasked = [], [], []
    for index, name in enumerate(scene.names):
        pose = scene.pose(index)
        if pose is None:
            unposed.append(name)
        elif not scene.has_mask(index):
            unmasked.append(name)
        else:
            file = str(scene.color_file(index))
            views.append(ListedView.of_frame(file, np.linalg.inv(pose), _frame_reader(scene, index)))
    if not views:
        raise SceneError(
            f"{scene.path} ({scene.description}): none of {len(scene)} frame(s) has both a pose and a mask: "
            f"{len(unposed)} have no pose, {len(unmasked)} no mask. An object is made from frames with a pose and a "
            "mask: see docs/reference_views.md for where layouts keep them"
        )
    notes = [f"{scene.path}: {note}" for note in scene.notes]
    for lost, what in ((unposed, "pose"), (unmasked, "mask of the object")):
        if lost:
            notes.append(f"{scene.path}: {len(lost)} of {len(scene)} frames have no {what}, left out: {shorten(lost)}")
    return ViewListing(views, notes)


def _frame_reader(scene: Scene, index: int) -> Callable[[], Frame]:
    return lambda: scene[index]


def _bop_objects(scene: Path) -> set[int]:
    """The objects that the ground truth of a BOP scene names."""
    file = scene / "scene_gt.json"
    if not file.is_file():
        return set()
    try:
        return {int(entry["obj_id"]) for entries in read_json(file).values() for entry in entries}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SceneError(f"{file}: wanted lists of annotations with obj_id by frame number, found {error}") from error
