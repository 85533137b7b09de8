// The sum of a block: at every step half as many threads add the other half's sums to their own.
// run: sum<<<4, 64>>>(x[256], out y[4])
// finds: RACE on shared partial
constexpr int THREADS = 64;

extern "C" __global__ void sum(const real* x, real* y) {
    __shared__ real partial[THREADS];
    const int t = threadIdx.x;
    partial[t] = x[blockIdx.x * THREADS + t];
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (t < half) partial[t] += partial[t + half];
#ifndef BUG
        __syncthreads();
#endif
    }
    if (t == 0) y[blockIdx.x] = partial[0];
}
