"""One frame of a recording, and what every reader of recordings offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose6d.errors import FrameError, shorten
from pose6d.geometry.color_depth_offset import remove_depth_offset
from pose6d.geometry.pose_check import ANNOTATED, check_rigid
from pose6d.mesh.symmetry import mesh_symmetries
from pose6d.mesh.units import UnitChoice
from pose6d.scenes.images import COLOR_SUFFIXES, read_mask
from pose6d.scenes.lens import Undistortion

MESH_SUFFIXES = (".obj", ".ply", ".glb", ".gltf", ".stl", ".off")
# What else belongs into a mesh/ folder: materials, buffers and textures; symmetries; what mesh_creation writes there.
_BESIDE_MESHES = (*MESH_SUFFIXES, ".mtl", ".bin", *COLOR_SUFFIXES, ".tga", ".webp", ".gif")
MADE_OBJECT = "made_object"
"""where the object is kept that was made of a recording's pictures, should it be a set of reference views as well"""
_MESH_FOLDER = frozenset(("symmetry.json", "metadata.json", "formats"))


@dataclass
class Frame:
    """One aligned colour and depth image.

    Attributes:
        name: the frame's name in the recording; results are filed under it.
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres along the camera axis, aligned to the colour image, 0 where nothing was measured.
        K: (3, 3) float64 intrinsics; integer pixel coordinates are pixel centres.
        mask: (H, W) bool, true on the object; None where the recording has no mask for this frame.
        object_in_camera: (4, 4) float64 ground truth in metres, OpenCV axes; None where there is none.
        seconds: when it was taken, on the clock of its source; None where that is unknown.
    """

    name: str
    rgb: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    mask: np.ndarray | None = None
    object_in_camera: np.ndarray | None = None
    seconds: float | None = None

    def check_sizes(self) -> None:
        """Raise FrameError unless colour, depth and mask have one size."""
        size = self.rgb.shape[:2]
        for what, image in (("depth", self.depth), ("mask", self.mask)):
            if image is not None and image.shape[:2] != size:
                turned = (
                    "; one of them is turned by 90 degrees. Their EXIF orientations were followed: is one missing or "
                    "wrong? Turn the pictures themselves, and remove it"
                )
                raise FrameError(
                    f"frame {self.name}: {what} is {image.shape[1]}x{image.shape[0]} but colour is "
                    f"{size[1]}x{size[0]}: {what} must be aligned to the colour image and have its size"
                    f"{turned if image.shape[1::-1] == size else ''}"
                )


def check_truth(object_in_camera: np.ndarray, source: str) -> np.ndarray:
    """The ground truth (4, 4) that a file holds, as it is.

    Raises:
        FrameError: it is no rotation with a translation; the message begins with `source`, the place in the file.
    """
    try:
        check_rigid(object_in_camera, ANNOTATED)
    except ValueError as error:
        raise FrameError(f"{source}: the ground truth is no pose: {error}. Correct it, or take it out") from error
    return object_in_camera


@dataclass(frozen=True)
class SceneOptions:
    """How a recording is read; see `pose6d.scenes.open_scene`."""

    object_id: str | None = None
    mask_dir: Path | None = None
    depth_scale: float | None = None
    cropped: bool = False


class Scene(ABC):
    """A recording of one rigid object by one camera, read lazily.

    Attributes:
        kind: the name of the layout, such as "folder".
        files: what a recording of this layout consists of, for people.
        markers: files and folders that tell the layout: one of them is enough.
        path: the folder.
        names: the frames' names, in time order.
        size: (height, width) of the colour images, for which the intrinsics are.
        notes: what people should know of how the camera's files were read; [] where there is nothing special.
        cropped: whether the user says that the images are cut out of larger ones (see `check_intrinsics`).
        depth_scale_stated: whether the user states the unit of depth, or the recording one that is not the usual 1 mm;
            else it is taken to be 1 mm.
        depth_unit: metres per step of the depth that is read; 0.0001 where there is no one step.
        depth_offset: pixels by which depth lies to the right of and below colour, taken out of every frame that is
            read; may be set at any time.
        mesh_files: the meshes that come with the recording.
        mesh_unit: the unit of that file where the layout fixes it ("mm" in BOP), else "auto".
        object_id: the object that was chosen, where there are several.
        objects: the objects that the recording has masks or poses of, where there are several.
        unused: what belongs to the recording, or was given for it, and is not read; for people.
        strange: what lies in the folder or in its mesh/ and is not part of the layout.
    """

    kind: str
    files = ""
    markers: tuple[str, ...] = ()

    def __init__(self, path: Path, options: SceneOptions = SceneOptions()) -> None:
        self.path = path
        self.names: list[str] = []
        self.size = (0, 0)
        self.notes: list[str] = []
        self.cropped = options.cropped
        self.depth_scale_stated = True
        self.depth_unit = 0.0001
        self.depth_offset = (0, 0)
        self._undistortion: Undistortion | None = None
        self.mesh_files: list[Path] = []
        self.mesh_unit: UnitChoice = "auto"
        self.unused: list[str] = []
        self.strange: list[Path] = []
        self.object_id: str | None = None
        self.objects: list[str] = []

    @property
    def mesh_file(self) -> Path | None:
        """The mesh that comes with the recording; None where there is none, or several to choose from."""
        return self.mesh_files[0] if len(self.mesh_files) == 1 else None

    @property
    def choice(self) -> str:
        """For messages, the beginning of what to do while one of several objects is to be chosen; else nothing."""
        if self.object_id is not None or not self.objects:
            return ""
        return f"choose one of its objects by --object_id ({', '.join(self.objects)}), or "

    @property
    def masks_found(self) -> str:
        """For messages, what lies where masks are looked for; "" where that is not known."""
        return ""

    def symmetries(self, unit_scale: float) -> np.ndarray | None:
        """The symmetries (S, 4, 4) of the recording's mesh, of `unit_scale` metres per unit; None without any."""
        found = None if self.mesh_file is None else mesh_symmetries(self.mesh_file, unit_scale)
        return None if found is None else found.numpy()

    def _name_unused(self, known: frozenset[str]) -> None:
        """Note what lies in the folder, or in its mesh/, under a name that the layout does not have."""
        mesh = self.path / "mesh"
        for folder, names, suffixes in ((self.path, known, ()), (mesh, _MESH_FOLDER, _BESIDE_MESHES)):
            self.strange += [
                entry
                for entry in (sorted(folder.iterdir()) if folder.is_dir() else [])
                if entry.name not in names
                and entry.suffix.lower() not in suffixes
                and not entry.name.startswith((".", MADE_OBJECT))
            ]

    def _name_unmatched(self, files: Mapping[str, Path], what: str) -> None:
        """Note the files by stem that are named like no frame."""
        frames = set(self.names)
        strange = [file for stem, file in files.items() if stem not in frames]
        if strange:
            names = shorten([file.name for file in strange])
            self.unused.append(f"{what} {names} in {strange[0].parent}: named like no frame")

    @property
    def distorted(self) -> bool:
        """Whether the image files show lens distortion, which reading takes out."""
        return self._undistortion is not None

    def read_mask(self, path: Path) -> np.ndarray:
        """A mask file (H, W) bool that goes with the frames as they are read."""
        return self._pinhole(read_mask(path))

    @property
    @abstractmethod
    def description(self) -> str:
        """What was found, for people."""

    def color_file(self, index: int) -> Path:
        """The colour image of a frame, for messages."""
        return self.path / self.names[index]

    def pose(self, index: int) -> np.ndarray | None:
        """(4, 4) ground truth of a frame, object in camera, without reading its images; None where it has none."""
        return None

    def has_mask(self, index: int) -> bool:
        """Whether there is a mask of the chosen object for a frame."""
        return False

    @abstractmethod
    def _read(self, index: int) -> Frame:
        """Read frame `index`, 0 <= index < len(self)."""

    def _pinhole(self, image: np.ndarray) -> np.ndarray:
        """Colour (H, W, 3), depth or mask (H, W) without the lens distortion; of another size, as it is."""
        if self._undistortion is None or image.shape[:2] != self.size:
            return image
        return self._undistortion.smooth(image) if image.ndim == 3 else self._undistortion.exact(image)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Frame]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Frame:
        """Read one frame; FrameError if a file of it is missing, truncated or of the wrong size."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a scene of {len(self)} frames")
        frame = self._read(index % len(self))
        if frame.rgb.shape[:2] != self.size:
            height, width = frame.rgb.shape[:2]
            raise FrameError(
                f"frame {frame.name}: colour is {width}x{height}, but the scene and its intrinsics are of "
                f"{self.size[1]}x{self.size[0]}"
            )
        frame.check_sizes()
        if self.depth_offset != (0, 0):
            frame.depth = remove_depth_offset(frame.depth, self.depth_offset)
        return frame
