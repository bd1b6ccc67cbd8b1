#include "pose6d/geometry/camera.cuh"

// One thread per hypothesis: `crop_transforms` of camera.py, and transform @ K.
extern "C" __global__ void __launch_bounds__(BLOCK)
    crop_windows(const float* __restrict__ poses, int count, const float* __restrict__ K,
                 const float* __restrict__ diameters, int diameter_stride, float factor, int size,
                 float* __restrict__ transforms, float* __restrict__ crop_K) {
    int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    const float* pose = poses + i * 16;
    float x = pose[3], y = pose[7], z = pose[11];
    z = z < NEAREST ? NEAREST : z;  // keeps NaN, whose window then lies outside every image
    float radius = Length{diameters, diameter_stride, factor}.of(i);
    float across = fabsf(K[0] * radius / z);
    float down = fmaxf(fabsf(K[4] * radius / z), fabsf(K[1] * radius / z));
    float half = fminf(fmaxf(across, down), WIDEST);
    float u = clamp((K[0] * x + K[1] * y) / z + K[2], -WIDEST, WIDEST);
    float v = clamp(K[4] * y / z + K[5], -WIDEST, WIDEST);
    float left = rintf(u - half), right = rintf(u + half);
    float top = rintf(v - half), bottom = rintf(v + half);
    // The reciprocal first, as PyTorch divides a number by a tensor.
    float scale_x = 1.0f / fmaxf(right - left, 1.0f) * (float)size;
    float scale_y = 1.0f / fmaxf(bottom - top, 1.0f) * (float)size;
    float move_x = -left * scale_x, move_y = -top * scale_y;
    float* T = transforms + i * 9;
    T[0] = scale_x, T[1] = 0.0f, T[2] = move_x;
    T[3] = 0.0f, T[4] = scale_y, T[5] = move_y;
    T[6] = 0.0f, T[7] = 0.0f, T[8] = 1.0f;
    for (int column = 0; column < 3; column++) {
        crop_K[i * 9 + column] = scale_x * K[column] + move_x * K[6 + column];
        crop_K[i * 9 + 3 + column] = scale_y * K[3 + column] + move_y * K[6 + column];
        crop_K[i * 9 + 6 + column] = K[6 + column];
    }
}
