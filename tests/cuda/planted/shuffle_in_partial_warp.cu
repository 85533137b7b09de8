// The second warp of a block of 48 threads has 16 lanes; the mask names 32.
// run: sum<<<1, 48>>>(x[48], out y[48])
// finds: MISSING LANES
extern "C" __global__ void sum(const real* x, real* y) {
    const int t = threadIdx.x;
    real mine = x[t];
#ifdef BUG
    for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_down_sync(0xffffffffu, mine, lanes);
#else
    const unsigned int mask = __ballot_sync(t < 32 ? 0xffffffffu : 0x0000ffffu, 1);
    for (int lanes = 8; lanes > 0; lanes /= 2) mine += __shfl_down_sync(mask, mine, lanes, 16);
#endif
    y[t] = mine;
}
