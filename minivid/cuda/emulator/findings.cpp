// Collects what was found. The same problem at the same two lines is kept once, and counted.
#include "findings.h"

#include <algorithm>
#include <cstring>

constexpr size_t MAX_FINDINGS = 20;

std::vector<Finding> findings;
uintptr_t library_start;

uint32_t offset_of(const void* site) { return static_cast<uint32_t>(reinterpret_cast<uintptr_t>(site) - library_start); }

Event event_of(const Thread& thread, const void* site, Deed deed, uint32_t bytes) {
    return {site == nullptr ? 0 : offset_of(site), thread.block->number, thread.number, deed, bytes};
}

Finding finding(Problem problem, Event first, Event second) {
    Finding made{};
    made.problem = problem;
    made.argument = -2;
    made.times = 1;
    made.first = first;
    made.second = second;
    return made;
}

void add(const Finding& made) {
    for (Finding& old : findings) {
        if (old.problem != made.problem || old.argument != made.argument || strcmp(old.name, made.name) != 0) continue;
        if (old.first.site != made.first.site || old.second.site != made.second.site) continue;
        old.times++;
        return;
    }
    if (findings.size() < MAX_FINDINGS) findings.push_back(made);
}

void stop(const Finding& made) {
    add(made);
    abandon_launch();
}

Finding at(Place place, Finding made) {
    made.offset = place.offset;
    if (place.argument != nullptr) {
        made.argument = static_cast<int32_t>(place.argument->argument);
        made.bytes = place.argument->bytes;
        made.element = place.argument->element;
    } else if (place.shared != nullptr) {
        made.argument = -1;
        strncpy(made.name, place.shared->name, sizeof(made.name) - 1);
        made.bytes = place.shared->bytes;
        made.element = place.shared->element;
        std::copy(place.shared->extents, place.shared->extents + 4, made.extents);
    }
    return made;
}

uint64_t distance(uintptr_t address, uintptr_t start, uint64_t bytes) {
    if (address < start) return start - address;
    return address < start + bytes ? 0 : address - (start + bytes) + 1;
}

extern "C" __attribute__((visibility("default"))) const Finding* emulator_findings() { return findings.data(); }
