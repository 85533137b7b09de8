// Counts what a GPU would have to do for the accesses of each line: see profile.cpp.
#pragma once
#include "scheduler.h"

// What one instruction of the kernel did, over all warps. The same fields are in profiling.py.
struct ProfileRow {
    uint64_t site;  // offset in the library
    uint32_t shared, write;
    uint64_t requests;      // executions by a warp
    uint64_t transactions;  // global: 32-byte sectors moved; shared: wavefronts
    uint64_t ideal;         // the fewest that could have moved the same bytes
};

struct Profile {
    std::map<std::pair<uint32_t, bool>, ProfileRow> rows;  // by site and whether it writes
    void clear() { rows.clear(); }
};

extern Profile profile;

void profile_block(Block& block);
