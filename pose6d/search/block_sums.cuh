// Sums over the threads of a block, always in the same order, so that a result repeats to the bit.

#define LANES 8  // threads that sum one value

// The sums of K values over all threads of a block, in totals[0 .. K - 1].
template <int K>
__device__ __forceinline__ void sum_over_block(const float* values, float* totals) {
    __shared__ float all[K][BLOCK + LANES], some[K][LANES];
    for (int k = 0; k < K; k++) all[k][threadIdx.x] = values[k];
    __syncthreads();
    if (threadIdx.x < K * LANES) {
        int k = threadIdx.x / LANES, lane = threadIdx.x % LANES;
        float sum = 0.0f;
        for (int i = lane; i < BLOCK; i += LANES) sum += all[k][i];
        some[k][lane] = sum;
    }
    __syncthreads();
    if (threadIdx.x < K) {
        float sum = 0.0f;
        for (int lane = 0; lane < LANES; lane++) sum += some[threadIdx.x][lane];
        totals[threadIdx.x] = sum;
    }
}
