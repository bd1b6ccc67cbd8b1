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
    depth, face_at = np.empty((height, width), np.float32), np.empty((height, width), np.int32)
    u_at, v_at = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    places, shares = np.empty((width, 4), np.int64), np.empty((width, 2), np.float32)
    light = np.empty(width, np.float32)
    lit = headlight != _ZERO or len(normal) > 0
    for image in range(begin, end):
        camera = _camera(K[image if len(K) > 1 else 0])
        depth[:] = np.float32(np.inf)
        instance[image], color[image], xyz[image] = -1, _ZERO, _ZERO
        if len(normal) > 0:
            normal[image] = _ZERO
        for k in range(first[image], first[image + 1]):
            pose = order[k]
            mesh = mesh_of[pose]
            v_start = vertex_start[mesh]
            points = _to_camera(vertices[v_start : vertex_start[mesh + 1]], poses[pose], camera, near)
            span = (face_start[mesh], face_start[mesh + 1])
            hits = (depth, face_at, u_at, v_at, instance[image])
            _rasterize(points, faces, span, v_start, pose, camera, near, *hits)
        for y in range(height):
            for x in range(width):
                pose = instance[image, y, x]
                if pose < 0:
                    continue
                face = face_at[y, x]
                clockwise = face < 0
                face = ~face if clockwise else face
                i0, i1, i2 = faces[face, 0], faces[face, 1], faces[face, 2]
                u, v, z = u_at[y, x], v_at[y, x], depth[y, x]
                w = _ONE - u - v
                ray_x, ray_y = _ray(camera, np.float32(x), np.float32(y))
                xyz[image, y, x, 0] = ray_x * z
                xyz[image, y, x, 1] = ray_y * z
                xyz[image, y, x, 2] = z

                light[x] = ambient
                if lit:
                    nx, ny, nz = _normal(vertices, normals, i0, i1, i2, u, v, w, poses[pose], clockwise)
                    if len(normal) > 0:
                        normal[image, y, x, 0] = nx
                        normal[image, y, x, 1] = ny
                        normal[image, y, x, 2] = nz
                    light[x] += headlight * max(_ZERO, -nz)
                light[x] *= _ONE / np.float32(255)

                mesh = mesh_of[pose]
                if texture_size[mesh, 0] > 0:
                    s = w * uv[i0, 0] + u * uv[i1, 0] + v * uv[i2, 0]
                    t = w * uv[i0, 1] + u * uv[i1, 1] + v * uv[i2, 1]
                    rows, columns = texture_size[mesh, 0], texture_size[mesh, 1]
                    _find_texels(texture_start[mesh], rows, columns, s, t, places[x], shares[x])
                else:
                    places[x, 0] = -1
                    for c in range(3):
                        value = w * colors[i0, c] + u * colors[i1, c] + v * colors[i2, c]
                        color[image, y, x, c] = min(_ONE, max(_ZERO, light[x] * value))
            # Texels are far apart in memory; a loop of its own waits for those of several pixels at once.
            for x in range(width):
                if instance[image, y, x] >= 0 and places[x, 0] >= 0:
                    red, green, blue = _mix_texels(texels, places[x], shares[x])
                    color[image, y, x, 0] = min(_ONE, max(_ZERO, light[x] * red))
                    color[image, y, x, 1] = min(_ONE, max(_ZERO, light[x] * green))
                    color[image, y, x, 2] = min(_ONE, max(_ZERO, light[x] * blue))


@compiled(fastmath=_MATH)
def _rasterize(points, faces, span, first_vertex, pose, camera, near, depth, face_at, u_at, v_at, instance):
    """Draw the triangles of one mesh: where one is the nearest so far, write its depth, its number (~number where its
    corners run clockwise), the weights of its second and third corner, and the pose.

    Those that run clockwise, the far side of a closed mesh, come last: nearly all of them are behind what is there by
    then, and are not looked at closely.
    """
    height, width = depth.shape
    clockwise, count = np.empty(span[1] - span[0], np.int32), 0
    for counter in (True, False):
        for k in range(span[1] - span[0] if counter else count):
            face = span[0] + k if counter else clockwise[k]
            i0, i1, i2 = faces[face, 0] - first_vertex, faces[face, 1] - first_vertex, faces[face, 2] - first_vertex
            x0, x1, y0, y1 = _bounds(points, i0, i1, i2, near, width, height)
            if x0 >= x1 or y0 >= y1:
                continue
            ax, ay, az = points[i0, 0], points[i0, 1], points[i0, 2]
            bz, cz = points[i1, 2], points[i2, 2]
            e1x, e1y, e1z = points[i1, 0] - ax, points[i1, 1] - ay, bz - az
            e2x, e2y, e2z = points[i2, 0] - ax, points[i2, 1] - ay, cz - az
            nx, ny, nz = _cross(e1x, e1y, e1z, e2x, e2y, e2z)
            side = -_ONE  # makes d.N positive where the hit is in front
            if nx * ax + ny * ay + nz * az > _ZERO:
                side = _ONE
                if counter:
                    clockwise[count] = face
                    count += 1
                    continue
            if not _any_behind(depth, x0, x1, y0, y1, min(az, bz, cz)):
                continue
            ux, uy, uz = _cross(e2x, e2y, e2z, ax, ay, az)
            vx, vy, vz = _cross(ax, ay, az, e1x, e1y, e1z)
            slack = _EDGE * (abs(ux) + abs(uy) + abs(uz) + abs(vx) + abs(vy) + abs(vz))
            u_x, u_y, u_1 = _per_pixel(camera, side * ux, side * uy, side * uz)
            v_x, v_y, v_1 = _per_pixel(camera, side * vx, side * vy, side * vz)
            n_x, n_y, n_1 = _per_pixel(camera, side * nx, side * ny, side * nz)
            number = face if counter else ~face
            for y in range(y0, y1):
                row = np.float32(y)
                u_row, v_row, n_row = u_y * row + u_1, v_y * row + v_1, n_y * row + n_1
                for x in range(x0, x1):
                    column = np.float32(x)
                    u, v, n = u_x * column + u_row, v_x * column + v_row, n_x * column + n_row
                    if u >= -slack and v >= -slack and u + v <= n + slack and n > _NO_AREA:
                        scale = _ONE / n
                        u = min(_ONE, max(_ZERO, u * scale))
                        v = min(_ONE - u, max(_ZERO, v * scale))
                        z = az + u * e1z + v * e2z
                        if z > near and z < depth[y, x]:
                            depth[y, x], face_at[y, x], u_at[y, x], v_at[y, x] = z, number, u, v
                            instance[y, x] = pose


@compiled(fastmath=_MATH)
def _bounds(points, i0, i1, i2, near, width, height):
    """First column, last column + 1, first row, last row + 1 of the pixels that a triangle may cover."""
    az, bz, cz = points[i0, 2], points[i1, 2], points[i2, 2]
    if max(az, bz, cz) <= near:
        return 0, 0, 0, 0
    if min(az, bz, cz) <= near:
        return 0, width, 0, height
    left = max(_ZERO, np.ceil(min(points[i0, 3], points[i1, 3], points[i2, 3])))
    right = min(np.float32(width - 1), np.floor(max(points[i0, 3], points[i1, 3], points[i2, 3])))
    top = max(_ZERO, np.ceil(min(points[i0, 4], points[i1, 4], points[i2, 4])))
    bottom = min(np.float32(height - 1), np.floor(max(points[i0, 4], points[i1, 4], points[i2, 4])))
    return int(left), int(right) + 1, int(top), int(bottom) + 1


@compiled(fastmath=_MATH)
def _any_behind(depth, x0, x1, y0, y1, nearest):
    """Whether any of these pixels shows nothing, or something behind a triangle's nearest corner."""
    for y in range(y0, y1):
        for x in range(x0, x1):
            if depth[y, x] > nearest:
                return True
    return False


@compiled(fastmath=_MATH)
def _find_texels(start, rows, columns, s, t, places, shares):
    """Fill places (4,) with the texels around a point of a repeating texture, v up, where (s, t) = (0, 0) is the outer
    corner of the lower left texel; and shares (2,) with what the right and the lower ones count."""
    s = (s - np.floor(s)) * np.float32(columns) - _HALF
    t = (np.ceil(t) - t) * np.float32(rows) - _HALF
    left, top = np.floor(s), np.floor(t)
    shares[0], shares[1] = s - left, t - top
    x0, x1 = _neighbours(np.int64(left), columns)
    y0, y1 = _neighbours(np.int64(top), rows)
    places[0], places[1] = start + y0 * columns + x0, start + y0 * columns + x1
    places[2], places[3] = start + y1 * columns + x0, start + y1 * columns + x1


@compiled(fastmath=_MATH)
def _mix_texels(texels, places, shares):
    """Red, green and blue of four texels, 0..255."""
    a, b, c, d = texels[places[0]], texels[places[1]], texels[places[2]], texels[places[3]]
    fs, ft = shares[0], shares[1]
    wa, wb = (_ONE - fs) * (_ONE - ft), fs * (_ONE - ft)
    wc, wd = (_ONE - fs) * ft, fs * ft
    return (
        wa * _byte(a, 0) + wb * _byte(b, 0) + wc * _byte(c, 0) + wd * _byte(d, 0),
        wa * _byte(a, 8) + wb * _byte(b, 8) + wc * _byte(c, 8) + wd * _byte(d, 8),
        wa * _byte(a, 16) + wb * _byte(b, 16) + wc * _byte(c, 16) + wd * _byte(d, 16),
    )


@compiled(fastmath=_MATH)
def _byte(texel, shift):
    return np.float32(np.int32((texel >> shift) & 255))


@compiled(fastmath=_MATH)
def _neighbours(i, length):
    """i and i + 1, which may be one outside 0..length - 1, repeating."""
    return i if 0 <= i < length else length - 1, i + 1 if 0 <= i + 1 < length else 0


@compiled(fastmath=_MATH)
def _normal(vertices, normals, i0, i1, i2, u, v, w, pose, clockwise):
    """The interpolated unit normal in camera axes, turned towards the camera.

    By the triangle and not by the ray: a smooth normal may point past the silhouette.
    """
    x = w * normals[i0, 0] + u * normals[i1, 0] + v * normals[i2, 0]
    y = w * normals[i0, 1] + u * normals[i1, 1] + v * normals[i2, 1]
    z = w * normals[i0, 2] + u * normals[i1, 2] + v * normals[i2, 2]
    ax, ay, az = vertices[i0, 0], vertices[i0, 1], vertices[i0, 2]
    fx, fy, fz = _cross(
        vertices[i1, 0] - ax, vertices[i1, 1] - ay, vertices[i1, 2] - az,
        vertices[i2, 0] - ax, vertices[i2, 1] - ay, vertices[i2, 2] - az,
    )  # fmt: skip
    along = x * fx + y * fy + z * fz
    nx = pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z
    ny = pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z
    nz = pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z
    scale = _ONE / max(np.float32(1e-12), np.sqrt(nx * nx + ny * ny + nz * nz))  # poses of training enlarge
    if (along > _ZERO) if clockwise else (along < _ZERO):
        scale = -scale
    return nx * scale, ny * scale, nz * scale


@compiled(fastmath=_MATH)
def _to_camera(vertices, pose, camera, near):
    """(V, 5) vertices in camera axes, metres, then their pixels, within a range that an integer holds; pixels of points
    nearer than `near` are those at that depth, because the triangles they belong to are not bounded by them."""
    fx, skew, cx, fy, cy = camera
    points = np.empty((len(vertices), 5), np.float32)
    for i in range(len(vertices)):
        x, y, z = _transform(vertices, i, pose)
        inverse = _ONE / max(z, near)
        down = y * inverse
        points[i, 0], points[i, 1], points[i, 2] = x, y, z
        points[i, 3] = min(max(fx * x * inverse + skew * down + cx, -_FAR_OFF), _FAR_OFF)
        points[i, 4] = min(max(fy * down + cy, -_FAR_OFF), _FAR_OFF)
    return points


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
