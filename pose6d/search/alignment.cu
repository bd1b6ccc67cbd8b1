// A Gauss-Newton step of N poses: the functions of alignment.py, which explain the residuals and their weights.
//
// Sums over an image's pixels are taken per block first, (N, blocks, K), and then by whoever needs them, always in the
// same order, so that a result repeats to the bit.

#include "pose6d/geometry/camera.cuh"
#include "pose6d/geometry/transforms.cuh"
#include "pose6d/block_sums.cuh"

#define GAINS 6      // sums of expected * expected and expected * found, of 3 channels each
#define SPREADS 4    // of the squares of colour residuals, how many pixels have one, and the same of the depth's
#define SYSTEM 27    // the upper triangle of J'WJ and J'Wr
#define LANES 8      // threads that sum what the blocks of an image found
#define NEAREST_SHARE 1e-3f  // diameters, that a drawn point is from the camera at least

// The sums of an image's blocks, (blocks, K), for every thread of this one.
template <int K>
__device__ __forceinline__ void sum_of_blocks(const float* partial, int blocks, float* totals) {
    __shared__ float some[K][LANES];
    if (threadIdx.x < K * LANES) {
        int k = threadIdx.x / LANES, lane = threadIdx.x % LANES;
        float sum = 0.0f;
        for (int i = lane; i < blocks; i += LANES) sum += partial[i * K + k];
        some[k][lane] = sum;
    }
    __syncthreads();
    for (int k = 0; k < K; k++) {
        totals[k] = 0.0f;
        for (int lane = 0; lane < LANES; lane++) totals[k] += some[k][lane];
    }
}

// What is compared in an image: textures (3, s, s), where both are seen (s, s), the depth observed (s, s) and the
// points and normals drawn (s, s, 3).
struct Maps {
    const float *expected, *found, *same, *seen, *xyz, *normal;
    int size;

    // Whether a pixel and all around it are seen: differences reach one pixel further.
    __device__ bool inside(int pixel) const {
        int row = pixel / size, column = pixel - row * size;
        for (int y = max(row - 1, 0); y <= min(row + 1, size - 1); y++)
            for (int x = max(column - 1, 0); x <= min(column + 1, size - 1); x++)
                if (!(same[y * size + x] > 0.0f)) return false;
        return true;
    }
    // The observed point's distance from the drawn plane, diameters.
    __device__ float off_plane(int pixel, float diameter) const {
        const float *point = xyz + pixel * 3, *n = normal + pixel * 3;
        float x = point[0] / diameter, y = point[1] / diameter, z = fmaxf(point[2] / diameter, NEAREST_SHARE);
        return (n[0] * x + n[1] * y + n[2] * z) * (seen[pixel] / diameter / z - 1.0f);
    }
};

struct Place {
    int blocks, image, pixel;
    bool valid;

    __device__ explicit Place(int size) {
        blocks = (size * size + BLOCK - 1) / BLOCK;
        image = blockIdx.x / blocks;
        pixel = (blockIdx.x - image * blocks) * BLOCK + threadIdx.x;
        valid = pixel < size * size;
    }
};

__device__ __forceinline__ Maps maps_of(int image, const float* textures, const float* same, int same_stride,
                                        const float* seen, const float* xyz, const float* normal, int size) {
    size_t pixels = (size_t)size * size, i = image;
    return {textures + i * 6 * pixels, textures + (i * 6 + 3) * pixels, same + i * same_stride, seen + i * pixels,
            xyz + i * 3 * pixels, normal + i * 3 * pixels, size};
}

#define MAPS                                                                                                     \
    const float *__restrict__ textures, const float *__restrict__ same, int same_stride,                         \
        const float *__restrict__ seen, const float *__restrict__ xyz, const float *__restrict__ normal, int size

// By how much the expected texture is fainter or stronger than what is found.
extern "C" __global__ void __launch_bounds__(BLOCK) sum_gains(MAPS, float* __restrict__ gains) {
    Place place(size);
    Maps maps = maps_of(place.image, textures, same, same_stride, seen, xyz, normal, size);
    float values[GAINS] = {};
    if (place.valid && maps.inside(place.pixel))
        for (int c = 0; c < 3; c++) {
            float expected = maps.expected[c * size * size + place.pixel];
            values[c] = expected * expected;
            values[3 + c] = expected * maps.found[c * size * size + place.pixel];
        }
    sum_over_block<GAINS>(values, gains + blockIdx.x * GAINS);
}

// Of each channel.
__device__ __forceinline__ void gains_of(const float* gains, int blocks, float least, float* gain) {
    float totals[GAINS];
    sum_of_blocks<GAINS>(gains, blocks, totals);
    for (int c = 0; c < 3; c++) gain[c] = fmaxf(totals[3 + c] / (totals[c] + least), 0.0f);
}

// How far the residuals are spread.
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_spreads(MAPS, const float* __restrict__ gains, float least_power, const float* __restrict__ diameters,
                float* __restrict__ spreads) {
    Place place(size);
    Maps maps = maps_of(place.image, textures, same, same_stride, seen, xyz, normal, size);
    float gain[3];
    gains_of(gains + place.image * place.blocks * GAINS, place.blocks, least_power, gain);
    float values[SPREADS] = {};
    if (place.valid && maps.inside(place.pixel)) {
        for (int c = 0; c < 3; c++) {
            int at = c * size * size + place.pixel;
            float residual = maps.found[at] - gain[c] * maps.expected[at];
            values[0] += residual * residual;
        }
        values[1] = 1.0f;
        if (maps.seen[place.pixel] > 0.0f) {
            float residual = maps.off_plane(place.pixel, diameters[place.image]);
            values[2] = residual * residual;
            values[3] = 1.0f;
        }
    }
    sum_over_block<SPREADS>(values, spreads + blockIdx.x * SPREADS);
}

// Adds a residual's share to the system; `by_point` is how it changes as the point moves.
__device__ __forceinline__ void add(float* system, float weight, float residual, float3 lever, float3 by_point) {
    float J[6] = {lever.y * by_point.z - lever.z * by_point.y, lever.z * by_point.x - lever.x * by_point.z,
                  lever.x * by_point.y - lever.y * by_point.x, by_point.x, by_point.y, by_point.z};
    int k = 0;
    for (int i = 0; i < 6; i++)
        for (int j = i; j < 6; j++) system[k++] += J[i] * weight * J[j];
    for (int i = 0; i < 6; i++) system[k++] += J[i] * weight * residual;
}

// The normal equations.
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_systems(MAPS, const float* __restrict__ gains, float least_power, const float* __restrict__ spreads,
                float least_color, float color, float least_depth, float depth, const float* __restrict__ poses,
                const float* __restrict__ crop_K, const float* __restrict__ diameters, float* __restrict__ systems) {
    Place place(size);
    Maps maps = maps_of(place.image, textures, same, same_stride, seen, xyz, normal, size);
    float gain[3];
    gains_of(gains + place.image * place.blocks * GAINS, place.blocks, least_power, gain);
    float totals[SPREADS], values[SYSTEM] = {};
    sum_of_blocks<SPREADS>(spreads + place.image * place.blocks * SPREADS, place.blocks, totals);
    float color_variance = fmaxf(totals[0] / (3.0f * fmaxf(totals[1], 1.0f)), least_color * least_color);
    float depth_variance = fmaxf(totals[2] / fmaxf(totals[3], 1.0f), least_depth * least_depth);
    if (place.valid && maps.inside(place.pixel)) {
        const float *pose = poses + place.image * 16, *K = crop_K + place.image * 9;
        const float *point = maps.xyz + place.pixel * 3, *n = maps.normal + place.pixel * 3;
        float diameter = diameters[place.image];
        float x = point[0] / diameter, y = point[1] / diameter, z = fmaxf(point[2] / diameter, NEAREST_SHARE);
        float3 lever = make_float3((point[0] - pose[3]) / diameter, (point[1] - pose[7]) / diameter,
                                   (point[2] - pose[11]) / diameter);
        int row = place.pixel / size, column = place.pixel - row * size;
        for (int c = 0; c < 3; c++) {
            const float* expected = maps.expected + c * size * size + place.pixel;
            float residual = maps.found[c * size * size + place.pixel] - gain[c] * expected[0];
            float right = 0.0f, down = 0.0f;
            if (column > 0 && column < size - 1) right = gain[c] * (expected[1] - expected[-1]) / 2.0f * (K[0] / z);
            if (row > 0 && row < size - 1) down = gain[c] * (expected[size] - expected[-size]) / 2.0f * (K[4] / z);
            add(values, color / (color_variance + residual * residual / 4.0f), residual, lever,
                make_float3(right, down, -(right * (x / z) + down * (y / z))));
        }
        if (maps.seen[place.pixel] > 0.0f) {
            float residual = maps.off_plane(place.pixel, diameter);
            add(values, depth / (depth_variance + residual * residual / 4.0f), residual, lever,
                make_float3(-n[0], -n[1], -n[2]));
        }
    }
    sum_over_block<SYSTEM>(values, systems + blockIdx.x * SYSTEM);
}

// Solves a positive definite system by elimination; rows (6, 7) hold the matrix and the right side.
__device__ __forceinline__ void solve(float rows[6][7], float* solution) {
    for (int i = 0; i < 6; i++) {
        float pivot = rows[i][i];
        for (int j = i; j < 7; j++) rows[i][j] /= pivot;
        for (int k = 0; k < 6; k++) {
            if (k == i) continue;
            float factor = rows[k][i];
            for (int j = i; j < 7; j++) rows[k][j] -= factor * rows[i][j];
        }
    }
    for (int i = 0; i < 6; i++) solution[i] = rows[i][6];
}

// One block per pose: the sums over its image, the trust in where it started, and the step, `stride` times as long.
// `moved` (N, 6) is how far the pose is from its start, and is brought up to date.
extern "C" __global__ void __launch_bounds__(BLOCK)
    step_poses(const float* __restrict__ systems, int blocks, const float* __restrict__ starts, float turn,
               float across, float along, float stride, const float* __restrict__ diameters,
               float* __restrict__ moved, const float* __restrict__ poses, float* __restrict__ out) {
    int i = blockIdx.x;
    float sums[SYSTEM];
    sum_of_blocks<SYSTEM>(systems + i * blocks * SYSTEM, blocks, sums);
    if (threadIdx.x > 0) return;

    const float *start = starts + i * 16, *pose = poses + i * 16;
    float trust[6][6] = {}, rows[6][7];
    float ray[3] = {start[3], start[7], start[11]};
    float distance = fmaxf(sqrtf(ray[0] * ray[0] + ray[1] * ray[1] + ray[2] * ray[2]), 1e-12f);
    for (int a = 0; a < 3; a++) {
        trust[a][a] = 1.0f / (turn * turn);
        for (int b = 0; b < 3; b++) {
            float share = ray[a] * ray[b] / (distance * distance);
            trust[3 + a][3 + b] = ((a == b) - share) / (across * across) + share / (along * along);
        }
    }
    int k = 0;
    for (int a = 0; a < 6; a++)
        for (int b = a; b < 6; b++) rows[a][b] = rows[b][a] = sums[k++];
    for (int a = 0; a < 6; a++) {
        rows[a][6] = -sums[k++];
        for (int b = 0; b < 6; b++) {
            rows[a][b] += trust[a][b];
            rows[a][6] -= trust[a][b] * moved[i * 6 + b];
        }
    }
    float step[6];
    solve(rows, step);
    for (int a = 0; a < 6; a++) {
        step[a] *= stride;
        moved[i * 6 + a] += step[a];
    }

    Matrix R;
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++) R.m[a][b] = pose[a * 4 + b];
    R = so3_exp(make_float3(step[0], step[1], step[2])) * R;
    float* result = out + i * 16;
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < 3; b++) result[a * 4 + b] = R.m[a][b];
        result[a * 4 + 3] = pose[a * 4 + 3] + step[3 + a] * diameters[i];
    }
    result[12] = result[13] = result[14] = 0.0f;
    result[15] = 1.0f;
}
