// Switching between fibers saves the registers that a called function must preserve, and exchanges the stack pointer: some
// twenty instructions. swapcontext() makes a system call besides, and threads of the operating system need a hundred
// times as long.
#include "fibers.h"

#include <cstdint>

#if defined(__x86_64__)

asm(R"(
.text
.hidden emulator_switch
.globl emulator_switch
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq (%rsi), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

FiberContext new_fiber(char* stack_end, void (*entry)()) {
    void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_end) & ~uintptr_t{15});
    *--top = nullptr;                         // where `entry` would return to
    *--top = reinterpret_cast<void*>(entry);  // what `ret` takes
    for (int i = 0; i < 6; i++) *--top = nullptr;
    return top;
}

#elif defined(__aarch64__)

asm(R"(
.text
.globl emulator_switch
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    ldr x9, [x1]
    mov sp, x9
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");

FiberContext new_fiber(char* stack_end, void (*entry)()) {
    void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_end) & ~uintptr_t{15}) - 20;
    for (int i = 0; i < 20; i++) top[i] = nullptr;
    top[11] = reinterpret_cast<void*>(entry);  // x30, where `ret` goes
    return top;
}

#else

#include <ucontext.h>

#include <new>

// The slow way, which every Unix has. The context of a fiber lies at the end of its stack.
extern "C" void emulator_switch(FiberContext* save, const FiberContext* load) {
    ucontext_t here;
    auto* to = static_cast<ucontext_t*>(*load);
    *save = &here;
    swapcontext(&here, to);
}

FiberContext new_fiber(char* stack_end, void (*entry)()) {
    constexpr uintptr_t bytes = 128 * 1024;  // of the stack: makecontext wants to know
    const uintptr_t place = (reinterpret_cast<uintptr_t>(stack_end) - sizeof(ucontext_t)) & ~uintptr_t{63};
    auto* context = new (reinterpret_cast<void*>(place)) ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = reinterpret_cast<void*>(place - bytes);
    context->uc_stack.ss_size = bytes;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}

#endif
