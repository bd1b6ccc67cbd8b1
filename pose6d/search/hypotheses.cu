// Where an object is looked for first: the function `initial_translation` of hypotheses.py. Compiled without fused
// multiply-add (--fmad=false).

#define RADIX 256

// One thread per pixel: the depths under the mask, in any order, and how many there are.
extern "C" __global__ void __launch_bounds__(BLOCK)
    depths_under_mask(const float* __restrict__ depth, int depth_row, int depth_column, const bool* __restrict__ mask,
                      int height, int width, float* __restrict__ found, int* __restrict__ count) {
    int pixel = blockIdx.x * BLOCK + threadIdx.x;
    if (pixel >= height * width || !mask[pixel]) return;
    float value = depth[(size_t)(pixel / width) * depth_row + (size_t)(pixel % width) * depth_column];
    if (value > 0.0f) found[atomicAdd(count, 1)] = value;
}

// One block: the point behind the middle of the mask at the lower median of the depths; infinite where there is none.
extern "C" __global__ void __launch_bounds__(BLOCK)
    point_at_median(const float* __restrict__ depths, const int* __restrict__ count, const float* __restrict__ middle,
                    const float* __restrict__ K, float* __restrict__ point) {
    __shared__ int histogram[RADIX], wanted;
    __shared__ unsigned int prefix;
    if (threadIdx.x == 0) wanted = (max(*count, 1) - 1) / 2, prefix = 0;
    // Bits of positive floats are ordered as the floats are: one byte after the other, from the highest.
    for (int shift = 24; shift >= 0; shift -= 8) {
        histogram[threadIdx.x] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < *count; i += BLOCK) {
            unsigned int bits = __float_as_uint(depths[i]);
            if (shift == 24 || bits >> (shift + 8) == prefix) atomicAdd(histogram + (bits >> shift & (RADIX - 1)), 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int byte = 0;
            while (byte < RADIX - 1 && wanted >= histogram[byte]) wanted -= histogram[byte++];
            prefix = prefix << 8 | byte;
        }
        __syncthreads();
    }
    if (threadIdx.x > 0) return;
    float z = *count ? __uint_as_float(prefix) : __int_as_float(0x7f800000);
    float y = (middle[1] - K[5]) / K[4], x = (middle[0] - K[2] - K[1] * y) / K[0];
    point[0] = x * z, point[1] = y * z, point[2] = z;
}
