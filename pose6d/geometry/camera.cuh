// The pinhole camera in CUDA: windows around hypotheses, and images that are looked up between their pixels. As in
// camera.py, which explains the constants. Compiled without fused multiply-add (--fmad=false), so that rounding to
// whole pixels decides as it does there.

#define NEAREST 1e-3f
#define WIDEST 1e6f
#define TIE 1e-3f

// A length proportional to the diameter: `factor` times each sample's own, or where there are none, `factor` itself.
struct Length {
    const float* diameters;
    int stride;
    float factor;

    __device__ float of(int sample) const { return diameters ? diameters[sample * stride] * factor : factor; }
};

__device__ __forceinline__ float clamp(float value, float low, float high) { return fminf(fmaxf(value, low), high); }

// A (C, H, W) image, with its strides in elements.
struct Image {
    const float* data;
    int channel, row, column, height, width;

    __device__ bool holds(int v, int u) const { return v >= 0 && v < height && u >= 0 && u < width; }
    __device__ const float* pixel(int v, int u) const { return data + (size_t)v * row + (size_t)u * column; }
    __device__ float3 at(const float* pixel) const {
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
            float3 color = image.at(image.pixel(top + j, left + i));
            sum.x += weight * color.x, sum.y += weight * color.y, sum.z += weight * color.z;
        }
    return sum;
}

// The first channel of the nearest pixel, null outside the image. Near a tie the right and lower one.
__device__ __forceinline__ const float* nearest(const Image& image, float v, float u) {
    v = floorf(v + (0.5f + TIE)), u = floorf(u + (0.5f + TIE));
    if (!(v >= 0.0f && v < (float)image.height && u >= 0.0f && u < (float)image.width)) return nullptr;
    return image.pixel((int)v, (int)u);
}

// The point of an image that a pixel of a crop looks at, (u, v).
__device__ __forceinline__ float2 looked_at(const float* transform, int row, int column) {
    return make_float2(((float)column - transform[2]) / transform[0], ((float)row - transform[5]) / transform[4]);
}
