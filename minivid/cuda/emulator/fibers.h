// A fiber is a function with a stack of its own that gives up the processor when it wants to: see fibers.cpp.
#pragma once

using FiberContext = void*;  // the stack pointer; all else that a fiber needs to go on lies on its stack

// Keep in `save` where the caller stands, and go on where `load` was kept.
extern "C" void emulator_switch(FiberContext* save, const FiberContext* load) asm("emulator_switch");

// Return a fiber that begins in `entry`, which must never return. Its stack is the memory in front of `stack_end`.
FiberContext new_fiber(char* stack_end, void (*entry)());
