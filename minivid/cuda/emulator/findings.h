// What was found, as Python reads it (report.py).
#pragma once
#include "scheduler.h"

// The same numbers are in report.py.
enum class Problem : uint32_t {
    race,
    out_of_bounds,
    misaligned,
    read_only,
    uninitialised,
    different_barriers,
    exited_before_barrier,
    stuck_threads,
    lane_outside_mask,
    masks_differ,
    missing_lanes,
    absent_lane,
    not_cooperative,
    missing_blocks,
    too_much_shared,
    assertion,
    never_written,
    foreign_stack,
};

enum class Deed : uint16_t { none, read, write, atomic, call };

struct Event {
    uint64_t site;  // address in the library, for addr2line
    uint32_t block, thread;
    Deed deed;
    uint32_t bytes;
};

struct Finding {
    Problem problem;
    int32_t argument;  // which parameter is the array; -1: it is a shared array; -2: no array
    char name[64];     // of a shared array
    int64_t offset;    // bytes from the start of the array
    uint64_t bytes;    // of the array
    uint32_t element;
    uint32_t extents[4];
    uint32_t times;   // the same problem at the same lines
    uint64_t number;  // of threads, lanes, bytes: says the message
    Event first, second;
};

// A number of an array of the kernel: of an argument, or of a shared array.
struct Place {
    const ArrayArgument* argument;
    const SharedArray* shared;
    int64_t offset;  // bytes from the start of the array
};

extern std::vector<Finding> findings;
extern uintptr_t library_start;

uint32_t offset_of(const void* site);
Event event_of(const Thread& thread, const void* site, Deed deed, uint32_t bytes = 0);
Finding finding(Problem problem, Event first, Event second = {});
Finding at(Place place, Finding made);
void add(const Finding& made);
[[noreturn]] void stop(const Finding& made);  // add it, and leave the launch

// How many bytes an address lies away from an array.
uint64_t distance(uintptr_t address, uintptr_t start, uint64_t bytes);
