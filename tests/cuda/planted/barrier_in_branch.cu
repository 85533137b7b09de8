// A barrier that only some threads of the block come to.
// run: shift<<<1, 64>>>(x[64], out y[64])
// finds: DIVERGENT BARRIER
extern "C" __global__ void shift(const real* x, real* y) {
    __shared__ real s[64];
    const int t = threadIdx.x;
#ifdef BUG
    if (t < 32) {
        s[t] = x[t];
        s[t + 32] = x[t + 32];
        __syncthreads();
    }
#else
    if (t < 32) {
        s[t] = x[t];
        s[t + 32] = x[t + 32];
    }
    __syncthreads();
#endif
    y[t] = t < 32 ? s[t + 1] : x[t];
}
