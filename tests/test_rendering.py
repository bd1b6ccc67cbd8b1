"""The renderers against ray casting, against each other, and against pictures whose every pixel is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial.transform import Rotation

from pose6d.mesh.mesh import Mesh
from pose6d.rendering import ALBEDO, Rendering, Shading, make_renderer
from tests.mesh_boxes import bilinear
from tests.rendering_scenes import SIZE, K, at, box, random_poses, render, square, torus


def camera_rays(camera: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) float64 points at depth 1 behind the pixel centres."""
    v, u = np.mgrid[: size[0], : size[1]]
    return np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(camera.double().numpy()).T


def raycast(vertices: np.ndarray, faces: np.ndarray, rays: np.ndarray, near: float):
    """Depth, face and corner weights by Open3D's ray casting (Embree)."""
    open3d = pytest.importorskip("open3d", reason="Open3D cannot be imported", exc_type=ImportError)
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(open3d.core.Tensor(vertices.astype(np.float32)), open3d.core.Tensor(faces.astype(np.uint32)))
    hits = scene.cast_rays(open3d.core.Tensor(np.concatenate([near * rays, rays], -1).astype(np.float32)))
    t, weights = hits["t_hit"].numpy(), hits["primitive_uvs"].numpy()
    weights = np.concatenate([1 - weights.sum(-1, keepdims=True), weights], -1)
    return np.where(np.isfinite(t), t + near, 0), hits["primitive_ids"].numpy().astype(np.int64), weights


def in_camera(mesh: Mesh, pose: torch.Tensor) -> np.ndarray:
    """(V, 3) float64 vertices in camera axes."""
    return mesh.vertices.astype(np.float64) @ pose[:3, :3].double().numpy().T + pose[:3, 3].double().numpy()


def is_edge(depth: np.ndarray, step: float = 0.002) -> np.ndarray:
    """Pixels beside a silhouette or a depth step."""
    return maximum_filter(depth, 3) - minimum_filter(depth, 3) > step


def assert_matches_raycasting(mesh: Mesh, poses: torch.Tensor, images: Rendering, camera=K, near=0.001):
    rays = camera_rays(camera, SIZE)
    for i, pose in enumerate(poses):
        depth, face, weights = raycast(in_camera(mesh, pose), mesh.faces, rays, near)
        ours, mask = images.depth[i].numpy(), images.mask[i].numpy()
        assert mask.any()
        differing = mask != (depth > 0)
        assert not (differing & ~is_edge(depth)).any(), "silhouettes differ away from the edges"
        assert differing.sum() <= 2
        inside = mask & ~is_edge(depth)
        # Observed worst 0.0004 mm; 0.1 mm is what poses need.
        assert np.abs(ours - depth)[inside].max() < 1e-4

        corners = mesh.faces[np.where(inside, face, 0)]  # (H, W, 3)
        if mesh.texture is not None:
            expected = bilinear(mesh.texture, (mesh.uv[corners] * weights[..., None]).sum(-2))
        else:
            expected = (mesh.colors[corners] * weights[..., None]).sum(-2) / 255
        assert np.abs(images.color[i].numpy() - expected)[inside].max() < 2 / 255


@pytest.mark.parametrize("make_mesh", [torus, box])
def test_matches_raycasting(device: torch.device, make_mesh) -> None:
    mesh, poses = make_mesh(), random_poses(4)
    images = render(make_renderer(mesh, device), poses, shading=ALBEDO)
    assert_matches_raycasting(mesh, poses, images)


def test_triangles_below_a_pixel_leave_no_cracks(device: torch.device) -> None:
    mesh, poses = torus(segments=150), random_poses(2, distance=1.2)
    images = render(make_renderer(mesh, device), poses)
    for i, pose in enumerate(poses):
        depth, _, _ = raycast(in_camera(mesh, pose), mesh.faces, camera_rays(K, SIZE), 0.001)
        assert (images.mask[i].numpy() != (depth > 0)).sum() <= 2
        assert np.abs(images.depth[i].numpy() - depth)[images.mask[i].numpy() & ~is_edge(depth)].max() < 1e-4


def test_neighbouring_triangles_leave_no_cracks(device: torch.device) -> None:
    """A finely divided plane that fills the image from everywhere has no hole."""
    whole = square(2.0)
    vertices, faces = whole.vertices, whole.faces
    for _ in range(6):
        vertices, faces = trimesh.remesh.subdivide(vertices, faces)
    plane = Mesh(vertices=vertices, faces=faces)
    poses = torch.eye(4).repeat(8, 1, 1)
    tilts = np.random.default_rng(0).uniform(-0.6, 0.6, (8, 3))
    poses[:, :3, :3] = torch.from_numpy(Rotation.from_rotvec(tilts).as_matrix()).float()
    poses[:, 2, 3] = 0.8
    assert render(make_renderer(plane, device), poses).mask.all()


@pytest.mark.parametrize("near", [0.001, 0.1])
def test_nothing_nearer_than_near_is_drawn(device: torch.device, near: float) -> None:
    """The camera stands inside a box, whose walls cross the near plane and the plane of the camera."""
    mesh, poses = box((0.5, 0.3, 0.4)), random_poses(4, distance=0.0)
    wide = torch.tensor([[60.0, 0.0, 63.0], [0.0, 60.0, 49.5], [0.0, 0.0, 1.0]])
    images = render(make_renderer(mesh, device), poses, wide, shading=ALBEDO, near=near)
    assert images.depth[images.mask].min() > near
    assert_matches_raycasting(mesh, poses, images, wide, near)


def test_behind_the_camera_is_empty(device: torch.device) -> None:
    images = render(make_renderer([torus(), box()], device), at(-0.5).repeat(2, 1, 1), mesh_index=torch.tensor([0, 1]))
    assert not images.mask.any()


def test_background_is_zero_and_the_object_is_not(device: torch.device) -> None:
    images = render(make_renderer(box(), device), random_poses(2), normals=True)
    for image in (images.color, images.xyz, images.normal):
        assert image.shape == (2, *SIZE, 3)
        assert image.dtype == torch.float32
        assert (image[~images.mask] == 0).all()
    assert images.instance.dtype == torch.int32
    assert (images.instance[~images.mask] == -1).all()
    assert (images.depth[images.mask] > 0.4).all()
    for i in range(2):
        assert (images.instance[i][images.mask[i]] == i).all()
        assert 0.05 < images.mask[i].float().mean() < 0.9
    assert render(make_renderer(box(), device), random_poses(1)).normal is None


def test_points_project_to_their_pixels(device: torch.device) -> None:
    skewed = K + torch.tensor([[0.0, 12.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    images = render(make_renderer(torus(), device), random_poses(1), skewed)
    projected = images.xyz[0] @ skewed.T
    v, u = torch.nonzero(images.mask[0], as_tuple=True)
    pixels = projected[v, u, :2] / projected[v, u, 2:]
    assert (pixels - torch.stack([u, v], -1)).abs().max() < 1e-3


def test_crop_window_equals_the_cropped_picture(device: torch.device) -> None:
    renderer, poses = make_renderer(torus(), device), random_poses(3)
    full = render(renderer, poses, normals=True)
    for scale, left, top in ((1, 17, 23), (2, 30, 10)):
        window = torch.tensor([[1 / scale, 0, -left / scale], [0, 1 / scale, -top / scale], [0, 0, 1]])
        crop = render(renderer, poses, (window @ K).expand(3, 3, 3), (40, 44), normals=True)
        for name in ("instance", "xyz", "color", "normal"):
            cut = getattr(full, name)[:, top : top + 40 * scale : scale, left : left + 44 * scale : scale]
            different = (cut - getattr(crop, name)).abs() > 1e-3
            assert different.float().mean() < 1e-3, name  # rounding decides a few edge pixels


def test_batch_equals_single(device: torch.device) -> None:
    renderer, poses = make_renderer(torus(), device), random_poses(5)
    cameras = K.repeat(5, 1, 1)
    cameras[:, 0, 2] += torch.arange(5)
    batch = render(renderer, poses, cameras, normals=True)
    for i in range(5):
        single = render(renderer, poses[i : i + 1], cameras[i], normals=True)
        for name in ("color", "xyz", "normal"):
            assert torch.equal(getattr(batch, name)[i], getattr(single, name)[0])


def test_instances_of_mixed_meshes_occlude_each_other(device: torch.device) -> None:
    meshes = [torus(), box(), torus(segments=20)]
    mesh_index = torch.tensor([1, 0, 2, 0, 1, 2, 2])
    image_index = torch.tensor([0, 0, 0, 2, 2, 2, 2])  # image 1 stays empty
    poses = random_poses(7, spread=0.05)
    options = {"mesh_index": mesh_index, "image_index": image_index, "normals": True}
    together = render(make_renderer(meshes, device), poses, K.expand(4, 3, 3), **options)
    assert together.color.shape[0] == 4
    assert render(make_renderer(meshes, device), poses, K, **options).color.shape[0] == 3
    assert not together.mask[1].any()
    assert not together.mask[3].any()

    alone = [
        render(make_renderer(meshes[m], device), p[None], normals=True) for m, p in zip(mesh_index, poses, strict=True)
    ]
    for image in (0, 2):
        members = torch.nonzero(image_index == image)[:, 0]
        depth = torch.stack([torch.where(alone[m].mask[0], alone[m].depth[0], torch.inf) for m in members])
        nearest = members[depth.argmin(0)]
        assert torch.equal(together.mask[image], depth.isfinite().any(0))
        assert set(together.instance[image].unique().tolist()) == {-1, *members.tolist()}
        hit = together.mask[image]
        assert torch.equal(together.instance[image][hit].long(), nearest[hit])
        for name in ("color", "xyz", "normal"):
            separate = torch.stack([getattr(a, name)[0] for a in alone])
            expected = separate[nearest, torch.arange(SIZE[0])[:, None], torch.arange(SIZE[1])]
            assert torch.equal(getattr(together, name)[image][hit], expected[hit])


def test_both_sides_are_drawn_and_normals_face_the_camera(device: torch.device) -> None:
    mesh, poses = torus(), random_poses(2)
    inside_out = Mesh(
        vertices=mesh.vertices, faces=mesh.faces[:, ::-1], normals=-mesh.normals, uv=mesh.uv, texture=mesh.texture
    )
    front, back = (render(make_renderer(m, device), poses, normals=True) for m in (mesh, inside_out))
    same = front.instance == back.instance
    assert same.float().mean() > 0.9995
    assert (front.depth - back.depth)[same].abs().max() < 1e-5
    normal = front.normal[front.mask]
    assert (normal.norm(dim=-1) - 1).abs().max() < 1e-5
    towards = torch.nn.functional.normalize(-front.xyz[front.mask], dim=-1)
    assert (normal * towards).sum(-1).min() > -0.15  # a facet's tilt: smooth normals point past the silhouette
    assert ((front.normal - back.normal)[same].abs().amax(-1) > 1e-4).float().mean() < 1e-3


@pytest.mark.parametrize("enlarged", [1.0, 0.5])
def test_normals_of_a_sphere_are_radial(device: torch.device, enlarged: float) -> None:
    """Also in poses that make it larger or smaller, as those of training do."""
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=0.04)
    mesh = Mesh(vertices=np.asarray(sphere.vertices), faces=np.asarray(sphere.faces))
    pose = random_poses(1)
    pose[:, :3, :3] *= enlarged
    images = render(make_renderer(mesh, device), pose, normals=True)
    radial = torch.nn.functional.normalize(images.xyz[images.mask] - pose[0, :3, 3], dim=-1)
    assert (images.normal[images.mask] - radial).abs().max() < 0.03


def test_shading_follows_its_formula(device: torch.device) -> None:
    colors = np.full((4, 3), (200, 100, 0), np.uint8)
    renderer = make_renderer(square(colors=colors), device)
    albedo = torch.tensor([200, 100, 0]) / 255
    tilted = at(0.5)
    tilted[0, :3, :3] = torch.from_numpy(Rotation.from_euler("x", 60, degrees=True).as_matrix())
    for pose, cosine in ((at(0.5), 1.0), (tilted, 0.5)):
        for shading in (Shading(), Shading(0.3, 0.4), ALBEDO):
            images = render(renderer, pose, shading=shading)
            expected = (albedo * (shading.ambient + shading.headlight * cosine)).clamp(0, 1)
            assert (images.color[images.mask] - expected).abs().max() < 1e-5


def test_texture_stands_upright_and_repeats(device: torch.device) -> None:
    texture = np.random.default_rng(2).integers(0, 256, (3, 2, 3), dtype=np.uint8)
    camera = torch.tensor([[6.0, 0.0, 5.5], [0.0, 6.0, 5.5], [0.0, 0.0, 1.0]])
    v, u = np.mgrid[:12, :12]
    for shift in ((0, 0), (-3, 7)):
        mesh = square(2.0, texture)  # fills the picture exactly
        mesh.uv = mesh.uv + np.float32(shift)
        color = render(make_renderer(mesh, device), at(1.0), camera, (12, 12), shading=ALBEDO).color[0].numpy()
        expected = bilinear(texture, np.stack([(u + 0.5) / 12, 1 - (v + 0.5) / 12], -1))
        assert np.abs(color - expected).max() < 1e-4
        assert np.abs(color[0, 0] * 255 - texture[0, 0]).max() < 90  # row 0 of the texture is the upper one


def test_poses_that_are_not_finite_draw_nothing(device: torch.device) -> None:
    poses = random_poses(3)
    poses[0], poses[1, 0, 3] = torch.nan, torch.inf
    images = render(make_renderer([torus(), box()], device), poses, mesh_index=torch.tensor([0, 1, 0]))
    assert not images.mask[:2].any()
    assert torch.equal(images.xyz[2], render(make_renderer(torus(), device), poses[2:]).xyz[0])


def test_no_poses_give_no_or_empty_images(device: torch.device) -> None:
    renderer, none = make_renderer(box(), device), torch.empty(0, 4, 4)
    assert render(renderer, none).color.shape == (0, *SIZE, 3)
    empty = render(renderer, none, K.expand(2, 3, 3), image_index=torch.empty(0, dtype=torch.int64))
    assert empty.mask.shape == (2, *SIZE)
    assert not empty.mask.any()
