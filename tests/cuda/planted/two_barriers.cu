// Each branch has a barrier of its own: threads of one block must all wait at the same one.
// run: swap<<<1, 64>>>(x[64], out y[64])
// finds: DIVERGENT BARRIER
extern "C" __global__ void swap(const real* x, real* y) {
    __shared__ real s[64];
    const int t = threadIdx.x;
#ifdef BUG
    if (t % 2 == 0) {
        s[t] = x[t];
        __syncthreads();
    } else {
        s[t] = -x[t];
        __syncthreads();
    }
#else
    s[t] = t % 2 == 0 ? x[t] : -x[t];
    __syncthreads();
#endif
    y[t] = s[t ^ 1];
}
