// A column too far is still inside the array, in the next row: nothing is out of bounds, the numbers are wrong.
// run: transpose<<<1, (8, 8)>>>(x[8][8], out y[8][8])
// finds: wrong numbers
extern "C" __global__ void transpose(const real* x, real* y) {
#ifdef BUG
    const int column = (threadIdx.x + 1) % 8;
#else
    const int column = threadIdx.x;
#endif
    y[threadIdx.x * 8 + threadIdx.y] = x[threadIdx.y * 8 + column];
}
