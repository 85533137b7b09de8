// A tile with a margin of one on each side: threads at its ends read a margin that somebody must have loaded.
// run: smooth<<<2, 64>>>(x[128], out y[128], 128)
// finds: UNINITIALISED shared tile[65]
extern "C" __global__ void smooth(const real* x, real* y, int n) {
    __shared__ real tile[66];
    const int t = threadIdx.x, i = blockIdx.x * 64 + t;
    tile[t + 1] = x[i];
    if (t == 0) tile[0] = i > 0 ? x[i - 1] : real(0);
#ifndef BUG
    if (t == 63) tile[65] = i + 1 < n ? x[i + 1] : real(0);
#endif
    __syncthreads();
    y[i] = (tile[t] + tile[t + 1] + tile[t + 2]) / 3;
}
