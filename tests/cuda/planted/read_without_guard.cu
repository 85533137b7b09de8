// The last block has more threads than there are numbers left.
// run: largest<<<2, 64>>>(x[100], zero y[128], 100)
// finds: OUT OF BOUNDS read of x[1
extern "C" __global__ void largest(const real* x, real* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef BUG
    y[i] = max(x[i], real(0));
#else
    if (i < n) y[i] = max(x[i], real(0));
#endif
}
