// A loop over the grid with a stride too long leaves out elements.
// run: copy<<<2, 32>>>(x[256], out y[256], 256)
// finds: NEVER WRITTEN: 128 of 256 elements of an output, the first y[64]
extern "C" __global__ void copy(const real* x, real* y, int n) {
#ifdef BUG
    const int stride = 2 * blockDim.x * gridDim.x;
#else
    const int stride = blockDim.x * gridDim.x;
#endif
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += stride) y[i] = x[i];
}
