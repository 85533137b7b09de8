// CUDA C for a C++ compiler: the words and functions that kernels use, for threads that are fibers of scheduler.cpp.
// build.py puts this header in front of a kernel file. `MINIVID_CHECKED` is defined in check mode.
#pragma once
#include <math.h>
#include <stdio.h>

#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "interface.h"

#define MINIVID_EMULATOR 1

// --- Words -----------------------------------------------------------------------------------------------------------
// Shared arrays are rewritten by build.py; a declaration that it cannot read runs into the name below.
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ the_emulator_reads_shared_arrays_written_as__shared__type_name_sizes
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) alignas(bytes)
#undef __restrict__
#define __restrict__  // no promise to the compiler: the checker shall see every access

#define threadIdx (__emulator_thread_index())
#define blockIdx (__emulator_block_index())
#define blockDim (__emulator_block_size())
#define gridDim (__emulator_grid_size())
constexpr int warpSize = 32;

#define assert(condition) ((condition) ? (void)0 : __emulator_assertion_failed())

// The compiler's hooks would only see the checker's own questions here.
#define EMULATOR_UNWATCHED __attribute__((noinline, no_sanitize("thread")))

// --- Shared memory ---------------------------------------------------------------------------------------------------
template <class T>
constexpr uint32_t emulator_cell() {
    using Element = std::remove_all_extents_t<T>;
    if (std::is_arithmetic_v<Element>) return sizeof(Element);
    return alignof(Element) < 4 ? 1 : 4;
}

// The tag is a lambda: a type of its own for each declaration, and for each instance of a template that has one.
template <class T, class Tag>
EMULATOR_UNWATCHED T& emulator_shared(const char* name, Tag) {
    static SharedArray array;
    if (array.name == nullptr) {
        array.name = name;
        array.bytes = sizeof(T);
        array.element = sizeof(std::remove_all_extents_t<T>);
        array.cell = emulator_cell<T>();
        array.extents[0] = std::extent_v<T, 0>;
        array.extents[1] = std::extent_v<T, 1>;
        array.extents[2] = std::extent_v<T, 2>;
        array.extents[3] = std::extent_v<T, 3>;
    }
    return *static_cast<T*>(__emulator_shared_memory(&array));
}

template <class T>
EMULATOR_UNWATCHED T* emulator_dynamic_shared(const char* name) {
    return static_cast<T*>(__emulator_dynamic_shared_memory(name, sizeof(T), emulator_cell<T>()));
}

// --- Vector types ----------------------------------------------------------------------------------------------------
// A GPU loads or stores a float4 in one instruction, at an address divisible by 16. A C++ compiler may take it apart, so
// in check mode copying one tells the checker of a single access.
#ifdef MINIVID_CHECKED
#define EMULATOR_COPIES(Type)                                                                                   \
    Type() = default;                                                                                           \
    EMULATOR_UNWATCHED Type(const Type& from) {                                                                 \
        __emulator_before_access(&from, sizeof(Type), false, __builtin_return_address(0));                      \
        memcpy(static_cast<void*>(this), &from, sizeof(Type));                                                  \
    }                                                                                                           \
    EMULATOR_UNWATCHED Type& operator=(const Type& from) {                                                      \
        __emulator_before_access(&from, sizeof(Type), false, __builtin_return_address(0));                      \
        __emulator_before_access(this, sizeof(Type), true, __builtin_return_address(0));                        \
        memcpy(static_cast<void*>(this), &from, sizeof(Type));                                                  \
        return *this;                                                                                           \
    }
#else
#define EMULATOR_COPIES(Type) Type() = default;
#endif

#define EMULATOR_VECTORS(T, name)                                                                               \
    struct alignas(2 * sizeof(T)) name##2 {                                                                     \
        T x, y;                                                                                                 \
        EMULATOR_COPIES(name##2)                                                                                \
        constexpr name##2(T x, T y) : x(x), y(y) {}                                                             \
    };                                                                                                          \
    struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 {                                           \
        T x, y, z, w;                                                                                           \
        EMULATOR_COPIES(name##4)                                                                                \
        constexpr name##4(T x, T y, T z, T w) : x(x), y(y), z(z), w(w) {}                                       \
    };                                                                                                          \
    inline name##2 make_##name##2(T x, T y) { return name##2(x, y); }                                           \
    inline name##3 make_##name##3(T x, T y, T z) { return name##3{x, y, z}; }                                   \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return name##4(x, y, z, w); }

#define EMULATOR_TRIPLE(T, name) \
    struct name##3 {             \
        T x, y, z;               \
    };
EMULATOR_TRIPLE(float, float)  // interface.h has uint3
EMULATOR_TRIPLE(double, double)
EMULATOR_TRIPLE(int, int)
EMULATOR_TRIPLE(short, short)
EMULATOR_TRIPLE(unsigned char, uchar)
EMULATOR_VECTORS(float, float)
EMULATOR_VECTORS(double, double)
EMULATOR_VECTORS(int, int)
EMULATOR_VECTORS(unsigned int, uint)
EMULATOR_VECTORS(short, short)
EMULATOR_VECTORS(unsigned char, uchar)

struct dim3 {
    unsigned int x, y, z;
    constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
};

// --- Loads and stores with a hint for the caches ---------------------------------------------------------------------
// Macros, so that the checker names the line of the kernel.
#define __ldg(pointer) (*(pointer))
#define __ldcg(pointer) (*(pointer))
#define __ldcs(pointer) (*(pointer))
#define __stcg(pointer, value) ((void)(*(pointer) = (value)))
#define __stcs(pointer, value) ((void)(*(pointer) = (value)))

// --- Arithmetic ------------------------------------------------------------------------------------------------------
template <class To, class From>
inline To emulator_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}
inline int __float_as_int(float x) { return emulator_bits<int>(x); }
inline unsigned int __float_as_uint(float x) { return emulator_bits<unsigned int>(x); }
inline float __int_as_float(int x) { return emulator_bits<float>(x); }
inline float __uint_as_float(unsigned int x) { return emulator_bits<float>(x); }
inline long long __double_as_longlong(double x) { return emulator_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return emulator_bits<double>(x); }

#define EMULATOR_MIN_MAX(T)                              \
    inline T min(T a, T b) { return b < a ? b : a; }     \
    inline T max(T a, T b) { return a < b ? b : a; }
EMULATOR_MIN_MAX(int)
EMULATOR_MIN_MAX(unsigned int)
EMULATOR_MIN_MAX(long)
EMULATOR_MIN_MAX(unsigned long)
EMULATOR_MIN_MAX(long long)
EMULATOR_MIN_MAX(unsigned long long)
inline unsigned int min(int a, unsigned int b) { return min(static_cast<unsigned int>(a), b); }
inline unsigned int min(unsigned int a, int b) { return min(a, static_cast<unsigned int>(b)); }
inline unsigned int max(int a, unsigned int b) { return max(static_cast<unsigned int>(a), b); }
inline unsigned int max(unsigned int a, int b) { return max(a, static_cast<unsigned int>(b)); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }
inline double min(float a, double b) { return fmin(a, b); }
inline double min(double a, float b) { return fmin(a, b); }
inline double max(float a, double b) { return fmax(a, b); }
inline double max(double a, float b) { return fmax(a, b); }

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return powf(10.0f, x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }  // of NaN: 0
inline int __float2int_rn(float x) { return static_cast<int>(nearbyintf(x)); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline int __float2int_ru(float x) { return static_cast<int>(ceilf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline int __mul24(int x, int y) { return x * y; }
inline int __umulhi(unsigned int x, unsigned int y) { return static_cast<int>((uint64_t{x} * y) >> 32); }
inline int __popc(unsigned int x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned int>(x)); }

// --- Synchronisation -------------------------------------------------------------------------------------------------
#define __syncthreads_or(predicate) (__syncthreads_count(predicate) != 0)
#define __syncthreads_and(predicate) (__syncthreads_count(!(predicate)) == 0)
#define __threadfence_block() __threadfence()
#define __threadfence_system() __threadfence()
#define __nanosleep(nanoseconds) ((void)(nanoseconds))

// --- Warps -----------------------------------------------------------------------------------------------------------
constexpr unsigned int EMULATOR_ALL_LANES = 0xffffffffu;

template <class T>
inline __attribute__((always_inline)) T emulator_shuffle(Collective kind, unsigned mask, T value, int lane, int width) {
    static_assert(sizeof(T) <= 8, "a shuffle moves up to 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    bits = __emulator_collective(kind, mask, bits, static_cast<uint32_t>(lane), static_cast<uint32_t>(width));
    memcpy(&value, &bits, sizeof(T));
    return value;
}
template <class T>
inline __attribute__((always_inline)) T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return emulator_shuffle(Collective::shuffle, mask, value, lane, width);
}
template <class T>
inline __attribute__((always_inline)) T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return emulator_shuffle(Collective::shuffle_up, mask, value, static_cast<int>(delta), width);
}
template <class T>
inline __attribute__((always_inline)) T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    return emulator_shuffle(Collective::shuffle_down, mask, value, static_cast<int>(delta), width);
}
template <class T>
inline __attribute__((always_inline)) T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
    return emulator_shuffle(Collective::shuffle_xor, mask, value, lanes, width);
}
inline __attribute__((always_inline)) void __syncwarp(unsigned mask = EMULATOR_ALL_LANES) {
    __emulator_collective(Collective::sync, mask, 0, 0, 32);
}
inline __attribute__((always_inline)) unsigned __ballot_sync(unsigned mask, int predicate) {
    return static_cast<unsigned>(__emulator_collective(Collective::ballot, mask, predicate != 0, 0, 32));
}
inline __attribute__((always_inline)) int __any_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) != 0;
}
inline __attribute__((always_inline)) int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, !predicate) == 0;
}
template <class T>
inline __attribute__((always_inline)) unsigned __match_any_sync(unsigned mask, T value) {
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(T));
    return static_cast<unsigned>(__emulator_collective(Collective::match, mask, bits, 0, 32));
}

// --- Atomics ---------------------------------------------------------------------------------------------------------
// One thread runs at a time, so reading and writing are enough; the checker is told that they belong together.
#define EMULATOR_ATOMIC(name, update)                                                        \
    template <class T>                                                                       \
    EMULATOR_UNWATCHED T name(T* address, std::common_type_t<T> value) {                     \
        __emulator_before_atomic(address, sizeof(T), __builtin_return_address(0));           \
        const T old = *address;                                                              \
        *address = update;                                                                   \
        return old;                                                                          \
    }
EMULATOR_ATOMIC(atomicAdd, old + value)
EMULATOR_ATOMIC(atomicSub, old - value)
EMULATOR_ATOMIC(atomicExch, value)
EMULATOR_ATOMIC(atomicMin, min(old, value))
EMULATOR_ATOMIC(atomicMax, max(old, value))
EMULATOR_ATOMIC(atomicAnd, old & value)
EMULATOR_ATOMIC(atomicOr, old | value)
EMULATOR_ATOMIC(atomicXor, old ^ value)
EMULATOR_ATOMIC(atomicInc, old >= value ? T(0) : old + 1)
EMULATOR_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)

template <class T>
EMULATOR_UNWATCHED T atomicCAS(T* address, std::common_type_t<T> expected, std::common_type_t<T> value) {
    __emulator_before_atomic(address, sizeof(T), __builtin_return_address(0));
    const T old = *address;
    if (old == expected) *address = value;
    return old;
}

// --- How the scheduler starts a thread -------------------------------------------------------------------------------
template <class... Parameters, size_t... positions>
EMULATOR_UNWATCHED void emulator_call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<positions...>) {
    kernel(*static_cast<std::remove_const_t<Parameters>*>(arguments[positions])...);
}
template <class... Parameters>
void emulator_run(void (*kernel)(Parameters...), void** arguments) {
    emulator_call(kernel, arguments, std::index_sequence_for<Parameters...>());
}
// The bytes of every parameter and a zero, so that a wrong argument is refused before it is read.
template <class... Parameters>
EMULATOR_UNWATCHED const uint32_t* emulator_sizes(void (*)(Parameters...)) {
    static constexpr uint32_t sizes[] = {sizeof(Parameters)..., 0};
    return sizes;
}
#define EMULATOR_ENTRY(kernel)                                                                      \
    extern "C" __attribute__((visibility("default"))) void emulator_run_##kernel(void** arguments) { \
        emulator_run(kernel, arguments);                                                            \
    }                                                                                               \
    extern "C" __attribute__((visibility("default"))) const uint32_t* emulator_sizes_##kernel() {    \
        return emulator_sizes(kernel);                                                              \
    }
