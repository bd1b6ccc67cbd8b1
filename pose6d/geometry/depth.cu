// The depth filters of depth.py for a stack of maps, one thread per pixel. depth.py has the same expressions on tensors
// and explains them; without fused multiply-add (--fmad=false) both round alike, and so decide alike at the limits.

// Limits of a measurement and of noise, as the constants of depth.py.
struct Limits {
    float nearest, farthest, floor_, growth;

    __device__ bool valid(float z) const { return z >= nearest && z < farthest; }
    __device__ float tolerance(float z) const { return floor_ + growth * z * z; }
};

// A pixel, its map, and the part of its window that lies inside the map (the last row and column included).
struct Pixel {
    const float* map;
    int v, u, top, bottom, left, right, width;

    __device__ Pixel(const float* depth, int index, int height, int width, int radius) : width(width) {
        int row = index / width;
        u = index - row * width;
        v = row % height;
        map = depth + (size_t)(row - v) * width;
        top = max(v - radius, 0), bottom = min(v + radius, height - 1);
        left = max(u - radius, 0), right = min(u + radius, width - 1);
    }
    __device__ float at(int row, int column) const { return __ldg(map + (size_t)row * width + column); }
    __device__ float total() const { return (float)((bottom - top + 1) * (right - left + 1)); }
};

extern "C" __global__ void __launch_bounds__(BLOCK)
    erode(const float* __restrict__ depth, int count, int height, int width, int radius, float nearest, float farthest,
          float floor_, float growth, float support, float rounding, float* __restrict__ out) {
    unsigned int index = blockIdx.x * BLOCK + threadIdx.x;
    if (index >= count) return;
    Limits limits = {nearest, farthest, floor_, growth};
    Pixel pixel(depth, index, height, width, radius);
    float z = depth[index];
    int agree = 0;
    if (limits.valid(z)) {
        float tolerance = limits.tolerance(z);
        for (int row = pixel.top; row <= pixel.bottom; row++)
            for (int column = pixel.left; column <= pixel.right; column++) {
                float other = pixel.at(row, column);
                agree += limits.valid(other) && fabsf(other - z) <= tolerance;
            }
    }
    // A pixel without a valid depth agrees with none, not even with itself, and the limit is above 0.
    out[index] = agree >= support * pixel.total() - rounding ? z : 0.0f;
}

// The mean of the valid depths in a window, 0 where there are none.
__device__ __forceinline__ float mean_depth(const Pixel& pixel, const Limits& limits) {
    float sum = 0.0f;
    int known = 0;
    for (int row = pixel.top; row <= pixel.bottom; row++)
        for (int column = pixel.left; column <= pixel.right; column++) {
            float other = pixel.at(row, column);
            if (limits.valid(other)) sum += other, known++;
        }
    return sum / (float)max(known, 1);
}

extern "C" __global__ void __launch_bounds__(BLOCK)
    smooth(const float* __restrict__ depth, int count, int height, int width, int radius, float nearest, float farthest,
           float floor_, float growth, float fill, float rounding, float falloff, float* __restrict__ out) {
    unsigned int index = blockIdx.x * BLOCK + threadIdx.x;
    if (index >= count) return;
    Limits limits = {nearest, farthest, floor_, growth};
    Pixel pixel(depth, index, height, width, radius);
    float z = depth[index];
    bool centre = limits.valid(z);
    float reference = centre ? z : mean_depth(pixel, limits);
    float tolerance = limits.tolerance(reference);
    int agree = 0;
    float weights = 0.0f, offset = 0.0f;
    for (int row = pixel.top; row <= pixel.bottom; row++) {
        float down = (float)(row - pixel.v);
        for (int column = pixel.left; column <= pixel.right; column++) {
            float other = pixel.at(row, column), difference = other - reference;
            if (!limits.valid(other) || !(fabsf(difference) <= tolerance)) continue;
            float across = (float)(column - pixel.u);
            float weight = expf((down * down + across * across) * falloff);
            agree++;
            weights += weight;
            offset += weight * difference;
        }
    }
    bool keep = centre || agree >= fill * pixel.total() - rounding;
    out[index] = keep ? reference + offset / fmaxf(weights, 1e-6f) : 0.0f;
}
