// Sums over the threads of a block, always in the same order, so that a result repeats to the bit.

#define WARP 32

// The sums of K values over all threads of a block, in totals[0 .. K - 1], K <= BLOCK. Every thread must come here.
template <int K>
__device__ __forceinline__ void sum_over_block(const float* values, float* totals) {
    __shared__ float some[K][BLOCK / WARP];
    for (int k = 0; k < K; k++) {
        float sum = values[k];
        for (int apart = WARP / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(0xffffffff, sum, apart);
        if (threadIdx.x % WARP == 0) some[k][threadIdx.x / WARP] = sum;
    }
    __syncthreads();
    if (threadIdx.x < K) {
        float sum = 0.0f;
        for (int warp = 0; warp < BLOCK / WARP; warp++) sum += some[threadIdx.x][warp];
        totals[threadIdx.x] = sum;
    }
}
