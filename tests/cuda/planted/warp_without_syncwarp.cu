// The lanes of a warp do not run in step: what one writes, another may read only after __syncwarp().
// run: sum<<<1, 32>>>(x[32], out y[1])
// finds: RACE on shared s
extern "C" __global__ void sum(const real* x, real* y) {
    __shared__ volatile real s[64];
    const int t = threadIdx.x;
    s[t] = x[t];
    s[t + 32] = 0;
    __syncwarp();
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const real other = s[t + lanes];
#ifndef BUG
        __syncwarp();
#endif
        s[t] = s[t] + other;
#ifndef BUG
        __syncwarp();
#endif
    }
    if (t == 0) y[0] = s[0];
}
