// All lanes that meet in a shuffle must give the same mask.
// run: sum<<<1, 32>>>(x[32], out y[32])
// finds: WRONG MASK
extern "C" __global__ void sum(const real* x, real* y) {
    const int t = threadIdx.x;
#ifdef BUG
    const unsigned int mask = t == 0 ? 0x00ffffffu : 0xffffffffu;
#else
    const unsigned int mask = 0xffffffffu;
#endif
    y[t] = x[t] + __shfl_xor_sync(mask, x[t], 1);
}
