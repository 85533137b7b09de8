// Threads count in shared memory; two of them may meet the same label.
// run: histogram<<<2, 64>>>(labels[128] < 10, zero counts[10])
// finds: RACE on shared bins
extern "C" __global__ void histogram(const int* labels, int* counts) {
    __shared__ int bins[10];
    const int t = threadIdx.x;
    if (t < 10) bins[t] = 0;
    __syncthreads();
    const int label = labels[blockIdx.x * blockDim.x + t];
#ifdef BUG
    bins[label]++;
#else
    atomicAdd(&bins[label], 1);
#endif
    __syncthreads();
    if (t < 10) atomicAdd(&counts[t], bins[t]);
}
