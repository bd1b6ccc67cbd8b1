// The highest-ranked poses that differ, as in distinct_poses.py, which explains the order.

// A NaN is the greatest, and of equals the first one is: an order without ties, so that each pose has one place.
__device__ __forceinline__ bool better(const float* ranking, int i, int j) {
    float a = ranking[i], b = ranking[j];
    bool more = a != a ? b == b : a > b, less = b != b ? a == a : b > a;
    return more || (!less && i < j);
}

__device__ __forceinline__ bool same(const float* poses, int i, int j, float least_trace, float distance) {
    const float *a = poses + i * 16, *b = poses + j * 16;
    float trace = 0.0f, apart = 0.0f;
    for (int row = 0; row < 3; row++) {
        for (int column = 0; column < 3; column++) trace += a[row * 4 + column] * b[row * 4 + column];
        float step = a[row * 4 + 3] - b[row * 4 + 3];
        apart += step * step;
    }
    return trace > least_trace && apart < distance * distance;
}

// One block. `repeated` (N) is room for whether a pose is the same as a better one; `chosen` (keep) are the results.
extern "C" __global__ void __launch_bounds__(BLOCK)
    select_distinct(const float* __restrict__ poses, const float* __restrict__ ranking, int count, int keep,
                  float least_trace, float distance, int* repeated, long long* __restrict__ chosen) {
    __shared__ int distinct;
    if (threadIdx.x == 0) distinct = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += BLOCK) {
        int found = 0;
        for (int j = 0; j < count && !found; j++)
            found = better(ranking, j, i) && same(poses, i, j, least_trace, distance);
        repeated[i] = found;
        if (!found) atomicAdd(&distinct, 1);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += BLOCK) {
        int place = repeated[i] ? distinct : 0;
        for (int j = 0; j < count; j++) place += repeated[j] == repeated[i] && better(ranking, j, i);
        if (place < keep) chosen[place] = i;
    }
}
