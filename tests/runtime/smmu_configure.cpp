// Writing stream table entries and context descriptors: after every single store an SMMU that reads them, in one go or word by
// word and with what it kept since the last invalidation, sees the old entry or the new one, or in a breaking change an invalid
// one. And the commands owed after each step.
#include "model/random_bits.hpp"
#include "smmu_unit.hpp"

#include <stagewalk/smmu/configure.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace stagewalk::test {
namespace {

using smmu::update_kind;
using entry_words = std::array<std::uint64_t, 8>;
using command_words = std::array<std::uint64_t, 2>;

// Memory that can be written, logs stores (s) and publications (p), lets somebody look after each store, and fails when told.
struct stored_memory : watched_memory<pa> {
    outcome<bool, memory_error> store(pa a, std::uint64_t value) noexcept {
        if (stores_left == 0) return failure{memory_error::outside};
        --stores_left;
        log += 's';
        stores.emplace_back(a.value, value);
        CHECK(a.value % 8 == 0);
        (*this)[a.value] = value;
        if (look) look(a.value, value);
        return true;
    }
    void publish(pa a, std::uint64_t bytes) noexcept {
        log += 'p';
        published.emplace_back(a.value, bytes);
    }

    std::string log;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> stores;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> published;
    std::function<void(std::uint64_t, std::uint64_t)> look{};
    unsigned stores_left{1000};
};
static_assert(table_memory<stored_memory>);

constexpr std::uint64_t upper_at = 0xffff'8000'1234'5678;
constexpr std::uint64_t behind = smmu_unit::behind;
constexpr std::uint64_t first_cd = 0x9200'0000;
constexpr std::uint64_t second_cd = 0x9200'1000;
constexpr std::uint64_t cd_table = 0x9200'2000; // of 4

constexpr entry_words lower_cd{0x0042'e205'c000'3510, 0x9400'0000, 0, 0x0004'ff44, 0, 0, 0, 0};

// An SMMU with tables for every configuration that the cases use: stage 1 as it is, and the same behind stage 2.
struct world {
    smmu_unit unit{smmu_kind::nested};
    stored_memory memory{};

    world() {
        unit.cr0 = 0x11; // ATSCHK
        for (std::uint64_t const up : {std::uint64_t{0}, behind}) {
            chain(up, 0x9400'0000, 0x1'2345'6000);
            chain(up, 0x9400'8000, 0x2'2345'6000);
            upper_chain(up, 0x9500'0000, 0x3'2345'6000);
            upper_chain(up, 0x9500'8000, 0x4'2345'6000);
            put(first_cd + up, lower_cd);
            put(second_cd + up, {0x0043'e205'c000'3510, 0x9400'8000, 0, 0x0004'ff44, 0, 0, 0, 0});
            put(cd_table + up, {0x0050'e205'c000'3510, 0x9400'0000, 0, 0x0004'ff44, 0, 0, 0, 0});
            put(cd_table + 0x40 + up, {0x0051'e205'c000'3510, 0x9400'8000, 0, 0x0004'ff44, 0, 0, 0, 0});
        }
        stage2(0xa000'0000, 0x3'1234'5000);
        stage2(0xb000'0000, 0x4'1234'5000);
    }

    void put(std::uint64_t at, entry_words const& e) {
        for (std::size_t w = 0; w < 8; ++w)
            memory[at + w * 8] = e[w];
    }
    [[nodiscard]] entry_words get(std::uint64_t at) {
        entry_words e;
        for (std::size_t w = 0; w < 8; ++w)
            e[w] = memory[at + w * 8];
        return e;
    }
    // From smmu_unit::first_at.
    void chain(std::uint64_t up, std::uint64_t root, std::uint64_t page) {
        memory[up + root + 0x7f0] = (root + 0x1000) | 3;
        memory[up + root + 0x1240] = (root + 0x2000) | 3;
        memory[up + root + 0x2d10] = (root + 0x3000) | 3;
        memory[up + root + 0x3b38] = 0x0060'0000'0000'0f47 | page;
        memory[up + root + 0x3b40] = 0x0060'0050'0000'0f47; // stage 2 has nothing there
    }
    void upper_chain(std::uint64_t up, std::uint64_t root, std::uint64_t page) {
        memory[up + root + 0x800] = (root + 0x1000) | 3;
        memory[up + root + 0x1000] = (root + 0x2000) | 3;
        memory[up + root + 0x2488] = (root + 0x3000) | 3;
        memory[up + root + 0x3a28] = 0x0060'0000'0000'0f47 | page;
    }
    // From smmu_unit::second_at, and what stage 1 behind it needs.
    void stage2(std::uint64_t base, std::uint64_t page) {
        memory[base + 0x3000] = (base + 0x1'0000) | 3;
        memory[base + 0x1'0488] = (base + 0x1'1000) | 3;
        memory[base + 0x1'1a28] = page | 0x7ff;
        memory[base + 0x2010] = (base + 0x2'0000) | 3;
        memory[base + 0x2'0480] = behind | 0x9200'07fd;
        memory[base + 0x2'0500] = behind | 0x9400'07fd;
        memory[base + 0x2'0540] = behind | 0x9500'07fd;
        for (std::uint64_t gib = 4; gib < 20; ++gib)
            memory[base + 0x2000 + gib * 8] = (gib << 30) | (base << 10 & 0x70'0000'0000) | 0x7fd;
    }

    // What the SMMU answers to every kind of request; a number for each set of answers. The raw entry within a fault does not
    // count: it shows bits that nobody uses.
    int behaviour() {
        std::vector<std::uint64_t> all;
        smmu::iommu<stored_memory> const hardware{unit.caps(), unit.registers(), memory, unit.rules};
        auto const say = [&](smmu::request const& r) {
            auto const answer = hardware.translate(r);
            all.push_back(static_cast<bool>(answer));
            if (answer) {
                all.insert(all.end(), {answer->output.value, answer->effective.bits, answer->lg2_size,
                                       static_cast<std::uint64_t>(answer->by)});
            } else {
                auto const& f = answer.error();
                bool const raw = f.stage == fault_stage::configuration;
                all.insert(all.end(), {static_cast<std::uint64_t>(f.code), static_cast<std::uint64_t>(f.stage),
                                       static_cast<std::uint64_t>(f.at), f.level, f.reported, f.input, f.intermediate,
                                       f.descriptor, raw ? 0 : f.entry, f.detail});
            }
            // And whose translation it is: what a TLB would tag it with.
            auto const found = hardware.find(r);
            if (found && answer) {
                bool const tagged = found->uses_stage1 || found->uses_stage2;
                all.insert(all.end(), {found->uses_stage1, found->uses_stage2, static_cast<std::uint64_t>(found->world),
                                       tagged ? std::uint64_t{found->vmid()} : 0, found->uses_stage1 ? found->asid() : 0u});
            }
        };
        for (access const a : {read, write, read | execute | privileged}) {
            say(smmu_unit::ask_at(smmu_unit::first_at, a));
            say(smmu_unit::ask_at(smmu_unit::second_at, a));
            say(smmu_unit::ask_at(upper_at, a));
        }
        say(smmu_unit::ask_at(0x1234'5000));
        say(smmu_unit::ask_at(smmu_unit::first_at + 0x1000));
        for (std::uint32_t substream = 0; substream < 4; ++substream) {
            smmu::request r = smmu_unit::ask_at(smmu_unit::first_at);
            r.pasid = substream;
            say(r);
            r.address = iova{upper_at};
            say(r);
        }
        smmu::request r = smmu_unit::ask_at(smmu_unit::first_at);
        r.type = smmu::request_type::translation;
        say(r);
        r.type = smmu::request_type::translated;
        say(r);
        memory.forget();
        return numbers_.emplace(std::move(all), static_cast<int>(numbers_.size())).first->second;
    }

private:
    std::map<std::vector<std::uint64_t>, int> numbers_;
};

// --- what counts in an entry, from the layouts ------------------------------------------------------------------------------

// The bits of a stream table entry that its V and Config let hardware look at.
entry_words counting_stream(entry_words const& e) {
    if ((e[0] & 1) == 0) return {};
    std::uint64_t const config = e[0] >> 1 & 7;
    if (config < 4) return {1};
    constexpr std::uint64_t of_all = 0x000f'f1ff'000b'f000; // DRE CONT DCP MEV MemAttr MTCFG ALLOCCFG SHCFG NSCFG PRIVCFG INSTCFG
    entry_words out{e[0] & 0xf, e[1] & of_all};
    if (config == 4) return out;
    out[1] |= e[1] & 0x3404'0000; // PPAR S1MPAM EATS
    out[2] |= e[2] & 0xffff;      // S2VMID
    if ((config & 1) != 0) {
        out[0] |= e[0] & 0xf8ff'ffff'ffff'fff0; // S1Fmt S1ContextPtr S1CDMax
        out[1] |= e[1] & 0xc900'00ff;           // S1DSS S1CIR S1COR S1CSH S1PIE S1STALLD STRW
    }
    if ((config & 2) != 0) {
        out[1] |= e[1] & 0x0200'0f00; // S2HWU S2FWB
        out[2] = e[2];                // IMPDEF too
        out[3] |= e[3] & 0x60ff'ffff'ffff'ffff;
        constexpr std::uint64_t upper[] = {0xffff'c0ff'ffff'ffff, 0x00ff'ffff'ffff'ffff, 0x60ff'ffff'ffff'fff7, every_bit};
        for (std::size_t w = 4; w < 8; ++w)
            out[w] = e[w] & upper[w - 4];
    }
    return out;
}
// Of a context descriptor; `one_half`: the EL2 stream world.
entry_words counting_context(entry_words e, bool one_half) {
    if ((e[0] >> 31 & 1) == 0) return {};
    constexpr entry_words fields{every_bit, 0xfcff'ffff'ffff'ffff, 0xfcff'ffff'ffff'ffff, every_bit,
                                 every_bit, 0x00ff'ffff'ffff'ffff, 0xffff'ffff'ffff,      0xffff'ffff'ffff};
    for (std::size_t w = 0; w < 8; ++w)
        e[w] &= fields[w];
    if ((e[0] >> 14 & 1) != 0 && !one_half) { // EPD0
        e[0] &= ~std::uint64_t{0x40'0000'3fff};
        e[1] &= ~std::uint64_t{0x00ff'ffff'ffff'fff2};
    }
    if ((e[0] >> 30 & 1) != 0 || one_half) { // EPD1
        e[0] &= ~std::uint64_t{0x80'3fff'0000};
        e[2] &= ~std::uint64_t{0x00ff'ffff'ffff'fff2};
    }
    return e;
}

// --- the adversary ----------------------------------------------------------------------------------------------------------

struct step {
    std::vector<command_words> owed;
    bool visible{}; // the SMMU behaves otherwise than before it
};

struct outcome_of_change {
    bool ok{};
    update_kind kind{};
    std::vector<step> steps;
};

// Carries out one change and looks after each store.
class adversary {
public:
    // counting: the bits that count of an entry.
    adversary(world& w, std::uint64_t at, std::function<entry_words(entry_words const&)> counting)
        : w_{w}, at_{at}, counting_{std::move(counting)} {}

    // set(configurator, flush) changes the entry at `at` from `old` to `target`.
    template <class Set>
    outcome_of_change change(entry_words const& old, entry_words const& target, Set&& set, unsigned stores = 1000) {
        old_ = old;
        target_ = target;
        w_.put(at_, old);
        w_.memory.forget();
        w_.memory.log.clear();
        w_.memory.stores.clear();
        w_.memory.published.clear();
        w_.memory.stores_left = stores;
        for (std::size_t i = 0; i < 8; ++i)
            kept_[i] = {old[i]};
        saw_invalid_ = saw_new_ = false;
        wrong_ = 0;
        w_.memory.look = [this](std::uint64_t where, std::uint64_t value) {
            REQUIRE(where >= at_);
            REQUIRE(where < at_ + 64);
            kept_[(where - at_) / 8].insert(value);
            look();
        };
        outcome_of_change out;
        int before = behaviour_of(old);
        auto const flush = [&](smmu::owed_commands const& owed) {
            w_.memory.log += 'f';
            step s;
            for (std::size_t i = 0; i < owed.count; ++i)
                s.owed.push_back({owed.word[i][0], owed.word[i][1]});
            for (std::size_t i = 0; i < 8; ++i)
                kept_[i] = {w_.get(at_)[i]};
            int const now = behaviour_of(w_.get(at_));
            s.visible = now != before || counting_(w_.get(at_)) != last_counting_;
            before = now;
            last_counting_ = counting_(w_.get(at_));
            out.steps.push_back(std::move(s));
        };
        last_counting_ = counting_(old);
        smmu::configurator<stored_memory> c{w_.unit.caps(), w_.unit.registers(), w_.memory};
        auto const result = set(c, flush);
        w_.memory.look = {};
        out.ok = static_cast<bool>(result);
        if (result) out.kind = *result;
        CHECK(wrong_ == 0);
        return out;
    }
    [[nodiscard]] bool saw_invalid() const { return saw_invalid_; }
    [[nodiscard]] bool saw_new() const { return saw_new_; }
    [[nodiscard]] std::uint64_t looks() const { return looks_; }
    [[nodiscard]] std::uint64_t mixtures() const { return mixtures_; }

    int behaviour_of(entry_words const& e) {
        auto const known = behaviours_.find(e);
        if (known != behaviours_.end()) return known->second;
        entry_words const there = w_.get(at_);
        w_.put(at_, e);
        int const n = w_.behaviour();
        w_.put(at_, there);
        return behaviours_.emplace(e, n).first->second;
    }

private:
    // Every mixture of the words that hardware may have: of each word the values since the last invalidation.
    void look() {
        ++looks_;
        entry_words mixture{};
        mix(mixture, 0);
    }
    void mix(entry_words& mixture, std::size_t i) {
        if (i == 8) {
            judge(mixture);
            return;
        }
        for (std::uint64_t const value : kept_[i]) {
            mixture[i] = value;
            mix(mixture, i + 1);
        }
    }
    void judge(entry_words const& e) {
        ++mixtures_;
        entry_words const seen = counting_(e);
        int const does = behaviour_of(e);
        bool const is_old = seen == counting_(old_) && does == behaviour_of(old_);
        bool const is_new = seen == counting_(target_) && does == behaviour_of(target_);
        bool const is_invalid = seen == entry_words{} && does == behaviour_of({});
        if (is_new && !is_old) saw_new_ = true;
        if (is_old || is_new) return;
        if (is_invalid) {
            saw_invalid_ = true;
            return;
        }
        if (wrong_++ == 0) {
            UNSCOPED_INFO("first: " << std::hex << e[0] << ' ' << e[1] << ' ' << e[2] << ' ' << e[3]);
        }
    }

    world& w_;
    std::uint64_t at_;
    std::function<entry_words(entry_words const&)> counting_;
    entry_words old_{};
    entry_words target_{};
    entry_words last_counting_{};
    std::set<std::uint64_t> kept_[8];
    std::map<entry_words, int> behaviours_;
    bool saw_invalid_{};
    bool saw_new_{};
    unsigned wrong_{};
    std::uint64_t looks_{};
    std::uint64_t mixtures_{};
};

template <class Entry>
Entry to_entry(entry_words const& e) {
    Entry out;
    for (std::size_t w = 0; w < 8; ++w)
        out.word[w] = e[w];
    return out;
}

struct named {
    char const* name;
    entry_words e;
};

// --- stream table entries ---------------------------------------------------------------------------------------------------

constexpr std::uint64_t incoming = 0x0000'1000'0000'0000;
constexpr std::uint64_t d1 = 0x0000'1000'0000'00d6;
constexpr std::uint64_t d2 = 0x044d'3558'0000'0017; // VMID 17h

std::vector<named> streams() {
    return {
        {"invalid", {}},
        {"invalid, the rest full",
         {0xfffe'dcba'9876'5432, 0xffff'ffff'ffff'ffff, 0x1234'5678'9abc'def0, 0x0123'4567'89ab'cdef, 1, 2, 3, 4}},
        {"abort", {1}},
        {"abort, the rest full",
         {0xf800'0000'9200'1047, 0xa5a5'a5a5'a5a5'a5a5, 0x5a5a'5a5a'5a5a'5a5a, 0xa5a5'a5a5'a5a5'a5a5, 4, 3, 2, 1}},
        {"bypass", {0x9, incoming}},
        {"bypass, overridden", {0x9, 0x0002'301f'0000'0000}},
        {"stage 1", {0x9200'000b, d1, 0x21}},
        {"stage 1, pointer", {0x9200'100b, d1, 0x21}},
        {"stage 1, CDMax", {0x1000'0000'9200'200b, d1, 0x21}},
        {"stage 1, VMID", {0x9200'000b, d1, 0x17}},
        {"stage 1, EL2", {0x9200'000b, d1 | 0x8000'0000, 0x21}},
        {"stage 1, ATS", {0x9200'000b, d1 | 0x1000'0000, 0x21}},
        {"stage 2", {0xd, incoming, d2, 0xa000'2000}},
        {"stage 2, table", {0xd, incoming, d2, 0xb000'2000}},
        {"stage 2, VMID", {0xd, incoming, d2 + 1, 0xa000'2000}},
        {"stage 2, VMID and table", {0xd, incoming, d2 + 1, 0xb000'2000}},
        {"nested", {0x9200'000f, d1, d2, 0xa000'2000}},
        {"nested, pointer", {0x9200'100f, d1, d2, 0xa000'2000}},
        {"nested, not recorded", {0x9200'000f, d1, d2 & ~(std::uint64_t{1} << 58), 0xa000'2000}},
    };
}

// Rows: from; columns: to; in the order of streams(). h hitless, b breaking.
constexpr char const* stream_changes[] = {
    // iI aA bB 1pcvet 2tvV npr
    ".hhhhhhhhhhhhhhhhhh", // invalid
    "h.hhhhhhhhhhhhhhhhh", // invalid, the rest full
    "hh.hhhhhhhhhhhhhhhh", // abort
    "hhh.hhhhhhhhhhhhhhh", // abort, the rest full
    "hhhh.hhhhhhhhhhhhhh", // bypass
    "hhhhh.bbbbbbbbbbbbb", // bypass, overridden: word 1 differs too
    "hhhhhb.hhhhhbbbbbbb", // stage 1, VMID 21h
    "hhhhhbh.hbbbbbbbbbb", // stage 1, pointer
    "hhhhhbhh.bbbbbbbbbb", // stage 1, CDMax
    "hhhhhbhbb.bbhhbbhhh", // stage 1, VMID 17h
    "hhhhhbhbbb.hbbbbbbb", // stage 1, EL2
    "hhhhhbhbbbh.bbbbbbb", // stage 1, ATS
    "hhhhhbbbbhbb.hhbhhb", // stage 2
    "hhhhhbbbbhbbh.bhbbb", // stage 2, table
    "hhhhhbbbbbbbhb.hbbb", // stage 2, VMID
    "hhhhhbbbbbbbbhh.bbb", // stage 2, VMID and table
    "hhhhhbbbbhbbhbbb.hh", // nested
    "hhhhhbbbbhbbhbbbh.b", // nested, pointer
    "hhhhhbbbbhbbbbbbhb.", // nested, not recorded
};

// The commands after each step of a change of the stream table entry of StreamID 2Ah.
constexpr command_words stale_stream{0x0000'002a'0000'0003, 1};
constexpr command_words sync{0x46, 0};

// By the tag of its translations: what an SMMU drops for a stream that was as `old` says.
command_words stale_translations(entry_words const& old, bool has_stage2 = true) {
    if ((old[0] >> 1 & 7) == 5 && (old[1] >> 30 & 3) == 2) return {0x20, 0}; // EL2_ALL
    if (!has_stage2) return {0x10, 0};                                       // NH_ALL
    return {0x28 | (old[2] & 0xffff) << 32, 0};                              // S12_VMALL
}

// A step says CFGI, SYNC. The first visible one of a change that translations may hold says TLBI, SYNC too: after the SYNC, for
// an entry that is still cached could make them again.
void check_owed(outcome_of_change const& c, bool owes_translations, command_words const& configuration,
                command_words const& translations) {
    std::vector<command_words> const plain{configuration, sync};
    std::vector<command_words> const both{configuration, sync, translations, sync};
    bool changed = false;
    for (step const& s : c.steps) {
        bool const first = s.visible && !changed;
        changed = changed || s.visible;
        CHECK(s.owed == (first && owes_translations ? both : plain));
    }
}

// What translations may hold of an entry: S2.7 and S3.7 of docs/coverage.md, and where they come from.
entry_words held_of_stream(entry_words const& e) {
    if ((e[0] & 1) == 0 || (e[0] >> 1 & 7) <= 4) return {};
    entry_words held = counting_stream(e);
    held[1] &= 0xc200'0f00;               // STRW S2FWB S2HWU
    held[2] &= ~(std::uint64_t{3} << 57); // S2S S2R
    return held;
}
bool stream_owes(entry_words const& old, entry_words const& target) {
    return held_of_stream(old) != entry_words{} && held_of_stream(old) != held_of_stream(target);
}
bool context_owes(entry_words const& old, entry_words const& target, bool one_half = false) {
    auto const held = [&](entry_words const& e) {
        entry_words h = counting_context(e, one_half);
        h[0] &= ~(std::uint64_t{7} << 44); // S R A
        return h;
    };
    return (old[0] >> 31 & 1) != 0 && held(old) != held(target);
}

// Each step: stores, one publication of the whole entry, then the commands.
void check_log(stored_memory const& m, std::uint64_t at) {
    char last = 'f';
    for (char const c : m.log) {
        bool const follows = c == 's' ? last == 'f' || last == 's' : c == 'p' ? last == 's' : last == 'p';
        CHECK(follows);
        last = c;
    }
    CHECK(last == 'f');
    for (auto const& [where, bytes] : m.published) {
        CHECK(where == at);
        CHECK(bytes == 64);
    }
}

std::string pair_of(named const& old, named const& target) { return std::string{old.name} + " -> " + target.name; }

template <class Set>
void try_pair(adversary& a, world& w, std::uint64_t at, named const& old, named const& target, char expected, bool owes,
              command_words const& configuration, command_words const& translations, Set&& set) {
    INFO(pair_of(old, target));
    auto const c = a.change(old.e, target.e, set);
    REQUIRE(c.ok);
    CHECK(w.get(at) == target.e);
    CHECK(c.kind == (expected == '.' ? update_kind::nothing : expected == 'h' ? update_kind::hitless : update_kind::breaking));
    if (expected == '.') {
        CHECK(w.memory.log.empty());
        return;
    }
    if (expected == 'b') {
        CHECK(c.steps.size() == 3);
        CHECK(a.saw_invalid());
    } else {
        CHECK(c.steps.size() <= 3);
        CHECK_FALSE(a.saw_invalid());
    }
    check_log(w.memory, at);
    check_owed(c, owes, configuration, translations);
}

auto set_stream(entry_words const& target) {
    return [target](auto& c, auto const& flush) {
        return c.set(pa{smmu_unit::ste_at}, to_entry<smmu::stream_table_entry>(target), smmu_unit::stream, flush);
    };
}

} // namespace

TEST_CASE("SMMU configure: after every store of every change of a stream, hardware sees the old entry, the new or none") {
    world w;
    std::uint64_t const at = smmu_unit::ste_at;
    adversary a{w, at, counting_stream};
    auto const all = streams();
    std::set<int> behaviours;
    for (std::size_t from = 0; from < all.size(); ++from) {
        behaviours.insert(a.behaviour_of(all[from].e));
        for (std::size_t to = 0; to < all.size(); ++to)
            try_pair(a, w, at, all[from], all[to], stream_changes[from][to], stream_owes(all[from].e, all[to].e), stale_stream,
                     stale_translations(all[from].e), set_stream(all[to].e));
    }
    CHECK(a.looks() > 1500);
    CHECK(a.mixtures() > 5000);
    CHECK(behaviours.size() == all.size() - 2); // the two invalid ones are alike, and the two that abort
}

TEST_CASE("SMMU configure: the mixtures of word by word reading are what would tell a wrong order") {
    // The adversary itself: an entry that is written in place, word by word, without a step between, is caught.
    world w;
    adversary a{w, smmu_unit::ste_at, counting_stream};
    auto const all = streams();
    auto const find = [&](char const* name) {
        return std::find_if(all.begin(), all.end(), [&](named const& n) { return std::string{n.name} == name; })->e;
    };
    entry_words const old = find("stage 1");
    entry_words const target = find("nested");
    std::set<int> seen;
    for (unsigned mixture = 0; mixture < 16; ++mixture) {
        entry_words e = old;
        for (std::size_t i = 0; i < 4; ++i)
            if ((mixture >> i & 1) != 0) e[i] = target[i];
        seen.insert(a.behaviour_of(e));
    }
    CHECK(seen.size() > 2);
}

TEST_CASE("SMMU configure: store by store, an entry that comes, one that goes, one that changes at once, and one that breaks") {
    world w;
    std::uint64_t const at = smmu_unit::ste_at;
    adversary a{w, at, counting_stream};
    using stores = std::vector<std::pair<std::uint64_t, std::uint64_t>>;
    entry_words const stage1{0x9200'000b, d1, 0x21};
    // What nobody looks at yet, then the word with V, once.
    a.change({}, stage1, set_stream(stage1));
    CHECK(w.memory.stores == stores{{at + 8, d1}, {at + 16, 0x21}, {at, 0x9200'000b}});
    CHECK(w.memory.log == "sspfspf");
    a.change(stage1, {}, set_stream({}));
    CHECK(w.memory.stores == stores{{at, 0}, {at + 8, 0}, {at + 16, 0}});
    CHECK(w.memory.log == "spfsspf");
    entry_words const other{0x9200'100b, d1, 0x21};
    a.change(stage1, other, set_stream(other));
    CHECK(w.memory.stores == stores{{at, 0x9200'100b}});
    CHECK(w.memory.log == "spf");
    entry_words const stage2{0xd, incoming, d2, 0xa000'2000};
    entry_words const second{0xd, incoming, d2 + 1, 0xb000'2000};
    a.change(stage2, second, set_stream(second));
    CHECK(w.memory.stores == stores{{at, 0xc}, {at + 16, d2 + 1}, {at + 24, 0xb000'2000}, {at, 0xd}});
    CHECK(w.memory.log == "spfsspfspf");
    // Stage 1 of the same VMID comes over stage 2 in one store, and goes.
    entry_words const nested{0x9200'000f, d1, d2, 0xa000'2000};
    a.change(stage2, nested, set_stream(nested));
    CHECK(w.memory.stores == stores{{at + 8, d1}, {at, 0x9200'000f}});
    a.change(nested, stage2, set_stream(stage2));
    CHECK(w.memory.stores == stores{{at, 0xd}, {at + 8, incoming}});
}

TEST_CASE("SMMU configure: SMMUs without stage 2 or EL2 drop what their translations are tagged with") {
    world w;
    auto const all = streams();
    adversary a{w, smmu_unit::ste_at, counting_stream};
    w.unit.idr0.set<"S2P">(0);
    auto const no_stage2 = a.change(all[6].e, all[7].e, set_stream(all[7].e));
    REQUIRE(no_stage2.steps.size() == 1);
    CHECK(no_stage2.steps[0].owed == std::vector<command_words>{stale_stream, sync, {0x10, 0}, sync});
    // E2H or not, the whole world goes: a pointer leads to many ASIDs.
    w.unit.idr0.set<"S2P">(1);
    for (std::uint32_t const e2h : {0u, 1u}) {
        w.unit.cr2 = e2h;
        auto const c = a.change(all[10].e, all[2].e, set_stream(all[2].e));
        REQUIRE(c.steps.size() == 2);
        CHECK(c.steps[0].owed == std::vector<command_words>{stale_stream, sync, {0x20, 0}, sync});
        CHECK(c.steps[1].owed == std::vector<command_words>{stale_stream, sync});
    }
    // Without HYP, STRW says nothing.
    w.unit.idr0.set<"HYP">(0);
    auto const no_el2 = a.change(all[10].e, all[2].e, set_stream(all[2].e));
    REQUIRE_FALSE(no_el2.steps.empty());
    CHECK(no_el2.steps[0].owed == std::vector<command_words>{stale_stream, sync, {0x0000'0021'0000'0028, 0}, sync});
}

TEST_CASE("SMMU configure: every owed command is legal and drops what hardware may have kept of the old entry") {
    world w;
    adversary a{w, smmu_unit::ste_at, counting_stream};
    auto const all = streams();
    for (named const& old : all)
        for (named const& target : all) {
            if (old.e == target.e) continue;
            INFO(pair_of(old, target));
            auto const c = a.change(old.e, target.e, set_stream(target.e));
            std::uint64_t const config = old.e[0] >> 1 & 7;
            bool const owes = stream_owes(old.e, target.e);
            bool changed = false;
            for (step const& s : c.steps) {
                bool entries = false;
                bool contexts = false;
                bool translations = false;
                for (command_words const& owed : s.owed) {
                    std::uint64_t const word[2]{owed[0], owed[1]};
                    auto const decoded = smmu::decode(word, w.unit.caps(), w.unit.registers());
                    REQUIRE(decoded);
                    smmu::cache_tag t;
                    t.source = smmu_unit::stream;
                    t.pasid = 1;
                    t.vmid = static_cast<std::uint16_t>(old.e[2]);
                    bool const el2 = config == 5 && (old.e[1] >> 30 & 3) == 2;
                    t.world = el2 ? smmu::stream_world::el2 : smmu::stream_world::el1;
                    t.asid = 0x51;
                    t.global = true;
                    t.addresses = range<iova>{iova{smmu_unit::first_at & ~low_mask(12)}, 4096};
                    auto const drops = [&](smmu::cache cache) { return decoded->stale.drops(cache, t); };
                    entries = entries || drops(smmu::cache::stream);
                    contexts = contexts || (drops(smmu::cache::context) && drops(smmu::cache::context_directory));
                    translations = translations || (drops(smmu::cache::stage1) && drops(smmu::cache::stage1_tables) &&
                                                    (el2 || (drops(smmu::cache::stage2) && drops(smmu::cache::stage2_tables))));
                }
                CHECK(entries);
                CHECK(contexts);
                if (s.visible && !changed && owes) CHECK(translations);
                changed = changed || s.visible;
            }
            for (step const& s : c.steps)
                CHECK(s.owed.back() == sync);
        }
}

TEST_CASE("SMMU configure: memory that fails after any number of stores leaves an entry that hardware takes for the old, the new "
          "or none") {
    world w;
    std::uint64_t const at = smmu_unit::ste_at;
    adversary a{w, at, counting_stream};
    auto const all = streams();
    for (std::size_t from = 0; from < all.size(); ++from)
        for (std::size_t to = 0; to < all.size(); ++to) {
            if (from == to) continue;
            INFO(pair_of(all[from], all[to]));
            REQUIRE(a.change(all[from].e, all[to].e, set_stream(all[to].e)).ok);
            auto const stores = static_cast<unsigned>(std::count(w.memory.log.begin(), w.memory.log.end(), 's'));
            for (unsigned n = 0; n < stores; ++n) {
                auto const c = a.change(all[from].e, all[to].e, set_stream(all[to].e), n);
                CHECK_FALSE(c.ok);
                CHECK(std::count(w.memory.log.begin(), w.memory.log.end(), 's') == n);
                if (n == 0) CHECK(w.get(at) == all[from].e);
                if (stream_changes[from][to] == 'h') CHECK_FALSE(a.saw_invalid());
            }
        }
}

TEST_CASE("SMMU configure: an entry that cannot be read is told, and nothing is written") {
    for (std::uint64_t word = 0; word < 8; ++word) {
        world w;
        w.put(smmu_unit::ste_at, {1});
        w.put(first_cd, lower_cd);
        w.memory.poison(smmu_unit::ste_at + word * 8);
        w.memory.poison(first_cd + word * 8);
        smmu::configurator<stored_memory> c{w.unit.caps(), w.unit.registers(), w.memory};
        unsigned flushes = 0;
        auto const flush = [&](smmu::owed_commands const&) { ++flushes; };
        auto const stream = c.set(pa{smmu_unit::ste_at}, smmu::stream_table_entry::make_bypass(), 0x2a, flush);
        REQUIRE_FALSE(stream);
        CHECK(stream.error() == memory_error::outside);
        CHECK_FALSE(
            c.set(pa{first_cd}, smmu::context_descriptor{}, 0x2a, 0, smmu::stream_table_entry::make_stage1(first_cd), flush));
        CHECK(w.memory.log.empty());
        CHECK(flushes == 0);
    }
}

// --- context descriptors ----------------------------------------------------------------------------------------------------

namespace {

std::vector<named> contexts() {
    constexpr std::uint64_t lower = 0x0042'e205'c000'3510;
    constexpr std::uint64_t both = 0x0042'e205'b590'3510;
    constexpr std::uint64_t mair = 0x0004'ff44;
    return {
        {"invalid", {}},
        {"invalid, the rest full",
         {0xffff'ffff'7fff'ffff, 0xfedc'ba98'7654'3210, 0x0123'4567'89ab'cdef, 0xffff'0000'ffff'0000, 1, 2, 3, 4}},
        {"lower", {lower, 0x9400'0000, 0, mair}},
        {"lower, the rest full", {lower | 0x80'3590'0000, 0x9400'0000, 0x0000'ffff'ffff'fff2, mair}},
        {"lower, TTB0", {lower, 0x9400'8000, 0, mair}},
        {"lower, ASID", {lower + (std::uint64_t{1} << 48), 0x9400'0000, 0, mair}},
        {"lower, MAIR", {lower, 0x9400'0000, 0, mair + 0xbb00}},
        {"lower, not recorded", {lower & ~(std::uint64_t{1} << 45), 0x9400'0000, 0, mair}},
        {"both", {both, 0x9400'0000, 0x9500'0000, mair}},
        {"both, TTB1", {both, 0x9400'0000, 0x9500'8000, mair}},
        {"both, TTB0 and TTB1", {both, 0x9400'8000, 0x9500'8000, mair}},
        {"upper", {0x0042'e205'b590'4000, 0, 0x9500'0000, mair}},
        {"neither", {0x0042'e205'c000'4000, 0, 0, mair}},
    };
}

// As stream_changes, in the order of contexts().
constexpr char const* context_changes[] = {
    ".hhhhhhhhhhhh", // invalid
    "h.hhhhhhhhhhh", // invalid, the rest full
    "hh.hhhhhhhbhh", // lower
    "hhh.hhhhhhbhh", // lower, the rest full
    "hhhh.bbbbbhhh", // lower, TTB0
    "hhhhb.bhhhbhh", // lower, ASID
    "hhhhbb.bbbbbb", // lower, MAIR
    "hhhhbhb.hhbhh", // lower, not recorded
    "hhhhbhbh.hbhh", // both
    "hhhhbhbhh.hbh", // both, TTB1
    "hhbbhbbbbh.bh", // both, TTB0 and TTB1
    "hhhhhhbhhbb.h", // upper
    "hhhhhhbhhhhh.", // neither
};

smmu::stream_table_entry stream_named(char const* name) {
    for (named const& n : streams())
        if (std::string{n.name} == name) return to_entry<smmu::stream_table_entry>(n.e);
    return {};
}

auto set_context(std::uint64_t at, entry_words const& target, smmu::stream_table_entry const& stream, std::uint32_t pasid) {
    return [=](auto& c, auto const& flush) {
        return c.set(pa{at}, to_entry<smmu::context_descriptor>(target), smmu_unit::stream, pasid, stream, flush);
    };
}

void write_stream(world& w, smmu::stream_table_entry const& e) {
    for (std::size_t i = 0; i < 8; ++i)
        w.memory[smmu_unit::ste_at + i * 8] = e.word[i];
}

} // namespace

TEST_CASE("SMMU configure: after every store of every change of a context, hardware sees the old descriptor, the new or none") {
    struct place {
        char const* stream;
        std::uint64_t at;
        std::uint32_t pasid;
        command_words configuration;
        std::uint64_t vmid;
    };
    place const places[] = {
        {"stage 1", first_cd, 0, {0x0000'002a'0000'0805, 1}, 0x21},
        {"stage 1, CDMax", cd_table + 0x40, 1, {0x0000'002a'0000'1805, 1}, 0x21},
        {"nested", first_cd + behind, 0, {0x0000'002a'0000'0805, 1}, 0x17},
    };
    for (place const& p : places) {
        INFO(p.stream);
        world w;
        auto const stream = stream_named(p.stream);
        write_stream(w, stream);
        adversary a{w, p.at, [](entry_words const& e) { return counting_context(e, false); }};
        auto const all = contexts();
        std::set<int> behaviours;
        for (std::size_t from = 0; from < all.size(); ++from) {
            behaviours.insert(a.behaviour_of(all[from].e));
            for (std::size_t to = 0; to < all.size(); ++to) {
                entry_words const& old = all[from].e;
                command_words const translations{0x10 | p.vmid << 32, 0};
                try_pair(a, w, p.at, all[from], all[to], context_changes[from][to], context_owes(old, all[to].e), p.configuration,
                         translations, set_context(p.at, all[to].e, stream, p.pasid));
            }
        }
        CHECK(a.mixtures() > 1500);
        CHECK(behaviours.size() == all.size() - 2); // the invalid ones, and what is the lower half for each
    }
}

TEST_CASE("SMMU configure: in the EL2 world a descriptor has one half, and EPD0 says nothing") {
    world w;
    auto const stream = stream_named("stage 1, EL2");
    write_stream(w, stream);
    adversary a{w, first_cd, [](entry_words const& e) { return counting_context(e, true); }};
    auto const all = contexts();
    for (named const& old : all)
        for (named const& target : all) {
            INFO(pair_of(old, target));
            auto const c = a.change(old.e, target.e, set_context(first_cd, target.e, stream, 0));
            REQUIRE(c.ok);
            CHECK(w.get(first_cd) == target.e);
            bool const to_or_from_none = (old.e[0] >> 31 & 1) == 0 || (target.e[0] >> 31 & 1) == 0;
            if (!to_or_from_none) CHECK((c.kind == update_kind::breaking) == a.saw_invalid());
            check_owed(c, context_owes(old.e, target.e, true), {0x0000'002a'0000'0805, 1}, {0x20, 0});
        }
    // The upper table may change as it likes, EPD1 costs word 0.
    CHECK(a.change(all[8].e, all[9].e, set_context(first_cd, all[9].e, stream, 0)).steps.size() == 1);
    CHECK(a.change(all[2].e, all[9].e, set_context(first_cd, all[9].e, stream, 0)).kind == update_kind::hitless);
    CHECK(a.change(all[4].e, all[11].e, set_context(first_cd, all[11].e, stream, 0)).kind == update_kind::breaking);
}

TEST_CASE("SMMU configure: in the EL2 world with E2H there are two halves, and no VMID") {
    world w;
    w.unit.cr2 = 1;
    auto const stream = stream_named("stage 1, EL2");
    write_stream(w, stream);
    adversary a{w, first_cd, [](entry_words const& e) { return counting_context(e, false); }};
    auto const all = contexts();
    for (std::size_t from = 0; from < all.size(); ++from)
        for (std::size_t to = 0; to < all.size(); ++to)
            try_pair(a, w, first_cd, all[from], all[to], context_changes[from][to], context_owes(all[from].e, all[to].e),
                     {0x0000'002a'0000'0805, 1}, {0x20, 0}, set_context(first_cd, all[to].e, stream, 0));
}

TEST_CASE("SMMU configure: memory that fails in a change of a context") {
    world w;
    auto const stream = stream_named("stage 1");
    write_stream(w, stream);
    adversary a{w, first_cd, [](entry_words const& e) { return counting_context(e, false); }};
    auto const all = contexts();
    for (std::size_t from = 0; from < all.size(); ++from)
        for (std::size_t to = 0; to < all.size(); ++to) {
            if (from == to) continue;
            INFO(pair_of(all[from], all[to]));
            REQUIRE(a.change(all[from].e, all[to].e, set_context(first_cd, all[to].e, stream, 0)).ok);
            auto const stores = static_cast<unsigned>(std::count(w.memory.log.begin(), w.memory.log.end(), 's'));
            for (unsigned n = 0; n < stores; ++n) {
                CHECK_FALSE(a.change(all[from].e, all[to].e, set_context(first_cd, all[to].e, stream, 0), n).ok);
                if (context_changes[from][to] == 'h') CHECK_FALSE(a.saw_invalid());
            }
        }
}

// --- what S2.7 and S3.7 of docs/coverage.md list -----------------------------------------------------------------------------
// -----------------------------------------------------------------------------------

TEST_CASE("SMMU configure: each stage-2 field that translations may hold owes CFGI_STE and TLBI_S12_VMALL with the old VMID") {
    world w;
    adversary a{w, smmu_unit::ste_at, counting_stream};
    entry_words const old{0xd, incoming, d2, 0xa000'2000};
    struct flip {
        char const* field;
        std::size_t word;
        std::uint64_t bits;
    };
    flip const flips[] = {{"S2VMID", 2, 1},
                          {"S2T0SZ", 2, std::uint64_t{1} << 32},
                          {"S2SL0", 2, std::uint64_t{3} << 38},
                          {"S2IR0", 2, std::uint64_t{1} << 40},
                          {"S2OR0", 2, std::uint64_t{1} << 42},
                          {"S2SH0", 2, std::uint64_t{1} << 44},
                          {"S2TG", 2, std::uint64_t{1} << 46},
                          {"S2PS", 2, std::uint64_t{1} << 48},
                          {"S2AA64", 2, std::uint64_t{1} << 51},
                          {"S2ENDI", 2, std::uint64_t{1} << 52},
                          {"S2AFFD", 2, std::uint64_t{1} << 53},
                          {"S2PTW", 2, std::uint64_t{1} << 54},
                          {"S2HD", 2, std::uint64_t{1} << 55},
                          {"S2HA", 2, std::uint64_t{1} << 56},
                          {"S2HAFT", 2, std::uint64_t{1} << 59},
                          {"S2PIE", 2, std::uint64_t{1} << 60},
                          {"S2POE", 2, std::uint64_t{1} << 61},
                          {"S2SL0_2", 3, 4},
                          {"S2DS", 3, 8},
                          {"S2TTB", 3, 0x1000},
                          {"S2SKL", 3, std::uint64_t{1} << 61},
                          {"S2FWB", 1, std::uint64_t{1} << 25},
                          {"AssuredOnly", 5, std::uint64_t{1} << 9},
                          {"TL0", 5, std::uint64_t{1} << 10},
                          {"TL1", 5, std::uint64_t{1} << 11},
                          {"S2POI", 7, 1}};
    for (flip const& f : flips) {
        INFO(f.field);
        entry_words target = old;
        target[f.word] ^= f.bits;
        auto const c = a.change(old, target, set_stream(target));
        CHECK(c.kind == update_kind::hitless);
        REQUIRE(c.steps.size() == 1);
        CHECK(c.steps[0].owed == std::vector<command_words>{stale_stream, sync, {0x0000'0017'0000'0028, 0}, sync});
        // The same field in an entry without stage 2: nobody looks, and no translation is stale. S2VMID tags stage 1 too.
        if (std::string{f.field} == "S2VMID") continue;
        entry_words const without{0x9200'000b, d1, d2, 0xa000'2000};
        entry_words unseen = without;
        unseen[f.word] ^= f.bits;
        auto const u = a.change(without, unseen, set_stream(unseen));
        CHECK(u.kind == update_kind::hitless);
        REQUIRE(u.steps.size() == 1);
        CHECK(u.steps[0].owed == std::vector<command_words>{stale_stream, sync});
    }
}

TEST_CASE("SMMU configure: each descriptor field that translations may hold owes CFGI_CD and TLBI_NH_ALL with the VMID") {
    world w;
    auto const stream = stream_named("stage 1");
    write_stream(w, stream);
    adversary a{w, first_cd, [](entry_words const& e) { return counting_context(e, false); }};
    entry_words const old{0x0042'e205'b590'3510, 0x9400'0000, 0x9500'0000, 0x0004'ff44};
    struct flip {
        char const* field;
        std::size_t word;
        unsigned bit;
    };
    flip const flips[] = {
        {"T0SZ", 0, 0},  {"TG0", 0, 7},   {"IR0", 0, 8},   {"OR0", 0, 10},   {"SH0", 0, 13},   {"EPD0", 0, 14},   {"ENDI", 0, 15},
        {"T1SZ", 0, 16}, {"TG1", 0, 22},  {"IR1", 0, 24},  {"OR1", 0, 26},   {"SH1", 0, 28},   {"EPD1", 0, 30},   {"IPS", 0, 32},
        {"AFFD", 0, 35}, {"WXN", 0, 36},  {"UWXN", 0, 37}, {"TBI0", 0, 38},  {"TBI1", 0, 39},  {"PAN", 0, 40},    {"AA64", 0, 41},
        {"HD", 0, 42},   {"HA", 0, 43},   {"ASET", 0, 47}, {"ASID", 0, 48},  {"HAD0", 1, 1},   {"E0PD0", 1, 2},   {"HAFT", 1, 3},
        {"TTB0", 1, 12}, {"PnCH", 1, 58}, {"EPAN", 1, 59}, {"HAD1", 2, 1},   {"E0PD1", 2, 2},  {"AIE", 2, 3},     {"TTB1", 2, 12},
        {"DS", 2, 58},   {"PIE", 2, 59},  {"MAIR0", 3, 3}, {"MAIR1", 3, 40}, {"AMAIR0", 4, 0}, {"AMAIR1", 4, 32}, {"PIIU", 6, 0},
        {"PIIP", 7, 0}};
    for (flip const& f : flips) {
        INFO(f.field);
        entry_words target = old;
        target[f.word] ^= std::uint64_t{1} << f.bit;
        auto const c = a.change(old, target, set_context(first_cd, target, stream, 0));
        CHECK(c.kind == update_kind::hitless);
        REQUIRE(c.steps.size() == 1);
        CHECK(c.steps[0].owed == std::vector<command_words>{{0x0000'002a'0000'0805, 1}, sync, {0x0000'0021'0000'0010, 0}, sync});
    }
}

TEST_CASE("SMMU configure: a bit that is not used can change without any effect") {
    world w;
    for (bool const e2h : {false, true}) {
        w.unit.cr2 = e2h;
        adversary streams_there{w, smmu_unit::ste_at, counting_stream};
        for (named const& n : streams()) {
            auto const used = smmu::used_bits(to_entry<smmu::stream_table_entry>(n.e));
            for (unsigned b = 0; b < 512; ++b) {
                if ((used.word[b / 64] >> b % 64 & 1) != 0) continue;
                entry_words other = n.e;
                other[b / 64] ^= one_bit(b % 64);
                if (counting_stream(other) == counting_stream(n.e) &&
                    streams_there.behaviour_of(other) == streams_there.behaviour_of(n.e))
                    continue;
                FAIL(n.name << ", bit " << b);
            }
        }
    }
    for (bool const e2h : {false, true})
        for (char const* name : {"stage 1", "stage 1, EL2"}) {
            w.unit.cr2 = e2h;
            auto const stream = stream_named(name);
            write_stream(w, stream);
            auto const of = smmu::world_of(stream, w.unit.caps(), w.unit.registers());
            bool const one_half = of == smmu::stream_world::el2;
            adversary contexts_there{w, first_cd, [=](entry_words const& e) { return counting_context(e, one_half); }};
            for (named const& n : contexts()) {
                auto const used = smmu::used_bits(to_entry<smmu::context_descriptor>(n.e), of);
                for (unsigned b = 0; b < 512; ++b) {
                    if ((used.word[b / 64] >> b % 64 & 1) != 0) continue;
                    entry_words other = n.e;
                    other[b / 64] ^= one_bit(b % 64);
                    if (counting_context(other, one_half) == counting_context(n.e, one_half) &&
                        contexts_there.behaviour_of(other) == contexts_there.behaviour_of(n.e))
                        continue;
                    FAIL(name << ", " << n.name << ", bit " << b);
                }
            }
        }
}

TEST_CASE("SMMU configure: random changes of random entries") {
    world w;
    random_bits random{0x2701};
    unsigned kinds[3]{};
    auto const vary = [&](entry_words e) {
        for (std::uint64_t n = random.below(6); n > 0; --n) {
            std::uint64_t const word = random.one_in(4) ? random.below(8) : random.below(4);
            e[word] ^= one_bit(random.small(64));
        }
        return e;
    };
    {
        adversary a{w, smmu_unit::ste_at, counting_stream};
        auto const all = streams();
        for (unsigned n = 0; n < 1500; ++n) {
            entry_words const old = vary(all[random.below(all.size())].e);
            entry_words const target = random.one_in(3) ? vary(old) : vary(all[random.below(all.size())].e);
            CAPTURE(old, target);
            auto const c = a.change(old, target, set_stream(target));
            REQUIRE(c.ok);
            ++kinds[static_cast<std::size_t>(c.kind)];
            CHECK(w.get(smmu_unit::ste_at) == target);
            CHECK((c.kind == update_kind::breaking || !a.saw_invalid()));
            check_owed(c, stream_owes(old, target), stale_stream, stale_translations(old));
        }
    }
    auto const stream = stream_named("stage 1");
    write_stream(w, stream);
    adversary a{w, first_cd, [](entry_words const& e) { return counting_context(e, false); }};
    auto const all = contexts();
    for (unsigned n = 0; n < 1500; ++n) {
        entry_words const old = vary(all[random.below(all.size())].e);
        entry_words const target = random.one_in(3) ? vary(old) : vary(all[random.below(all.size())].e);
        CAPTURE(old, target);
        auto const c = a.change(old, target, set_context(first_cd, target, stream, 0));
        REQUIRE(c.ok);
        ++kinds[static_cast<std::size_t>(c.kind)];
        CHECK((c.kind == update_kind::breaking || !a.saw_invalid()));
        check_owed(c, context_owes(old, target), {0x0000'002a'0000'0805, 1}, {0x0000'0021'0000'0010, 0});
    }
    for (unsigned const n : kinds)
        CHECK(n > 50);
}

TEST_CASE("SMMU configure: S2S, S2R, what requests come with, and S, R, A owe no invalidation of translations") {
    world w;
    adversary a{w, smmu_unit::ste_at, counting_stream};
    entry_words const old{0x9200'000f, d1, d2, 0xa000'2000};
    struct flip {
        std::size_t word;
        unsigned bit;
    };
    for (flip const f : {flip{2, 57}, {2, 58}, {1, 0}, {1, 27}, {1, 28}, {1, 36}, {1, 45}, {1, 48}, {1, 50}}) {
        CAPTURE(f.word, f.bit);
        entry_words target = old;
        target[f.word] ^= one_bit(f.bit);
        auto const c = a.change(old, target, set_stream(target));
        CHECK(c.kind == update_kind::hitless);
        REQUIRE(c.steps.size() == 1);
        CHECK(c.steps[0].owed == std::vector<command_words>{stale_stream, sync});
    }
    auto const stream = stream_named("stage 1");
    write_stream(w, stream);
    adversary b{w, first_cd, [](entry_words const& e) { return counting_context(e, false); }};
    for (unsigned const bit : {44u, 45u, 46u}) {
        entry_words target = lower_cd;
        target[0] ^= one_bit(bit);
        auto const c = b.change(lower_cd, target, set_context(first_cd, target, stream, 0));
        CHECK(c.kind == update_kind::hitless);
        REQUIRE(c.steps.size() == 1);
        CHECK(c.steps[0].owed == std::vector<command_words>{{0x0000'002a'0000'0805, 1}, sync});
    }
}

TEST_CASE("SMMU configure: changes are made at compile time too") {
    constexpr auto used = smmu::used_bits(smmu::stream_table_entry{1});
    static_assert(used.word[0] == 0xf && used.word[1] == 0);
    constexpr auto none = smmu::used_bits(smmu::context_descriptor{}, smmu::stream_world::el1);
    static_assert(none.word[0] == 0x8000'0000 && none.word[1] == 0);
    CHECK(smmu::used_bits(smmu::stream_table_entry{}).word[0] == 1);
}

} // namespace stagewalk::test
