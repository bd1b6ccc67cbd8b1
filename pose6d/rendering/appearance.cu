// The texture of N hypotheses and of what is seen there: the functions of appearance.py, which explain the steps.

#include "pose6d/geometry/camera.cuh"

#define TEXTURES 6  // 3 channels expected, 3 found
#define PLANES 7    // and where both are seen
#define NO_MEAN 1e-6f

// One thread per pixel of N crops. `planes` (N, 7, s, s): logarithms of the drawn and of the observed colour, 0 where
// the surface is not seen, and 1 where it is seen, else 0; `seen` (N, s, s): the depth observed.
extern "C" __global__ void __launch_bounds__(BLOCK)
    sample_textures(const float* __restrict__ drawn_color, const float* __restrict__ drawn_xyz,
                    const float* __restrict__ rgb, int rgb_channel, int rgb_row, int rgb_column,
                    const float* __restrict__ depth, int depth_row, int depth_column, int height, int width,
                    const float* __restrict__ transforms, const float* __restrict__ diameters, int diameter_stride,
                    float factor, float dark, int size, float* __restrict__ planes, float* __restrict__ seen) {
    int pixels = size * size, blocks = (pixels + BLOCK - 1) / BLOCK;
    int i = blockIdx.x / blocks, pixel = (blockIdx.x - i * blocks) * BLOCK + threadIdx.x;
    if (pixel >= pixels) return;
    int row = pixel / size;
    float2 at = looked_at(transforms + i * 9, row, pixel - row * size);
    const float* found = nearest(Image{depth, 0, depth_row, depth_column, height, width}, at.y, at.x);
    float there = found ? __ldg(found) : 0.0f;
    size_t place = (size_t)i * pixels + pixel;
    const float* drawn = drawn_color + place * 3;
    float here = drawn_xyz[place * 3 + 2], limit = Length{diameters, diameter_stride, factor}.of(i);
    bool same = here > 0.0f && (there <= 0.0f || fabsf(there - here) < limit);
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

// One thread per pixel: what the planes are beside their surroundings, (N, 6, s, s), from the means of `planes` over
// small and over large squares.
extern "C" __global__ void __launch_bounds__(BLOCK)
    compare_surroundings(const float* __restrict__ planes, const float* __restrict__ fine,
                         const float* __restrict__ coarse, int size, float* __restrict__ textures) {
    int pixels = size * size, blocks = (pixels + BLOCK - 1) / BLOCK;
    int i = blockIdx.x / blocks, pixel = (blockIdx.x - i * blocks) * BLOCK + threadIdx.x;
    if (pixel >= pixels) return;
    size_t mask = ((size_t)i * PLANES + PLANES - 1) * pixels + pixel;
    bool same = planes[mask] > 0.0f;
    float close = fmaxf(fine[mask], NO_MEAN), around = fmaxf(coarse[mask], NO_MEAN);
    for (int c = 0; c < TEXTURES; c++) {
        size_t at = ((size_t)i * PLANES + c) * pixels + pixel;
        textures[((size_t)i * TEXTURES + c) * pixels + pixel] = same ? fine[at] / close - coarse[at] / around : 0.0f;
    }
}
