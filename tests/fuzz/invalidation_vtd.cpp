// Programs for a VT-d unit with caches and one without, over the same memory: the first byte says the mode, then nine bytes a
// step: a request, an edit of the tables with the invalidation of everything that it may concern, or a descriptor of any bits.
// A descriptor may drop more than it should, never crash, and neither unit may be told from the other.
#include <stagewalk/stagewalk.hpp>
#include <stagewalk/vtd/caches.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace sw = stagewalk;

namespace {

constexpr std::uint64_t origin = 0x1000'0000;
constexpr std::uint64_t pages = 8;
constexpr std::uint64_t place(std::uint64_t page) { return origin + page * 4096; }

// Root, context, directory and PASID table, two roots of page tables, and two tables below both.
struct memory {
    using address = sw::pa;
    using error = sw::memory_error;
    std::uint64_t words[pages * 512]{};

    std::uint64_t& at(std::uint64_t where) { return words[(where - origin) / 8]; }
    sw::outcome<std::uint64_t, error> load(sw::pa where) noexcept {
        std::uint64_t const offset = where.value - origin;
        if (offset % 8 != 0 || offset / 8 >= pages * 512) return sw::failure{sw::memory_error::outside};
        return words[offset / 8];
    }
};

using caches = sw::vtd::caches<sw::pa, sw::sets<8>, sw::ways<2>, sw::groups<4>>;

// Domains 7 and 70.
void build(memory& m, bool scalable) {
    m.at(place(0)) = place(1) | 1;
    m.at(place(0) + 8) = scalable ? place(1) | 1 : 0;
    for (std::uint64_t device = 0; device < 4; ++device) {
        std::uint64_t const domain = device % 2 == 0 ? 7 : 70;
        std::uint64_t const table = place(4 + device % 2);
        if (scalable) {
            m.at(place(1) + device * 32) = place(2) | 0xd; // P, DTE, PASIDE
            m.at(place(1) + device * 32 + 8) = device;     // RID_PASID
            m.at(place(3) + device * 64) = table | 0x85;   // P, AW 1, PGTT 2
            m.at(place(3) + device * 64 + 8) = domain | 1u << 23;
        } else {
            m.at(place(1) + device * 16) = table | (device >= 2 ? 5 : 1); // P, TT
            m.at(place(1) + device * 16 + 8) = domain << 8 | 1;           // AW 1
        }
    }
    m.at(place(2)) = place(3) | 1;
    m.at(place(4)) = m.at(place(5)) = place(6) | 3;
    for (std::uint64_t n = 0; n < 512; ++n) {
        m.at(place(6) + n * 8) = n % 2 == 0 ? place(7) | 3 : n << 21 | 0x83;
        m.at(place(7) + n * 8) = n << 12 | (n % 5 == 0 ? 1 : 3);
    }
}

sw::vtd::capabilities caps_of() {
    // MGAW 48, SAGAW 3, 4 and 5 levels, SSLPS both, PSI with MAMV 18, ND 6; SMTS, SSTS, PASID, PSS 19, RPS, SMPWCS, SC, PT, DT.
    return {std::uint64_t{18} << 48 | std::uint64_t{1} << 39 | std::uint64_t{3} << 34 | 47u << 16 | 14u << 8 | 6u,
            std::uint64_t{1} << 43 | std::uint64_t{1} << 46 | std::uint64_t{1} << 40 | std::uint64_t{19} << 35 |
                std::uint64_t{1} << 49 | std::uint64_t{1} << 48 | 0xc4u,
            46};
}

template <class Answer>
void must_agree(Answer const& a, Answer const& b) {
    if (static_cast<bool>(a) != static_cast<bool>(b)) std::abort();
    if (a ? !(*a == *b) : !(a.error() == b.error())) std::abort();
}

template <class Unit, class Descriptor>
void execute(Unit const& unit, Descriptor const& d, sw::vtd::invalidation_queue_address queue) {
    std::uint64_t word[4]{};
    for (std::size_t w = 0; w < Descriptor::words; ++w)
        word[w] = d.word[w];
    if (!unit.execute(word, queue)) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    if (size == 0) return 0;
    bool const scalable = (data[0] & 1) != 0;
    auto const m = std::make_unique<memory>();
    build(*m, scalable);
    auto const kept = std::make_unique<caches>();
    sw::vtd::root_table_address const root{place(0) | (scalable ? 0x400u : 0u)};
    sw::vtd::iommu<memory, caches> const cached{caps_of(), root, *m, {}, *kept};
    sw::vtd::iommu<memory> const plain{caps_of(), root, *m};
    sw::vtd::invalidation_queue_address const queue{0x800};
    for (std::size_t at = 1; at + 9 <= size; at += 9) {
        std::uint64_t bits = 0;
        for (std::size_t n = 0; n < 8; ++n)
            bits |= std::uint64_t{data[at + 1 + n]} << n * 8;
        std::uint64_t const step = data[at] % 8;
        if (step < 4) {
            sw::vtd::request r;
            r.source = static_cast<std::uint16_t>(bits % 4);
            r.type = static_cast<sw::vtd::request_type>(bits >> 2 & 3);
            r.access = (bits & 16) != 0 ? sw::write : sw::read;
            r.no_write = (bits & 32) != 0;
            r.bytes = (bits & 64) != 0 ? 0 : 4;
            if ((bits & 128) != 0) r.pasid = static_cast<std::uint32_t>(bits >> 8 & 3);
            r.address = sw::iova{(bits >> 16 & sw::low_mask(step == 3 ? 48 : 25)) & ~std::uint64_t{3}};
            must_agree(cached.translate(r), plain.translate(r));
        } else if (step == 4) {
            // A word of the page tables: anything; of a context entry: its low bits.
            std::uint64_t const word = bits % (4 * 512);
            std::uint64_t const value = bits >> 11;
            if (word < 256) {
                m->at(place(1) + word % 4 * (scalable ? 32 : 16)) ^= value & 15;
            } else {
                m->at(place(4) + word * 8) ^= value & 0xfff;
            }
            execute(cached, sw::vtd::invalidate_contexts(), queue);
            if (scalable) execute(cached, sw::vtd::invalidate_pasids(), queue);
            execute(cached, sw::vtd::invalidate_iotlb(7), queue);
            execute(cached, sw::vtd::invalidate_iotlb(70), queue);
        } else {
            // Of any bits, or of those that mean something in most descriptors.
            std::uint64_t word[4]{bits, step == 7 ? 0 : bits >> 16 << 12 | (bits >> 8 & 0x7f), 0, 0};
            if (step != 5) word[0] = (bits & 0x3'00ff'0030) | (1 + bits % 10);
            auto const with = cached.execute(word, queue);
            auto const without = plain.execute(word, queue);
            if (static_cast<bool>(with) != static_cast<bool>(without)) std::abort();
        }
    }
    return 0;
}
