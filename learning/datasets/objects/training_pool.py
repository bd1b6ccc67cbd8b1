"""The mesh pool that both trainers draw from: procedural meshes, and what users mix in of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from learning.datasets.objects.hands import make_hands
from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.objects.random_objects import TEXTURE_SIZE, make_objects
from learning.datasets.surfaces.image_folder import read_sample
from learning.datasets.surfaces.materials import make_materials
from learning.datasets.surfaces.textures import make_textures
from pose6d.errors import MeshError, OptionError, SceneError, as_whole_number, listing
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.scenes.images import COLOR_SUFFIXES

HELD_OUT_SEED = 1_000_000
"""of the objects that nothing is trained on are this and above"""
MESH_SUFFIXES = (".obj", ".ply", ".glb")
MAXIMUM_FACES = 50_000
"""of one mesh of a user's; thousands of meshes share the GPU's memory, and crops show no finer detail"""
_MAXIMUM_TEXTURE = 512
_MATERIAL_SHARE = 0.3  # of the procedural backgrounds


@dataclass(frozen=True)
class PoolConfig:
    """How many procedural meshes and backgrounds to make, from which seeds, and what to mix in."""

    objects: int = 2500
    """procedural ones at a time"""
    renew_every: int = 50
    """steps after which the trainers replace some of them by new ones; 0 keeps them all"""
    renewed: int = 50
    """how many they replace each time"""
    backgrounds: int = 300
    """procedural pictures on tables and walls"""
    seed: int = 0
    """objects use the seeds from here on, up to 999,999 and then again; evaluation uses seeds from 1,000,000 on"""
    marked_share: float = 0.3
    """share of the objects that are nearly symmetric but for some mark; evaluation has none"""
    workers: int | None = None
    """processes; all cores where omitted"""
    hands: int = 60
    """hands and fingers that hide parts of objects"""
    mesh_dir: Path | None = None
    """folder (with subfolders) of own meshes to train on, too: .obj, .ply or .glb, any unit, 50,000 faces at most"""
    texture_dir: Path | None = None
    """folder (with its subfolders) of own images, which become backgrounds and surfaces of procedural objects"""
    texture_limit: int = 2000
    """images of texture_dir to use at most, a random sample of more; each takes 0.2 MB, on the GPU as well"""
    own_share: float = 0.1
    """share of the objects that are own meshes (few are repeated, all are used in any case), of the backgrounds that
    are own images, and of the procedural objects that wear one"""


@dataclass(frozen=True)
class OwnFiles:
    """What the user mixes in."""

    meshes: list[Mesh]
    images: list[np.ndarray]


def read_own_files(config: PoolConfig, progress: bool = True) -> OwnFiles:
    """The meshes and images of the user's folders.

    Raises:
        MeshError: mesh_dir holds no mesh, or one that cannot be used; the message names it.
        SceneError: texture_dir holds no image; FrameError: none that can be read.
        OptionError: own_share is not in 0..1 (1 excluded), texture_limit is less than 1, or the seed less than 0.
    """
    if not 0 <= config.own_share < 1:
        raise OptionError(f"own_share is {config.own_share}: wanted a share from 0 up to, but not including, 1")
    if config.texture_limit < 1:
        raise OptionError(f"texture_limit is {config.texture_limit}: wanted 1 image or more")
    as_whole_number(config.seed, "seed", least=0)
    meshes = load_meshes(config.mesh_dir) if config.mesh_dir else []
    images: list[np.ndarray] = []
    if config.texture_dir:
        images = load_textures(config.texture_dir, config.texture_limit, config.seed, progress=progress)
    return OwnFiles(meshes, images)


def make_pool(
    config: PoolConfig,
    device: torch.device,
    progress: bool = True,
    own: OwnFiles | None = None,
    seeds: Sequence[int] | None = None,
) -> MeshPool:
    """Read what the user mixes in, make the procedural meshes and upload all.

    Objects are the procedural ones followed by the user's.

    Args:
        own: what `read_own_files` gave; read here where omitted.
        seeds: of the procedural objects; the first ones from config.seed on where omitted.

    Raises:
        MeshError, SceneError, FrameError, ValueError: see `read_own_files`.
    """
    own = own or read_own_files(config, progress)  # first: what is wrong with the files shows before minutes are spent
    seeds = range(config.seed, config.seed + config.objects) if seeds is None else seeds
    objects = make_objects(seeds, workers=config.workers, progress=progress, marked_share=config.marked_share)
    objects = wear_images(objects, seeds, own.images, config.own_share)
    hands = make_hands(range(config.seed, config.seed + config.hands), workers=config.workers, progress=progress)
    backgrounds = [*_make_backgrounds(config.backgrounds, config.seed)]
    backgrounds += repeat_to_share(own.images, config.own_share, len(backgrounds))
    objects += repeat_to_share(own.meshes, config.own_share, len(objects))
    return MeshPool(objects, backgrounds, device, occluders=hands)


def load_meshes(folder: Path) -> list[Mesh]:
    """All meshes of a folder and its subfolders in the order of their paths, scaled to unit diameter and centred.

    Raises:
        MeshError: no such folder, no mesh in it, a mesh that cannot be read, has more than MAXIMUM_FACES faces or no
            extent.
    """
    paths = _files_in(folder, MESH_SUFFIXES, "mesh_dir", "meshes", MeshError)
    return [_fit_for_training(load_mesh(path), path) for path in paths]


def load_textures(folder: Path, limit: int = 2000, seed: int = 0, *, progress: bool = True) -> list[np.ndarray]:
    """Images of a folder and its subfolders, cut to their middle square, each (256, 256, 3) uint8 RGB.

    Of more than `limit` images, a random sample that the seed decides. Those that cannot be read are left out, with a
    warning that counts them.

    Raises:
        SceneError: no such folder, or no image in it.
        FrameError: none of the images can be read.
    """
    paths = _files_in(folder, COLOR_SUFFIXES, "texture_dir", "images", SceneError)
    if len(paths) > limit and progress:
        print(f"texture_dir {folder} holds {len(paths):,} images: {limit:,} of them, drawn at random, are used")
    return read_sample(paths, limit, seed, TEXTURE_SIZE, progress=progress)


def repeat_to_share(own: Sequence, share: float, others: int) -> list:
    """The user's own things, repeated in turn until they are `share` of the whole with `others`; at least once each."""
    if len(own) == 0:
        return []
    wanted = round(share / (1 - share) * others)
    return [own[i % len(own)] for i in range(max(wanted, len(own)))]


def wear_images(objects: list[Mesh], seeds: Sequence[int], images: list[np.ndarray], share: float) -> list[Mesh]:
    """The objects, of which a share, by their seeds, wear an image in place of their texture."""
    if not images:
        return objects
    worn = []
    for mesh, seed in zip(objects, seeds, strict=True):
        rng = np.random.default_rng([seed, 0x0F])
        worn.append(replace(mesh, texture=images[rng.integers(len(images))]) if rng.random() < share else mesh)
    return worn


def _files_in(
    folder: Path, suffixes: tuple[str, ...], argument: str, what: str, error: type[MeshError | SceneError]
) -> list[Path]:
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise error(f"{argument} {folder} {found}: wanted a folder of {what} ({', '.join(suffixes)})")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not paths:
        raise error(f"{argument} {folder} holds no {what} ({', '.join(suffixes)}); found: {listing(folder)}")
    return paths


def _fit_for_training(mesh: Mesh, path: Path) -> Mesh:
    if len(mesh.faces) > MAXIMUM_FACES:
        raise MeshError(
            f"mesh {path} has {len(mesh.faces):,} faces, wanted at most {MAXIMUM_FACES:,}: decimate it (Blender's "
            "modifier Decimate, or MeshLab's quadric edge collapse with texture) and keep the original elsewhere"
        )
    if not mesh.diameter > 0:
        raise MeshError(f"mesh {path} has no extent: all of its vertices lie in one point")
    texture = mesh.texture
    if texture is not None and max(texture.shape[:2]) > _MAXIMUM_TEXTURE:
        ratio = _MAXIMUM_TEXTURE / max(texture.shape[:2])
        size = [max(1, round(side * ratio)) for side in texture.shape[1::-1]]
        texture = np.asarray(Image.fromarray(texture).resize((size[0], size[1]), Image.Resampling.BOX))
    return replace(mesh, texture=texture).centered().scaled(1.0 / mesh.diameter)


def _make_backgrounds(count: int, seed: int) -> np.ndarray:
    """(count, 256, 256, 3) uint8 RGB."""
    materials = round(_MATERIAL_SHARE * count)
    return np.concatenate([make_textures(count - materials, seed), make_materials(materials, seed)])
