// In check mode a kernel works on copies of the arrays that it is given, so that no wrong access hurts anything else.
#pragma once
#include "findings.h"
#include "pool.h"

// Arrays of the launch that share memory form one region. Their copies lie far apart.
struct Region {
    uintptr_t start;  // in the copy
    uintptr_t original;
    uint64_t bytes;
    uint32_t cell;  // bytes of one number
    size_t first_cell;
    std::vector<const ArrayArgument*> arrays;
};

extern Pool copies;
extern std::vector<Region> regions;

bool copy_regions(size_t& cells);  // false if there is no memory; `cells`: how many numbers there are
const Region* region_at(uintptr_t address);  // which must lie in `copies`; null between the regions

// The array of a region that holds all bytes of an access; one that may be written to, if there is a choice.
Place argument_at(const Region& region, uintptr_t address, uint32_t bytes, Deed deed);
Place nearest_argument(uintptr_t address);
