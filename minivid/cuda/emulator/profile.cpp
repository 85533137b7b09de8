// The accesses of a warp's 32 threads at one instruction are one request. The memory of a GPU is read in sectors of 32
// bytes: a request costs as many as its threads touch. Shared memory has 32 banks, 4 bytes wide; threads that touch
// different words of one bank are served one wavefront after another.
//
// Threads run one by one here, so what belongs together is put together afterwards: the k-th time that the threads of a
// warp come to an instruction.
#include "profile.h"

#include <algorithm>
#include <set>

Profile profile;

namespace {

constexpr uintptr_t SECTOR = 32, WORD = 4, BANKS = 32;

using Request = std::vector<Trace>;

std::set<uintptr_t> units(const Request& request, uintptr_t size) {
    std::set<uintptr_t> touched;
    for (const Trace& access : request)
        for (uintptr_t unit = access.address / size; unit <= (access.address + access.bytes - 1) / size; unit++)
            touched.insert(unit);
    return touched;
}

uint64_t wavefronts(const std::set<uintptr_t>& words) {
    uint64_t of_bank[BANKS] = {};
    for (uintptr_t word : words) of_bank[word % BANKS]++;
    return *std::max_element(of_bank, of_bank + BANKS);
}

void count_global(ProfileRow& row, const Request& request) {
    row.transactions += units(request, SECTOR).size();
    row.ideal += (units(request, 1).size() + SECTOR - 1) / SECTOR;
}

// A wavefront carries at most 128 bytes, so threads that ask for 8 or 16 bytes each go in two or four groups.
void count_shared(ProfileRow& row, const Request& request) {
    const size_t group = 32 * WORD / std::max<uintptr_t>(WORD, request[0].bytes);
    for (size_t first = 0; first < request.size(); first += group) {
        const Request part(request.begin() + first, request.begin() + std::min(first + group, request.size()));
        const std::set<uintptr_t> words = units(part, WORD);
        row.transactions += wavefronts(words);
        row.ideal += (words.size() + BANKS - 1) / BANKS;
    }
}

void profile_warp(Block& block, size_t first, size_t end) {
    std::map<std::pair<std::pair<uint32_t, bool>, uint32_t>, Request> requests;
    for (size_t i = first; i < end; i++) {
        std::map<std::pair<uint32_t, bool>, uint32_t> times;
        for (const Trace& access : block.threads[i].trace) {
            const std::pair<uint32_t, bool> instruction{access.site, access.write};
            requests[{instruction, times[instruction]++}].push_back(access);
        }
        block.threads[i].trace.clear();
    }
    for (const auto& [key, request] : requests) {
        ProfileRow& row = profile.rows[key.first];
        row.site = request[0].site;
        row.shared = request[0].shared;
        row.write = request[0].write;
        row.requests++;
        request[0].shared ? count_shared(row, request) : count_global(row, request);
    }
}

}  // namespace

void profile_block(Block& block) {
    for (size_t first = 0; first < block.threads.size(); first += 32)
        profile_warp(block, first, std::min(first + 32, block.threads.size()));
}

extern "C" __attribute__((visibility("default"))) size_t emulator_profile(ProfileRow* rows, size_t room) {
    size_t count = 0;
    for (const auto& [key, row] : profile.rows)
        if (count < room) rows[count++] = row;
    return profile.rows.size();
}
