// The threads, warps and blocks of one launch, as scheduler.cpp moves them and checker.cpp watches them.
#pragma once
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "fibers.h"
#include "interface.h"

struct Block;
struct Warp;

// How much of what happened in other blocks, or in other warps without a barrier, has certainly happened before now.
struct Knowledge {
    std::map<uint32_t, uint32_t> epochs;                      // block serial -> everything before this epoch
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> clocks;  // (block serial, thread) -> up to this clock
    void join(const Knowledge& other);
};

// One access of one thread, for the profile.
struct Trace {
    uint32_t site;
    uint32_t bytes;
    uintptr_t address;
    bool shared, write;
};

enum class State : uint8_t { ready, at_barrier, at_grid_barrier, in_collective, finished };

struct Thread {
    FiberContext context;
    Block* block;
    Warp* warp;
    uint3 index;
    uint32_t number;  // within the block
    uint32_t lane;    // within the warp
    State state;
    const void* site;  // the call in which it waits

    // What it brought to the shuffle, vote or __syncwarp in which it waits, and what it took away.
    Collective kind;
    uint32_t mask, argument, width;
    uint64_t value;


    // For the checker.
    uint32_t clock;          // how often it has published what it did: see happens_before
    Knowledge fenced;        // what it had seen or done at its last __threadfence
    Knowledge acquired;      // what it knows of others through atomics
    std::vector<Trace> trace;  // its accesses, when they are profiled
};

struct Warp {
    Thread* threads;   // the first of up to 32
    uint32_t exist;    // a bit for each lane that the block has
    uint32_t waiting;  // lanes in a collective
    uint32_t finished;
    std::vector<uint32_t> known;  // for the checker: [32][32], the clock up to which a lane knows another; or empty
};

struct Block {
    uint3 index;
    uint32_t number;  // within the grid
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<Thread*> order;  // in which threads start, and go on after a barrier

    std::vector<Thread*> ready;  // a ring: every thread is in it at most once
    size_t ready_first, ready_count;

    uint32_t alive;    // threads that have not finished
    uint32_t arrived;  // of those, the ones that wait at __syncthreads
    int predicates, predicates_before;  // of __syncthreads_count

    char* shared;

    // For the checker.
    uint32_t epoch;      // the number of barriers that the block has passed
    uint32_t serial;     // counts the blocks of all launches
    Knowledge acquired, fenced;  // of its threads, before the last barrier
};

// What Python asks for: see Launch in module.py.
struct ArrayArgument {
    void* data;
    uint64_t bytes;
    uint32_t element;    // bytes of one number
    uint32_t read_only;  // const in the kernel's signature
    uint32_t fresh;      // holds nothing yet: reading before writing is an error
    uint32_t argument;   // its position among the kernel's parameters
};

struct LaunchRequest {
    void (*entry)(void** arguments);
    void** arguments;
    uint3 grid, block;
    uint64_t dynamic_shared;
    uint64_t seed;
    ArrayArgument* arrays;
    uint32_t array_count;
    uint32_t cooperative, checked, profiled;
};

// The launch under way. There is one at a time.
struct Run {
    const LaunchRequest* request;
    uint64_t number;
    std::vector<Block> blocks;  // those that are alive at the same time
    uint32_t grid_epoch;        // for the checker: every block's epoch after the last grid barrier
    size_t static_shared;       // bytes of shared memory handed out so far, gaps included
    size_t asked_shared;        // the same without gaps
    std::vector<SharedArray*> shared_arrays;
    bool fences;  // some thread has called __threadfence
};

extern Run run;
extern Thread* current;

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr size_t SHARED_BYTES = 2048 * 1024;    // set aside for each block, so that arrays can lie apart
constexpr size_t STATIC_SHARED_LIMIT = 48 * 1024;  // of a GPU, without asking for more

size_t slot_of(const Block& block);  // which of the blocks that live at the same time
char* stack_of(const Thread& thread);
bool is_stack(uintptr_t address);
[[noreturn]] void abandon_launch();

extern "C" int emulator_launch(const LaunchRequest* request);
