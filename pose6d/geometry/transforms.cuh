// Rotations in CUDA, as in transforms.py.

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
