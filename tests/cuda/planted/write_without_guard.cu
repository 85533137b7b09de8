// The last block has more threads than there are numbers left.
// run: fill<<<2, 64>>>(out y[100], 1.0, 100)
// finds: OUT OF BOUNDS write to y[1
extern "C" __global__ void fill(real* y, real value, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifndef BUG
    if (i < n)
#endif
        y[i] = value;
}
