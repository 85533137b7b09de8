// A difference of neighbours: the first element has none on its left.
// run: difference<<<2, 64>>>(x[128], out y[128])
// finds: OUT OF BOUNDS read of x[-1]
extern "C" __global__ void difference(const real* x, real* y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef BUG
    y[i] = x[i] - x[i - 1];
#else
    y[i] = i == 0 ? x[i] : x[i] - x[i - 1];
#endif
}
