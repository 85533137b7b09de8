// Reductions over the 32 threads of a warp, which exchange registers: no shared memory, no barrier. After step `lanes`,
// every thread holds the result of 2 * lanes neighbours; after five steps all hold the same number, bit for bit, because
// each step adds the same two numbers on both sides.

constexpr int WARP = 32;

__device__ __forceinline__ real warp_sum(real value) {
#pragma unroll
    for (int lanes = 1; lanes < WARP; lanes *= 2) value += __shfl_xor_sync(0xffffffffu, value, lanes);
    return value;
}

__device__ __forceinline__ real warp_max(real value) {
#pragma unroll
    for (int lanes = 1; lanes < WARP; lanes *= 2) value = max(value, __shfl_xor_sync(0xffffffffu, value, lanes));
    return value;
}
