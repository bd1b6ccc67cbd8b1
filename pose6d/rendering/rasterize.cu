// The z-buffer of the CUDA renderer, in two passes.
//
// `rasterize` has one thread per (pose, triangle, part of the triangle's rows). It keeps, for every pixel, the smallest
// 64-bit key of (bits of the depth as float) << 32 | (pose * max_faces + face); positive floats compare like integers.
// `shade` has one thread per pixel, and turns the winning key into colour, point and normal.
//
// A pixel is tested by the ray-triangle intersection of Moeller and Trumbore (1997); cpu_kernels.py has the same
// equations and explains them.

typedef unsigned long long Key;

#define WARP 32
// Triangles of more pixels than this are drawn by the whole warp: a lane drawing them alone would hold up the others.
#define ALONE 128
// See cpu_kernels.py: rounding slack at edges, and the smallest d.N.
#define EDGE 4e-7f
#define NO_AREA 1e-25f

struct Camera {
    float fx, skew, cx, fy, cy;
};

// What one triangle needs to test a pixel: d.U, d.V and d.N as coefficients of the pixel's x, y and 1.
struct Plane {
    float3 u, v, n;
    float slack, z, e1z, e2z;
};

struct Window {
    int x0, x1, y0, y1;
};

__device__ __forceinline__ float3 operator-(float3 a, float3 b) {
    return make_float3(a.x - b.x, a.y - b.y, a.z - b.z);
}

__device__ __forceinline__ float3 operator*(float s, float3 a) {
    return make_float3(s * a.x, s * a.y, s * a.z);
}

__device__ __forceinline__ float dot(float3 a, float3 b) {
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

__device__ __forceinline__ float3 cross(float3 a, float3 b) {
    return make_float3(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}

__device__ __forceinline__ Camera load_camera(const float* __restrict__ K) {
    return {K[0], K[1], K[2], K[4], K[5]};
}

__device__ __forceinline__ float3 rotate(const float* __restrict__ pose, float3 p) {
    return make_float3(pose[0] * p.x + pose[1] * p.y + pose[2] * p.z,
                       pose[4] * p.x + pose[5] * p.y + pose[6] * p.z,
                       pose[8] * p.x + pose[9] * p.y + pose[10] * p.z);
}

__device__ __forceinline__ float3 to_camera(const float* __restrict__ pose, float4 vertex) {
    float3 p = rotate(pose, make_float3(vertex.x, vertex.y, vertex.z));
    return make_float3(p.x + pose[3], p.y + pose[7], p.z + pose[11]);
}

__device__ __forceinline__ float2 project(Camera k, float3 p) {
    float inverse = 1.0f / p.z;
    float y = p.y * inverse;
    return make_float2(k.fx * p.x * inverse + k.skew * y + k.cx, k.fy * y + k.cy);
}

// K^-T a: the product of a ray with `a` as coefficients of the pixel's x, y and 1.
__device__ __forceinline__ float3 per_pixel(Camera k, float3 a) {
    float x = a.x / k.fx;
    float y = (a.y - x * k.skew) / k.fy;
    return make_float3(x, y, a.z - x * k.cx - y * k.cy);
}

__device__ __forceinline__ float3 ray_through(Camera k, float x, float y) {
    float ray_y = (y - k.cy) / k.fy;
    return make_float3((x - k.cx - k.skew * ray_y) / k.fx, ray_y, 1.0f);
}

// Pixel centres that the triangle can cover; false where there are none. A triangle that reaches nearer than `near`
// has no bounded projection and gets the whole image.
__device__ __forceinline__ bool window_of(Camera k, float3 a, float3 b, float3 c, int height, int width, float near_z,
                                          Window& w) {
    float closest = fminf(a.z, fminf(b.z, c.z));
    if (closest > near_z) {
        float2 p = project(k, a), q = project(k, b), r = project(k, c);
        // Clamped before they become integers; fmaxf and fminf also turn NaN into the bound.
        w.x0 = (int)ceilf(fminf(fmaxf(fminf(p.x, fminf(q.x, r.x)), 0.0f), (float)width));
        w.x1 = (int)floorf(fminf(fmaxf(fmaxf(p.x, fmaxf(q.x, r.x)), -1.0f), width - 1.0f));
        w.y0 = (int)ceilf(fminf(fmaxf(fminf(p.y, fminf(q.y, r.y)), 0.0f), (float)height));
        w.y1 = (int)floorf(fminf(fmaxf(fmaxf(p.y, fmaxf(q.y, r.y)), -1.0f), height - 1.0f));
    } else if (fmaxf(a.z, fmaxf(b.z, c.z)) > near_z) {
        w = {0, width - 1, 0, height - 1};
    } else {
        return false;
    }
    return w.x0 <= w.x1 && w.y0 <= w.y1;
}

__device__ __forceinline__ Plane plane_of(Camera k, float3 a, float3 b, float3 c) {
    float3 e1 = b - a, e2 = c - a;
    float3 u = cross(e2, a), v = cross(a, e1), n = cross(e1, e2);
    float side = dot(n, a) > 0.0f ? 1.0f : -1.0f;  // makes d.N positive where the hit is in front
    Plane plane;
    plane.slack = EDGE * (fabsf(u.x) + fabsf(u.y) + fabsf(u.z) + fabsf(v.x) + fabsf(v.y) + fabsf(v.z));
    plane.u = per_pixel(k, side * u);
    plane.v = per_pixel(k, side * v);
    plane.n = per_pixel(k, side * n);
    plane.z = a.z;
    plane.e1z = e1.z;
    plane.e2z = e2.z;
    return plane;
}

__device__ __forceinline__ void draw_pixel(const Plane& p, int column, int row, unsigned int id, float near_z,
                                           Key* __restrict__ pixel) {
    float x = (float)column, y = (float)row;
    float u = p.u.x * x + (p.u.y * y + p.u.z);
    float v = p.v.x * x + (p.v.y * y + p.v.z);
    float n = p.n.x * x + (p.n.y * y + p.n.z);
    if (!(u >= -p.slack && v >= -p.slack && u + v <= n + p.slack && n > NO_AREA)) return;
    u = fminf(fmaxf(u / n, 0.0f), 1.0f);
    v = fminf(fmaxf(v / n, 0.0f), 1.0f - u);
    float z = p.z + u * p.e1z + v * p.e2z;
    if (!(z > near_z)) return;
    Key key = ((Key)__float_as_uint(z) << 32) | id;
    // Keys only ever fall, so a stale read costs an atomic and loses nothing.
    if (key < *(volatile Key*)pixel) atomicMin(pixel, key);
}

__device__ __forceinline__ float from_lane(float value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
__device__ __forceinline__ int from_lane(int value, int lane) { return __shfl_sync(0xffffffffu, value, lane); }
__device__ __forceinline__ float3 from_lane(float3 a, int lane) {
    return make_float3(from_lane(a.x, lane), from_lane(a.y, lane), from_lane(a.z, lane));
}

// Blocks: pose-major, ceil(max_faces * split / BLOCK) of them per pose.
extern "C" __global__ void __launch_bounds__(BLOCK)
rasterize(const float4* __restrict__ vertices, const int4* __restrict__ faces, const int* __restrict__ face_start,
          int meshes, int max_faces, const float* __restrict__ poses, const float* __restrict__ K, int K_stride,
          const long long* __restrict__ mesh_index, const long long* __restrict__ image_index, int images, int split,
          int height, int width, float near_z, Key* __restrict__ zbuffer) {
    int blocks = (int)(((long long)max_faces * split + BLOCK - 1) / BLOCK);
    int pose = blockIdx.x / blocks;
    long long item = (long long)(blockIdx.x % blocks) * BLOCK + threadIdx.x;
    int face = (int)(item / split), part = (int)(item % split);

    // Indices that name nothing draw nothing: checking them on the host would wait for the device.
    long long mesh = mesh_index ? mesh_index[pose] : 0, image = image_index ? image_index[pose] : pose;
    if (mesh < 0 || mesh >= meshes || image < 0 || image >= images) return;
    int first = face_start[mesh];
    bool active = face < face_start[mesh + 1] - first;

    const float* object_in_camera = poses + 16ll * pose;
    Camera camera = load_camera(K + K_stride * image);
    Key* target = zbuffer + image * height * width;
    unsigned int id = (unsigned int)pose * (unsigned int)max_faces + (unsigned int)face;

    Window w = {0, -1, 0, -1};
    Plane plane = {};
    if (active) {
        int4 corner = faces[first + face];
        float3 a = to_camera(object_in_camera, vertices[corner.x]);
        float3 b = to_camera(object_in_camera, vertices[corner.y]);
        float3 c = to_camera(object_in_camera, vertices[corner.z]);
        active = window_of(camera, a, b, c, height, width, near_z, w);
        w.y0 += part;
        active = active && w.y0 <= w.y1;
        if (active) plane = plane_of(camera, a, b, c);
    }
    int columns = w.x1 - w.x0 + 1;
    bool large = active && ((w.y1 - w.y0) / split + 1) * (long long)columns > ALONE;
    if (active && !large)
        for (int y = w.y0; y <= w.y1; y += split)
            for (int x = w.x0; x <= w.x1; x++) draw_pixel(plane, x, y, id, near_z, target + (long long)y * width + x);

    // The lanes of a warp stand as 4 rows of 8 pixels and walk over each large triangle together.
    int lane = threadIdx.x % WARP, right = lane % 8, down = lane / 8;
    for (unsigned int left = __ballot_sync(0xffffffffu, large); left; left &= left - 1) {
        int source = __ffs(left) - 1;
        Plane p = {from_lane(plane.u, source), from_lane(plane.v, source), from_lane(plane.n, source),
                   from_lane(plane.slack, source), from_lane(plane.z, source), from_lane(plane.e1z, source),
                   from_lane(plane.e2z, source)};
        int x0 = from_lane(w.x0, source), x1 = from_lane(w.x1, source);
        int y0 = from_lane(w.y0, source), y1 = from_lane(w.y1, source);
        unsigned int source_id = (unsigned int)from_lane((int)id, source);
        for (int y = y0 + down * split; y <= y1; y += 4 * split)
            for (int x = x0 + right; x <= x1; x += 8)
                draw_pixel(p, x, y, source_id, near_z, target + (long long)y * width + x);
    }
}

__device__ __forceinline__ float3 blend(float3 a, float3 b, float3 c, float u, float v) {
    float w = 1.0f - u - v;
    return make_float3(w * a.x + u * b.x + v * c.x, w * a.y + u * b.y + v * c.y, w * a.z + u * b.z + v * c.z);
}

__device__ __forceinline__ float3 rgb(uchar4 texel) {
    return make_float3((float)texel.x, (float)texel.y, (float)texel.z);
}

__device__ __forceinline__ float3 load3(const float* __restrict__ rows, int row) {
    return make_float3(rows[3ll * row], rows[3ll * row + 1], rows[3ll * row + 2]);
}

// i and i + 1, which may be one outside 0..length - 1, repeating.
__device__ __forceinline__ int2 neighbours(int i, int length) {
    return make_int2(0 <= i && i < length ? i : length - 1, 0 <= i + 1 && i + 1 < length ? i + 1 : 0);
}

// Bilinear texture lookup, repeating, v up: (s, t) = (0, 0) is the outer corner of the lower left texel.
__device__ __forceinline__ float3 sample(const uchar4* __restrict__ texture, int rows, int columns, float s, float t) {
    s = (s - floorf(s)) * columns - 0.5f;
    t = (ceilf(t) - t) * rows - 0.5f;
    float left = floorf(s), top = floorf(t);
    float fs = s - left, ft = t - top;
    int2 x = neighbours((int)left, columns), y = neighbours((int)top, rows);
    const uchar4 *upper = texture + (long long)y.x * columns, *lower = texture + (long long)y.y * columns;
    float3 a = rgb(upper[x.x]), b = rgb(upper[x.y]), c = rgb(lower[x.x]), d = rgb(lower[x.y]);
    float wa = (1 - fs) * (1 - ft), wb = fs * (1 - ft), wc = (1 - fs) * ft, wd = fs * ft;
    return make_float3(wa * a.x + wb * b.x + wc * c.x + wd * d.x, wa * a.y + wb * b.y + wc * c.y + wd * d.y,
                       wa * a.z + wb * b.z + wc * c.z + wd * d.z);
}

__device__ __forceinline__ void store3(float* __restrict__ rows, long long row, float3 value) {
    rows[3 * row] = value.x;
    rows[3 * row + 1] = value.y;
    rows[3 * row + 2] = value.z;
}

// `normal_out` may be null.
extern "C" __global__ void __launch_bounds__(BLOCK)
shade(const float4* __restrict__ vertices, const float* __restrict__ normals, const float2* __restrict__ uv,
      const uchar4* __restrict__ colors, const int4* __restrict__ faces, const int* __restrict__ face_start,
      const uchar4* __restrict__ texels, const long long* __restrict__ texture_start,
      const int2* __restrict__ texture_size, int max_faces, const float* __restrict__ poses,
      const float* __restrict__ K, int K_stride, const long long* __restrict__ mesh_index, int images, int height,
      int width, float ambient, float headlight, const Key* __restrict__ zbuffer, float* __restrict__ color_out,
      float* __restrict__ xyz_out, float* __restrict__ normal_out, int* __restrict__ instance_out) {
    long long pixel = (long long)blockIdx.x * BLOCK + threadIdx.x;
    if (pixel >= (long long)images * height * width) return;
    Key key = zbuffer[pixel];
    float3 color = make_float3(0, 0, 0), xyz = color, normal = color;
    int pose = -1;
    if (key != ~(Key)0) {
        unsigned int id = (unsigned int)key;
        pose = id / (unsigned int)max_faces;
        int row = (int)(pixel / width), image = row / height;
        float x = (float)(int)(pixel - (long long)row * width), y = (float)(row - image * height);
        long long mesh = mesh_index ? mesh_index[pose] : 0;
        int4 corner = faces[face_start[mesh] + (int)(id % (unsigned int)max_faces)];
        const float* object_in_camera = poses + 16ll * pose;
        float3 a = to_camera(object_in_camera, vertices[corner.x]);
        float3 e1 = to_camera(object_in_camera, vertices[corner.y]) - a;
        float3 e2 = to_camera(object_in_camera, vertices[corner.z]) - a;
        float3 ray = ray_through(load_camera(K + (long long)K_stride * image), x, y);
        float3 facet = cross(e1, e2);
        float n = dot(facet, ray);
        float u = fminf(fmaxf(dot(cross(e2, a), ray) / n, 0.0f), 1.0f);
        float v = fminf(fmaxf(dot(cross(a, e1), ray) / n, 0.0f), 1.0f - u);
        xyz = __uint_as_float((unsigned int)(key >> 32)) * ray;

        normal = rotate(object_in_camera, blend(load3(normals, corner.x), load3(normals, corner.y),
                                                load3(normals, corner.z), u, v));
        float length = fmaxf(sqrtf(dot(normal, normal)), 1e-12f);
        // By the triangle and not by the ray: a smooth normal may point past the silhouette.
        bool away = (dot(normal, facet) > 0.0f) == (n > 0.0f);
        normal = ((away ? -1.0f : 1.0f) / length) * normal;

        int2 size = texture_size[mesh];
        if (size.x > 0) {
            float2 p = uv[corner.x], q = uv[corner.y], r = uv[corner.z];
            float w = 1.0f - u - v;
            color = sample(texels + texture_start[mesh], size.x, size.y, w * p.x + u * q.x + v * r.x,
                           w * p.y + u * q.y + v * r.y);
        } else {
            color = blend(rgb(colors[corner.x]), rgb(colors[corner.y]), rgb(colors[corner.z]), u, v);
        }
        color = ((ambient + headlight * fmaxf(0.0f, -normal.z)) / 255.0f) * color;
        color = make_float3(__saturatef(color.x), __saturatef(color.y), __saturatef(color.z));
    }
    store3(color_out, pixel, color);
    store3(xyz_out, pixel, xyz);
    if (normal_out) store3(normal_out, pixel, normal);
    instance_out[pixel] = pose;
}
