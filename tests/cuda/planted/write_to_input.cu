// A kernel that promises not to write to an array, and does.
// run: relu<<<2, 64>>>(x[128], out y[128])
// finds: WRITE TO CONST x
extern "C" __global__ void relu(const real* x, real* y) {
    const int i = blockIdx.x * 64 + threadIdx.x;
    y[i] = max(x[i], real(0));
#ifdef BUG
    if (x[i] < 0) const_cast<real*>(x)[i] = 0;
#endif
}
