#include "common.cuh"
// Two time steps in one launch: the second reads what other blocks wrote in the first.
// run cooperative: steps<<<4, 32>>>(x[128], out middle[128], out y[128], zero counter[1])
// finds: RACE on middle
extern "C" __global__ void steps(const real* x, real* middle, real* y, unsigned int* counter) {
    const int i = blockIdx.x * 32 + threadIdx.x;
    middle[i] = x[i] * x[i];
#ifndef BUG
    grid_barrier(counter);
#endif
    y[i] = middle[127 - i] + 1;
}
