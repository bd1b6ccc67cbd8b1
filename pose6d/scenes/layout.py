"""What the folder and the capture layout share: one camera, colour and depth images paired by name, masks, a mesh."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import numpy as np

from pose6d.errors import FrameError, SceneError, beside, listing, shorten
from pose6d.geometry.camera import check_intrinsics
from pose6d.scenes.camera_file import CameraFile, read_camera
from pose6d.scenes.frame import MESH_SUFFIXES, Frame, Scene, SceneOptions
from pose6d.scenes.images import (
    ARRAY_SUFFIXES,
    COLOR_SUFFIXES,
    DEPTH_SUFFIXES,
    list_images,
    read_color,
    read_cut_out,
    read_depth,
    read_mask,
    read_orientation,
    read_size,
)
from pose6d.scenes.lens import make_undistortion


class SingleCameraScene(Scene):
    """A recording of one camera: folders of colour and depth images paired by name, masks/ and mesh/.

    Args:
        path: the recording.
        color_dir: its folder of colour images.
        camera: the file with the intrinsics.
        options: how it is read.
        growing: it was not finished: a last depth image without colour is left out.
        depth_dir, mask_dir: its folders of depth images and masks.
    """

    def __init__(
        self,
        path: Path,
        color_dir: str,
        camera: Path,
        options: SceneOptions,
        *,
        growing: bool = False,
        depth_dir: str = "depth",
        mask_dir: str = "masks",
    ) -> None:
        super().__init__(path, options)
        self.names, self._color, self._depth = pair_frames(path / color_dir, path / depth_dir, growing=growing)
        self.size = first_size(list(self._color.values()))
        self.notes += turning_notes(list(self._color.values()))
        self._K, self._scale = self._use_camera(read_camera(camera), options.depth_scale)
        if all(file.suffix.lower() == ".png" for file in self._depth.values()):  # a TIFF may hold fractions
            self.depth_unit = self._scale
        self._masks = Masks(options.mask_dir or path / mask_dir, options.object_id, self._color)
        self.objects, self.object_id = self._masks.objects, self._masks.object_id
        self.mesh_files = find_meshes(path / "mesh")

    @property
    @abstractmethod
    def truth(self) -> str:
        """Which ground truth there is, for people."""

    @property
    def description(self) -> str:
        height, width = self.size
        frames = f"{len(self)} frame(s) of {width}x{height}"
        return f"{self.kind} layout, {frames}, {self._masks.description}, {self.truth}"

    @property
    def masks_found(self) -> str:
        """See `Scene.masks_found`."""
        folder = self._masks.folder / (self.object_id or "")
        return f"{folder} {f'holds {listing(folder)}' if folder.is_dir() else f'does not exist{beside(folder)}'}; "

    def color_file(self, index: int) -> Path:
        """See `Scene.color_file`."""
        return self._color[self.names[index]]

    def has_mask(self, index: int) -> bool:
        """See `Scene.has_mask`."""
        return self._masks.has(self.names[index])

    def mask(self, index: int) -> np.ndarray | None:
        """(H, W) bool mask of a frame, None where it has none."""
        mask = self._masks.read(self.names[index])
        return None if mask is None else self._pinhole(mask)

    def _read(self, index: int) -> Frame:
        name = self.names[index]
        return Frame(
            name=name,
            rgb=self._pinhole(read_color(self._color[name])),
            depth=self._pinhole(read_depth(self._depth[name], self._scale)),
            K=self._K.copy(),
            mask=self.mask(index),
            object_in_camera=self.pose(index),
        )

    def _use_camera(self, camera: CameraFile, depth_scale: float | None) -> tuple[np.ndarray, float]:
        """K (3, 3) and metres per unit of depth, as the user says, else as the file does."""
        camera.check_size(self.size)
        check_intrinsics(camera.K, *self.size, source=str(camera.path), cropped=self.cropped)
        if camera.form and (camera.form, camera.path.suffix) != ("JSON", ".json"):
            self.notes.append(f"{camera.path.name} is read as {camera.form}")
        if camera.lens is not None:
            self._undistortion = make_undistortion(camera.lens, camera.K, self.size, str(camera.path))
            self.notes.append(
                f"the distortion of the lens ({camera.lens.model}, up to {self._undistortion.shift:.1f} pixels) is "
                "taken out of colour, depth and masks"
            )
        if depth_scale is not None:
            return camera.K, depth_scale
        # Many tools write 0.001 whatever the camera, so it says no more than nothing.
        self.depth_scale_stated = camera.depth_scale not in (None, 0.001)
        return camera.K, 0.001 if camera.depth_scale is None else camera.depth_scale

    def _name_unused_masks(self) -> None:
        """Note the masks of no frame, and those of objects where the recording has masks of its own as well."""
        masks = self._masks
        self._name_unmatched(masks.files, "masks")
        if masks.ignored_folders:
            self.unused.append(
                f"masks in {masks.folder}/{shorten(masks.ignored_folders)}: there are some outside as well"
            )


def pair_frames(
    color_dir: Path, depth_dir: Path, *, growing: bool = False
) -> tuple[list[str], dict[str, Path], dict[str, Path]]:
    """List the frames of a recording: names in natural order, colour files and depth files by name.

    Args:
        color_dir: the folder of colour images.
        depth_dir: the folder of depth images.
        growing: leave out a last depth image that has no colour yet.

    Raises:
        SceneError: a folder is missing or empty, or a frame has colour without depth or the reverse.
    """
    color = list_images(color_dir, COLOR_SUFFIXES)
    depth = list_images(depth_dir, DEPTH_SUFFIXES) or list_images(depth_dir, ARRAY_SUFFIXES)
    readable = (*DEPTH_SUFFIXES, *ARRAY_SUFFIXES)
    for folder, images, suffixes in ((color_dir, color, COLOR_SUFFIXES), (depth_dir, depth, readable)):
        if not images:
            found = f"holds none (found: {listing(folder)})" if folder.is_dir() else f"does not exist{beside(folder)}"
            bits = "" if folder == color_dir else " of 16 bits or more"
            raise SceneError(f"{folder} {found}: wanted one image{bits} per frame ({', '.join(suffixes)})")
    if growing and list(depth)[-1] not in color:
        depth.popitem()
    no_depth = [name for name in color if name not in depth]
    no_color = [name for name in depth if name not in color]
    if no_depth or no_color:
        parts = []
        if no_depth:
            parts.append(f"{len(no_depth)} without depth ({shorten(no_depth)})")
        if no_color:
            parts.append(f"{len(no_color)} without colour ({shorten(no_color)})")
        raise SceneError(
            f"frames of {color_dir.parent} do not pair up: {' and '.join(parts)}; {color_dir.name}/ and "
            f"{depth_dir.name}/ must hold the same names: was a file lost, or are the streams numbered differently? "
            "Take out what has no partner, or rename"
        )
    return list(color), color, depth


def first_size(paths: list[Path]) -> tuple[int, int]:
    """(height, width) of the first image whose header can be read; damaged frames are reported when they are read."""
    for path in paths[:-1]:
        try:
            return read_size(path)
        except FrameError:
            continue
    return read_size(paths[-1])


def turning_notes(color: list[Path]) -> list[str]:
    """What to say of the EXIF orientation of a recording's colour images, by the first that can be read."""
    for path in color:
        try:
            orientation = read_orientation(path)
        except FrameError:
            continue
        turned = f"the colour pictures are turned or mirrored as their EXIF orientation ({orientation}) says"
        return [] if orientation == 1 else [turned]
    return []


class Masks:
    """The masks of a recording: masks/<frame>.png, or masks/<object>/<frame>.png where there are several objects; where
    there are none at all, what the alpha channel of the colour images cuts out.

    Args:
        folder: of the masks.
        object_id: which object, where there are several.
        color: the colour images by frame.
    """

    def __init__(self, folder: Path, object_id: str | None, color: dict[str, Path]) -> None:
        self.folder = folder
        self.objects: list[str] = []
        self.files = list_images(folder)
        folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
        with_masks = [name for name in folders if list_images(folder / name)]
        self.objects = [] if self.files else with_masks
        self.ignored_folders = with_masks if self.files else []
        self.object_id = self._choose(object_id)
        if self.object_id is not None:
            self.files = list_images(folder / self.object_id)
        self._cut_outs = {} if self.files or self.objects or not _cuts_out(next(iter(color.values()))) else color

    def _choose(self, object_id: str | None) -> str | None:
        if object_id is None:
            return self.objects[0] if len(self.objects) == 1 else None
        if object_id not in self.objects:
            known = f"it has {', '.join(self.objects)}" if self.objects else "it has no folder per object"
            raise SceneError(f"object_id {object_id!r} is not in {self.folder}: {known}")
        return object_id

    def has(self, name: str) -> bool:
        """Whether the recording has a mask for a frame."""
        return name in self.files or name in self._cut_outs

    def read(self, name: str) -> np.ndarray | None:
        """(H, W) bool mask of a frame, None if the recording has none for it."""
        if name in self._cut_outs:
            return read_cut_out(self._cut_outs[name])
        return read_mask(self.files[name]) if name in self.files else None

    @property
    def description(self) -> str:
        """Which masks were found, for people."""
        if self.objects and self.object_id is None:
            return f"masks of {len(self.objects)} objects ({', '.join(self.objects)}), none chosen"
        if self._cut_outs:
            return "masks in the alpha channel of the colour pictures"
        of = f" of {self.object_id}" if self.object_id else ""
        return f"masks{of} for {len(self.files)} frame(s)" if self.files else "no masks"


def _cuts_out(color: Path) -> bool:
    try:
        return read_cut_out(color) is not None
    except FrameError:  # said when the frame is read
        return False


def find_meshes(folder: Path) -> list[Path]:
    """The mesh files in a folder, [] if it holds none or does not exist."""
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in MESH_SUFFIXES and not f.name.startswith("."))
