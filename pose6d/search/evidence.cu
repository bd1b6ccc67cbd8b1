// What a frame says of N poses: the function of evidence.py, which explains the cues, after the drawing.

#include "pose6d/geometry/camera.cuh"
#include "pose6d/block_sums.cuh"

#define NOTHING 1e30f  // metres, of a pixel that shows no surface

enum Sum {
    DRAWN, SURFACE, MEASURED, NEAR, HIDDEN, THROUGH, SPREAD, AROUND, OFFSET, RING_SEEN, GOES_ON,
    SAME, EXPECTED, FOUND, BOTH, SEEN_COLOR, DRAWN_COLOR = SEEN_COLOR + 3, SUMS = DRAWN_COLOR + 3
};

// One block per pose. `cues` (12, N). Dynamic shared memory: s * s floats, the depth of the surface.
extern "C" __global__ void __launch_bounds__(BLOCK)
    measure(const int* __restrict__ instance, const float* __restrict__ drawn_color, const float* __restrict__ drawn_xyz,
            const float* __restrict__ rgb, int rgb_channel, int rgb_row, int rgb_column, const float* __restrict__ depth,
            int depth_row, int depth_column, int height, int width, const float* __restrict__ transforms,
            const float* __restrict__ poses, const float* __restrict__ diameters, int diameter_stride,
            const float* __restrict__ expected, const float* __restrict__ found, int texture_stride,
            const float* __restrict__ same, int same_stride, int size, int count, float* __restrict__ cues) {
    extern __shared__ float surface_depth[];
    int i = blockIdx.x, pixels = size * size;
    size_t first = (size_t)i * pixels;
    Image image = {depth, 0, depth_row, depth_column, height, width};
    Image colors = {rgb, rgb_channel, rgb_row, rgb_column, height, width};
    float diameter = diameters[i * diameter_stride], distance = fmaxf(poses[i * 16 + 11], 0.0f);
    float limit = SAME_SURFACE * diameter + SAME_FAR * (distance * distance), half = 0.5f * diameter;
    float values[SUMS] = {};
    for (int pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) {
        int row = pixel / size;
        float2 at = looked_at(transforms + i * 9, row, pixel - row * size);
        const float* there = nearest(image, at.y, at.x);
        bool drawn = instance[first + pixel] >= 0, surface = drawn && there;
        float here = drawn_xyz[(first + pixel) * 3 + 2];
        surface_depth[pixel] = surface ? here : NOTHING;
        values[DRAWN] += drawn, values[SURFACE] += surface;
        if (surface && __ldg(there) > 0.0f) {
            float off = __ldg(there) - here;
            bool near = fabsf(off) < limit, around = fabsf(off) < half;
            values[MEASURED] += 1.0f;
            values[HIDDEN] += off <= -limit, values[THROUGH] += off >= limit;
            if (around) values[AROUND] += 1.0f, values[OFFSET] += off;
            if (near) {
                float3 color = bilinear(colors, at.y, at.x);
                values[NEAR] += 1.0f, values[SPREAD] += fabsf(off) / limit;
                values[SEEN_COLOR] += color.x, values[SEEN_COLOR + 1] += color.y, values[SEEN_COLOR + 2] += color.z;
                for (int c = 0; c < 3; c++) values[DRAWN_COLOR + c] += drawn_color[(first + pixel) * 3 + c];
            }
        }
        values[SAME] += same[(size_t)i * same_stride + pixel];
        for (int c = 0; c < 3; c++) {
            size_t place = (size_t)i * texture_stride + c * pixels + pixel;
            float a = expected[place], b = found[place];
            values[EXPECTED] += a * a, values[FOUND] += b * b, values[BOTH] += a * b;
        }
    }
    __syncthreads();
    // The ring: pixels near the silhouette, with the depth of the nearest surface that reaches them.
    for (int pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) {
        if (instance[first + pixel] >= 0) continue;
        int row = pixel / size, column = pixel - row * size;
        float2 at = looked_at(transforms + i * 9, row, column);
        const float* there = nearest(image, at.y, at.x);
        if (!there || !(__ldg(there) > 0.0f)) continue;
        float around = NOTHING;
        for (int v = max(row - RING, 0); v <= min(row + RING, size - 1); v++)
            for (int u = max(column - RING, 0); u <= min(column + RING, size - 1); u++)
                around = fminf(around, surface_depth[v * size + u]);
        if (around == NOTHING) continue;
        values[RING_SEEN] += 1.0f, values[GOES_ON] += fabsf(__ldg(there) - around) < limit;
    }
    __shared__ float totals[SUMS];
    sum_over_block<SUMS>(values, totals);
    __syncthreads();
    if (threadIdx.x > 0) return;
    float measured = fmaxf(totals[MEASURED], 1.0f), near = fmaxf(totals[NEAR], 1.0f);
    float compared = 3.0f * fmaxf(totals[SAME], 1.0f);
    float drawn_power = totals[EXPECTED] / compared + LEAST_CONTRAST, power = totals[FOUND] / compared + LEAST_CONTRAST;
    float* cue = cues + i;
    auto say = [&](float value) { *cue = value, cue += count; };  // in the order of PoseEvidence
    say(totals[NEAR] / measured);
    say(totals[HIDDEN] / measured);
    say(totals[THROUGH] / measured);
    say(totals[SURFACE] / fmaxf(totals[DRAWN], 1.0f));
    say(totals[SPREAD] / near);
    say(totals[GOES_ON] / fmaxf(totals[RING_SEEN], 1.0f));
    say(totals[OFFSET] / fmaxf(totals[AROUND], 1.0f));
    say(totals[BOTH] / compared * rsqrtf(drawn_power * power));
    say(sqrtf(power / drawn_power));
    for (int c = 0; c < 3; c++)
        say(logf(totals[SEEN_COLOR + c] / near + DARK) - logf(totals[DRAWN_COLOR + c] / near + DARK));
}
