// The light that fits best, as light.py has it: sums over pixels, and a system of eight equations for each channel.

#define UNKNOWNS 8  // the light: a, b (3), c, d (3)
#define AROUND 4    // one, and the normal
#define PRODUCTS 10  // of two of those
#define SUMS (3 * PRODUCTS + 2 * AROUND)  // times albedo squared, albedo and one; and colour times albedo, and colour

#include "pose6d/block_sums.cuh"

// A (N, 3, P) tensor, with its strides in elements.
struct Pixels {
    const float* data;
    int sample, channel, pixel;

    __device__ float of(int i, int c, int p) const {
        return __ldg(data + (size_t)i * sample + (size_t)c * channel + (size_t)p * pixel);
    }
};

// One block per channel of sample n in choice m, and slice of its pixels: `sums` (N, M, 3, slices, SUMS).
extern "C" __global__ void __launch_bounds__(BLOCK)
    sum_light(const float* __restrict__ albedos, int albedo_sample, int albedo_channel, int albedo_pixel,
              const float* __restrict__ normals, int normal_sample, int normal_channel, int normal_pixel,
              const float* __restrict__ colors, int color_sample, int color_channel, int color_pixel,
              const float* __restrict__ weights, int choices, int pixels, int slices, float* __restrict__ sums) {
    int slice = blockIdx.x % slices, system = blockIdx.x / slices, channel = system % 3, choice = system / 3;
    int i = choice / choices;
    Pixels albedo = {albedos, albedo_sample, albedo_channel, albedo_pixel};
    Pixels normal = {normals, normal_sample, normal_channel, normal_pixel};
    Pixels color = {colors, color_sample, color_channel, color_pixel};
    float values[SUMS] = {};
    for (int p = slice * BLOCK + threadIdx.x; p < pixels; p += slices * BLOCK) {
        float weight = __ldg(weights + (size_t)choice * pixels + p);
        if (weight == 0.0f) continue;
        float own = albedo.of(i, channel, p), seen = color.of(i, channel, p);
        float around[AROUND] = {1.0f, normal.of(i, 0, p), normal.of(i, 1, p), normal.of(i, 2, p)};
        float once = own * weight, twice = own * once;
        for (int a = 0, k = 0; a < AROUND; a++)
            for (int b = a; b < AROUND; b++, k++) {
                float product = around[a] * around[b];
                values[k] += twice * product;
                values[PRODUCTS + k] += once * product;
                values[2 * PRODUCTS + k] += weight * product;
            }
        for (int a = 0; a < AROUND; a++) {
            values[3 * PRODUCTS + a] += seen * once * around[a];
            values[3 * PRODUCTS + AROUND + a] += seen * weight * around[a];
        }
    }
    sum_over_block<SUMS>(values, sums + (size_t)blockIdx.x * SUMS);
}

// One block per system: its sums, and its solution by elimination, `light` (N, M, 3, 8).
extern "C" __global__ void __launch_bounds__(BLOCK)
    solve_light(const float* __restrict__ sums, int slices, float ridge, float least, float* __restrict__ light) {
    __shared__ float totals[SUMS], rows[UNKNOWNS][UNKNOWNS + 1];
    const float* own = sums + (size_t)blockIdx.x * slices * SUMS;
    if (threadIdx.x < SUMS) {
        float sum = 0.0f;
        for (int slice = 0; slice < slices; slice++) sum += own[slice * SUMS + threadIdx.x];
        totals[threadIdx.x] = sum;
    }
    __syncthreads();
    int row = threadIdx.x / (UNKNOWNS + 1), column = threadIdx.x % (UNKNOWNS + 1);
    bool used = row < UNKNOWNS;
    if (used) {
        float value;
        if (column == UNKNOWNS) {
            value = totals[3 * PRODUCTS + row];
        } else {
            // Powers of the albedo: two of the first four unknowns with each other, none of the last four.
            int power = row / AROUND + column / AROUND, a = row % AROUND, b = column % AROUND;
            int low = min(a, b), high = max(a, b);
            value = totals[power * PRODUCTS + low * AROUND - low * (low - 1) / 2 + high - low];
            if (row == column) value += ridge * fmaxf(totals[2 * PRODUCTS], least);
        }
        rows[row][column] = value;
    }
    __syncthreads();
    for (int pivot = 0; pivot < UNKNOWNS; pivot++) {
        float scaled = used ? rows[pivot][column] / rows[pivot][pivot] : 0.0f;
        float factor = used ? rows[row][pivot] : 0.0f;
        __syncthreads();
        if (used) rows[row][column] = row == pivot ? scaled : rows[row][column] - factor * scaled;
        __syncthreads();
    }
    if (used && column == UNKNOWNS) light[(size_t)blockIdx.x * UNKNOWNS + row] = rows[row][column];
}
