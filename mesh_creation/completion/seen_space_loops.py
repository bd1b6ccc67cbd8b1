"""What `SeenSpace` asks of its views, as compiled loops."""

# mypy: allow-untyped-defs, allow-incomplete-defs
# numba infers the types of these functions itself.

from __future__ import annotations

import numpy as np

from pose6d.compiled import compiled

_NEAREST = np.float32(0.01)  # metres from the camera; what is nearer is not in its picture


@compiled(nogil=True)
def compare_points(points, normals, pictures, limits, contradiction, matched, buried):
    """Raise contradiction (P,) to the metres inside of empty space, and set matched and buried (P,), as in `Verdict`.

    Args:
        points, normals: (P, 3) float32, object frame.
        pictures: pixels, normals, cameras and frames of `_ask`.
        limits: of `_ask`.
    """
    pixels, facing, cameras, frames = pictures
    read, places = np.empty((len(cameras), 3), np.float32), np.empty(len(cameras), np.int64)
    for i in range(len(points)):
        empty, met, hidden = _ask(
            points[i, 0],
            points[i, 1],
            points[i, 2],
            normals[i, 0],
            normals[i, 1],
            normals[i, 2],
            1,
            pixels,
            facing,
            cameras,
            frames,
            limits,
            read,
            places,
        )
        contradiction[i] = max(contradiction[i], empty)
        matched[i] |= met
        buried[i] |= hidden and not matched[i]


@compiled(nogil=True)
def measure_planes(planes, added, points, normals, every, pictures, limits, supports, costs, least, measured):
    """Judge the images of a surface across planes; those of each group that cannot be among its best are left half way.

    Args:
        planes: (G, N, 4) float32, unit normals and offsets of N planes in each of G groups.
        added: (G, N) float32, what planes cost beside.
        points, normals: (P, 3) float32, the surface, object frame.
        every: of the views, every so many are asked.
        pictures: pixels, normals, cameras and frames of `_ask`.
        limits: of `_ask`.
        supports: (S, 4) float32, planes that nothing lies below, n . p + d = 0.
        costs: (4,) float32, as in `PlaneCosts`.
        least: (G, B) float32, sorted: costs that the B best of a group must not exceed; they are replaced by those that
            are found.
        measured: (G, N, 3) float32, set to the mean contradiction beyond noise and the shares matched and buried of
            each plane; infinite, 0 and 0 where it was left.
    """
    deepest, noise, buries, matches = costs
    pixels, facing, cameras, frames = pictures
    read, places = np.empty((len(cameras), 3), np.float32), np.empty(len(cameras), np.int64)
    count, two = np.float32(len(points)), np.float32(2)
    for group in range(planes.shape[0]):
        best = least[group]
        for i in range(planes.shape[1]):
            a, b, c, d = planes[group, i, 0], planes[group, i, 1], planes[group, i, 2], planes[group, i, 3]
            total, met, hidden, cost = np.float32(0), 0, 0, np.float32(0)
            for j in range(len(points)):
                away = two * (a * points[j, 0] + b * points[j, 1] + c * points[j, 2] - d)
                x, y, z = points[j, 0] - away * a, points[j, 1] - away * b, points[j, 2] - away * c
                across = two * (a * normals[j, 0] + b * normals[j, 1] + c * normals[j, 2])
                empty, matched, buried = _ask(
                    x,
                    y,
                    z,
                    normals[j, 0] - across * a,
                    normals[j, 1] - across * b,
                    normals[j, 2] - across * c,
                    every,
                    pixels,
                    facing,
                    cameras,
                    frames,
                    limits,
                    read,
                    places,
                )
                for k in range(len(supports)):
                    height = supports[k, 0] * x + supports[k, 1] * y + supports[k, 2] * z + supports[k, 3]
                    empty = max(empty, -height)
                share = min(empty / deepest, np.float32(1))
                total += share * share
                met += matched
                hidden += buried and not matched
                # All that is left may match, and contradict nothing.
                contradicted = max(total / count - noise, np.float32(0))
                likely = np.float32(met + len(points) - 1 - j)
                cost = contradicted + (buries * np.float32(hidden) + matches * likely) / count + added[group, i]
                if cost > best[-1]:
                    break
            if cost > best[-1]:
                measured[group, i, 0], measured[group, i, 1:] = np.inf, 0
                continue
            measured[group, i, 0], measured[group, i, 1], measured[group, i, 2] = (
                max(total / count - noise, np.float32(0)),
                met / count,
                hidden / count,
            )
            place = len(best) - 1
            while place > 0 and best[place - 1] > cost:
                best[place] = best[place - 1]
                place -= 1
            best[place] = cost


@compiled(nogil=True)
def _ask(px, py, pz, nx, ny, nz, every, pixels, normals, cameras, frames, limits, read, places):
    """Of a point and its normal: metres inside of empty space, whether it is matched, and whether buried.

    Args:
        px, py, pz, nx, ny, nz: float32, object frame.
        every: of the views, every so many are asked.
        pixels: (sum of H * W + 1, 2) float32 of all views: on the mask depth, 0 where unknown, and cosine of incidence;
            beside it the distance to the mask in pixels, negative, and the depth of what is there. The last is 0, for
            points that a view does not show.
        normals: (sum of H * W, 3) float32 of the surface, where there is depth on the mask; camera axes.
        cameras: (V, 16) float32, of each view R and t of the object in the camera, fx, cx, fy, cy.
        frames: (V, 3) int64, where its pixels start, their height and width.
        read, places: (V, 3) float32 and (V,) int64, to work in.
        limits: (4,) float32: tolerance, see `SeenSpace`; metres behind something else from which on a point is hidden
            by it; cosines between normals of one surface, and to the ray.
    """
    tolerance, behind, same_way, facing = limits[0], limits[1], limits[2], limits[3]
    empty, matched, buried = np.float32(0), False, False
    # First all is read, without a branch: then the processor does not wait for one pixel after the other.
    for v in range(0, len(cameras), every):
        x = cameras[v, 0] * px + cameras[v, 1] * py + cameras[v, 2] * pz + cameras[v, 9]
        y = cameras[v, 3] * px + cameras[v, 4] * py + cameras[v, 5] * pz + cameras[v, 10]
        z = cameras[v, 6] * px + cameras[v, 7] * py + cameras[v, 8] * pz + cameras[v, 11]
        away = max(z, _NEAREST)
        column = np.rint(cameras[v, 12] * x / away + cameras[v, 13])
        row = np.rint(cameras[v, 14] * y / away + cameras[v, 15])
        inside = (z > _NEAREST) & (column >= 0) & (column < frames[v, 2]) & (row >= 0) & (row < frames[v, 1])
        at = frames[v, 0] + np.int64(row) * frames[v, 2] + np.int64(column) if inside else len(pixels) - 1
        places[v], read[v, 0], read[v, 1], read[v, 2] = at, z, pixels[at, 0], pixels[at, 1]
    for v in range(0, len(cameras), every):
        z, depth, slope = read[v, 0], read[v, 1], read[v, 2]
        if depth < 0:  # pixels beside the mask
            if not 0 < slope < z - behind:
                empty = max(empty, -depth * z / cameras[v, 12])
            continue
        if depth == 0:
            continue
        ahead = (depth - z) * slope  # metres before the surface seen
        empty = max(empty, ahead)
        near = abs(ahead) < tolerance
        if matched if near else ahead > 0 or buried:
            continue
        across = cameras[v, 0] * nx + cameras[v, 1] * ny + cameras[v, 2] * nz
        down = cameras[v, 3] * nx + cameras[v, 4] * ny + cameras[v, 5] * nz
        away = cameras[v, 6] * nx + cameras[v, 7] * ny + cameras[v, 8] * nz
        if near:
            at = places[v]
            matched = across * normals[at, 0] + down * normals[at, 1] + away * normals[at, 2] > same_way
        else:
            x = cameras[v, 0] * px + cameras[v, 1] * py + cameras[v, 2] * pz + cameras[v, 9]
            y = cameras[v, 3] * px + cameras[v, 4] * py + cameras[v, 5] * pz + cameras[v, 10]
            buried = across * x + down * y + away * z < facing * np.sqrt(x * x + y * y + z * z)
    return empty, matched, buried
