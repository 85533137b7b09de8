// Watches every access of a kernel to memory, before it happens.
//
// Two accesses to the same number, by different threads, at least one of them a write and not both atomic, are a race
// unless something makes one happen before the other: a barrier of their block, a __syncwarp of their warp, a grid
// barrier, or a __threadfence and an atomic that the other thread has seen. This does not depend on the order in which
// the scheduler happened to run the threads, so a race is found even when the numbers came out right.
#include "checker.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "copies.h"
#include "findings.h"
#include "profile.h"

SharedArray dynamic_shared;

void Knowledge::join(const Knowledge& other) {
    for (const auto& [block, epoch] : other.epochs) epochs[block] = std::max(epochs[block], epoch);
    for (const auto& [thread, clock] : other.clocks) clocks[thread] = std::max(clocks[thread], clock);
}

namespace {

// --- What is kept about every number --------------------------------------------------------------------------------

struct Record {
    uint32_t serial;  // of the block; records of earlier launches have smaller ones, and count as none
    uint32_t epoch;   // of the block
    uint32_t clock;   // of the thread
    uint32_t site;    // offset in the library
    uint16_t thread;
    Deed deed;
};

// Reads by one warp since its last synchronisation: the first of them, and all lanes that read.
struct Reads {
    Record first;
    uint32_t lanes;
};

// The last write, and the reads of two warps: whoever writes next is in at most one of these.
struct Cell {
    Record write;
    Reads reads[2];
};

constexpr size_t SHARED_CELLS = (48 + 227) * 1024;    // of a block: one for each byte at most
constexpr size_t GRANULE = 128;                       // every shared array starts at a multiple
Pool global_cells, shared_cells;
uint16_t shared_array_of_granule[SHARED_BYTES / GRANULE];
size_t shared_cell_count;

uint32_t last_serial;
uint32_t first_serial;  // of this launch
std::vector<uint32_t> block_numbers;
std::unordered_map<uintptr_t, Knowledge> published;  // through atomics, by address

uintptr_t library_end;

uint32_t lowest(uint32_t lanes) { return static_cast<uint32_t>(__builtin_ctz(lanes)); }

Event event_of(const Record& record) {
    return {record.site, block_numbers[record.serial - first_serial], record.thread, record.deed, 0};
}

// --- What happened before what --------------------------------------------------------------------------------------

bool known(const Knowledge& knowledge, const Record& record) {
    const auto block = knowledge.epochs.find(record.serial);
    if (block != knowledge.epochs.end() && record.epoch < block->second) return true;
    const auto thread = knowledge.clocks.find({record.serial, record.thread});
    return thread != knowledge.clocks.end() && record.clock <= thread->second;
}

// Whether what the record tells of certainly happened before what the current thread does now. Blocks have shared
// memory one after another: what another one did there does not count.
bool happens_before(const Record& record, bool in_shared) {
    const Thread& self = *current;
    const Block& block = *self.block;
    if (record.serial < first_serial || (in_shared && record.serial != block.serial)) return true;
    if (record.serial == block.serial) {
        if (record.thread == self.number || record.epoch < block.epoch) return true;
        if (record.thread / 32 == self.number / 32 && !self.warp->known.empty() &&
            record.clock <= self.warp->known[32 * self.lane + record.thread % 32])
            return true;
    } else if (record.epoch < run.grid_epoch) {
        return true;
    }
    return run.fences && (known(self.acquired, record) || known(block.acquired, record));
}

Record record_of(Deed deed, const void* site) {
    const Block& block = *current->block;
    const auto number = static_cast<uint16_t>(current->number);
    return {block.serial, block.epoch, current->clock, offset_of(site), number, deed};
}

bool same_warp(const Record& a, const Record& b) { return a.serial == b.serial && a.thread / 32 == b.thread / 32; }

// Whether all these reads happened before what the current thread does now.
bool all_happen_before(const Reads& reads, bool in_shared) {
    const Thread& self = *current;
    if (reads.first.serial != self.block->serial || reads.first.thread / 32 != self.number / 32)
        return happens_before(reads.first, in_shared);
    Record read = reads.first;
    for (uint32_t lanes = reads.lanes; lanes != 0; lanes &= lanes - 1) {
        read.thread = static_cast<uint16_t>(self.number / 32 * 32 + lowest(lanes));
        if (!happens_before(read, in_shared)) return false;
    }
    return true;
}

// One of the reads that the current thread has not made itself.
Record read_of_another(const Reads& reads) {
    Record read = reads.first;
    const uint32_t others = reads.lanes & ~(1u << current->lane);
    if (read.serial == current->block->serial && read.thread == current->number)
        read.thread = static_cast<uint16_t>(read.thread / 32 * 32 + lowest(others));
    return read;
}

void note_read(Cell& cell, const Record& now, bool in_shared) {
    const uint32_t lane = 1u << now.thread % 32;
    for (Reads& reads : cell.reads) {
        const bool together = same_warp(reads.first, now) && reads.first.epoch == now.epoch;
        if (together && (reads.first.clock == now.clock || !all_happen_before(reads, in_shared))) {
            reads.lanes |= lane;
            return;
        }
        if (together || happens_before(reads.first, in_shared)) {
            reads = {now, lane};
            return;
        }
    }
}

void race(const Record& before, Deed deed, const void* site, uint32_t bytes, Place place) {
    add(at(place, finding(Problem::race, event_of(before), event_of(*current, site, deed, bytes))));
}

// Compare an access with what is known of the cell, and note it there.
void visit(Cell& cell, Deed deed, const void* site, uint32_t bytes, Place place) {
    const Record now = record_of(deed, site);
    const bool in_shared = place.shared != nullptr;
    if (!(deed == Deed::atomic && cell.write.deed == Deed::atomic) && !happens_before(cell.write, in_shared))
        race(cell.write, deed, site, bytes, place);
    if (deed != Deed::read) {
        for (const Reads& reads : cell.reads) {
            if (all_happen_before(reads, in_shared)) continue;
            race(read_of_another(reads), deed, site, bytes, place);
            break;
        }
        cell.write = now;
    } else {
        note_read(cell, now, in_shared);
    }
}

// --- Finding the cells of an address --------------------------------------------------------------------------------

Place nearest_shared(size_t offset) {
    Place best{};
    uint64_t closest = UINT64_MAX;
    for (const SharedArray* array : run.shared_arrays) {
        const uint64_t away = distance(offset, array->offset, array->bytes);
        if (away >= closest) continue;
        closest = away;
        best = {nullptr, array, static_cast<int64_t>(offset) - static_cast<int64_t>(array->offset)};
    }
    return best;
}

// A GPU's loads and stores of 2, 4, 8 and 16 bytes must begin at a multiple of their size.
void check_alignment(uintptr_t address, uint32_t bytes, Deed deed, const void* site, Place place) {
    if (address % bytes != 0)
        stop(at(place, finding(Problem::misaligned, event_of(*current, site, deed, bytes))));
}

void check_shared_access(size_t offset, uint32_t bytes, Deed deed, const void* site, bool whole) {
    const Block& block = *current->block;
    const uint16_t which = shared_array_of_granule[offset / GRANULE];
    const SharedArray* array = which == 0 ? nullptr : run.shared_arrays[which - 1];
    if (array == nullptr || offset + bytes > array->offset + array->bytes)
        stop(at(nearest_shared(offset), finding(Problem::out_of_bounds, event_of(*current, site, deed, bytes))));
    Place place{nullptr, array, static_cast<int64_t>(offset - array->offset)};
    if (whole) check_alignment(offset, bytes, deed, site, place);
    auto* cells = reinterpret_cast<Cell*>(shared_cells.memory) + slot_of(block) * SHARED_CELLS + array->first_cell;
    const size_t first = static_cast<size_t>(place.offset) / array->cell;
    const size_t last = (static_cast<size_t>(place.offset) + bytes - 1) / array->cell;
    for (size_t i = first; i <= last; i++) {
        Cell& cell = cells[i];
        if (cell.write.serial != block.serial && deed != Deed::write)
            add(at(place, finding(Problem::uninitialised, event_of(*current, site, deed, bytes))));
        visit(cell, deed, site, bytes, place);
    }
}

void check_global_access(uintptr_t address, uint32_t bytes, Deed deed, const void* site, bool whole) {
    const Region* region = region_at(address);
    const Place place = region == nullptr ? Place{} : argument_at(*region, address, bytes, deed);
    if (place.argument == nullptr)
        stop(at(nearest_argument(address), finding(Problem::out_of_bounds, event_of(*current, site, deed, bytes))));
    if (whole) check_alignment(address, bytes, deed, site, place);
    if (deed != Deed::read && place.argument->read_only)
        add(at(place, finding(Problem::read_only, event_of(*current, site, deed, bytes))));
    auto* cells = reinterpret_cast<Cell*>(global_cells.memory) + region->first_cell;
    const size_t first = (address - region->start) / region->cell;
    const size_t last = (address - region->start + bytes - 1) / region->cell;
    for (size_t i = first; i <= last; i++) {
        if (place.argument->fresh && deed != Deed::write && cells[i].write.serial < first_serial)
            add(at(place, finding(Problem::uninitialised, event_of(*current, site, deed, bytes))));
        visit(cells[i], deed, site, bytes, place);
    }
}

// `whole`: one load or store of a GPU, which must be aligned; not some bytes that are copied piece by piece.
void check_access(const void* pointer, size_t size, Deed deed, const void* site, bool whole = true) {
    if (current == nullptr) return;
    const auto address = reinterpret_cast<uintptr_t>(pointer);
    const auto bytes = static_cast<uint32_t>(size);
    if (address - reinterpret_cast<uintptr_t>(stack_of(*current)) < STACK_BYTES) return;  // its own variables
    const size_t in_shared = address - reinterpret_cast<uintptr_t>(current->block->shared);
    if (in_shared < SHARED_BYTES) {
        check_shared_access(in_shared, bytes, deed, site, whole);
        if (run.request->profiled) current->trace.push_back({offset_of(site), bytes, in_shared, true, deed != Deed::read});
    } else if (address - reinterpret_cast<uintptr_t>(copies.memory) < copies.bytes) {
        check_global_access(address, bytes, deed, site, whole);
        if (run.request->profiled) current->trace.push_back({offset_of(site), bytes, address, false, deed != Deed::read});
    } else if (is_stack(address)) {
        stop(finding(Problem::foreign_stack, event_of(*current, site, deed, bytes)));
    } else if (address < library_start || address >= library_end) {  // in the library: constants of the kernel file
        stop(finding(Problem::out_of_bounds, event_of(*current, site, deed, bytes)));
    }
}

void check_all_written() {
    for (const Region& region : regions) {
        const ArrayArgument& array = *region.arrays[0];
        if (!array.fresh) continue;
        const auto* cells = reinterpret_cast<Cell*>(global_cells.memory) + region.first_cell;
        const size_t count = region.bytes / region.cell;
        auto unwritten = [&](size_t i) { return cells[i].write.serial < first_serial; };
        size_t missing = 0, first = count;
        for (size_t i = count; i-- > 0;)
            if (unwritten(i)) missing++, first = i;
        if (missing == 0) continue;
        Finding made = at({&array, nullptr, static_cast<int64_t>(first * region.cell)}, finding(Problem::never_written, {}));
        made.number = missing;
        add(made);
    }
}

// --- What the scheduler tells -----------------------------------------------------------------------------------------

Event waiting(const Thread& thread) { return event_of(thread, thread.site, Deed::call); }

Event gone(const Thread& thread) { return event_of(thread, nullptr, Deed::none); }

const Thread* first_in(const Block& block, State state) {
    for (const Thread& thread : block.threads)
        if (thread.state == state) return &thread;
    return nullptr;
}

// A lane waits for others of its mask that will never come.
Finding stuck_in_collective(const Thread& thread) {
    const Warp& warp = *thread.warp;
    uint32_t missing = thread.mask & warp.exist & ~warp.finished;
    for (uint32_t lane = 0; lane < 32; lane++)
        if ((missing >> lane & 1) && warp.threads[lane].state == State::in_collective &&
            warp.threads[lane].mask == thread.mask)
            missing &= ~(1u << lane);
    Finding made = finding(Problem::missing_lanes, waiting(thread), waiting(warp.threads[lowest(missing)]));
    made.number = missing;
    return made;
}

// The lanes of a __syncwarp know from now on what each of them did before.
void share_in_warp(Warp& warp, uint32_t lanes) {
    if (warp.known.empty()) warp.known.assign(32 * 32, 0);
    uint32_t all[32] = {};
    Knowledge acquired;
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        for (uint32_t other = 0; other < 32; other++) all[other] = std::max(all[other], warp.known[32 * lane + other]);
        all[lane] = std::max(all[lane], warp.threads[lane].clock);
        acquired.join(warp.threads[lane].acquired);
    }
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        std::copy(all, all + 32, &warp.known[32 * lane]);
        warp.threads[lane].clock++;
        warp.threads[lane].acquired = acquired;
    }
}

void poison(const Block& block, size_t offset, size_t bytes) { memset(block.shared + offset, 0xff, bytes); }  // NaN

}  // namespace

#ifdef __ELF__
extern "C" char _end[] __attribute__((visibility("hidden")));  // set by the linker
#endif

bool begin_checks(size_t resident) {
    findings.clear();
    block_numbers.clear();
    first_serial = last_serial + 1;
    Dl_info info;
    dladdr(reinterpret_cast<void*>(emulator_launch), &info);
    library_start = reinterpret_cast<uintptr_t>(info.dli_fbase);
#ifdef __ELF__
    library_end = reinterpret_cast<uintptr_t>(_end);
#else
    library_end = UINTPTR_MAX;
#endif
    if (!run.request->checked) return true;
    published.clear();
    profile.clear();
    shared_cell_count = 0;
    memset(shared_array_of_granule, 0, sizeof(shared_array_of_granule));
    size_t cells;
    return copy_regions(cells) && global_cells.grow(cells * sizeof(Cell)) &&
           shared_cells.grow(resident * SHARED_CELLS * sizeof(Cell));
}

int end_checks() {
    if (run.request->checked && findings.empty()) check_all_written();
    return static_cast<int>(findings.size());
}

void check_shared_array(SharedArray* array) {
    run.shared_arrays.push_back(array);
    if (!run.request->checked || array->bytes == 0) return;
    for (size_t granule = array->offset / GRANULE; granule <= (array->offset + array->bytes - 1) / GRANULE; granule++)
        shared_array_of_granule[granule] = static_cast<uint16_t>(run.shared_arrays.size());
    array->first_cell = shared_cell_count;
    shared_cell_count += array->bytes / array->cell;
    for (const Block& block : run.blocks) poison(block, array->offset, array->bytes);
}

void check_block_start(Block& block) {
    block.serial = ++last_serial;
    block_numbers.push_back(block.number);
    if (!run.request->checked) return;
    block.acquired = block.fenced = {};
    for (Warp& warp : block.warps) warp.known.clear();
    for (Thread& thread : block.threads) {
        thread.clock = 1;
        thread.fenced = thread.acquired = {};
    }
    for (const SharedArray* array : run.shared_arrays) poison(block, array->offset, array->bytes);
}

void check_block_end(Block& block) {
    if (run.request->profiled) profile_block(block);
}

// All threads of the block that have not finished wait at a barrier.
void check_barrier(Block& block) {
    if (!run.request->checked) return;
    const Thread& first = *first_in(block, State::at_barrier);
    for (Thread& thread : block.threads) {
        if (run.fences) {
            block.acquired.join(thread.acquired);
            block.fenced.join(thread.fenced);
        }
        if (thread.state == State::at_barrier && thread.site != first.site)
            add(finding(Problem::different_barriers, waiting(first), waiting(thread)));
    }
    if (block.alive == block.threads.size()) return;
    Finding made = finding(Problem::exited_before_barrier, waiting(first), gone(*first_in(block, State::finished)));
    made.number = block.threads.size() - block.alive;
    add(made);
}

// `lanes` of the warp take part in a shuffle, a vote or a __syncwarp.
void check_collective(Warp& warp, uint32_t mask, uint32_t lanes) {
    if (!run.request->checked) return;
    const Thread& first = warp.threads[lowest(lanes)];
    for (uint32_t lane = 0; lane < 32; lane++) {
        const Thread& thread = warp.threads[lane];
        if (!(lanes >> lane & 1) || (thread.mask == mask && thread.kind == first.kind)) continue;
        stop(finding(Problem::masks_differ, waiting(first), waiting(thread)));
    }
    if (first.kind == Collective::sync) share_in_warp(warp, lanes);
}

void check_lane_read(const Thread& reader, uint32_t mask, uint32_t lanes, uint32_t lane) {
    if (!run.request->checked || !(mask >> lane & 1) || (lanes >> lane & 1)) return;
    Finding made = finding(Problem::absent_lane, waiting(reader));
    made.number = lane;
    add(made);
}

void report_deadlock(Block& block) {
    if (const Thread* thread = first_in(block, State::in_collective)) {
        add(stuck_in_collective(*thread));
        return;
    }
    const Thread* at_barrier = first_in(block, State::at_barrier);
    add(finding(Problem::stuck_threads, waiting(*at_barrier), waiting(*first_in(block, State::at_grid_barrier))));
}

void report_missing_blocks(uint32_t finished) {
    for (const Block& block : run.blocks) {
        const Thread* thread = first_in(block, State::at_grid_barrier);
        if (thread == nullptr) continue;
        Finding made = finding(Problem::missing_blocks, waiting(*thread));
        made.number = finished;
        add(made);
        return;
    }
}

void report_not_cooperative() { stop(finding(Problem::not_cooperative, waiting(*current))); }

void report_outside_mask() {
    Finding made = finding(Problem::lane_outside_mask, waiting(*current));
    made.number = current->mask;
    stop(made);
}

void report_too_much_shared(size_t bytes) {
    Finding made = finding(Problem::too_much_shared, gone(*current));
    made.number = bytes;
    stop(made);
}

// --- What kernels call ------------------------------------------------------------------------------------------------

extern "C" {

void __emulator_before_access(const void* address, size_t bytes, bool write, const void* site) {
    check_access(address, bytes, write ? Deed::write : Deed::read, site);
}

// An atomic passes on what its thread had seen at its last __threadfence, and its block's other threads at theirs
// before the last barrier; and it takes what others passed on before.
void __emulator_before_atomic(const void* address, size_t bytes, const void* site) {
    if (!run.request->checked) return;
    check_access(address, bytes, Deed::atomic, site);
    if (!run.fences) return;
    Knowledge& here = published[reinterpret_cast<uintptr_t>(address)];
    current->acquired.join(here);
    here.join(current->fenced);
    here.join(current->block->fenced);
}

void __threadfence() {
    if (!run.request->checked) return;
    Thread& self = *current;
    const Block& block = *self.block;
    run.fences = true;
    self.fenced = self.acquired;
    self.fenced.join(block.acquired);
    self.fenced.epochs[block.serial] = block.epoch;
    self.fenced.clocks[{block.serial, self.number}] = self.clock++;
    for (uint32_t lane = 0; lane < 32 && !self.warp->known.empty(); lane++)
        if (lane != self.lane)
            self.fenced.clocks[{block.serial, self.number - self.lane + lane}] = self.warp->known[32 * self.lane + lane];
}

void __emulator_assertion_failed() {
    stop(finding(Problem::assertion, event_of(*current, __builtin_return_address(0), Deed::call)));
}

// The hooks that -fsanitize=thread puts in front of every access.
#define HOOK(name, bytes, deed, whole) \
    void __tsan_##name(void* a) { check_access(a, bytes, deed, __builtin_return_address(0), whole); }
#define HOOKS(bytes)                                        \
    HOOK(read##bytes, bytes, Deed::read, true)              \
    HOOK(write##bytes, bytes, Deed::write, true)            \
    HOOK(unaligned_read##bytes, bytes, Deed::read, false)   \
    HOOK(unaligned_write##bytes, bytes, Deed::write, false)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#define RANGE_HOOK(name, deed)                                                                            \
    void __tsan_##name##_range(void* a, size_t bytes) {                                                   \
        if (bytes > 0) check_access(a, bytes, deed, __builtin_return_address(0), false);                  \
    }
RANGE_HOOK(read, Deed::read)
RANGE_HOOK(write, Deed::write)
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
