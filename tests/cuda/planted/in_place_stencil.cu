// A neighbour that belongs to another block may have been overwritten already.
// run: smooth<<<4, 32>>>(x[128], out y[128], zero z[128])
// finds: RACE on z
extern "C" __global__ void smooth(const real* x, real* y, real* z) {
    const int i = blockIdx.x * 32 + threadIdx.x;
#ifdef BUG
    const real left = i > 0 ? z[i - 1] : real(0);
    z[i] = left + x[i];
    y[i] = left;
#else
    const real left = i > 0 ? x[i - 1] : real(0);
    z[i] = left + x[i];
    y[i] = left;
#endif
}
