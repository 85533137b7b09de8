// Memory that is kept from launch to launch. Pages that nobody touches cost nothing, so it can be generous.
#pragma once
#include <sys/mman.h>

#include <cstddef>

struct Pool {
    char* memory = nullptr;
    size_t bytes = 0;

    // Make room for at least so many bytes; what was there may be lost. False if the system has none.
    bool grow(size_t wanted) {
        if (wanted <= bytes) return true;
        if (memory != nullptr) munmap(memory, bytes);
        void* place = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        memory = place == MAP_FAILED ? nullptr : static_cast<char*>(place);
        bytes = memory == nullptr ? 0 : wanted;
        return memory != nullptr;
    }
};
