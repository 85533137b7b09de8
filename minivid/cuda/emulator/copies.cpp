#include "copies.h"

#include <algorithm>
#include <cstring>

constexpr size_t PAGE = 4096;
constexpr size_t GAP = 1024 * PAGE;  // around every region

Pool copies;
std::vector<Region> regions;

namespace {

std::vector<uint16_t> region_of_page;  // 0: none, otherwise its place in `regions` + 1

uintptr_t copy_of(const ArrayArgument& array, const Region& region) {
    return region.start + (reinterpret_cast<uintptr_t>(array.data) - region.original);
}

uintptr_t end_of(const ArrayArgument& array) { return reinterpret_cast<uintptr_t>(array.data) + array.bytes; }

void find_regions() {
    regions.clear();
    std::vector<const ArrayArgument*> sorted;
    for (uint32_t i = 0; i < run.request->array_count; i++) sorted.push_back(&run.request->arrays[i]);
    std::stable_sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->data < b->data; });
    for (const ArrayArgument* array : sorted) {
        const auto start = reinterpret_cast<uintptr_t>(array->data);
        if (regions.empty() || start >= regions.back().original + regions.back().bytes)
            regions.push_back({0, start, 0, 8, 0, {}});
        Region& region = regions.back();
        region.bytes = std::max<uint64_t>(region.bytes, end_of(*array) - region.original);
        region.cell = std::min(region.cell, array->element);
        region.arrays.push_back(array);
    }
}

}  // namespace

bool copy_regions(size_t& cells) {
    find_regions();
    size_t bytes = GAP;
    cells = 0;
    for (Region& region : regions) {
        region.start = bytes + region.original % 16;  // a view that begins at an odd address stays odd
        region.first_cell = cells;
        bytes += (region.bytes + 16 + PAGE - 1) / PAGE * PAGE + GAP;
        cells += region.bytes / region.cell + 1;
    }
    if (!copies.grow(bytes)) return false;
    region_of_page.assign(copies.bytes / PAGE + 1, 0);
    for (size_t i = 0; i < regions.size(); i++) {
        Region& region = regions[i];
        for (size_t page = region.start / PAGE; page <= (region.start + region.bytes) / PAGE; page++)
            region_of_page[page] = static_cast<uint16_t>(i + 1);
        region.start += reinterpret_cast<uintptr_t>(copies.memory);
        memcpy(reinterpret_cast<void*>(region.start), reinterpret_cast<void*>(region.original), region.bytes);
        for (const ArrayArgument* array : region.arrays)
            *static_cast<uintptr_t*>(run.request->arguments[array->argument]) = copy_of(*array, region);
    }
    return true;
}

const Region* region_at(uintptr_t address) {
    const uint16_t which = region_of_page[(address - reinterpret_cast<uintptr_t>(copies.memory)) / PAGE];
    return which == 0 ? nullptr : &regions[which - 1];
}

Place argument_at(const Region& region, uintptr_t address, uint32_t bytes, Deed deed) {
    Place place{};
    for (const ArrayArgument* array : region.arrays) {
        const uintptr_t start = copy_of(*array, region);
        if (address < start || address + bytes > start + array->bytes) continue;
        if (place.argument == nullptr || (deed != Deed::read && place.argument->read_only))
            place = {array, nullptr, static_cast<int64_t>(address - start)};
    }
    return place;
}

Place nearest_argument(uintptr_t address) {
    Place best{};
    uint64_t closest = GAP;  // further away, no array is meant
    for (const Region& region : regions) {
        for (const ArrayArgument* array : region.arrays) {
            const uintptr_t start = copy_of(*array, region);
            const uint64_t away = distance(address, start, array->bytes);
            if (away >= closest) continue;
            closest = away;
            best = {array, nullptr, static_cast<int64_t>(address - start)};
        }
    }
    return best;
}

// The launch is good: the arrays that the kernel may write to get what it wrote to their copies.
extern "C" __attribute__((visibility("default"))) void emulator_copy_back() {
    for (const Region& region : regions)
        for (const ArrayArgument* array : region.arrays)
            if (!array->read_only)
                memcpy(array->data, reinterpret_cast<void*>(copy_of(*array, region)), array->bytes);
}
