// All threads add to one number of global memory.
// run: sum<<<4, 64>>>(x[256], zero y[1])
// finds: RACE on y[0]
extern "C" __global__ void sum(const real* x, real* y) {
    const real value = x[blockIdx.x * blockDim.x + threadIdx.x];
#ifdef BUG
    y[0] += value;
#else
    atomicAdd(y, value);
#endif
}
