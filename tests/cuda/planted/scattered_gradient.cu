// The gradient of a convolution, one thread per output: neighbouring windows overlap, so outputs share inputs. A gather,
// one thread per input, does not.
// run: backward<<<2, 64>>>(dy[126], w[3], zero dx[128])
// finds: RACE on dx
extern "C" __global__ void backward(const real* dy, const real* w, real* dx) {
    const int i = blockIdx.x * 64 + threadIdx.x;
#ifdef BUG
    if (i < 126)
        for (int k = 0; k < 3; k++) dx[i + k] += dy[i] * w[k];
#else
    real sum = 0;
    for (int k = 0; k < 3; k++)
        if (i - k >= 0 && i - k < 126) sum += dy[i - k] * w[k];
    dx[i] = sum;
#endif
}
