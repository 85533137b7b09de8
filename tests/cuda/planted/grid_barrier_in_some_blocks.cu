#include "common.cuh"
// A block that has nothing left to do must still come to the grid barrier.
// run cooperative: steps<<<4, 32>>>(x[100], out middle[100], out y[100], zero counter[1], 100)
// finds: MISSING BLOCKS
extern "C" __global__ void steps(const real* x, real* middle, real* y, unsigned int* counter, int n) {
    const int i = blockIdx.x * 32 + threadIdx.x;
#ifdef BUG
    if (blockIdx.x == 3) {
        if (i < n) middle[i] = y[i] = x[i];
        return;
    }
#endif
    if (i < n) middle[i] = x[i] * x[i];
    grid_barrier(counter);
    if (i < n) y[i] = middle[n - 1 - i] + 1;
}
