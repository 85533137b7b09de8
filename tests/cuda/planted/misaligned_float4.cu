// Four numbers in one load: it must begin at a multiple of 16 bytes, so no row may begin in between.
// run: sum_rows<<<1, 32>>>(x[32][8], x_odd[32][9], out y[32])
// finds: MISALIGNED read of 16 bytes at x_odd
extern "C" __global__ void sum_rows(const float* x, const float* x_odd, float* y) {
#ifdef BUG
    const float* row = x_odd + 9 * threadIdx.x;
#else
    const float* row = x + 8 * threadIdx.x;
#endif
    const float4 first = reinterpret_cast<const float4*>(row)[0], second = reinterpret_cast<const float4*>(row)[1];
    y[threadIdx.x] = first.x + first.y + first.z + first.w + second.x + second.y + second.z + second.w;
}
