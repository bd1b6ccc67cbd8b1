// Where an object may be: the function `place_rotations` of placement.py, which explains the steps and hands in its
// constants. Compiled without fused multiply-add (--fmad=false), so that rounding to whole pixels decides as it does there.

#include "pose6d/geometry/camera.cuh"

struct Frame {
    const float* depth;
    int row, column, height, width;
    const bool* mask;
    float fx, skew, cx, fy, cy;

    __device__ Frame(const float* depth, int row, int column, int height, int width, const bool* mask, const float* K)
        : depth(depth), row(row), column(column), height(height), width(width), mask(mask),
          fx(K[0]), skew(K[1]), cx(K[2]), fy(K[4]), cy(K[5]) {}
};

// What the camera sees where a point is: its depth, 0 where there is none; whether that is on the mask, and in the image.
struct Look {
    float depth, z;
    bool on_mask, inside;

    __device__ Look(const Frame& f, float x, float y, float away) {
        z = fmaxf(away, NEAREST);
        y = y / z;
        float u = floorf(f.fx * (x / z) + f.skew * y + f.cx + (0.5f + TIE)), v = floorf(f.fy * y + f.cy + (0.5f + TIE));
        inside = u >= 0.0f && u < (float)f.width && v >= 0.0f && v < (float)f.height;
        depth = 0.0f, on_mask = false;
        if (!inside) return;
        depth = __ldg(f.depth + (size_t)(int)v * f.row + (size_t)(int)u * f.column);
        on_mask = f.mask[(int)v * f.width + (int)u];
    }
};

__device__ float sum_of(const float* values, int count) {
    float sum = 0.0f;
    for (int i = 0; i < count; i++) sum += values[i];
    return sum;
}

// One block per rotation. `sums` (H W): how many pixels under the mask have a depth, up to each; `points` (N, POINTS, 3);
// `centers` (N, 3) and `costs` (N).
extern "C" __global__ void __launch_bounds__(BLOCK)
    place_rotations(const float* __restrict__ points, const float* __restrict__ start, const long long* __restrict__ sums,
                    const float* __restrict__ xyz, int channel, int row, int column, int height, int width,
                    const bool* __restrict__ mask, const float* __restrict__ K, const float* __restrict__ diameters,
                    int diameter_stride, float factor, float same, float apart_share, float* __restrict__ centers,
                    float* __restrict__ costs) {
    __shared__ float3 own[POINTS];                            // the near side
    __shared__ float2 image[SAMPLES], drawn[PLACES][POINTS];  // as far away as the start
    __shared__ float values[PLACES][POINTS];                  // behind what was seen, then what a point costs
    __shared__ bool counts[PLACES][POINTS];
    __shared__ float along[2][SAMPLES], reach[2][POINTS];  // of the samples and of the near side, along either axis
    __shared__ float axis[2][2], center[PLACES][3], off[PLACES], share[PLACES][SAMPLES];
    const float* side = points + (size_t)blockIdx.x * POINTS * 3;
    Frame frame(xyz + (size_t)2 * channel, row, column, height, width, mask, K);
    float diameter = Length{diameters, diameter_stride, factor}.of(0);
    bool usable = isfinite(start[0]) && isfinite(start[1]) && isfinite(start[2]);
    float away = usable ? start[2] : 1.0f;
    int pixels = height * width;

    if (threadIdx.x < POINTS)
        own[threadIdx.x] = make_float3(side[threadIdx.x * 3], side[threadIdx.x * 3 + 1], side[threadIdx.x * 3 + 2]);
    if (threadIdx.x < SAMPLES) {  // evenly among the rows of the mask
        long long wanted = (long long)(((float)threadIdx.x + 0.5f) / SAMPLES * (float)sums[pixels - 1]) + 1;
        int low = 0, high = pixels;  // the first pixel that so many are before
        while (low < high) {
            int between = (low + high) / 2;
            if (sums[between] < wanted) low = between + 1;
            else high = between;
        }
        low = min(low, pixels - 1);
        const float* point = xyz + (size_t)(low / width) * row + (size_t)(low % width) * column;
        float z = point[(size_t)2 * channel];
        image[threadIdx.x] = usable ? make_float2(point[0] / z * away, point[channel] / z * away) : make_float2(0.0f, 0.0f);
    }
    __syncthreads();

    // The longer side of the near side's outline.
    if (threadIdx.x == 0) {
        float mean_x = 0.0f, mean_y = 0.0f, xx = 0.0f, xy = 0.0f, yy = 0.0f;
        for (int i = 0; i < POINTS; i++) mean_x += own[i].x, mean_y += own[i].y;
        mean_x /= POINTS, mean_y /= POINTS;
        for (int i = 0; i < POINTS; i++) {
            float x = own[i].x - mean_x, y = own[i].y - mean_y;
            xx += x * x, xy += x * y, yy += y * y;
        }
        float angle = 0.5f * atan2f(2.0f * xy, xx - yy);
        axis[0][0] = cosf(angle), axis[0][1] = sinf(angle);
        axis[1][0] = -axis[0][1], axis[1][1] = axis[0][0];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * POINTS; i += BLOCK) {
        int a = i / POINTS, p = i % POINTS;
        reach[a][p] = own[p].x * axis[a][0] + own[p].y * axis[a][1];
        if (p < SAMPLES) along[a][p] = image[p].x * axis[a][0] + image[p].y * axis[a][1];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        float middle[2], slack[2];
        for (int a = 0; a < 2; a++) {
            float least = reach[a][0], most = least;
            for (int p = 1; p < POINTS; p++) least = fminf(least, reach[a][p]), most = fmaxf(most, reach[a][p]);
            // One sample of the mask at either end may lie outside the object.
            float lowest = fminf(along[a][0], along[a][1]), low = fmaxf(along[a][0], along[a][1]), highest = low, high = lowest;
            for (int s = 2; s < SAMPLES; s++) {
                float value = along[a][s];
                low = fminf(low, fmaxf(lowest, value)), lowest = fminf(lowest, value);
                high = fmaxf(high, fminf(highest, value)), highest = fmaxf(highest, value);
            }
            float first = high - most, last = low - least;
            middle[a] = (first + last) / 2.0f, slack[a] = fmaxf((last - first) / 2.0f, 0.0f);
        }
        for (int s = 0; s < PLACES; s++) {
            float place = middle[0] + (-1.0f + 2.0f / (PLACES - 1) * s) * slack[0];
            center[s][0] = place * axis[0][0] + middle[1] * axis[1][0];
            center[s][1] = place * axis[0][1] + middle[1] * axis[1][1];
            center[s][2] = away;
        }
    }
    __syncthreads();

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = threadIdx.x; i < PLACES * POINTS; i += BLOCK) {
            int s = i / POINTS, p = i % POINTS;
            Look look(frame, own[p].x + center[s][0], own[p].y + center[s][1], own[p].z + center[s][2]);
            values[s][p] = look.depth - look.z;
            counts[s][p] = look.on_mask && look.depth > 0.0f;
        }
        if (threadIdx.x < PLACES) off[threadIdx.x] = 0.0f;
        __syncthreads();
        for (int i = threadIdx.x; i < PLACES * POINTS; i += BLOCK) {  // the lower median of those that count
            int s = i / POINTS, p = i % POINTS, number = 0, before = 0;
            if (!counts[s][p]) continue;
            float value = values[s][p];
            for (int other = 0; other < POINTS; other++) {
                if (!counts[s][other]) continue;
                number++;
                before += values[s][other] < value || (values[s][other] == value && other < p);
            }
            if (before == (number - 1) / 2) off[s] = value;
        }
        __syncthreads();
        if (threadIdx.x < PLACES) {
            float* at = center[threadIdx.x];
            float surface = fmaxf(at[2] + off[threadIdx.x], NEAREST), scale = surface / at[2];
            at[0] *= scale, at[1] *= scale, at[2] = surface;
        }
        __syncthreads();
    }

    for (int i = threadIdx.x; i < PLACES * POINTS; i += BLOCK) {
        int s = i / POINTS, p = i % POINTS;
        float x = own[p].x + center[s][0], y = own[p].y + center[s][1];
        Look look(frame, x, y, own[p].z + center[s][2]);
        float behind = (look.depth - look.z) / (same * diameter);
        float beside = behind > 1.0f ? SEEN_THROUGH : behind < -1.0f ? HIDDEN : BESIDE;
        float unknown = look.on_mask ? UNKNOWN_ON_MASK : look.inside ? UNKNOWN_BESIDE : HIDDEN;
        float known = look.on_mask ? fminf(fabsf(behind), 1.0f) : beside;
        values[s][p] = look.depth > 0.0f ? known : unknown;
        drawn[s][p] = make_float2(x / look.z * away, y / look.z * away);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < PLACES * SAMPLES; i += BLOCK) {
        int s = i / SAMPLES, m = i % SAMPLES;
        float nearest = 1e30f;
        for (int p = 0; p < POINTS; p++) {
            float x = image[m].x - drawn[s][p].x, y = image[m].y - drawn[s][p].y;
            nearest = fminf(nearest, x * x + y * y);
        }
        share[s][m] = fminf(sqrtf(nearest) / (apart_share * diameter), 1.0f);
    }
    __syncthreads();
    if (threadIdx.x < PLACES)
        off[threadIdx.x] = sum_of(values[threadIdx.x], POINTS) / POINTS + sum_of(share[threadIdx.x], SAMPLES) / SAMPLES;
    __syncthreads();
    if (threadIdx.x > 0) return;
    int best = 0;
    for (int s = 1; s < PLACES; s++)
        if (off[s] < off[best]) best = s;
    costs[blockIdx.x] = off[best];
    for (int a = 0; a < 3; a++) centers[blockIdx.x * 3 + a] = usable ? center[best][a] : start[a];
}
