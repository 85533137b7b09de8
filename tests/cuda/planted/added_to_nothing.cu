// An output that holds nothing yet is set, not added to.
// run: scale<<<2, 32>>>(x[64], out y[64])
// finds: UNINITIALISED y
extern "C" __global__ void scale(const real* x, real* y) {
    const int i = blockIdx.x * 32 + threadIdx.x;
#ifdef BUG
    y[i] += 2 * x[i];
#else
    y[i] = 2 * x[i];
#endif
}
