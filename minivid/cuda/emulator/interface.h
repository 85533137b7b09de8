// What a kernel compiled with shim.h asks of the runtime (scheduler.cpp, checker.cpp). The kernel's own code is
// compiled with hooks on every access to memory; the runtime is not, so it may keep its books undisturbed.
#pragma once
#include <cstddef>
#include <cstdint>

struct uint3 {
    unsigned int x, y, z;
};

// A __shared__ array of a kernel. Where it lies in the shared memory of a block is decided when the first thread of a
// launch comes to its declaration, and is the same in all blocks of that launch.
struct SharedArray {
    uint64_t launch;      // the launch for which `offset` holds
    size_t offset;        // bytes from the start of the block's shared memory
    const char* name;     // as in the source
    size_t bytes;         // of the whole array
    uint32_t element;     // bytes of one element
    uint32_t cell;        // bytes that the checker watches together: those of one number
    uint32_t extents[4];  // of up to four dimensions; zeros behind
    size_t first_cell;    // the checker's records of it, among those of the block
};

enum class Collective : uint32_t { sync, shuffle, shuffle_up, shuffle_down, shuffle_xor, ballot, match };

extern "C" {
// These give the same answer throughout the life of a thread, hence "const": the compiler may ask once.
__attribute__((const)) uint3 __emulator_thread_index();
__attribute__((const)) uint3 __emulator_block_index();
__attribute__((const)) uint3 __emulator_block_size();
__attribute__((const)) uint3 __emulator_grid_size();

void __syncthreads();
int __syncthreads_count(int predicate);
void __emulator_grid_barrier();
uint64_t __emulator_collective(Collective kind, uint32_t mask, uint64_t value, uint32_t argument, uint32_t width);
uint32_t __activemask();
void __threadfence();
void __emulator_before_atomic(const void* address, size_t bytes, const void* site);
void __emulator_before_access(const void* address, size_t bytes, bool write, const void* site);
void* __emulator_shared_memory(SharedArray* array);
void* __emulator_dynamic_shared_memory(const char* name, uint32_t element, uint32_t cell);
[[noreturn]] void __emulator_assertion_failed();
}
