// What all kernels share. The loader puts this text in front of a kernel file that says #include "common.cuh".
//
// `real` is float or double: the compiler is called with -Dreal=float or -Dreal=double, so that every kernel exists
// in both precisions, and the double one is proved by gradient checks.

#ifndef real
#error "compile with -Dreal=float or -Dreal=double"
#endif

// A sliding window, as minivid/ops/window.py works it out: tap k of position i lies on row
// i * SH + k * DH - top of the image (window.4).
struct Window {
    int KH, KW, SH, SW, DH, DW, top, bottom, left, right, OH, OW;
};

__device__ __forceinline__ bool is_nan(real x) { return x != x; }

// The compiler has no header that defines INFINITY: these are its bits.
__device__ __forceinline__ float minus_infinity_like(float) { return __uint_as_float(0xff800000u); }
__device__ __forceinline__ double minus_infinity_like(double) {
    return __longlong_as_double(static_cast<long long>(0xfff0000000000000ull));
}
__device__ __forceinline__ real minus_infinity() { return minus_infinity_like(real(0)); }

__device__ __forceinline__ real sigmoid(real z) { return real(1) / (real(1) + exp(-z)); }

// Let the blocks of a group wait for each other, in a cooperative launch: all its blocks are on the device at the same
// time. `counter` is the group's own number, zero before the launch, `blocks` how many blocks the group has. Each adds
// one; the last to arrive at a round lifts the count to a multiple of `blocks`, and the others see that. What a thread
// wrote before the barrier, all threads of the group may read after it. In the emulator all groups wait for each other,
// so all must call it equally often.
__device__ __forceinline__ void group_barrier(unsigned int* counter, unsigned int blocks) {
#ifdef MINIVID_EMULATOR
    __emulator_grid_barrier();
#else
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
        __threadfence();  // what this block wrote, before its arrival
        const unsigned int arrived = atomicAdd(counter, 1u);
        const unsigned int goal = (arrived / blocks + 1u) * blocks;
        while (*reinterpret_cast<volatile unsigned int*>(counter) < goal) {
        }
        __threadfence();  // what others wrote, after theirs
    }
    __syncthreads();
#endif
}

// Let all blocks of a cooperative launch wait for each other.
__device__ __forceinline__ void grid_barrier(unsigned int* counter) {
    group_barrier(counter, gridDim.x * gridDim.y * gridDim.z);
}
