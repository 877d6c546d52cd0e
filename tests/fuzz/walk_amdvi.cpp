// AMD-Vi out of bytes: a request of each kind and an interrupt message, the library against the naive model: answers, records,
// completions, loads, and what the memory holds afterwards. The input, all little-endian: EFR, Control (64 bits each), EFR2,
// flags (16 each), the device table base, the exclusion base and limit (64 each), the DeviceID (16), the request (32; 19:0 PASID,
// 24 to 27 read, write, execute, privileged, 28 with PASID, 30:29 its kind), its address (64), the message's data (32) and the
// low byte of its address (8), missing pages (16), the device table entry (4 words), then the tables as pairs of an address and
// its word.
#include "model/amdvi_compare.hpp"
#include "model/amdvi_model.hpp"

#include <stagewalk/amdvi/interrupt.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
using namespace amdvi_compare;

class input {
public:
    input(std::uint8_t const* data, std::size_t size) : at_{data}, left_{size} {}

    [[nodiscard]] bool empty() const { return left_ == 0; }
    // The next bytes as a number; what is not there is zero.
    std::uint64_t number(std::size_t bytes) {
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < bytes && left_ > 0; ++i, ++at_, --left_)
            n |= std::uint64_t{*at_} << (8 * i);
        return n;
    }

private:
    std::uint8_t const* at_;
    std::size_t left_;
};

// Sixteen pages where they are asked for, or everywhere in turn.
struct tables {
    static constexpr std::uint64_t pages = 16;

    alignas(4096) std::uint64_t word[pages * 512];
    std::uint64_t number[pages];
    std::uint64_t used;
    std::uint64_t missing;
    bool folded;

    // Which page stands there; `pages` if none.
    std::uint64_t index(std::uint64_t page) const {
        if (folded) return page / 4096 % pages;
        for (std::uint64_t k = 0; k < used; ++k)
            if (number[k] == page) return k;
        return pages;
    }
    std::uint64_t* find(std::uint64_t page) {
        std::uint64_t const i = index(page);
        return i < pages && (missing >> i & 1) == 0 ? word + i * 512 : nullptr;
    }
    void put(std::uint64_t at, std::uint64_t value) {
        std::uint64_t const page = at & ~std::uint64_t{0xfff};
        if (index(page) == pages && used < pages) number[used++] = page;
        std::uint64_t const i = index(page);
        if (i < pages) word[i * 512 + at / 8 % 512] = value;
    }
    bool read(std::uint64_t at, std::uint64_t& value) {
        auto const* p = at % 8 == 0 ? find(at & ~std::uint64_t{0xfff}) : nullptr;
        if (p != nullptr) value = p[at / 8 % 512];
        return p != nullptr;
    }
    amdvi_model::exchange replace(std::uint64_t at, std::uint64_t& old, std::uint64_t fresh) {
        auto* p = at % 8 == 0 ? find(at & ~std::uint64_t{0xfff}) : nullptr;
        if (p == nullptr) return amdvi_model::failed;
        std::uint64_t& w = p[at / 8 % 512];
        bool const alike = w == old;
        old = w;
        if (alike) w = fresh;
        return alike ? amdvi_model::done : amdvi_model::changed;
    }
};

tables memory; // the library's
tables model;  // the model's
tables before; // as they were

[[noreturn]] void differ(unit const& u, ask const& q, std::string const& what) {
    std::fprintf(stderr, "%s%s", what.c_str(), text_of(u, q).c_str());
    std::abort();
}

void take_flags(unit& u, std::uint64_t flags) {
    bool* const policies[] = {
        &u.past_table_page_fault, &u.illegal_mode_page_fault, &u.guest_disabled_ignored, &u.exclusion_translation_only,
        &u.ht_reserved,           &u.page_migration,          &u.permission_first,       &u.host_accessed_leaf_only,
        &u.gcr3_pointers_as_root, &u.write_protect_users_only};
    for (bool* const policy : policies) {
        *policy = (flags & 1) != 0;
        flags >>= 1;
    }
    u.iotlb = (flags & 1) == 0;
    u.snp = (flags & 2) != 0;
    u.interrupt_range = (flags & 4) == 0;
    u.control = (u.control & ~std::uint64_t{1}) | ((flags & 16) == 0 ? 1 : 0);
}

// See amdvi_random.cpp. A walk that starts again does so because somebody has changed an entry: here only itself, through a table
// that is used twice.
constexpr std::size_t most_loads = 4 + (3 + 5) * 7 + 6 + 5 * 6 + 6;

// What becomes of the message.
template <class Outcome>
bool same(Outcome const& o, sw::amdvi::interrupt_request const& r, amdvi_model::delivery const& expected) {
    using sw::amdvi::delivery;
    if (static_cast<bool>(o) != expected.ok) return false;
    if (!o) {
        std::uint64_t words[2]{};
        amdvi_model::record(r.source, expected.fault, words);
        auto const record = sw::amdvi::to_record(o.error(), r);
        return record.word[0] == words[0] && record.word[1] == words[1] && o.error().reported == expected.fault.recorded &&
               o.error().descriptor == expected.fault.entry_at && o.error().entry == expected.fault.entry;
    }
    auto const& t = o->target;
    auto const& g = o->guest;
    switch (o->how) {
    case delivery::forwarded: return expected.forwarded;
    case delivery::remapped:
        return !expected.forwarded && !expected.guest && t.destination == expected.destination && t.vector == expected.vector &&
               static_cast<unsigned>(t.type) == expected.type && t.is_logical == expected.logical &&
               t.requests_eoi == expected.request_eoi;
    case delivery::guest:
        return !expected.forwarded && expected.guest && g.destination == expected.destination && g.vector == expected.vector &&
               g.tag == expected.tag && g.vapic_root == expected.vapic && g.is_running == expected.is_running &&
               g.is_logged == expected.log && g.is_quiet == expected.no_notice;
    }
    return false;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    input in{data, size};
    unit u;
    ask q;
    u.efr = in.number(8);
    u.control = in.number(8);
    u.efr2 = in.number(2);
    auto const flags = in.number(2);
    take_flags(u, flags);
    u.devtab_base[0] = in.number(8);
    for (std::uint64_t i = 1; i < 8; ++i)
        u.devtab_base[i] = u.devtab_base[0] + (i << 21);
    u.exclusion_base = in.number(8);
    u.exclusion_limit = in.number(8);
    q.device = static_cast<std::uint16_t>(in.number(2));
    std::uint64_t const request = in.number(4);
    q.address = in.number(8);
    q.read = (request >> 24 & 1) != 0;
    q.write = (request >> 25 & 1) != 0;
    q.execute = (request >> 26 & 1) != 0;
    q.privileged = (request >> 27 & 1) != 0;
    q.has_pasid = (request >> 28 & 1) != 0;
    q.pasid = q.has_pasid ? static_cast<std::uint32_t>(request & 0xfffff) : 0;
    q.kind = static_cast<unsigned>(request >> 29 & 3) % 3;
    amdvi_model::message message;
    message.device = q.device;
    message.data = static_cast<std::uint32_t>(in.number(4));
    message.address = 0xfee0'0000 | in.number(1);
    memory.missing = in.number(2);
    memory.used = 0;
    memory.folded = (flags & 1u << 13) != 0;
    std::memset(memory.word, 0, sizeof memory.word);
    unsigned const segments = amdvi_model::segment_bits(u);
    std::uint64_t const dte_at =
        (u.devtab_base[q.device >> (16 - segments)] & 0x000f'ffff'ffff'f000) + std::uint64_t{q.device & 0xffffu >> segments} * 32;
    for (std::uint64_t i = 0; i < 4; ++i)
        memory.put(dte_at + i * 8, in.number(8));
    for (int i = 0; i < 256 && !in.empty(); ++i) {
        std::uint64_t const at = in.number(8);
        memory.put(at, in.number(8));
    }
    before = memory;

    // The model, what it read, and how often it had to start again.
    std::uint64_t seen[256]{};
    std::size_t reads = 0;
    std::size_t restarts = 0;
    amdvi_model::memory tables_of_model;
    tables_of_model.read = [&](std::uint64_t at, std::uint64_t& value) {
        if (reads < 256) seen[reads] = at;
        ++reads;
        return model.read(at, value);
    };
    tables_of_model.replace = [&](std::uint64_t at, std::uint64_t old, std::uint64_t fresh) {
        auto const how = model.replace(at, old, fresh);
        restarts += how == amdvi_model::changed;
        return how;
    };
    amdvi_model::memory judging = tables_of_model;
    judging.replace = [](std::uint64_t, std::uint64_t, std::uint64_t) { return amdvi_model::done; };
    auto const start_model = [&] {
        model = before;
        reads = restarts = 0;
    };

    // The library.
    auto const caps = capabilities_of(u);
    auto const registers = control_of(u);
    auto const set = settings_of(u);
    auto load = [](sw::pa at) -> sw::outcome<std::uint64_t, int> {
        std::uint64_t value = 0;
        if (!memory.read(at.value, value)) return sw::failure{1};
        return value;
    };
    auto loader = sw::make_callback<sw::pa>(load);
    auto updater =
        sw::make_callback<sw::pa>(load, [](sw::pa at, std::uint64_t& old, std::uint64_t fresh) -> sw::outcome<bool, int> {
            auto const how = memory.replace(at.value, old, fresh);
            if (how == amdvi_model::failed) return sw::failure{2};
            return how == amdvi_model::done;
        });
    auto window = sw::make_windowed<sw::pa>([](sw::pa page) -> std::uint64_t* { return memory.find(page.value); });
    sw::recording<decltype(updater), 256> recorded{updater};
    sw::amdvi::iommu watched{caps, registers, recorded, set};

    // What was read, in the order of the model; after it only where an entry lies that memory did not give.
    auto const check_loads = [&](bool searched, std::size_t most) {
        bool same = (searched ? recorded.loads() >= reads : recorded.loads() == reads) && recorded.loads() <= most;
        for (std::size_t i = 0; same && i < reads && i < 256; ++i)
            same = recorded.at(i).value == seen[i];
        if (!same) differ(u, q, print("%zu loads, the model %zu\n", recorded.loads(), reads));
        recorded.reset();
    };

    // A device asks, and then uses what it was told.
    for (bool more = true; more;) {
        auto const r = request_of(q);
        auto const expect = [&](char const* where, auto const& o, answer const& a) {
            if (!agree(o, q, a)) differ(u, q, difference(where, o, q, a));
            if (!agree_outside(q, o, a)) differ(u, q, std::string(where) + ": record or completion\n");
            if (std::memcmp(memory.word, model.word, sizeof memory.word) != 0)
                differ(u, q, std::string(where) + ": memory differs\n");
            std::memcpy(memory.word, before.word, sizeof memory.word);
        };
        start_model();
        answer const expected = amdvi_model::translate(u, q, tables_of_model);
        std::size_t const most = most_loads * (restarts + 1);
        expect("traced", watched.translate(r, [](auto const&) {}), expected);
        check_loads(is_lost_behind(expected), most);
        expect("recording", watched.translate(r), expected);
        check_loads(is_lost_behind(expected), most);
        expect("windowed", sw::amdvi::iommu{caps, registers, window, set}.translate(r), expected);
        // Memory that cannot be written: updates are judged.
        start_model();
        answer const judged = amdvi_model::translate(u, q, judging);
        expect("callback", sw::amdvi::iommu{caps, registers, loader, set}.translate(r), judged);
        more = q.kind == amdvi_model::translation_request && expected.ok;
        q.kind = amdvi_model::translated;
        q.address = expected.address;
    }

    start_model();
    amdvi_model::delivery const delivered = amdvi_model::remap(u, message, tables_of_model);
    sw::amdvi::interrupt_remapping const interrupts{caps, registers, recorded, set.rules};
    sw::amdvi::interrupt_request const r{message.device, message.address, message.data};
    if (!same(interrupts.remap(r), r, delivered))
        differ(u, q, print("message %llx to %llx\n", static_cast<wide>(message.data), static_cast<wide>(message.address)));
    check_loads(false, 6);
    return 0;
}
