// What a network sees of N hypotheses, and the hypotheses that follow from what it says, in float16 inference: the
// functions of fused_inputs.py, which name their twins on tensors. Compiled without fused multiply-add (--fmad=false),
// so that rounding to whole pixels decides as it does there.

#include "learning/inference/half.cuh"
#include "pose6d/geometry/camera.cuh"
#include "pose6d/geometry/transforms.cuh"

__device__ __forceinline__ float normalised(float coordinate, float centre, float radius) {
    float local = (coordinate - centre) / radius;
    return fabsf(local) < XYZ_LIMIT ? local : 0.0f;
}

__device__ __forceinline__ unsigned int pair(float low, float high) {
    return (unsigned int)to_half(low) | (unsigned int)to_half(high) << 16;
}

// One thread per pixel of the result (N + M, size, size, 8): images 0 .. N - 1 are packed from the renderer's, the
// others are sampled from the observation. With `clip`, what is drawn ends where the observation ends. The blocks of an image hold pixels of no other.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pack_pairs(const float* __restrict__ drawn_color, const float* __restrict__ drawn_xyz,
               const float* __restrict__ rgb, int rgb_channel, int rgb_row, int rgb_column,
               const float* __restrict__ xyz, int xyz_channel, int xyz_row, int xyz_column, int height, int width,
               const float* __restrict__ transforms, const float* __restrict__ poses, int count,
               const float* __restrict__ diameters, int diameter_stride, float factor, float min_depth, int clip, int size,
               uint4* __restrict__ out) {
    int pixels = size * size, blocks = (pixels + BLOCK - 1) / BLOCK;
    int image = blockIdx.x / blocks;
    int pixel = (blockIdx.x - image * blocks) * BLOCK + threadIdx.x;
    if (pixel >= pixels) return;
    int i = image < count ? image : image - count;
    size_t place = (size_t)i * pixels + pixel;
    int row = pixel / size;
    float2 at = looked_at(transforms + i * 9, row, pixel - row * size);
    Image points = {xyz, xyz_channel, xyz_row, xyz_column, height, width};
    const float* seen = nearest(points, at.y, at.x);
    float3 color = make_float3(0.0f, 0.0f, 0.0f), point = color;
    if (image >= count) {
        color = bilinear({rgb, rgb_channel, rgb_row, rgb_column, height, width}, at.y, at.x);
        if (seen) point = points.at(seen);
    } else if (seen || !clip) {
        const float *c = drawn_color + place * 3, *p = drawn_xyz + place * 3;
        color = make_float3(c[0], c[1], c[2]);
        point = make_float3(p[0], p[1], p[2]);
    }
    const float* pose = poses + i * 16;
    float radius = Length{diameters, diameter_stride, factor}.of(i);
    float3 local = make_float3(0.0f, 0.0f, 0.0f);
    if (point.z >= min_depth)
        local = make_float3(normalised(point.x, pose[3], radius), normalised(point.y, pose[7], radius),
                            normalised(point.z, pose[11], radius));
    out[(size_t)image * pixels + pixel] =
        make_uint4(pair(color.x, color.y), pair(color.z, local.x), pair(local.y, local.z), 0u);
}

// One thread per hypothesis: `apply_update`.
extern "C" __global__ void __launch_bounds__(BLOCK)
    move(const float* __restrict__ poses, int count, const void* __restrict__ trans, int trans_half,
         const void* __restrict__ rot, int rot_half, const float* __restrict__ diameters, int diameter_stride,
         float factor, float rotation_limit, float* __restrict__ out) {
    int n = blockIdx.x * BLOCK + threadIdx.x;
    if (n >= count) return;
    const float* pose = poses + n * 16;
    float step[3];
    for (int i = 0; i < 3; i++) step[i] = -tanhf(load(rot, rot_half, n * 3 + i)) * rotation_limit;
    Matrix R;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) R.m[i][j] = pose[i * 4 + j];
    R = so3_exp(make_float3(step[0], step[1], step[2])) * R;
    Matrix cube = R * R.transposed() * R;
    float radius = Length{diameters, diameter_stride, factor}.of(n);
    float* result = out + n * 16;
    for (int i = 0; i < 3; i++) {
        // A Newton step towards the nearest rotation.
        for (int j = 0; j < 3; j++) result[i * 4 + j] = 1.5f * R.m[i][j] - 0.5f * cube.m[i][j];
        result[i * 4 + 3] = pose[i * 4 + 3] + load(trans, trans_half, n * 3 + i) * radius;
    }
    result[12] = result[13] = result[14] = 0.0f;
    result[15] = 1.0f;
}
