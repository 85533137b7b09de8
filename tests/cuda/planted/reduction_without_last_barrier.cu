// Every warp leaves its sum in shared memory; the first thread adds these up, once they are all there.
// run: sum<<<4, 64>>>(x[256], out y[4])
// finds: RACE on shared of_warp
constexpr int THREADS = 64;

extern "C" __global__ void sum(const real* x, real* y) {
    __shared__ real of_warp[THREADS / 32];
    const int t = threadIdx.x;
    real mine = x[blockIdx.x * THREADS + t];
    for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_down_sync(0xffffffffu, mine, lanes);
    if (t % 32 == 0) of_warp[t / 32] = mine;
#ifndef BUG
    __syncthreads();
#endif
    if (t == 0) y[blockIdx.x] = of_warp[0] + of_warp[1];
}
