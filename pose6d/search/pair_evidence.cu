// How much better the colours of one pose fit than those of another: the function of pair_evidence.py.

#define SUMS 2

#include "pose6d/block_sums.cuh"

// What the light of pose i that fits its pixels with j leaves of its colours at a pixel, summed over channels.
__device__ __forceinline__ float left_over(const float* albedo, const float* color, const float* normal,
                                           const float* light, int i, int j, int count, int pixels, int p, float largest) {
    size_t at = (size_t)i * 3 * pixels + p;
    float nx = normal[at], ny = normal[at + pixels], nz = normal[at + 2 * (size_t)pixels], sum = 0.0f;
    for (int c = 0; c < 3; c++) {
        const float* l = light + (((size_t)i * count + j) * 3 + c) * 8;
        size_t place = at + (size_t)c * pixels;
        float lit = albedo[place] * (l[0] + l[1] * nx + l[2] * ny + l[3] * nz) + (l[4] + l[5] * nx + l[6] * ny + l[7] * nz);
        sum += fminf(fabsf(lit - color[place]), largest);
    }
    return sum;
}

// One block per pair of poses (i, j). Albedo, colour and normal are (N, 3, P), what counts of both poses (N, N, P), the
// light (N, N, 3, 8).
extern "C" __global__ void __launch_bounds__(BLOCK)
    color_scores(const float* __restrict__ albedo, const float* __restrict__ color, const float* __restrict__ normal,
                 const float* __restrict__ both, const float* __restrict__ light, int count, int pixels, float largest,
                 float least, float* __restrict__ scores) {
    int i = blockIdx.x / count, j = blockIdx.x % count;
    float values[SUMS] = {};
    for (int p = threadIdx.x; p < pixels; p += BLOCK) {
        float counts = both[(size_t)blockIdx.x * pixels + p];
        if (counts == 0.0f) continue;
        float better = left_over(albedo, color, normal, light, j, i, count, pixels, p, largest) -
                       left_over(albedo, color, normal, light, i, j, count, pixels, p, largest);
        values[0] += better * counts, values[1] += better * better * counts * counts;
    }
    __shared__ float totals[SUMS];
    sum_over_block<SUMS>(values, totals);
    __syncthreads();
    if (threadIdx.x == 0) scores[blockIdx.x] = totals[0] * rsqrtf(totals[1] + least);
}
