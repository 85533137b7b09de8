// What the scheduler tells the checker.
#pragma once
#include "scheduler.h"

extern SharedArray dynamic_shared;

bool begin_checks(size_t resident);  // false if there is no memory
void check_shared_array(SharedArray* array);  // its first thread has come to its declaration
int end_checks();

void check_block_start(Block& block);
void check_block_end(Block& block);
void check_barrier(Block& block);
void check_collective(Warp& warp, uint32_t mask, uint32_t lanes);
void check_lane_read(const Thread& reader, uint32_t mask, uint32_t lanes, uint32_t lane);

// Nothing can go on after these: they leave the launch, or are called when it is over.
void report_deadlock(Block& block);
void report_missing_blocks(uint32_t finished);
[[noreturn]] void report_not_cooperative();
[[noreturn]] void report_outside_mask();
[[noreturn]] void report_too_much_shared(size_t bytes);
