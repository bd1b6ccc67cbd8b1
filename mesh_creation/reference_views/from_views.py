"""`python -m mesh_creation from_views`: from posed pictures of an object to a textured mesh."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mesh_creation.fusion.mesh_folder import (
    FILLED_FACES,
    check_free,
    face_share,
    is_finished,
    mark_unfinished,
    new_mesh_folder,
)
from mesh_creation.fusion.symmetry_proposal import propose_symmetries
from mesh_creation.object_field.make_object import ObjectOptions
from mesh_creation.reference_views.object_steps import HeldOut, hold_out, load_or_make_object
from mesh_creation.reference_views.open_views import ViewOptions, open_views
from mesh_creation.reference_views.view import ReferenceView
from mesh_creation.reference_views.view_quality import ViewQuality, judge_views, stack_pictures
from mesh_creation.step_files import StepFolder
from pose6d.errors import OutputError
from pose6d.json_file import read_json, write_json
from pose6d.mesh.mesh import Mesh
from pose6d.scenes.images import write_image

VERSION = 1
_SHOWN = 3  # views in the picture of the quality, where none was held out
_MUCH_UNSEEN = 0.35
_POSE_SHIFT = 0.01  # metres by which a refined pose may move the object before it is said
_DEPTH_ERROR = 0.004  # metres, median of a view, from which on it is said that the object does not fit


@dataclass(frozen=True)
class FromViewsOptions:
    """Make a textured mesh from posed pictures of an object."""

    views: Path
    """the folder of the views, or a .json file that lists them: docs/reference_views.md"""
    out: Path
    """the folder to write the mesh to"""
    overwrite: bool = False
    """make the mesh again, and replace the earlier one"""
    held_out: int = 1
    """views that a second mesh is made without, to see what it makes of them; 0 saves its time"""
    which: ViewOptions = field(default_factory=ViewOptions)
    """which views"""
    making: ObjectOptions = field(default_factory=ObjectOptions)
    """how"""


def main(options: FromViewsOptions) -> Path:
    """Make the mesh; an interrupted run goes on from its last finished step.

    Returns:
        The folder `out` (see `write_object`).

    Raises:
        SceneError, FrameError: the views cannot be used; the message names the view's file and the cure.
        OutputError: `out` holds something that this step did not make, or a mesh of other views.
    """
    check_free(options.out)
    views, notes = open_views(options.views, options.which)
    for note in notes:
        print(f"note: {note}")
    return write_object(views, options, notes)


def write_object(views: Sequence[ReferenceView], options: FromViewsOptions, notes: Sequence[str] = ()) -> Path:
    """Make an object of checked views and write it.

    The mesh's frame is that of the views' poses. Writes object.obj with .mtl and .png, formats/object.ply and .glb,
    formats/filled.npy, cameras.json (the refined poses, camera in object, by view), quality.png and metadata.json.

    Args:
        views: as `open_views` returns them.
        options: where to, and how; its `views` are not read.
        notes: what is known of the views, for metadata.json.

    Returns:
        The folder.
    """
    folder, inputs = options.out, object_inputs(views, options.making)
    check_free(folder)
    if is_finished(folder) and not options.overwrite:
        if read_json(folder / "metadata.json").get("inputs") != inputs:
            raise OutputError(
                f"{folder} holds a mesh of other views, or made with other options: pass --overwrite to replace it, or "
                "another --out"
            )
        print(f"{folder} is there already (--overwrite makes it again)")
        return folder
    steps = StepFolder(folder.with_name(f"{folder.name}.steps"), {"inputs": inputs, "held_out": options.held_out})
    if is_finished(folder):
        mark_unfinished(folder)

    twice = ", and once more without those held out" if options.held_out else ""
    print(f"making the object of {len(views)} view(s){twice}: seconds to minutes, once", flush=True)
    # 1. The object; 2. another one without the views that are held out, to see what it makes of them.
    made = load_or_make_object(views, options.making, steps)
    held_out = hold_out(views, made, options.making, options.held_out, steps)

    # 3. The object beside its own views; 4. everything into its place.
    shown = judge_views(made.mesh, views, made.camera_in_object)
    metadata = {
        "version": VERSION,
        "inputs": inputs,
        "name": options.making.name,
        "unit": "m",
        "diameter": made.mesh.diameter,
        "size": np.ptp(made.mesh.vertices, axis=0),
        "symmetries": [],
        "symmetries_proposed": _proposed_symmetries(made.colored),
        "faces": len(made.mesh.faces),
        "vertices": len(made.mesh.vertices),
        "filled_share": face_share(made.colored, made.unseen),
        "filled_faces": FILLED_FACES,
        "quality": made.quality,
        "views": [one.numbers for one in shown],
        "held_out": [one.numbers for one in held_out.views],
        "held_out_is": held_out.explanation,
        "notes": list(notes),
    }
    metadata["warnings"] = _warnings(views, made.camera_in_object, shown, metadata["filled_share"])
    with new_mesh_folder(folder, made.mesh, made.colored, made.unseen, metadata) as partial:
        cameras = {view.name: pose for view, pose in zip(views, made.camera_in_object, strict=True)}
        write_json(partial / "cameras.json", {"camera_in_object": cameras})
        worst = sorted(shown, key=lambda one: one.psnr)[:_SHOWN]
        write_image(partial / "quality.png", stack_pictures(held_out.views or worst))
    steps.remove()
    _print_summary(metadata, held_out, folder)
    return folder


def object_inputs(views: Sequence[ReferenceView], making: ObjectOptions) -> str:
    """What tells an object from others: a hash of all that it is made of."""
    asked = {key: value for key, value in asdict(making).items() if key not in ("name", "device")}
    digest = hashlib.sha256(f"{VERSION} {sorted(asked.items())}".encode())
    for view in views:
        for values in (view.rgb, view.depth, view.mask, view.K, view.camera_in_object):
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _proposed_symmetries(mesh: Mesh) -> dict[str, Any]:
    """See `propose_symmetries`; axes run through the middle of the mesh, which need not be its origin."""
    assert mesh.colors is not None
    proposed = propose_symmetries(mesh.centered(), mesh.colors)
    place = " at " + " ".join(f"{value:.4f}" for value in mesh.center)
    for key in ("text", "shape_only"):
        if proposed[key] != "none":
            proposed[key] = "; ".join(item + place for item in proposed[key].split("; "))
    return proposed


def _warnings(
    views: Sequence[ReferenceView], refined: np.ndarray, shown: Sequence[ViewQuality], filled: float
) -> list[str]:
    found = []
    if filled > _MUCH_UNSEEN:
        found.append(f"{filled:.0%} of the surface was not seen and is guessed: add views of its other sides")
    for view, pose, quality in zip(views, refined, shown, strict=True):
        middle = pose @ [0, 0, float(np.median(view.depth[view.mask & (view.depth > 0)])), 1]
        shift = float(np.linalg.norm((np.linalg.inv(view.camera_in_object) - np.linalg.inv(pose)) @ middle))
        if shift > _POSE_SHIFT:
            found.append(
                f"view {view.name}: its pose was off by {1000 * shift:.0f} mm and was refined; leave it out if the "
                "mesh looks doubled there"
            )
        if quality.depth_error_median > _DEPTH_ERROR:
            found.append(
                f"view {view.name}: the mesh is {1000 * quality.depth_error_median:.1f} mm off its depth: was the "
                "object moved or bent, or is its pose wrong?"
            )
    return found


def _print_summary(metadata: dict[str, Any], held_out: HeldOut, folder: Path) -> None:
    size = " x ".join(f"{1000 * side:.0f}" for side in metadata["size"])
    print(
        f"{folder}: {size} mm, {metadata['faces']} faces from {len(metadata['views'])} view(s), "
        f"{metadata['filled_share']:.0%} of the surface not seen, "
        f"proposed symmetries: {metadata['symmetries_proposed']['text']}"
    )
    for one in held_out.views:
        print(f"held out: {one.name}: PSNR {one.psnr:.1f} dB, depth {1000 * one.depth_error:.2f} mm off")
    for line in metadata["warnings"]:
        print(f"warning: {line}")
