// Two buffers save one of two barriers: while one is read, the other is filled. With one buffer they do not.
// run: prefix<<<1, 64>>>(x[4][64], out y[64])
// finds: RACE on shared buffer
extern "C" __global__ void prefix(const real* x, real* y) {
    __shared__ real buffer[2][64];
    const int t = threadIdx.x;
    real sum = 0;
    for (int row = 0; row < 4; row++) {
#ifdef BUG
        real* now = buffer[0];
#else
        real* now = buffer[row % 2];
#endif
        now[t] = x[row * 64 + t];
        __syncthreads();
        sum += now[63 - t];
    }
    y[t] = sum;
}
