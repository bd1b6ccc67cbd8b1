// `observe` of observation.py, one thread per pixel: colours (H, W, 3) in 0..1, and the points that the camera saw.

extern "C" __global__ void __launch_bounds__(BLOCK)
    observe(const unsigned char* __restrict__ rgb, const float* __restrict__ depth, const float* __restrict__ K,
            int height, int width, float* __restrict__ color, float* __restrict__ xyz) {
    int pixel = blockIdx.x * BLOCK + threadIdx.x;
    if (pixel >= height * width) return;
    int v = pixel / width, u = pixel - v * width;
    for (int c = 0; c < 3; c++) color[pixel * 3 + c] = (float)rgb[pixel * 3 + c] * (1.0f / 255.0f);
    float z = depth[pixel], y = ((float)v - K[5]) / K[4], x = ((float)u - K[2] - K[1] * y) / K[0];
    xyz[pixel * 3] = x * z, xyz[pixel * 3 + 1] = y * z, xyz[pixel * 3 + 2] = z;
}
