// float16 in kernels, spelt in PTX, which needs no header.

typedef unsigned short Half;  // the bits

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
