// Several numbers in one instruction: a thread that moves 16 bytes at a time keeps the memory busier than one that moves 4.

constexpr int VECTOR = 16 / sizeof(real);  // numbers in a vector: four floats or two doubles

struct alignas(16) Vector {
    real at[VECTOR];
};

// The address must be divisible by 16; Python's `aligned` asks for that, and a number of channels divisible by VECTOR.
__device__ __forceinline__ Vector load_vector(const real* from) { return *reinterpret_cast<const Vector*>(from); }
__device__ __forceinline__ void store_vector(real* to, const Vector& vector) { *reinterpret_cast<Vector*>(to) = vector; }

__device__ __forceinline__ Vector vector_of(real value) {
    Vector vector;
#pragma unroll
    for (int e = 0; e < VECTOR; e++) vector.at[e] = value;
    return vector;
}
