"""What `SeenSpace` asks of one view, as a compiled loop."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_NEAREST = np.float32(0.01)  # metres from the camera; what is nearer is not in its picture


@compiled(nogil=True)
def compare_points(
    points, normals, pixels, size, R, t, K, tolerance, behind, same_way, facing, contradiction, matched, buried
):
    """Raise contradiction (P,) to the metres inside of empty space, and set matched and buried (P,).

    Args:
        points, normals: (P, 3) float32, object frame.
        pixels: (H * W, 7) float32: depth of the object, cosine of incidence, pixels beside the mask, depth of what is
            not the object, normal of the surface.
        size: height and width.
        R, t, K: (3, 3), (3,) and (3, 3) float32, the object in the camera and the camera.
        tolerance, behind: metres; see `SeenSpace` and `_BEHIND`.
        same_way, facing: cosines between normals of one surface, and to the ray.
    """
    height, width = size
    for i in range(len(points)):
        x = R[0, 0] * points[i, 0] + R[0, 1] * points[i, 1] + R[0, 2] * points[i, 2] + t[0]
        y = R[1, 0] * points[i, 0] + R[1, 1] * points[i, 1] + R[1, 2] * points[i, 2] + t[1]
        z = R[2, 0] * points[i, 0] + R[2, 1] * points[i, 1] + R[2, 2] * points[i, 2] + t[2]
        if z <= _NEAREST:
            continue
        column, row = np.rint(K[0, 0] * x / z + K[0, 2]), np.rint(K[1, 1] * y / z + K[1, 2])
        if column < 0 or column >= width or row < 0 or row >= height:
            continue
        at = np.int64(row) * width + np.int64(column)
        depth, beside, other = pixels[at, 0], pixels[at, 2], pixels[at, 3]
        if beside > 0 and not (0 < other < z - behind):
            contradiction[i] = max(contradiction[i], beside * z / K[0, 0])
        if depth <= 0:
            continue
        ahead = (depth - z) * pixels[at, 1]  # metres before the surface seen
        if beside <= 0:
            contradiction[i] = max(contradiction[i], ahead)
        near = abs(ahead) < tolerance
        if not near and ahead > 0:
            continue
        across = R[0, 0] * normals[i, 0] + R[0, 1] * normals[i, 1] + R[0, 2] * normals[i, 2]
        down = R[1, 0] * normals[i, 0] + R[1, 1] * normals[i, 1] + R[1, 2] * normals[i, 2]
        away = R[2, 0] * normals[i, 0] + R[2, 1] * normals[i, 1] + R[2, 2] * normals[i, 2]
        if near:
            matched[i] |= across * pixels[at, 4] + down * pixels[at, 5] + away * pixels[at, 6] > same_way
        else:
            buried[i] |= across * x + down * y + away * z < facing * np.sqrt(x * x + y * y + z * z)
