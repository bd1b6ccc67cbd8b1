// What a network sees of N hypotheses, and the hypotheses that follow from what it says, in float16 inference: the
// functions of fused_inputs.py, which name their twins on tensors. Compiled without fused multiply-add (--fmad=false),
// so that rounding to whole pixels decides as it does there.

#define BLOCK 256

// As in pose6d/geometry/camera.py and learning/inputs.py, which explain them.
#define NEAREST 1e-3f
#define WIDEST 1e6f
#define TIE 1e-3f
#define XYZ_LIMIT 2.0f

typedef unsigned short Half;  // the bits of a float16; spelt in PTX, which needs no header

__device__ __forceinline__ Half to_half(float value) {
    Half bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ __forceinline__ float to_float(Half bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ __forceinline__ float load(const void* values, int half, int i) {
    return half ? to_float(((const Half*)values)[i]) : ((const float*)values)[i];
}

// A length proportional to the diameter: `factor` times each sample's own, or where there are none, `factor` itself.
struct Length {
    const float* diameters;
    int stride;
    float factor;

    __device__ float of(int sample) const { return diameters ? diameters[sample * stride] * factor : factor; }
};

__device__ __forceinline__ float clamp(float value, float low, float high) { return fminf(fmaxf(value, low), high); }

// One thread per hypothesis: `crop_transforms`, and transform @ K.
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

// A (3, H, W) image, with its strides in elements.
struct Image {
    const float* data;
    int channel, row, column, height, width;

    __device__ bool holds(int v, int u) const { return v >= 0 && v < height && u >= 0 && u < width; }
    __device__ float3 at(int v, int u) const {
        const float* pixel = data + (size_t)v * row + (size_t)u * column;
        return make_float3(__ldg(pixel), __ldg(pixel + channel), __ldg(pixel + (size_t)channel * 2));
    }
};

// Bilinear at a point, black outside the image.
__device__ __forceinline__ float3 bilinear(const Image& image, float v, float u) {
    float3 sum = make_float3(0.0f, 0.0f, 0.0f);
    // In float, so that neither NaN nor what is too large for an int comes through.
    if (!(v > -1.0f && v < (float)image.height && u > -1.0f && u < (float)image.width)) return sum;
    int top = (int)floorf(v), left = (int)floorf(u);
    float below = v - (float)top, beside = u - (float)left;
    for (int j = 0; j < 2; j++)
        for (int i = 0; i < 2; i++) {
            if (!image.holds(top + j, left + i)) continue;
            float weight = (j ? below : 1.0f - below) * (i ? beside : 1.0f - beside);
            float3 color = image.at(top + j, left + i);
            sum.x += weight * color.x, sum.y += weight * color.y, sum.z += weight * color.z;
        }
    return sum;
}

// The nearest pixel, 0 outside the image. Near a tie the right and lower one.
__device__ __forceinline__ float3 nearest(const Image& image, float v, float u) {
    v = floorf(v + (0.5f + TIE)), u = floorf(u + (0.5f + TIE));
    if (!(v >= 0.0f && v < (float)image.height && u >= 0.0f && u < (float)image.width))
        return make_float3(0.0f, 0.0f, 0.0f);
    return image.at((int)v, (int)u);
}

__device__ __forceinline__ float normalised(float coordinate, float centre, float radius) {
    float local = (coordinate - centre) / radius;
    return fabsf(local) < XYZ_LIMIT ? local : 0.0f;
}

__device__ __forceinline__ unsigned int pair(float low, float high) {
    return (unsigned int)to_half(low) | (unsigned int)to_half(high) << 16;
}

// One thread per pixel of the result (2N, size, size, 8): images 0 .. N - 1 are packed from the renderer's, the others
// are sampled from the observation. The blocks of an image hold pixels of no other.
extern "C" __global__ void __launch_bounds__(BLOCK)
    pack_pairs(const float* __restrict__ drawn_color, const float* __restrict__ drawn_xyz,
               const float* __restrict__ rgb, int rgb_channel, int rgb_row, int rgb_column,
               const float* __restrict__ xyz, int xyz_channel, int xyz_row, int xyz_column, int height, int width,
               const float* __restrict__ transforms, const float* __restrict__ poses, int count,
               const float* __restrict__ diameters, int diameter_stride, float factor, float min_depth, int size,
               uint4* __restrict__ out) {
    int pixels = size * size, blocks = (pixels + BLOCK - 1) / BLOCK;
    int image = blockIdx.x / blocks;
    int pixel = (blockIdx.x - image * blocks) * BLOCK + threadIdx.x;
    if (pixel >= pixels) return;
    int i = image < count ? image : image - count;
    size_t place = (size_t)i * pixels + pixel;
    float3 color, point;
    if (image < count) {
        const float *c = drawn_color + place * 3, *p = drawn_xyz + place * 3;
        color = make_float3(c[0], c[1], c[2]);
        point = make_float3(p[0], p[1], p[2]);
    } else {
        const float* T = transforms + i * 9;
        int row = pixel / size;
        float u = ((float)(pixel - row * size) - T[2]) / T[0], v = ((float)row - T[5]) / T[4];
        color = bilinear({rgb, rgb_channel, rgb_row, rgb_column, height, width}, v, u);
        point = nearest({xyz, xyz_channel, xyz_row, xyz_column, height, width}, v, u);
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

struct Matrix {
    float m[3][3];

    __device__ Matrix transposed() const {
        Matrix t;
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 3; j++) t.m[i][j] = m[j][i];
        return t;
    }
};

__device__ __forceinline__ Matrix operator*(const Matrix& a, const Matrix& b) {
    Matrix product;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            product.m[i][j] = a.m[i][0] * b.m[0][j] + a.m[i][1] * b.m[1][j] + a.m[i][2] * b.m[2][j];
    return product;
}

__device__ __forceinline__ float sinc(float angle) { return angle == 0.0f ? 1.0f : sinf(angle) / angle; }

// Rodrigues' formula, as pose6d.geometry.transforms.so3_exp.
__device__ __forceinline__ Matrix so3_exp(float3 v) {
    float angle = sqrtf(v.x * v.x + v.y * v.y + v.z * v.z);
    float first = sinc(angle), half = sinc(0.5f * angle), second = 0.5f * half * half;
    Matrix W = {{{0.0f, -v.z, v.y}, {v.z, 0.0f, -v.x}, {-v.y, v.x, 0.0f}}}, R = W * W;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) R.m[i][j] = (i == j ? 1.0f : 0.0f) + first * W.m[i][j] + second * R.m[i][j];
    return R;
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
