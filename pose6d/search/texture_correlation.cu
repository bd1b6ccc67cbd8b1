// The texture of N hypotheses and of what is seen there: the functions of texture_correlation.py, which explain the steps.

#include "pose6d/geometry/camera.cuh"
#include "pose6d/block_sums.cuh"

#define TEXTURES 6  // 3 channels expected, 3 found
#define PLANES 7    // and where both are seen
#define RUN 7       // pixels of a row that a thread compares; odd, so that threads read from different banks
#define SUMS 5  // squares of what is expected and found, their products, how many pixels are seen, and drawn

// One thread per pixel of N crops. `planes` (N, 7, s, s): logarithms of the drawn and of the observed colour, 0 where
// the surface is not seen, and 1 where it is seen, else 0; `seen` (N, s, s): the depth observed, `outside` the image.
extern "C" __global__ void __launch_bounds__(BLOCK)
    sample_textures(const float* __restrict__ drawn_color, const float* __restrict__ drawn_xyz,
                    const float* __restrict__ rgb, int rgb_channel, int rgb_row, int rgb_column,
                    const float* __restrict__ depth, int depth_row, int depth_column, int height, int width,
                    const float* __restrict__ transforms, const float* __restrict__ diameters, int diameter_stride,
                    float factor, float dark, float outside, int size, float* __restrict__ planes, float* __restrict__ seen) {
    int pixels = size * size, blocks = (pixels + BLOCK - 1) / BLOCK;
    int i = blockIdx.x / blocks, pixel = (blockIdx.x - i * blocks) * BLOCK + threadIdx.x;
    if (pixel >= pixels) return;
    int row = pixel / size;
    float2 at = looked_at(transforms + i * 9, row, pixel - row * size);
    const float* found = nearest(Image{depth, 0, depth_row, depth_column, height, width}, at.y, at.x);
    float there = found ? fmaxf(__ldg(found), 0.0f) : outside;
    size_t place = (size_t)i * pixels + pixel;
    const float* drawn = drawn_color + place * 3;
    float here = drawn_xyz[place * 3 + 2], limit = Length{diameters, diameter_stride, factor}.of(i);
    bool same = here > 0.0f && (there == 0.0f || fabsf(there - here) < limit);
    float values[PLANES] = {};
    if (same) {
        float3 color = bilinear(Image{rgb, rgb_channel, rgb_row, rgb_column, height, width}, at.y, at.x);
        for (int c = 0; c < 3; c++) values[c] = logf(drawn[c] + dark);
        values[3] = logf(color.x + dark), values[4] = logf(color.y + dark), values[5] = logf(color.z + dark);
        values[6] = 1.0f;
    }
    seen[place] = there;
    for (int c = 0; c < PLANES; c++) planes[((size_t)i * PLANES + c) * pixels + pixel] = values[c];
}

// Sums over windows of 2 * `reach` + 1 values that slide along a line of `size` values, `step` apart: the next one, by
// what enters and what leaves.
struct Sliding {
    const float* line;
    int step, size, reach;
    float sum;

    __device__ Sliding(const float* line, int step, int size, int reach, int first)
        : line(line), step(step), size(size), reach(reach), sum(0.0f) {
        for (int i = max(first - reach, 0); i <= min(first + reach, size - 1); i++) sum += line[i * step];
    }
    __device__ void slide(int from) {
        if (from + reach + 1 < size) sum += line[(from + reach + 1) * step];
        if (from - reach >= 0) sum -= line[(from - reach) * step];
    }
};

// What the planes are beside their surroundings, (N, 6, s, s): means over squares of 2 * `fine` + 1 pixels less means over
// squares of 2 * `around` + 1, of the pixels that count. One block per TILE rows of a crop. Dynamic shared memory:
// 2 * (PLANES + 1) * TILE * s floats.
extern "C" __global__ void __launch_bounds__(BLOCK)
    compare_surroundings(const float* __restrict__ planes, int size, int fine, int around, float* __restrict__ textures) {
    extern __shared__ float shared[];
    int pixels = size * size, tiles = (size + TILE - 1) / TILE, image = blockIdx.x / tiles;
    int first = (blockIdx.x - image * tiles) * TILE, rows = min(TILE, size - first), plane_sums = TILE * size;
    float *close = shared, *far = close + PLANES * plane_sums;  // sums along columns, (7, TILE, s)
    float *close_count = far + PLANES * plane_sums, *far_count = close_count + plane_sums;
    planes += (size_t)image * PLANES * pixels, textures += (size_t)image * TEXTURES * pixels;
    for (int i = threadIdx.x; i < PLANES * size; i += BLOCK) {
        int c = i / size, column = i - c * size;
        const float* line = planes + c * pixels + column;
        Sliding small(line, size, size, fine, first), large(line, size, size, around, first);
        for (int row = 0; row < rows; row++) {
            int at = c * plane_sums + row * size + column;
            close[at] = small.sum, far[at] = large.sum;
            small.slide(first + row), large.slide(first + row);
        }
    }
    __syncthreads();
    int runs = (size + RUN - 1) / RUN;
    for (int i = threadIdx.x; i < rows * runs; i += BLOCK) {
        int row = i / runs, start = (i - row * runs) * RUN, at = row * size, mask = TEXTURES * plane_sums + at;
        Sliding small(close + mask, 1, size, fine, start), large(far + mask, 1, size, around, start);
        for (int column = start; column < min(start + RUN, size); column++) {
            close_count[at + column] = small.sum, far_count[at + column] = large.sum;
            small.slide(column), large.slide(column);
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < TEXTURES * rows * runs; i += BLOCK) {
        int c = i / (rows * runs), row = i / runs - c * rows, start = i % runs * RUN, at = row * size;
        int plane = c * plane_sums + at;
        Sliding small(close + plane, 1, size, fine, start), large(far + plane, 1, size, around, start);
        for (int column = start; column < min(start + RUN, size); column++) {
            int pixel = (first + row) * size + column;
            bool same = planes[TEXTURES * pixels + pixel] > 0.0f;  // and then its own squares hold at least one
            textures[c * pixels + pixel] =
                same ? small.sum / close_count[at + column] - large.sum / far_count[at + column] : 0.0f;
            small.slide(column), large.slide(column);
        }
    }
}

// One block per hypothesis: how well its textures (6, s, s) agree.
extern "C" __global__ void __launch_bounds__(BLOCK)
    correlate(const float* __restrict__ textures, const float* __restrict__ same, int same_stride,
              const float* __restrict__ seen, const int* __restrict__ instance, int size, float least, float* __restrict__ agreement) {
    int i = blockIdx.x, pixels = size * size;
    const float *expected = textures + (size_t)i * TEXTURES * pixels, *found = expected + (size_t)3 * pixels;
    float values[SUMS] = {};
    for (int pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) {
        for (int c = 0; c < 3; c++) {
            float a = expected[c * pixels + pixel], b = found[c * pixels + pixel];
            values[0] += a * a, values[1] += b * b, values[2] += a * b;
        }
        values[3] += same[(size_t)i * same_stride + pixel];
        size_t at = (size_t)i * pixels + pixel;
        values[4] += instance[at] >= 0 && seen[at] >= 0.0f ? 1.0f : 0.0f;
    }
    __shared__ float totals[SUMS];
    sum_over_block<SUMS>(values, totals);
    __syncthreads();
    if (threadIdx.x > 0) return;
    float counted = fmaxf(totals[3], 1.0f), share = counted / fmaxf(totals[4], 1.0f);
    float power = (totals[0] / (3.0f * counted) + least) * (totals[1] / (3.0f * counted) + least);
    agreement[i] = share * (totals[2] / (3.0f * counted)) * rsqrtf(power);
}
