// A shuffle names all lanes of the warp, but half of them wait at the barrier behind it.
// run: sum<<<1, 32>>>(x[32], out y[32])
// finds: MISSING LANES
extern "C" __global__ void sum(const real* x, real* y) {
    const int t = threadIdx.x;
    real mine = x[t];
#ifdef BUG
    if (t < 16) mine += __shfl_down_sync(0xffffffffu, mine, 8);
#else
    if (t < 16) mine += __shfl_down_sync(0x0000ffffu, mine, 8, 16);
#endif
    __syncthreads();
    y[t] = mine;
}
