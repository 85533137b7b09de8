// Two arrays in dynamic shared memory: the launch asks for 64 floats.
// run: swap<<<2, 32, 64 * 4>>>(x[64], out y[64])
// finds: OUT OF BOUNDS write to shared memory[
extern "C" __global__ void swap(const float* x, float* y) {
    extern __shared__ float memory[];
#ifdef BUG
    float* second = memory + 64;
#else
    float* second = memory + 32;
#endif
    const int t = threadIdx.x, i = blockIdx.x * 32 + t;
    memory[t] = x[i];
    second[t] = -x[i];
    __syncthreads();
    y[i] = memory[31 - t] + second[t];
}
