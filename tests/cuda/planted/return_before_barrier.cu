// Threads beyond the end must not leave before a barrier that the others wait at.
// run: smooth<<<2, 64>>>(x[100], zero y[100], 100)
// finds: DIVERGENT BARRIER
extern "C" __global__ void smooth(const real* x, real* y, int n) {
    __shared__ real s[64];
    const int t = threadIdx.x, i = blockIdx.x * 64 + t;
#ifdef BUG
    if (i >= n) return;
    s[t] = x[i];
#else
    s[t] = i < n ? x[i] : real(0);
#endif
    __syncthreads();
    if (i < n && t > 0) y[i] = (s[t] + s[t - 1]) / 2;
}
