"""Ground truth that cannot be: objects in the camera, behind it, or in another unit. Readers refuse what is no pose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from pose6d.errors import FrameError, SceneError
from pose6d.evaluation.datasets import PoseDataset
from pose6d.geometry.pose_check import check_distance, check_in_front
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.units import check_diameter
from pose6d.scenes.frame import Frame


def check_truths(dataset: PoseDataset, meshes: Mapping[int, Mesh]) -> None:
    """Refuse a data set whose ground truth would make any score meaningless.

    The objects that are asked for must lie in front of the camera, between 1 cm and 100 m away. An object that is
    nearer than its own radius in every image is in another unit as well: the camera would be inside it.

    Args:
        dataset: its targets are looked up; no image is read.
        meshes: by object, metres, in the frame of the poses.

    Raises:
        MeshError: a mesh is of no size that a camera sees.
        SceneError: naming the file, image and object.
    """
    for mesh in meshes.values():
        check_diameter(mesh)
    centers = {obj_id: mesh.center for obj_id, mesh in meshes.items()}
    farthest: dict[int, tuple[float, str]] = defaultdict(lambda: (0.0, ""))
    for image in dataset.images():
        wanted = {target.obj_id for target in image.targets}
        for truth in dataset.truths(image.scene_id, image.im_id):
            if truth.object_id not in wanted:
                continue
            file = dataset.truth_file(image.scene_id, image.im_id)
            place = f"{file}, image {image.im_id}, instance {truth.index} (object {truth.object_id})"
            center = _in_camera(centers[truth.object_id], truth.object_in_camera)
            try:
                check_in_front(center, dataset.unit, "the object's centre")
            except ValueError as error:
                raise SceneError(f"{place}: the ground truth cannot be: {error}") from error
            farthest[truth.object_id] = max(farthest[truth.object_id], (float(np.linalg.norm(center)), place))
    for obj_id, (distance, place) in farthest.items():
        radius = meshes[obj_id].diameter / 2
        if distance < radius:
            wanted_unit = "millimetres" if dataset.unit == "mm" else "metres"
            raise SceneError(
                f"{place}: the ground truth cannot be: the object is {1000 * distance:.4g} mm from the camera, here "
                f"as far as ever, but it has a radius of {1000 * radius:.4g} mm: are the translations in another unit? "
                f"wanted {wanted_unit}"
            )


def check_frame_truth(frame: Frame, center: np.ndarray) -> None:
    """Raise FrameError if a frame of a recording has ground truth that is in another unit than metres.

    The object may be behind the camera there, for a recording goes on while nobody looks at it.

    Args:
        frame: with or without ground truth.
        center: (3,) of the mesh, metres.
    """
    if frame.object_in_camera is not None:
        try:
            check_distance(_in_camera(center, frame.object_in_camera), what="the object's centre")
        except ValueError as error:
            raise FrameError(f"frame {frame.name}: the ground truth cannot be: {error}") from error


def _in_camera(point: np.ndarray, object_in_camera: np.ndarray) -> np.ndarray:
    return object_in_camera[:3, :3] @ point.astype(np.float64) + object_in_camera[:3, 3]
