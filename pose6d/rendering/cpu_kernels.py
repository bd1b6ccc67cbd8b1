"""The z-buffer of the CPU renderer in numba: images and triangles one after the other.

Every pixel is tested against a triangle by the ray-triangle intersection of Moeller and Trumbore ("Fast, minimum
storage ray/triangle intersection", 1997) with the ray d = K^-1 (px, py, 1) through the pixel's centre. With v0, e1, e2
the triangle's first corner and its edges in camera axes, u = d.U / d.N, v = d.V / d.N, depth = v0.z + u e1.z + v e2.z,
where U = e2 x v0, V = v0 x e1 and N = e1 x e2. Differences of corners keep float32 exact enough for triangles of a
millimetre a metre away. d.U, d.V and d.N are linear in the pixel, so testing one costs a few multiplications.
`rasterize.cu` has the same equations.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import math

import numpy as np

from pose6d.compiled import compiled

# A ray that passes an edge this close (relative to the edge's distance from the camera) hits both triangles, so that
# neighbours leave no crack: a few float32 rounding steps, 0.4 micrometres at a metre.
_EDGE = np.float32(4e-7)
_NO_AREA = np.float32(1e-25)
_FAR_OFF = np.float32(1e9)  # pixels
_ZERO = np.float32(0)
_HALF = np.float32(0.5)
_ONE = np.float32(1)
# All of fastmath but "there is no NaN and no infinity": poses come from networks.
_MATH = {"contract", "reassoc", "arcp", "nsz"}


@compiled(fastmath=_MATH, nogil=True)
def draw(
    vertices, normals, uv, colors, faces, vertex_start, face_start, texels, texture_start, texture_size,
    poses, K, mesh_of, order, first, ambient, headlight, near, color, xyz, normal, instance, begin, end,
):  # fmt: skip
    """Fill color, xyz, instance and, unless it is empty, normal, of the images from `begin` to `end`.

    The first ten arrays are those of `MeshBuffers`, poses (M, 4, 4) and K (1 or N, 3, 3) float32, mesh_of (M,) the mesh
    of each pose; order (M,) and first (N + 1,) say that image i holds the poses order[first[i]:first[i + 1]].
    """
    _, height, width = instance.shape
    for image in range(begin, end):
        camera = _camera(K[image if len(K) > 1 else 0])
        depth = np.full((height, width), np.float32(np.inf), np.float32)
        face_at = np.empty((height, width), np.int32)
        instance[image] = -1
        for k in range(first[image], first[image + 1]):
            pose = order[k]
            mesh = mesh_of[pose]
            v_start = vertex_start[mesh]
            points = _to_camera(vertices[v_start : vertex_start[mesh + 1]], poses[pose])
            pixels = _project(points, camera, near)
            span = (face_start[mesh], face_start[mesh + 1])
            _rasterize(points, pixels, faces, span, v_start, pose, camera, near, depth, face_at, instance[image])
        for y in range(height):
            for x in range(width):
                pose = instance[image, y, x]
                if pose < 0:
                    color[image, y, x] = _ZERO
                    xyz[image, y, x] = _ZERO
                    if len(normal) > 0:
                        normal[image, y, x] = _ZERO
                    continue
                face = face_at[y, x]
                i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
                ray_x, ray_y = _ray(camera, np.float32(x), np.float32(y))
                u, v, away_x, away_y, away_z = _hit(vertices, i0, i1, i2, poses[pose], ray_x, ray_y)
                w = _ONE - u - v
                z = depth[y, x]
                xyz[image, y, x, 0] = ray_x * z
                xyz[image, y, x, 1] = ray_y * z
                xyz[image, y, x, 2] = z

                nx, ny, nz = _normal(normals, i0, i1, i2, u, v, w, poses[pose])
                # By the triangle and not by the ray: a smooth normal may point past the silhouette.
                if nx * away_x + ny * away_y + nz * away_z > _ZERO:
                    nx, ny, nz = -nx, -ny, -nz
                if len(normal) > 0:
                    normal[image, y, x, 0] = nx
                    normal[image, y, x, 1] = ny
                    normal[image, y, x, 2] = nz

                mesh = mesh_of[pose]
                if texture_size[mesh, 0] > 0:
                    s = w * uv[i0, 0] + u * uv[i1, 0] + v * uv[i2, 0]
                    t = w * uv[i0, 1] + u * uv[i1, 1] + v * uv[i2, 1]
                    rows, columns = texture_size[mesh, 0], texture_size[mesh, 1]
                    red, green, blue = _sample(texels, texture_start[mesh], rows, columns, s, t)
                else:
                    red = w * colors[i0, 0] + u * colors[i1, 0] + v * colors[i2, 0]
                    green = w * colors[i0, 1] + u * colors[i1, 1] + v * colors[i2, 1]
                    blue = w * colors[i0, 2] + u * colors[i1, 2] + v * colors[i2, 2]
                light = (ambient + headlight * max(_ZERO, -nz)) / np.float32(255)
                color[image, y, x, 0] = min(_ONE, max(_ZERO, light * red))
                color[image, y, x, 1] = min(_ONE, max(_ZERO, light * green))
                color[image, y, x, 2] = min(_ONE, max(_ZERO, light * blue))


@compiled(fastmath=_MATH)
def _rasterize(points, pixels, faces, span, first_vertex, pose, camera, near, depth, face_at, instance):
    """Draw the triangles of one mesh: where one is the nearest so far, write depth, face_at and instance."""
    height, width = depth.shape
    for face in range(span[0], span[1]):
        i0, i1, i2 = faces[face, 0] - first_vertex, faces[face, 1] - first_vertex, faces[face, 2] - first_vertex
        ax, ay, az = points[i0, 0], points[i0, 1], points[i0, 2]
        bz, cz = points[i1, 2], points[i2, 2]
        x0, x1, y0, y1 = 0, width - 1, 0, height - 1
        if min(az, bz, cz) > near:
            x0 = max(x0, math.ceil(min(pixels[i0, 0], pixels[i1, 0], pixels[i2, 0])))
            x1 = min(x1, math.floor(max(pixels[i0, 0], pixels[i1, 0], pixels[i2, 0])))
            y0 = max(y0, math.ceil(min(pixels[i0, 1], pixels[i1, 1], pixels[i2, 1])))
            y1 = min(y1, math.floor(max(pixels[i0, 1], pixels[i1, 1], pixels[i2, 1])))
            if x0 > x1 or y0 > y1:
                continue
        elif max(az, bz, cz) <= near:
            continue

        e1x, e1y, e1z = points[i1, 0] - ax, points[i1, 1] - ay, bz - az
        e2x, e2y, e2z = points[i2, 0] - ax, points[i2, 1] - ay, cz - az
        ux, uy, uz = _cross(e2x, e2y, e2z, ax, ay, az)
        vx, vy, vz = _cross(ax, ay, az, e1x, e1y, e1z)
        nx, ny, nz = _cross(e1x, e1y, e1z, e2x, e2y, e2z)
        side = _ONE if nx * ax + ny * ay + nz * az > _ZERO else -_ONE  # makes d.N positive where the hit is in front
        slack = _EDGE * (abs(ux) + abs(uy) + abs(uz) + abs(vx) + abs(vy) + abs(vz))
        u_x, u_y, u_1 = _per_pixel(camera, side * ux, side * uy, side * uz)
        v_x, v_y, v_1 = _per_pixel(camera, side * vx, side * vy, side * vz)
        n_x, n_y, n_1 = _per_pixel(camera, side * nx, side * ny, side * nz)
        for y in range(y0, y1 + 1):
            row = np.float32(y)
            u_row, v_row, n_row = u_y * row + u_1, v_y * row + v_1, n_y * row + n_1
            for x in range(x0, x1 + 1):
                column = np.float32(x)
                u, v, n = u_x * column + u_row, v_x * column + v_row, n_x * column + n_row
                if u >= -slack and v >= -slack and u + v <= n + slack and n > _NO_AREA:
                    u = min(_ONE, max(_ZERO, u / n))
                    v = min(_ONE - u, max(_ZERO, v / n))
                    z = az + u * e1z + v * e2z
                    if z > near and z < depth[y, x]:
                        depth[y, x] = z
                        face_at[y, x] = face
                        instance[y, x] = pose


@compiled(fastmath=_MATH)
def _hit(vertices, i0, i1, i2, pose, ray_x, ray_y):
    """Where a ray meets a triangle that it hits: weights of the second and third corner, clamped into the triangle, and
    the triangle's normal turned away from the camera, of any length."""
    ax, ay, az = _transform(vertices, i0, pose)
    bx, by, bz = _transform(vertices, i1, pose)
    cx, cy, cz = _transform(vertices, i2, pose)
    e1x, e1y, e1z = bx - ax, by - ay, bz - az
    e2x, e2y, e2z = cx - ax, cy - ay, cz - az
    ux, uy, uz = _cross(e2x, e2y, e2z, ax, ay, az)
    vx, vy, vz = _cross(ax, ay, az, e1x, e1y, e1z)
    nx, ny, nz = _cross(e1x, e1y, e1z, e2x, e2y, e2z)
    n = nx * ray_x + ny * ray_y + nz
    u = min(_ONE, max(_ZERO, (ux * ray_x + uy * ray_y + uz) / n))
    v = min(_ONE - u, max(_ZERO, (vx * ray_x + vy * ray_y + vz) / n))
    side = _ONE if n > _ZERO else -_ONE
    return u, v, side * nx, side * ny, side * nz


@compiled(fastmath=_MATH)
def _sample(texels, start, rows, columns, s, t):
    """Bilinear texture lookup, repeating, v up: (s, t) = (0, 0) is the outer corner of the lower left texel."""
    s = (s - np.float32(math.floor(s))) * np.float32(columns) - _HALF
    t = (np.float32(math.ceil(t)) - t) * np.float32(rows) - _HALF
    left, top = math.floor(s), math.floor(t)
    fs, ft = s - np.float32(left), t - np.float32(top)
    x0, x1 = _neighbours(np.int64(left), columns)
    y0, y1 = _neighbours(np.int64(top), rows)
    a, b = start + y0 * columns + x0, start + y0 * columns + x1
    c, d = start + y1 * columns + x0, start + y1 * columns + x1
    wa, wb = (_ONE - fs) * (_ONE - ft), fs * (_ONE - ft)
    wc, wd = (_ONE - fs) * ft, fs * ft
    return (
        wa * texels[a, 0] + wb * texels[b, 0] + wc * texels[c, 0] + wd * texels[d, 0],
        wa * texels[a, 1] + wb * texels[b, 1] + wc * texels[c, 1] + wd * texels[d, 1],
        wa * texels[a, 2] + wb * texels[b, 2] + wc * texels[c, 2] + wd * texels[d, 2],
    )


@compiled(fastmath=_MATH)
def _neighbours(i, length):
    """i and i + 1, which may be one outside 0..length - 1, repeating."""
    return i if 0 <= i < length else length - 1, i + 1 if 0 <= i + 1 < length else 0


@compiled(fastmath=_MATH)
def _normal(normals, i0, i1, i2, u, v, w, pose):
    """The interpolated unit normal in camera axes."""
    x = w * normals[i0, 0] + u * normals[i1, 0] + v * normals[i2, 0]
    y = w * normals[i0, 1] + u * normals[i1, 1] + v * normals[i2, 1]
    z = w * normals[i0, 2] + u * normals[i1, 2] + v * normals[i2, 2]
    nx = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z
    ny = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z
    nz = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z
    scale = _ONE / max(np.float32(1e-12), np.float32(math.sqrt(nx * nx + ny * ny + nz * nz)))
    return nx * scale, ny * scale, nz * scale


@compiled(fastmath=_MATH)
def _to_camera(vertices, pose):
    """(V, 3) vertices in camera axes."""
    points = np.empty((len(vertices), 3), np.float32)
    for i in range(len(vertices)):
        points[i, 0], points[i, 1], points[i, 2] = _transform(vertices, i, pose)
    return points


@compiled(fastmath=_MATH)
def _project(points, camera, near):
    """(V, 2) pixels, within a range that an integer holds; points nearer than `near` are put at that depth, because the
    triangles they belong to are not bounded by them."""
    fx, skew, cx, fy, cy = camera
    pixels = np.empty((len(points), 2), np.float32)
    for i in range(len(points)):
        inverse = _ONE / max(points[i, 2], near)
        y = points[i, 1] * inverse
        pixels[i, 0] = min(max(fx * points[i, 0] * inverse + skew * y + cx, -_FAR_OFF), _FAR_OFF)
        pixels[i, 1] = min(max(fy * y + cy, -_FAR_OFF), _FAR_OFF)
    return pixels


@compiled(fastmath=_MATH)
def _transform(vertices, i, pose):
    x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
    return (
        pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3],
        pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3],
        pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3],
    )


@compiled(fastmath=_MATH)
def _camera(K):
    return K[0, 0], K[0, 1], K[0, 2], K[1, 1], K[1, 2]


@compiled(fastmath=_MATH)
def _ray(camera, x, y):
    """The pixel's ray at depth 1: K^-1 (x, y, 1)."""
    fx, skew, cx, fy, cy = camera
    ray_y = (y - cy) / fy
    return (x - cx - skew * ray_y) / fx, ray_y


@compiled(fastmath=_MATH)
def _per_pixel(camera, x, y, z):
    """K^-T (x, y, z): the product of a ray with (x, y, z) as coefficients of the pixel's x, y and 1."""
    fx, skew, cx, fy, cy = camera
    per_x = x / fx
    per_y = (y - per_x * skew) / fy
    return per_x, per_y, z - per_x * cx - per_y * cy


@compiled(fastmath=_MATH)
def _cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
