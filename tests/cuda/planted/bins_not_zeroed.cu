// Shared memory is not zero at the start.
// run: histogram<<<2, 64>>>(labels[128] < 10, zero counts[10])
// finds: UNINITIALISED shared bins
extern "C" __global__ void histogram(const int* labels, int* counts) {
    __shared__ int bins[10];
    const int t = threadIdx.x;
#ifndef BUG
    if (t < 10) bins[t] = 0;
    __syncthreads();
#endif
    atomicAdd(&bins[labels[blockIdx.x * blockDim.x + t]], 1);
    __syncthreads();
    if (t < 10) atomicAdd(&counts[t], bins[t]);
}
