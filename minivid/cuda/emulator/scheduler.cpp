// Runs the threads of a kernel one at a time, each on its own fiber.
//
// A thread runs until it waits: at __syncthreads, in a shuffle or vote, or at the end. It then hands the processor to
// the next thread of its block that is ready. The last thread to arrive at a barrier makes all the others ready. Blocks
// run one after another; only those of a cooperative launch live at the same time, and take turns at grid barriers.
#include "scheduler.h"

#include <algorithm>

#include "checker.h"
#include "pool.h"

Run run;
Thread* current;

namespace {

FiberContext python;  // where the launch was asked for
bool abandoned;
uint64_t random_state;

uint32_t random_below(uint32_t limit) {  // xorshift64*
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return static_cast<uint32_t>((random_state * 0x2545F4914F6CDD1Dull) >> 32) % limit;
}

Pool stacks, shared_memory;

// --- Who runs next ------------------------------------------------------------------------------------------------------

void make_ready(Thread* thread) {
    Block& block = *thread->block;
    thread->state = State::ready;
    size_t place = block.ready_first + block.ready_count++;
    if (place >= block.ready.size()) place -= block.ready.size();
    block.ready[place] = thread;
}

Thread* next_ready(Block& block) {
    if (block.ready_count == 0) return nullptr;
    Thread* thread = block.ready[block.ready_first];
    block.ready_count--;
    if (++block.ready_first == block.ready.size()) block.ready_first = 0;
    return thread;
}

// The current thread waits, or has finished. If nobody in its block can run, Python's side decides what that means.
void give_way() {
    Thread* self = current;
    Thread* next = next_ready(*self->block);
    if (next == self) return;
    current = next;
    emulator_switch(&self->context, next == nullptr ? &python : &next->context);
}

// Seed 0: in order; seed 1: in reverse; others: at random, and anew at each barrier.
void choose_order(Block& block) {
    if (run.request->seed < 2) return;
    for (uint32_t i = static_cast<uint32_t>(block.order.size()) - 1; i > 0; i--)
        std::swap(block.order[i], block.order[random_below(i + 1)]);
}

void release(Block& block, State waiting) {
    block.arrived = 0;
    block.predicates_before = block.predicates;
    block.predicates = 0;
    block.epoch++;
    choose_order(block);
    for (Thread* thread : block.order)
        if (thread->state == waiting) make_ready(thread);
}

void wait_at_barrier(int predicate, const void* site) {
    Block& block = *current->block;
    current->state = State::at_barrier;
    current->site = site;
    block.predicates += predicate != 0;
    if (++block.arrived == block.alive) {
        check_barrier(block);
        release(block, State::at_barrier);
    }
    give_way();
}

// --- Warps --------------------------------------------------------------------------------------------------------------

// What a lane gets that reads from a lane outside the mask: not a number, in float and in double.
constexpr uint64_t UNDEFINED = 0x7ff7dead7ff7deadull;

// `lanes` are those that take part: the lanes of the mask that exist and have not finished.
uint64_t from_lane(const Thread& self, uint32_t mask, uint32_t lanes, uint32_t lane) {
    check_lane_read(self, mask, lanes, lane);
    return lanes >> lane & 1 ? self.warp->threads[lane].value : UNDEFINED;
}

uint32_t source_lane(const Thread& self) {
    const uint32_t base = self.lane & ~(self.width - 1), end = base + self.width;
    switch (self.kind) {
        case Collective::shuffle_up:
            return self.lane < base + self.argument ? self.lane : self.lane - self.argument;
        case Collective::shuffle_down:
            return self.lane + self.argument >= end ? self.lane : self.lane + self.argument;
        case Collective::shuffle_xor:
            return (self.lane ^ self.argument) >= end ? self.lane : self.lane ^ self.argument;
        default:
            return base + (self.argument & (self.width - 1));
    }
}

uint64_t vote(const Thread& self, uint32_t lanes) {
    uint64_t bits = 0;
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        const uint64_t value = self.warp->threads[lane].value;
        const bool counts = self.kind == Collective::ballot ? value != 0 : value == self.value;
        bits |= uint64_t{counts} << lane;
    }
    return bits;
}

uint64_t result_for(const Thread& self, uint32_t mask, uint32_t lanes) {
    if (self.kind == Collective::sync) return 0;
    if (self.kind == Collective::ballot || self.kind == Collective::match) return vote(self, lanes);
    return from_lane(self, mask, lanes, source_lane(self));
}

bool all_have_come(const Warp& warp, uint32_t mask) {
    return (mask & warp.exist & ~warp.finished & ~warp.waiting) == 0;
}

// All lanes of the mask have come: work out what each takes away, and let them go on.
void complete(Warp& warp, uint32_t mask) {
    const uint32_t lanes = mask & warp.waiting;
    check_collective(warp, mask, lanes);
    uint64_t results[32] = {};
    for (uint32_t lane = 0; lane < 32; lane++)
        if (lanes >> lane & 1) results[lane] = result_for(warp.threads[lane], mask, lanes);
    warp.waiting &= ~lanes;
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (!(lanes >> lane & 1)) continue;
        warp.threads[lane].value = results[lane];
        make_ready(&warp.threads[lane]);
    }
}

// A lane has finished: nobody waits for it any more.
void complete_without(Warp& warp) {
    for (uint32_t lane = 0; lane < 32; lane++)
        if ((warp.waiting >> lane & 1) && all_have_come(warp, warp.threads[lane].mask))
            complete(warp, warp.threads[lane].mask);
}

void finish() {
    Block& block = *current->block;
    current->state = State::finished;
    current->warp->finished |= 1u << current->lane;
    complete_without(*current->warp);
    if (--block.alive > 0 && block.arrived == block.alive) {
        check_barrier(block);
        release(block, State::at_barrier);
    }
    give_way();
}

void thread_main() {
    run.request->entry(run.request->arguments);
    finish();
}

// --- Blocks -------------------------------------------------------------------------------------------------------------

uint3 unravel(uint32_t number, uint3 sizes) {
    return {number % sizes.x, number / sizes.x % sizes.y, number / sizes.x / sizes.y};
}

uint32_t product(uint3 sizes) { return sizes.x * sizes.y * sizes.z; }

void make_block(Block& block, size_t slot) {
    const uint32_t size = product(run.request->block);
    block.threads.resize(size);
    block.order.resize(size);
    block.ready.resize(size);
    block.warps.resize((size + 31) / 32);
    block.shared = shared_memory.memory + slot * SHARED_BYTES;
    for (uint32_t i = 0; i < size; i++) {
        Thread& thread = block.threads[i];
        thread.block = &block;
        thread.warp = &block.warps[i / 32];
        thread.index = unravel(i, run.request->block);
        thread.number = i;
        thread.lane = i % 32;
        block.order[i] = &block.threads[run.request->seed == 1 ? size - 1 - i : i];
    }
    for (uint32_t w = 0; w < block.warps.size(); w++) {
        const uint32_t lanes = std::min(32u, size - 32 * w);
        block.warps[w].threads = &block.threads[32 * w];
        block.warps[w].exist = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    }
}

void start_block(Block& block, uint32_t number) {
    block.number = number;
    block.index = unravel(number, run.request->grid);
    block.alive = static_cast<uint32_t>(block.threads.size());
    block.arrived = block.epoch = 0;
    block.predicates = block.predicates_before = 0;
    block.ready_first = block.ready_count = 0;
    for (Warp& warp : block.warps) warp.waiting = warp.finished = 0;
    for (Thread& thread : block.threads) {
        thread.clock = 0;
        thread.context = new_fiber(stack_of(thread) + STACK_BYTES - 64 * (thread.number % 61), thread_main);
    }
    choose_order(block);
    for (Thread* thread : block.order) make_ready(thread);
    check_block_start(block);
}

// Run a block until none of its threads can go on.
void run_block(Block& block) {
    current = next_ready(block);
    if (current == nullptr) return;
    emulator_switch(&python, &current->context);
    current = nullptr;
}

bool waits_for_grid(const Block& block) {
    return block.alive > 0 && std::all_of(block.threads.begin(), block.threads.end(), [](const Thread& thread) {
        return thread.state == State::at_grid_barrier || thread.state == State::finished;
    });
}

void run_one_by_one() {
    const uint32_t count = product(run.request->grid);
    run.blocks.resize(1);
    Block& block = run.blocks[0];
    make_block(block, 0);
    // An order of blocks for each seed: a step that has no divisor in common with their number visits all.
    uint32_t step = run.request->seed == 1 ? count - 1 : 1, first = run.request->seed == 1 ? count - 1 : 0;
    if (run.request->seed > 1) {
        first = random_below(count);
        do step = 1 + random_below(count);
        while (std::__gcd(step, count) != 1);
    }
    for (uint64_t i = 0; i < count && !abandoned; i++) {
        start_block(block, static_cast<uint32_t>((first + i * step) % count));
        run_block(block);
        if (!abandoned && block.alive > 0) report_deadlock(block);
        check_block_end(block);
    }
}

void run_together() {
    const uint32_t count = product(run.request->grid);
    run.blocks.resize(count);
    for (uint32_t i = 0; i < count; i++) make_block(run.blocks[i], i);
    for (uint32_t i = 0; i < count; i++) start_block(run.blocks[i], i);
    while (!abandoned) {
        uint32_t waiting = 0, done = 0;
        for (uint32_t i = 0; i < count && !abandoned; i++) {
            Block& block = run.blocks[run.request->seed == 1 ? count - 1 - i : i];
            run_block(block);
            waiting += waits_for_grid(block);
            done += block.alive == 0;
            if (!abandoned && block.alive > 0 && !waits_for_grid(block)) report_deadlock(block);
        }
        if (abandoned || done == count) break;
        if (done > 0) {
            report_missing_blocks(done);
            break;
        }
        for (Block& block : run.blocks) run.grid_epoch = std::max(run.grid_epoch, block.epoch + 1);
        for (Block& block : run.blocks) {
            block.epoch = run.grid_epoch - 1;
            release(block, State::at_grid_barrier);
        }
    }
    for (Block& block : run.blocks) check_block_end(block);
}

}  // namespace

size_t slot_of(const Block& block) { return static_cast<size_t>(&block - run.blocks.data()); }

char* stack_of(const Thread& thread) {
    const size_t before = slot_of(*thread.block) * thread.block->threads.size();
    return stacks.memory + (before + thread.number) * STACK_BYTES;
}

bool is_stack(uintptr_t address) { return address - reinterpret_cast<uintptr_t>(stacks.memory) < stacks.bytes; }

// Leave the fiber for good. Device code has nothing to clean up.
void abandon_launch() {
    abandoned = true;
    FiberContext gone{};
    emulator_switch(&gone, &python);
    __builtin_unreachable();
}

// --- What kernels call --------------------------------------------------------------------------------------------------

extern "C" {

uint3 __emulator_thread_index() { return current->index; }
uint3 __emulator_block_index() { return current->block->index; }
uint3 __emulator_block_size() { return run.request->block; }
uint3 __emulator_grid_size() { return run.request->grid; }

void __syncthreads() { wait_at_barrier(0, __builtin_return_address(0)); }

int __syncthreads_count(int predicate) {
    wait_at_barrier(predicate, __builtin_return_address(0));
    return current->block->predicates_before;
}

void __emulator_grid_barrier() {
    current->site = __builtin_return_address(0);
    if (!run.request->cooperative) report_not_cooperative();
    current->state = State::at_grid_barrier;
    give_way();
}

uint64_t __emulator_collective(Collective kind, uint32_t mask, uint64_t value, uint32_t argument, uint32_t width) {
    Thread& self = *current;
    Warp& warp = *self.warp;
    self.mask = mask;
    self.kind = kind;
    self.value = value;
    self.argument = argument;
    self.width = width;
    self.site = __builtin_return_address(0);
    if (!(mask >> self.lane & 1)) report_outside_mask();
    self.state = State::in_collective;
    warp.waiting |= 1u << self.lane;
    if (all_have_come(warp, mask)) complete(warp, mask);
    give_way();
    return self.value;
}

uint32_t __activemask() { return current->warp->exist & ~current->warp->finished; }

void* __emulator_shared_memory(SharedArray* array) {
    if (array->launch != run.number) {
        constexpr size_t gap = 128;  // between arrays, so that one step too far is seen; a multiple keeps the banks
        array->launch = run.number;
        array->offset = run.static_shared;
        run.static_shared += (array->bytes + gap - 1) / gap * gap + gap;
        run.asked_shared += (array->bytes + 15) / 16 * 16;
        check_shared_array(array);
        if (run.asked_shared > STATIC_SHARED_LIMIT) report_too_much_shared(run.asked_shared);
    }
    return current->block->shared + array->offset;
}

// Dynamic shared memory lies in front of all static arrays; several names mean the same memory, as on a GPU.
void* __emulator_dynamic_shared_memory(const char* name, uint32_t element, uint32_t cell) {
    SharedArray& array = dynamic_shared;
    if (array.launch != run.number) {
        array = {run.number, 128, name, run.request->dynamic_shared, element, cell, {}, 0};
        check_shared_array(&array);
    }
    return current->block->shared + array.offset;
}

// --- What Python calls --------------------------------------------------------------------------------------------------

// Returns the number of findings; -1 if there is no room for so many threads.
__attribute__((visibility("default"))) int emulator_launch(const LaunchRequest* request) {
    static uint64_t launches = 0;
    const size_t resident = request->cooperative ? product(request->grid) : 1;
    if (!stacks.grow(resident * product(request->block) * STACK_BYTES)) return -1;
    if (!shared_memory.grow(resident * SHARED_BYTES)) return -1;
    run = Run{};
    run.request = request;
    run.number = ++launches;
    run.static_shared = 128 + (request->dynamic_shared + 127) / 128 * 128 + 128;
    abandoned = false;
    random_state = 0x9E3779B97F4A7C15ull * (request->seed + 1);
    if (!begin_checks(resident)) return -1;
    request->cooperative ? run_together() : run_one_by_one();
    return end_checks();
}
}
