// The last block to finish adds up the sums of all: their writes must be visible before their arrivals are counted.
// run: sum<<<4, 32>>>(x[128], out of_block[4], zero finished[1], out y[1])
// finds: RACE on of_block
extern "C" __global__ void sum(const real* x, real* of_block, unsigned int* finished, real* y) {
    __shared__ bool last;
    real mine = x[blockIdx.x * 32 + threadIdx.x];
    for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_down_sync(0xffffffffu, mine, lanes);
    if (threadIdx.x == 0) {
        of_block[blockIdx.x] = mine;
#ifndef BUG
        __threadfence();
#endif
        last = atomicAdd(finished, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last || threadIdx.x != 0) return;
    real total = 0;
    for (int block = 0; block < gridDim.x; block++) total += of_block[block];
    y[0] = total;
}
