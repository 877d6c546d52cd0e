/// \file
/// The machine that is measured on: a block of memory, a pool of table pages in shuffled order, a VT-d unit's
/// registers.
#pragma once

#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <vector>

#include <sys/mman.h>

namespace bench {

using namespace stagewalk;
using stagewalk::access; // not POSIX's
using stagewalk::read;
using stagewalk::write;

/// Whatever a measurement needs and cannot have ends it: a figure of something else is worse than none.
template <class T>
T need(T value, char const* what) {
    if (!value) {
        std::fprintf(stderr, "bench: %s\n", what);
        std::exit(2);
    }
    return value;
}

/// Zeroed memory, in large host pages where the system grants them: misses of the host's TLB are not the question.
class block {
public:
    explicit block(std::uint64_t bytes) : bytes_{bytes} {
        void* const p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        need(p != MAP_FAILED, "no memory");
        madvise(p, bytes, MADV_HUGEPAGE);
        data_ = static_cast<std::byte*>(p);
    }
    block(block const&) = delete;
    block& operator=(block const&) = delete;
    ~block() { munmap(data_, bytes_); }

    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

private:
    std::byte* data_;
    std::uint64_t bytes_;
};

/// A direct map, as a hypervisor has one: the host pointer is base + address.
template <class Address>
struct direct_map {
    std::uintptr_t base;

    shared_word* operator()(Address page) const noexcept { return reinterpret_cast<shared_word*>(base + page.value); }
};

/// Memory without bounds: every address of the format has a page.
template <class Address>
using windowed_ram = windowed<Address, direct_map<Address>>;

template <class Address>
windowed_ram<Address> window_on(block const& ram) {
    return windowed_ram<Address>{direct_map<Address>{reinterpret_cast<std::uintptr_t>(ram.data())}};
}

/// Memory whose bounds are checked on every load.
template <class Address>
flat<Address> bounded(block const& ram) {
    return flat<Address>{ram.data(), ram.bytes(), Address{0}};
}

/// Hands out the pages of a range in random order, the same one in every run: neighbouring tables are not neighbours in
/// memory, and no prefetcher helps.
template <class Address>
class shuffled_pool {
public:
    using address = Address;

    /// \param first the first page.
    /// \param pages how many there are.
    /// \param lg2 the lg2 size of a page.
    shuffled_pool(Address first, std::uint64_t pages, std::uint64_t lg2 = 12) : lg2_{lg2}, free_(pages) {
        std::iota(free_.begin(), free_.end(), first.value >> lg2);
        std::shuffle(free_.begin(), free_.end(), std::mt19937_64{1});
    }

    outcome<Address, out_of_tables> take(std::uint64_t) noexcept {
        if (free_.empty()) return failure{out_of_tables{}};
        Address const page{free_.back() << lg2_};
        free_.pop_back();
        return page;
    }
    void give(Address page, std::uint64_t) noexcept { free_.push_back(page.value >> lg2_); }

private:
    std::uint64_t lg2_;
    std::vector<std::uint64_t> free_;
};

/// 48-bit inputs, 46-bit host addresses, 3 to 5 levels, pages of 4K, 2M and 1G, no snoop control.
inline vtd::capabilities unit_registers() {
    vtd::capability_register cap;
    cap.set<"MGAW">(48 - 1);
    cap.set<"SAGAW">(0b1110);
    cap.set<"SSLPS">(0b0011);
    cap.set<"ND">(6);
    return {cap.word[0], 0, 46};
}

/// The same unit with scalable mode: first and second stage, nesting, A/D bits, PASIDs, no device-TLBs.
inline vtd::capabilities scalable_unit_registers() {
    vtd::capabilities caps = unit_registers();
    caps.cap.set<"FS1GP">(1);
    caps.ecap.set<"SMTS">(1);
    caps.ecap.set<"FSTS">(1);
    caps.ecap.set<"SSTS">(1);
    caps.ecap.set<"NEST">(1);
    caps.ecap.set<"SSADS">(1);
    caps.ecap.set<"SMPWCS">(1);
    caps.ecap.set<"PASID">(1);
    caps.ecap.set<"PSS">(19);
    return caps;
}

/// Which pages are asked for, in which order.
class work {
public:
    /// \param pages the working set, a power of two.
    /// \param lg2 the lg2 size of a page.
    /// \param near an address among them.
    work(std::uint64_t pages, std::uint64_t lg2, std::uint64_t near = 0x2a95'6b4d'3000)
        : lg2_{lg2}, first_{near & ~((pages << lg2) - 1)}, order_(look_ups(pages)) {
        std::mt19937_64 random{2};
        for (auto& page : order_)
            page = static_cast<std::uint32_t>(random() & (pages - 1));
    }

    /// The look-ups before the order repeats: enough to touch the whole set, few enough to stay out of its way.
    [[nodiscard]] std::uint64_t size() const { return order_.size(); }
    [[nodiscard]] std::uint32_t const* order() const { return order_.data(); }
    [[nodiscard]] std::uint64_t lg2() const { return lg2_; }
    /// The first address: no level's index is 0, or all tables would be read in the same line of the cache's sets.
    [[nodiscard]] std::uint64_t first() const { return first_; }
    /// Zero, unknown to the compiler: what makes one look-up depend on another without changing it.
    [[nodiscard]] std::uint64_t zero() const { return zero_; }

private:
    static std::uint64_t look_ups(std::uint64_t pages) {
        return pages <= 2048 ? 2048 : pages <= 65536 ? 16384 : pages <= 1048576 ? 262144 : 2097152;
    }

    std::uint64_t lg2_;
    std::uint64_t first_;
    std::vector<std::uint32_t> order_;
    std::uint64_t volatile zero_{0};
};

/// A result, split so that only the address is on the path from one look-up to the next.
struct found {
    std::uint64_t address;
    std::uint64_t rest;
};

/// Everything that a walk returns is used, so that no compiler drops a part of it.
template <class Outcome>
[[gnu::always_inline]] inline found use(Outcome const& o) {
    if (!o) [[unlikely]]
        return {0, ~std::uint64_t{0}};
    return {o->output.value, o->effective.bits ^ (o->lg2_size + static_cast<std::uint64_t>(o->by))};
}

/// `count` look-ups from look-up `from` on, which do not wait for one another. Everything that is not marked otherwise
/// is inlined here.
template <class Subject>
[[gnu::noinline, gnu::flatten]] std::uint64_t independent(Subject const& subject, work const& w, std::uint64_t from,
                                                          std::uint64_t count) {
    std::uint32_t const* const order = w.order();
    std::uint64_t const lg2 = w.lg2();
    std::uint64_t const first = w.first();
    std::uint64_t const mask = w.size() - 1;
    std::uint64_t sum = 0;
    for (std::uint64_t i = from; i != from + count; ++i) {
        found const f = subject(iova{first + (std::uint64_t{order[i & mask]} << lg2)});
        sum = (sum + f.address) ^ f.rest;
    }
    return sum;
}

/// The same, each of an address that depends on the last result.
template <class Subject>
[[gnu::noinline, gnu::flatten]] std::uint64_t dependent(Subject const& subject, work const& w, std::uint64_t from,
                                                        std::uint64_t count) {
    std::uint32_t const* const order = w.order();
    std::uint64_t const lg2 = w.lg2();
    std::uint64_t const first = w.first();
    std::uint64_t const mask = w.size() - 1;
    std::uint64_t const zero = w.zero();
    std::uint64_t sum = 0;
    std::uint64_t last = 0;
    for (std::uint64_t i = from; i != from + count; ++i) {
        found const f = subject(iova{(first + (std::uint64_t{order[i & mask]} << lg2)) | (last & zero)});
        last = f.address;
        sum = (sum + last) ^ f.rest;
    }
    return sum;
}

} // namespace bench
