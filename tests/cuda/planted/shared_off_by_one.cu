// A tile and its right neighbour need one place more than there are threads.
// run: pairs<<<2, 64>>>(x[129], out y[128])
// finds: OUT OF BOUNDS write to shared tile[64]
#ifdef BUG
constexpr int WIDTH = 64;
#else
constexpr int WIDTH = 65;
#endif

extern "C" __global__ void pairs(const real* x, real* y) {
    __shared__ real tile[WIDTH];
    const int t = threadIdx.x, i = blockIdx.x * 64 + t;
    tile[t] = x[i];
    if (t == 63) tile[64] = x[i + 1];
    __syncthreads();
    y[i] = tile[t] + tile[t + 1];
}
