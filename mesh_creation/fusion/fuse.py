"""`python -m mesh_creation fuse`: from a registered scan, or two of them, to a textured mesh."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mesh_creation.fusion.closed_surface import ClosedSurface, close_surface, decimate
from mesh_creation.fusion.flip_alignment import FlipAlignment, align_flipped
from mesh_creation.fusion.mesh_folder import (
    FILLED_FACES,
    check_free,
    face_share,
    is_finished,
    mark_unfinished,
    mesh_arrays,
    mesh_from_arrays,
    new_mesh_folder,
)
from mesh_creation.fusion.registered_scan import RegisteredScan
from mesh_creation.fusion.symmetry_proposal import propose_symmetries
from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.fusion.uv_atlas import atlas_size, paint, unwrap, vertex_colors
from mesh_creation.fusion.view_blending import TextureView, ViewBlender
from mesh_creation.registration.frame_alignment import Cloud
from mesh_creation.registration.keyframes import sharpness
from mesh_creation.registration.object_region import ObjectRegion
from mesh_creation.step_files import StepFolder, write_array
from pose6d.errors import FrameError, SceneError
from pose6d.json_file import write_json
from pose6d.mesh.mesh import Mesh

VERSION = 1
_MARGIN = 0.008  # metres around the object that the volume covers
_BELOW = 0.003  # metres under the paper
_SEARCH_VOXEL = 0.002  # metres; enough to align two recordings
_SEARCH_FRAMES = 60
_SEARCH_VIEWS = 24
_SEARCH_POINTS = 30_000


@dataclass(frozen=True)
class FuseOptions:
    """Make a textured mesh of the object of a registered scan."""

    scan: Path
    """the folder of a registered scan"""
    flipped: Path | None = None
    """a second registered scan of the same object, upside down, which shows its underside"""
    overwrite: bool = False
    """make the mesh again, and replace the earlier one"""
    name: str = "object"
    """what the object is called in metadata.json and objects.json"""
    voxel: float = 0.001
    """metres; it grows by itself where the object is large"""
    faces: int = 20_000
    """most triangles of the mesh"""
    texel: float = 0.0004
    """metres of surface that one pixel of the texture covers"""
    views: int = 60
    """most pictures that the texture is blended from"""


@dataclass
class _Source:
    """A scan and how its board lies in the first scan's."""

    scan: RegisteredScan
    region: ObjectRegion
    board_in_main: np.ndarray


def main(options: FuseOptions) -> Path:
    """Fuse a scan.

    The mesh's origin is the centre of its box, its z axis points up from the board. Writes mesh/object.obj with
    .mtl and .png, mesh/formats/object.ply and .glb, mesh/metadata.json, objects.json, and transforms.npy as camera in
    mesh, which is what the capture layout means by it. An interrupted run goes on from its last finished step.

    Returns:
        The folder mesh/.

    Raises:
        SceneError: the scan is not registered, nothing stands on the board, or two scans do not fit each other.
        OutputError: mesh/ holds something that this step did not make.
    """
    folder = options.scan / "mesh"
    if is_finished(folder) and not options.overwrite:
        print(f"{folder} is there already (--overwrite makes it again)")
        return folder
    check_free(folder)
    scans = [RegisteredScan(path) for path in (options.scan, options.flipped) if path is not None]
    steps = StepFolder(options.scan / "fusion", _inputs(options, scans))
    if is_finished(folder):
        steps.forget()
        mark_unfinished(folder)

    # 1. The object on the board, in both recordings; 2. how the second lies in the first.
    sources = [_Source(scan, scan.find_object(), np.eye(4)) for scan in scans]
    flip = _flip(sources, steps) if len(sources) == 2 else None

    # 3. All depth in one volume; 4. its surface, closed and decimated.
    surface, voxel = _surface(sources, options, steps)
    center = (surface.vertices.min(axis=0) + surface.vertices.max(axis=0)) / 2
    object_in_main = np.eye(4)
    object_in_main[:3, 3] = center
    mesh = Mesh(vertices=surface.vertices - center, faces=surface.faces, name=options.name)

    # 5. Colours and texture.
    blender = ViewBlender(mesh, _views(sources, object_in_main, options.views))
    colors, seen = vertex_colors(mesh, blender.colors)
    size = atlas_size(mesh, options.texel)
    textured, painted = paint(_unwrap(mesh, size, steps), size, blender.colors)
    colored = Mesh(vertices=mesh.vertices, faces=mesh.faces, normals=mesh.normals, colors=colors, name=options.name)

    # 6. Everything into its place, the metadata last.
    poses = [np.linalg.inv(source.board_in_main) @ object_in_main for source in sources]
    filled_share = face_share(mesh, surface.filled)
    metadata = {
        "version": VERSION,
        "name": options.name,
        "unit": "m",
        "diameter": mesh.diameter,
        "size": np.ptp(mesh.vertices, axis=0),
        "symmetries": [],
        "symmetries_proposed": propose_symmetries(colored, colors),
        "object_in_board": poses[0],
        "faces": len(mesh.faces),
        "vertices": len(mesh.vertices),
        "filled_share": filled_share,
        "filled_faces": FILLED_FACES,
        "voxel": voxel,
        "texture": {"size": size, "seen_share": painted, "vertices_seen_share": seen},
        "frames": [len(source.scan.frames) for source in sources],
        "other_things_share": [source.region.dropped for source in sources],
        "flipped": None if flip is None else {"scan": str(options.flipped), **asdict(flip)},
        "warnings": _warnings(sources, filled_share, flip, painted),
    }
    with new_mesh_folder(folder, textured, colored, surface.filled, metadata):
        for source, pose in zip(sources, poses, strict=True):
            _write_poses(source, pose, options.name, folder, flipped=source is not sources[0])
    for file in (options.scan / "fusion").glob("volume*.npz"):
        file.unlink()  # the only large one, and not needed again
    _print_summary(metadata, folder)
    return folder


def _flip(sources: list[_Source], steps: StepFolder) -> FlipAlignment:
    def align() -> dict[str, Any]:
        clouds, centers = zip(*(_seen_surface(source) for source in sources), strict=True)
        name = " and ".join(str(source.scan.folder) for source in sources)
        return asdict(align_flipped(clouds[0], clouds[1], (centers[0], centers[1]), name))

    done = steps.load_or_make("flip", align)
    sources[1].board_in_main = done["transform"]
    return FlipAlignment(done["transform"], *(float(done[key]) for key in ("distance", "color", "margin")))


def _seen_surface(source: _Source) -> tuple[Cloud, np.ndarray]:
    """The part of one recording's surface that was seen, coarsely, and the centre of the solid (3,), board frame."""
    volume = _volume([source], _SEARCH_VOXEL, _SEARCH_FRAMES)
    surface = close_surface(volume, source.region.points, source.scan.clearance)
    mesh = Mesh(vertices=surface.vertices, faces=surface.faces)
    kept = np.unique(surface.faces[~surface.filled])
    # What the table's shadow and the cut at the board have shaped is not compared.
    kept = kept[surface.vertices[kept, 2] > source.scan.clearance + 0.004]
    kept = np.random.default_rng(0).permutation(kept)[:_SEARCH_POINTS]
    blender = ViewBlender(mesh, _views([source], np.eye(4), _SEARCH_VIEWS))
    points, normals = mesh.vertices[kept].astype(np.float64), mesh.normals[kept].astype(np.float64)
    colors, trust = blender.colors(points, normals)
    known = trust > 0
    center = (surface.vertices.min(axis=0) + surface.vertices.max(axis=0)) / 2
    return Cloud(points[known], normals[known], colors[known].astype(np.float64) / 255), center


def _surface(sources: list[_Source], options: FuseOptions, steps: StepFolder) -> tuple[ClosedSurface, float]:
    """The decimated surface in the first board's frame, and the voxel it was made with."""

    def make() -> dict[str, Any]:
        volume = TsdfVolume.from_arrays(steps.load_or_make("volume", lambda: _volume(sources, options.voxel).arrays()))
        floor = sources[0].scan.clearance if len(sources) == 1 else None
        surface = close_surface(volume, _all_points(sources), floor)
        return {**asdict(decimate(surface, options.faces)), "voxel": volume.voxel}

    done = steps.load_or_make("surface", make)
    return ClosedSurface(done["vertices"], done["faces"], done["filled"]), float(done["voxel"])


def _all_points(sources: list[_Source]) -> np.ndarray:
    """(P, 3) the thinned surface of all sources in the first board's frame."""
    return np.concatenate([s.region.points @ s.board_in_main[:3, :3].T + s.board_in_main[:3, 3] for s in sources])


def _volume(sources: list[_Source], voxel: float, most: int | None = None) -> TsdfVolume:
    """Integrate the frames of all sources (at most `most` of each) around the object."""
    points = _all_points(sources)
    low, high = points.min(axis=0) - _MARGIN, points.max(axis=0) + _MARGIN
    if len(sources) == 1:
        low[2] = -_BELOW
    volume = TsdfVolume.around(low, high, voxel)
    jobs = []
    for source in sources:
        frames = source.scan.frames
        step = 1 if most is None else max(1, len(frames) // most)
        jobs += [(source, index) for index in frames[::step]]
    for source, index in tqdm(jobs, desc="fusing depth", unit="frame"):
        view = source.scan.view(index)
        if view is not None:
            pose = source.board_in_main @ view.camera_in_board
            volume.integrate(view.depth, view.cosine, view.support, view.K, pose, source.scan.clearance)
    return volume


def _views(sources: list[_Source], object_in_main: np.ndarray, most: int) -> list[TextureView]:
    """Keyframes of all sources as pictures of the object."""
    views = []
    for source in sources:
        frames = source.scan.keyframes
        share = max(1, most // len(sources))
        for index in (frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, share).round().astype(int))):
            try:
                frame = source.scan.scene[index]
            except FrameError:
                continue
            pose = np.linalg.inv(object_in_main) @ source.board_in_main @ source.scan.pose(index)
            views.append(TextureView(frame.rgb, frame.depth, frame.K, pose, sharpness(frame.rgb)))
    if not views:
        raise SceneError(f"{sources[0].scan.folder}: none of the keyframes can be read any more")
    return views


def _unwrap(mesh: Mesh, size: int, steps: StepFolder) -> Mesh:
    return mesh_from_arrays(steps.load_or_make("atlas", lambda: mesh_arrays(unwrap(mesh, size))), mesh.name)


def _warnings(sources: list[_Source], filled: float, flip: FlipAlignment | None, painted: float) -> list[str]:
    found = []
    for source in sources:
        if source.region.dropped > 0.1:
            found.append(
                f"{source.scan.folder}: {source.region.dropped:.0%} of what stands on the board is another thing"
            )
        if source.region.cut > 0.01:
            found.append(f"{source.scan.folder}: the object reaches over the edge of the board and is cut off there")
    if flip is not None and flip.margin < 1.15:
        found.append(
            f"the flipped scan fits almost as well another way round ({flip.margin:.2f} times worse): right for a "
            "symmetric object, else compare the texture"
        )
    if painted < 0.8:
        found.append(f"the pictures show {painted:.0%} of the surface; the rest takes on the colours beside it")
    if filled > 0.35:
        found.append(f"{filled:.0%} of the surface was not seen and is filled: film lower, higher, or a flipped scan")
    return found


def _write_poses(source: _Source, object_in_board: np.ndarray, name: str, folder: Path, *, flipped: bool) -> None:
    """Write transforms.npy, the camera in the mesh, and objects.json into the folder of a scan."""
    scan, object_pose = source.scan.folder, np.linalg.inv(object_in_board)
    cameras = [np.full((4, 4), np.nan) if camera is None else object_pose @ camera for camera in source.scan.poses]
    write_array(scan / "transforms.npy", np.stack(cameras))
    place = folder.resolve() if flipped else Path("mesh")  # the flipped scan names the first one's mesh
    file = str(place / "object.obj")
    write_json(scan / "objects.json", [{"name": name, "mesh": file, "object_in_board": object_in_board}])


def _inputs(options: FuseOptions, scans: list[RegisteredScan]) -> dict[str, Any]:
    asked = {key: str(value) for key, value in asdict(options).items() if key not in ("overwrite", "name")}
    stamps = [(scan.folder / "registration.json").stat().st_mtime_ns for scan in scans]
    return {"version": VERSION, "options": asked, "registrations": stamps}


def _print_summary(metadata: dict[str, Any], folder: Path) -> None:
    size = " x ".join(f"{1000 * side:.0f}" for side in metadata["size"])
    print(
        f"{folder}: {size} mm, {metadata['faces']} faces, {metadata['filled_share']:.0%} of the surface filled, "
        f"texture {metadata['texture']['size']} px, proposed symmetries: {metadata['symmetries_proposed']['text']}"
    )
    for line in metadata["warnings"]:
        print(f"warning: {line}")
