// What relight.py does to the colours that a scorer judges.

#include "learning/inference/half.cuh"

// Images (N, C, s, s) of float16 or float32, with their strides in elements.
struct Images {
    void* data;
    int half, sample, channel, row, column;

    __device__ int place(int i, int c, int y, int x) const { return i * sample + c * channel + y * row + x * column; }
    __device__ float at(int i, int c, int y, int x) const { return load(data, half, place(i, c, y, x)); }
    __device__ void set(int i, int c, int y, int x, float value) const {
        if (half)
            ((Half*)data)[place(i, c, y, x)] = to_half(value);
        else
            ((float*)data)[place(i, c, y, x)] = value;
    }
};

#define IMAGES(name) void *name##_data, int name##_sample, int name##_channel, int name##_row, int name##_column
#define AS_IMAGES(name) \
    Images { name##_data, half, name##_sample, name##_channel, name##_row, name##_column }

// One thread per pixel: the observed colours (N, 3, P), and 1 where the hypothesis' surface is seen (N, P), else 0.
extern "C" __global__ void __launch_bounds__(BLOCK)
    read_seen(int half, IMAGES(a), IMAGES(b), int count, int size, float near, float* __restrict__ colors, float* __restrict__ both) {
    int pixels = size * size, thread = blockIdx.x * BLOCK + threadIdx.x, i = thread / pixels, p = thread - i * pixels;
    if (i >= count) return;
    Images A = AS_IMAGES(a), B = AS_IMAGES(b);
    int y = p / size, x = p - y * size;
    bool own = false, seen = false;
    for (int c = 3; c < 6; c++) own |= A.at(i, c, y, x) != 0.0f, seen |= B.at(i, c, y, x) != 0.0f;
    both[thread] = own && seen && fabsf(A.at(i, 5, y, x) - B.at(i, 5, y, x)) < near ? 1.0f : 0.0f;
    for (int c = 0; c < 3; c++) colors[((size_t)i * 3 + c) * pixels + p] = B.at(i, c, y, x);
}

// One thread per pixel: where its surface is seen, the drawn colours plus what the light (N, 3, 8) leaves unexplained.
extern "C" __global__ void __launch_bounds__(BLOCK)
    relight(int half, IMAGES(a), IMAGES(b), int count, int size, const float* __restrict__ albedo, int albedo_sample,
            int albedo_channel, int albedo_row, int albedo_column, const float* __restrict__ normal, int normal_sample,
            int normal_channel, int normal_row, int normal_column, const float* __restrict__ colors,
            const float* __restrict__ both, const float* __restrict__ light) {
    int pixels = size * size, thread = blockIdx.x * BLOCK + threadIdx.x, i = thread / pixels, p = thread - i * pixels;
    if (i >= count || both[thread] == 0.0f) return;
    Images A = AS_IMAGES(a), B = AS_IMAGES(b);
    int y = p / size, x = p - y * size;
    const float* n = normal + (size_t)i * normal_sample + (size_t)y * normal_row + (size_t)x * normal_column;
    float nx = n[0], ny = n[normal_channel], nz = n[2 * normal_channel];
    for (int c = 0; c < 3; c++) {
        const float* l = light + ((size_t)i * 3 + c) * 8;
        float own = albedo[(size_t)i * albedo_sample + (size_t)c * albedo_channel + (size_t)y * albedo_row +
                           (size_t)x * albedo_column];
        float lit = own * (l[0] + l[1] * nx + l[2] * ny + l[3] * nz) + (l[4] + l[5] * nx + l[6] * ny + l[7] * nz);
        float left = A.at(i, c, y, x) + colors[((size_t)i * 3 + c) * pixels + p] - lit;
        B.set(i, c, y, x, fminf(fmaxf(left, 0.0f), 1.0f));
    }
}
