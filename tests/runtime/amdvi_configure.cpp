// Making device table entries, and writing them: an IOMMU that fetches the entry after every single store, and keeps what it has
// fetched since the owed commands last ran, lets no request through that neither the old entry nor the new one would. And the
// commands that are owed.
#include "amdvi_unit.hpp"
#include "host_memory.hpp"
#include "model/random_bits.hpp"

#include <stagewalk/amdvi/configure.hpp>
#include <stagewalk/amdvi/interrupt.hpp>

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

using entry_words = std::array<std::uint64_t, 4>;
using command_words = std::array<std::uint64_t, 2>;
using stores = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

constexpr std::uint64_t at = amdvi_unit::dte_at;
constexpr std::uint16_t device = amdvi_unit::device;

// Memory that can be written, logs stores (s) and publications (p), lets somebody look after each store, and fails when told.
struct stored_memory : watched_memory<pa> {
    outcome<bool, memory_error> store(pa a, std::uint64_t value) noexcept {
        if (stores_left == 0) return failure{memory_error::outside};
        --stores_left;
        log += 's';
        made.emplace_back(a.value, value);
        (*this)[a.value] = value;
        if (look) look();
        return true;
    }
    void publish(pa a, std::uint64_t bytes) noexcept {
        log += 'p';
        published.emplace_back(a.value, bytes);
    }

    std::string log;
    stores made;
    stores published;
    std::function<void()> look{};
    unsigned stores_left{1000};
};
static_assert(table_memory<stored_memory>);

entry_words words_of(amdvi::device_table_entry const& e) { return {e.word[0], e.word[1], e.word[2], e.word[3]}; }
amdvi::device_table_entry entry_of(entry_words const& w) { return amdvi::device_table_entry{w[0], w[1], w[2], w[3]}; }

// --- what requests become -----------------------------------------------------------------------------------------------------

// What becomes of a request or a message: nothing, or where it goes.
struct fate {
    bool passes{};
    std::array<std::uint64_t, 4> to{};

    friend bool operator==(fate const&, fate const&) = default;
    friend auto operator<=>(fate const&, fate const&) = default;
};
struct fates {
    std::vector<fate> requests;
    std::vector<fate> interrupts;

    friend auto operator<=>(fates const&, fates const&) = default;
};

constexpr std::uint64_t host_a = 0x100'0000;  // Mode 3
constexpr std::uint64_t host_b = 0x110'0000;  // Mode 3
constexpr std::uint64_t grown_a = 0x120'0000; // Mode 6, over host_a
constexpr std::uint64_t gcr3_c = 0x500'0000;
constexpr std::uint64_t gcr3_d = 0x500'8000; // differs from c in word 1 alone
constexpr std::uint64_t gcr3_e = 0x500'9000; // in both words
constexpr std::uint64_t gcr3_f = 0x501'0000; // of five levels
constexpr std::uint32_t pasid = 0x23;
constexpr std::uint64_t ints_1 = 0x300'0000;
constexpr std::uint64_t ints_2 = 0x300'1000;

// An IOMMU with tables for every entry that the cases use. Each table leads to a page of its own.
struct world {
    amdvi_unit unit{amdvi_kind::identity};
    stored_memory memory{};

    world() {
        host(host_a, 0x9abc'd000, 4);
        host(host_b, 0x8abc'd000, 5);
        memory[grown_a] = 0x6000'0000'0120'1a01; // levels 6 and 5
        memory[grown_a + 0x1000] = 0x6000'0000'0120'2801;
        memory[grown_a + 0x2000] = 0x6000'0000'0100'0601;
        guest(gcr3_c, 0x600'0000, 0x1'2345'6000);
        guest(gcr3_d, 0x601'0000, 0x1'3345'6000);
        guest(gcr3_e, 0x602'0000, 0x1'4345'6000);
        guest(gcr3_f, 0x603'0000, 0x1'5345'6000);
        // Where no entry leads, but halves of two.
        guest(0x500'1000, 0x604'0000, 0x1'6345'6000);
        guest(0x1000, 0x605'0000, 0x1'7345'6000);
        memory[gcr3_f] = memory[gcr3_f + pasid * 8] = 0x603'8001;
        memory[0x603'8000] = 0x603'0027;
        for (std::uint64_t const table : {ints_1, ints_2}) {
            memory[table + 0x88] = (table == ints_1 ? 0x41'0301ull : 0x42'0301ull) << 32; // index 23h
            memory[table + 0x80] = 0;
        }
        memory[at] = 0;
    }

    // Mode 3: amdvi_unit::host_at to `page`, the first 4 GiB to themselves, and to the next four `up` is added.
    void host(std::uint64_t root, std::uint64_t page, std::uint64_t up) {
        for (std::uint64_t i = 0; i < 8; ++i)
            memory[root + i * 8] = 0x6000'0000'0000'0001 | (i < 4 ? i : i + up) << 30;
        memory[root + 0xe0] = (root + 0x1000) | 0x6000'0000'0000'0401;
        memory[root + 0x18d0] = (root + 0x2000) | 0x6000'0000'0000'0201;
        memory[root + 0x22b0] = page | 0x6000'0000'0000'0001;
    }
    // amdvi_unit::guest_at of PASID 0 and `pasid` to `page`.
    void guest(std::uint64_t gcr3, std::uint64_t root, std::uint64_t page) {
        memory[gcr3] = memory[gcr3 + pasid * 8] = root | 1;
        memory[root + 0x7f0] = (root + 0x1000) | 0x27;
        memory[root + 0x1240] = (root + 0x2000) | 0x27;
        memory[root + 0x2d10] = (root + 0x3000) | 0x27;
        memory[root + 0x3b38] = page | 0x67;
    }

    void put(entry_words const& e) {
        for (std::size_t w = 0; w < 4; ++w)
            memory[at + w * 8] = e[w];
    }
    [[nodiscard]] entry_words get() {
        entry_words e{};
        for (std::size_t w = 0; w < 4; ++w)
            e[w] = memory[at + w * 8];
        return e;
    }

    // What an IOMMU with this entry does with every kind of request and message. It writes no accessed bits.
    fates const& fates_of(entry_words const& e) {
        auto const known = fates_.find(e);
        if (known != fates_.end()) return known->second;
        entry_words const there = get();
        put(e);
        fates all;
        judged_only<stored_memory> looked_at{&memory};
        for (auto const ht : {amdvi::ht_range::ordinary, amdvi::ht_range::reserved}) {
            unit.rules.ht = ht;
            amdvi::iommu const hardware{unit.caps(), unit.registers, looked_at, amdvi::settings{unit.rules, false, true}};
            for (std::uint64_t const address : {amdvi_unit::host_at, amdvi_unit::guest_at, std::uint64_t{0x5000},
                                                std::uint64_t{0xfd'f910'0000}, std::uint64_t{0xfd'fc00'0000}})
                for (std::uint32_t const p : {amdvi::no_pasid, std::uint32_t{0}, pasid})
                    for (auto const type :
                         {amdvi::request_type::untranslated, amdvi::request_type::translation, amdvi::request_type::translated})
                        for (access const a : {read, write}) {
                            auto const answer = hardware.translate({device, iova{address}, a, p, type});
                            // Whoever asks and is told that there is nothing does not pass.
                            if (answer && answer->effective.rights() != none)
                                all.requests.push_back({true,
                                                        {answer->output.value, answer->effective.bits, answer->lg2_size,
                                                         static_cast<std::uint64_t>(answer->by)}});
                            else
                                all.requests.push_back({});
                        }
        }
        amdvi::interrupt_remapping const remapping{unit.caps(), unit.registers, looked_at};
        for (std::uint32_t const data : {0x23u, 0x123u, 0x200u, 0x400u, 0x21u, 0x300u}) {
            auto const answer = remapping.remap({device, 0xfee0'0000, data});
            if (answer)
                all.interrupts.push_back(
                    {true, {static_cast<std::uint64_t>(answer->how), answer->target.vector, answer->target.destination, 0}});
            else
                all.interrupts.push_back({});
        }
        memory.forget();
        put(there);
        return fates_.emplace(e, std::move(all)).first->second;
    }

private:
    std::map<entry_words, fates> fates_;
};

// --- the adversary ------------------------------------------------------------------------------------------------------------

struct change {
    bool ok{};
    std::vector<command_words> owed;
    std::vector<entry_words> seen; // by hardware: the old entry, and after each store
};

class adversary {
public:
    explicit adversary(world& w) : w_{w} {}

    change set(entry_words const& old, entry_words const& target, unsigned stores_left = 1000, std::uint8_t outstanding = 1) {
        change out;
        w_.put(old);
        w_.memory.forget();
        w_.memory.log.clear();
        w_.memory.made.clear();
        w_.memory.published.clear();
        w_.memory.stores_left = stores_left;
        out.seen.push_back(old);
        w_.memory.look = [&] { out.seen.push_back(w_.get()); };
        amdvi::configurator configure{w_.unit.caps(), w_.memory};
        auto const result = configure.set(pa{at}, entry_of(target), device, {outstanding, device});
        w_.memory.look = {};
        w_.memory.stores_left = 1000;
        out.ok = static_cast<bool>(result);
        for (std::size_t i = 0; result && i < result->count; ++i)
            out.owed.push_back({result->word[i][0], result->word[i][1]});
        return out;
    }

    // Until the owed commands run, hardware uses any of what it saw.
    void judge(change const& c, entry_words const& old, entry_words const& target) {
        fates const& before = w_.fates_of(old);
        fates const& after = w_.fates_of(target);
        for (entry_words const& e : c.seen) {
            fates const& now = w_.fates_of(e);
            unsigned wrong = 0;
            for (std::size_t i = 0; i < now.requests.size(); ++i) {
                bool const passes = now.requests[i].passes;
                wrong += passes && now.requests[i] != before.requests[i] && now.requests[i] != after.requests[i];
                refused_ += !passes && before.requests[i].passes && after.requests[i].passes;
                ++judged_;
            }
            for (std::size_t i = 0; i < now.interrupts.size(); ++i)
                wrong += now.interrupts[i] != before.interrupts[i] && now.interrupts[i] != after.interrupts[i];
            if (wrong != 0) UNSCOPED_INFO(std::hex << e[0] << ' ' << e[1] << ' ' << e[2] << ' ' << e[3]);
            CHECK(wrong == 0);
        }
    }
    // Requests that were lost between two entries that both let them pass.
    [[nodiscard]] std::uint64_t refused() const { return refused_; }
    [[nodiscard]] std::uint64_t judged() const { return judged_; }

private:
    world& w_;
    std::uint64_t refused_{};
    std::uint64_t judged_{};
};

struct named {
    char const* name;
    entry_words e;
};

constexpr std::uint64_t iotlb = 0x1'0000'0000;
constexpr std::uint64_t with_1 = 0x2000'0000'0300'0013; // IV, 512 entries at ints_1, IntCtl = 2
constexpr std::uint64_t with_2 = 0x2000'0000'0300'1013;

// Legal entries, as raw words: of each state more than one, and such that differ in one word only.
std::vector<named> states() {
    return {
        {"zeros", {}},
        {"V = 0, the rest full", {0x7fff'ffff'ffff'fffe, 0xffff'ffff'ffff'ffff, 0xffff'ffff'ffff'fffe, 0xffff'ffff'ffff'ffff}},
        {"V = 0, interrupts", {0, 0, with_1, 0}},
        {"blocked", {0x1, 0x11}},
        {"blocked, other domain", {0x1, 0x12}},
        {"blocked, IOTLB", {0x1, 0x11 | iotlb}},
        {"blocked, interrupts", {0x1, 0x11, with_1, 0}},
        {"identity", {0x6000'0000'0000'0003, 0x13}},
        {"identity, read only", {0x2000'0000'0000'0003, 0x13}},
        {"identity, IOTLB", {0x6000'0000'0000'0003, 0x13 | iotlb}},
        {"identity, interrupts", {0x6000'0000'0000'0003, 0x13, with_2, 0}},
        {"host A", {0x6000'0000'0100'0603, 0x20}},
        {"host A, read only", {0x2000'0000'0100'0603, 0x20}},
        {"host A, kept", {0x6000'0000'0100'0783, 0x20}},
        {"host A, grown", {0x6000'0000'0120'0c03, 0x20}},
        {"host A, IOTLB", {0x6000'0000'0100'0603, 0x20 | iotlb}},
        {"host A, system management and ports", {0x6000'0000'0100'0603, 0x20 | iotlb | 0x0108'0000'0000}},
        {"host A, interrupts", {0x6000'0000'0100'0603, 0x20, with_1, 0}},
        {"host A, other interrupts", {0x6000'0000'0100'0603, 0x20, with_2, 0}},
        {"host A, interrupts of a guest", {0x6000'0000'0100'0603, 0x20, with_2, 0x0000'1234'5678'0000}},
        {"host B", {0x6000'0000'0110'0603, 0x21}},
        {"host B, domain of A", {0x6000'0000'0110'0603, 0x20}},
        {"guest C", {0x60c0'0000'0000'0003, 0x0a00'0030}},
        {"guest C, tagged only", {0x6080'0000'0000'0003, 0x0a00'0030}},
        {"guest D", {0x60c0'0000'0000'0003, 0x0a01'0030}},
        {"guest E", {0x64c0'0000'0000'0003, 0x0a01'0030}},
        {"guest F, five levels", {0x60c0'0000'0000'0003, 0x0a02'0030, 0x0040'0000'0000'0000, 0}},
        {"guest F, IOTLB and interrupts", {0x60c0'0000'0000'0003, 0x0a02'0031 | iotlb, 0x0040'0000'0000'0000 | with_1, 0}},
        {"nested A and C", {0x60c0'0000'0100'0603, 0x0a00'0040}},
        {"nested B and C", {0x60c0'0000'0110'0603, 0x0a00'0040}},
        {"nested B and E, IOTLB", {0x64c0'0000'0110'0603, 0x0a01'0041 | iotlb}},
    };
}
entry_words state(char const* name) {
    auto const all = states();
    auto const found = std::find_if(all.begin(), all.end(), [&](named const& n) { return std::string{n.name} == name; });
    REQUIRE(found != all.end());
    return found->e;
}

bool is_valid(entry_words const& e) { return (e[0] & 1) != 0; }
unsigned words_changed(entry_words const& a, entry_words const& b) {
    unsigned n = 0;
    for (std::size_t w = 0; w < 4; ++w)
        n += a[w] != b[w];
    return n;
}

// The commands after a change, in the manual's order.
std::vector<command_words> owed_for(entry_words const& old, entry_words const& target, std::uint64_t outstanding = 1) {
    if (old == target) return {};
    std::vector<command_words> owed{{0x2000'0000'0000'00a5, 0}};
    bool const has_tables = (old[0] & 0xe00) != 0 || (old[0] >> 55 & 1) != 0; // Mode, GV
    if ((old[0] & 3) == 3 && has_tables) owed.push_back({0x3000'0000'0000'0000 | (old[1] & 0xffff) << 32, 0x7fff'ffff'ffff'f003});
    bool const interrupts = old[2] != target[2] || old[3] != target[3];
    if (interrupts && (old[2] & 1) != 0) owed.push_back({0x5000'0000'0000'00a5, 0});
    // While V is 0, a device is told that every address is its own.
    if (((is_valid(old) ? old[1] : is_valid(target) ? target[1] : 0) & iotlb) != 0)
        owed.push_back({0x4000'00a5'0000'00a5 | outstanding << 24, 0x7fff'ffff'ffff'f001});
    return owed;
}

std::string pair_of(named const& old, named const& target) { return std::string{old.name} + " -> " + target.name; }

// Each store is shown before the next is made.
void check_log(stored_memory const& m) {
    REQUIRE(m.published.size() == m.made.size());
    for (std::size_t i = 0; i < m.made.size(); ++i) {
        CHECK(m.log.substr(i * 2, 2) == "sp");
        CHECK(m.published[i].first == m.made[i].first);
        CHECK(m.published[i].second == 8);
    }
}

} // namespace

// --- writing ----------------------------------------------------------------------------------------------------------------

TEST_CASE("AMD-Vi configure: after every store of every change, no request passes that neither entry would let pass") {
    world w;
    adversary a{w};
    auto const all = states();
    std::set<fates> different;
    for (named const& old : all) {
        different.insert(w.fates_of(old.e));
        for (named const& target : all) {
            INFO(pair_of(old, target));
            change const c = a.set(old.e, target.e);
            REQUIRE(c.ok);
            CHECK(w.get() == target.e);
            CHECK(c.seen.back() == target.e);
            a.judge(c, old.e, target.e);
            CHECK(c.owed == owed_for(old.e, target.e));
            check_log(w.memory);
            unsigned const n = words_changed(old.e, target.e);
            if (n <= 1) CHECK(w.memory.made.size() == n);
            CHECK(w.memory.made.size() <= 5);
            // Whatever had to be valid is valid at every moment.
            for (entry_words const& e : c.seen)
                if (is_valid(old.e) && is_valid(target.e)) CHECK(is_valid(e));
        }
    }
    CHECK(a.judged() > 300'000);
    CHECK(a.refused() > 1000);
    // Only the blocked ones are alike, the shallow and the deep tables, and entries that differ in what is kept.
    CHECK(different.size() == all.size() - 6);
}

TEST_CASE("AMD-Vi configure: entries written in another order would let requests astray") {
    // The adversary itself: word after word, upwards and downwards, without stepping aside.
    world w;
    adversary a{w};
    auto const astray = [&](entry_words const& old, entry_words const& target, bool upwards) {
        fates const& before = w.fates_of(old);
        fates const& after = w.fates_of(target);
        entry_words e = old;
        unsigned wrong = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            std::size_t const word = upwards ? i : 3 - i;
            e[word] = target[word];
            fates const& now = w.fates_of(e);
            for (std::size_t k = 0; k < now.requests.size(); ++k)
                wrong += now.requests[k].passes && now.requests[k] != before.requests[k] && now.requests[k] != after.requests[k];
        }
        return wrong;
    };
    for (bool const upwards : {false, true}) {
        CHECK(astray(state("guest C"), state("guest E"), upwards) > 0);
        CHECK(astray(state("guest F, five levels"), state("nested A and C"), upwards) > 0);
    }
    CHECK(astray(state("zeros"), state("guest E"), true) > 0);
    CHECK(astray(state("zeros"), state("guest E"), false) == 0);
}

TEST_CASE("AMD-Vi configure: a change of one word is one store, seen as the old entry or the new") {
    world w;
    adversary a{w};
    auto const hitless = [&](char const* from, char const* to, std::size_t word) {
        INFO(from << " -> " << to);
        entry_words const old = state(from);
        entry_words const target = state(to);
        change const c = a.set(old, target);
        REQUIRE(c.ok);
        CHECK(w.memory.made == stores{{at + word * 8, target[word]}});
        CHECK(c.seen == std::vector<entry_words>{old, target});
    };
    // Three levels to six: root and depth at once, and back.
    hitless("host A", "host A, grown", 0);
    hitless("host A, grown", "host A", 0);
    CHECK(w.fates_of(state("host A")).requests[0] == w.fates_of(state("host A, grown")).requests[0]);
    CHECK(w.fates_of(state("host A")).requests[0].passes);
    hitless("host A", "host A, kept", 0);
    hitless("host A", "host A, read only", 0);
    hitless("host A", "host B, domain of A", 0);
    hitless("blocked", "blocked, other domain", 1);
    hitless("host A", "host A, IOTLB", 1);
    hitless("guest C", "guest D", 1); // the GCR3 root, as far as word 1 has it
    hitless("guest C", "guest C, tagged only", 0);
    hitless("nested A and C", "nested B and C", 0);
    hitless("zeros", "V = 0, interrupts", 2);
    hitless("host A", "host A, interrupts", 2);
    hitless("host A, interrupts", "host A, other interrupts", 2);
    hitless("host A, other interrupts", "host A, interrupts of a guest", 3);
}

TEST_CASE("AMD-Vi configure: store by store, an entry that comes, one that goes, and one that is replaced") {
    world w;
    adversary a{w};
    auto const made = [&](entry_words const& old, entry_words const& target) {
        REQUIRE(a.set(old, target).ok);
        return w.memory.made;
    };
    entry_words const full{0x60c0'0000'0000'0003, 0x0a02'0031 | iotlb, 0x0040'0000'0000'0000 | with_1, 0x0000'1234'5678'0000};
    // What comes: word 0 last, and word 2 with IV after word 3.
    CHECK(made({}, full) == stores{{at + 24, full[3]}, {at + 16, full[2]}, {at + 8, full[1]}, {at, full[0]}});
    // What goes steps aside first, and IV goes before word 3.
    CHECK(made(full, {}) == stores{{at, 1}, {at + 16, 0}, {at + 24, 0}, {at + 8, 0}, {at, 0}});
    // What is replaced steps aside, even if its first word stays: GPM lies in word 2.
    CHECK(made(full, {full[0], 0x0a00'0032, with_1, full[3]}) ==
          stores{{at, 1}, {at + 16, with_1}, {at + 8, 0x0a00'0032}, {at, full[0]}});
    // Of words 2 and 3 memory requests see GPM alone.
    CHECK(made(full, {full[0], 0x0a02'0032, full[2], 0}) == stores{{at + 24, 0}, {at + 8, 0x0a02'0032}});
    // V = 0 and remains so: nothing to step aside from.
    CHECK(made({0, 5, 0, 0}, {2, 6, 0, 0}) == stores{{at + 8, 6}, {at, 2}});
    // Nothing changes: nothing is written and nothing owed.
    for (named const& same : states()) {
        change const c = a.set(same.e, same.e);
        CHECK(c.ok);
        CHECK(c.owed.empty());
        CHECK(w.memory.log.empty());
        CHECK(w.memory.trail == std::vector<std::uint64_t>{at, at + 8, at + 16, at + 24});
    }
}

TEST_CASE("AMD-Vi configure: memory that fails at any store leaves requests refused, or the old entry") {
    world w;
    adversary a{w};
    auto const all = states();
    std::uint64_t half_way = 0;
    for (named const& old : all)
        for (named const& target : all) {
            INFO(pair_of(old, target));
            auto const whole = static_cast<unsigned>(a.set(old.e, target.e).seen.size() - 1);
            for (unsigned n = 0; n < whole; ++n) {
                change const c = a.set(old.e, target.e, n);
                CHECK_FALSE(c.ok);
                CHECK(c.owed.empty());
                CHECK(w.memory.made.size() == n);
                entry_words const left = w.get();
                a.judge(c, old.e, target.e);
                if (n == 0) CHECK(left == old.e);
                fates const& now = w.fates_of(left);
                fates const& before = w.fates_of(old.e);
                if (!is_valid(old.e)) CHECK(now.requests == before.requests);
                if (n == 0 || !is_valid(old.e)) continue;
                ++half_way;
                if ((left[0] & 3) != 1) { // it did not have to step aside
                    CHECK((now.requests == before.requests || now.requests == w.fates_of(target.e).requests));
                    continue;
                }
                // All are refused, but for what was translated before and what system management and ports let pass.
                for (std::size_t i = 0; i < now.requests.size(); ++i)
                    if (i % 6 < 4 && i < now.requests.size() / 2) CHECK_FALSE(now.requests[i].passes);
            }
        }
    CHECK(half_way > 500);
}

TEST_CASE("AMD-Vi configure: an entry that cannot be read is told, and nothing is written") {
    for (std::uint64_t word = 0; word < 4; ++word) {
        world w;
        adversary a{w};
        w.memory.poison(at + word * 8);
        CHECK_FALSE(a.set(state("host A"), state("guest C")).ok);
        CHECK(w.memory.log.empty());
        CHECK(w.memory.trail.size() == word + 1);
    }
}

// --- the owed commands ------------------------------------------------------------------------------------------------------

TEST_CASE("AMD-Vi configure: the commands that are owed, word by word") {
    world w;
    adversary a{w};
    using commands = std::vector<command_words>;
    auto const owed = [&](char const* from, char const* to) { return a.set(state(from), state(to)).owed; };
    constexpr command_words entry{0x2000'0000'0000'00a5, 0};
    // Nothing was translated.
    CHECK(owed("zeros", "host A") == commands{entry});
    CHECK(owed("V = 0, the rest full", "host A") == commands{entry});
    CHECK(owed("blocked", "host A") == commands{entry});
    CHECK(owed("identity", "host A") == commands{entry});
    // The old domain, not the new one.
    CHECK(owed("host A", "host B") == commands{entry, {0x3000'0020'0000'0000, 0x7fff'ffff'ffff'f003}});
    CHECK(owed("host B", "host A") == commands{entry, {0x3000'0021'0000'0000, 0x7fff'ffff'ffff'f003}});
    CHECK(owed("guest C", "zeros") == commands{entry, {0x3000'0030'0000'0000, 0x7fff'ffff'ffff'f003}});
    CHECK(owed("nested A and C", "blocked") == commands{entry, {0x3000'0040'0000'0000, 0x7fff'ffff'ffff'f003}});
    CHECK(owed("host A", "host A, grown") == commands{entry, {0x3000'0020'0000'0000, 0x7fff'ffff'ffff'f003}});
    // The IOTLB of the old entry, not of the new one.
    CHECK(owed("blocked, IOTLB", "blocked") == commands{entry, {0x4000'00a5'0100'00a5, 0x7fff'ffff'ffff'f001}});
    CHECK(owed("blocked", "blocked, IOTLB") == commands{entry});
    CHECK(owed("zeros", "blocked, IOTLB") == commands{entry, {0x4000'00a5'0100'00a5, 0x7fff'ffff'ffff'f001}});
    CHECK(owed("identity, IOTLB", "blocked") == commands{entry, {0x4000'00a5'0100'00a5, 0x7fff'ffff'ffff'f001}});
    // Interrupts that were remapped, if they change.
    CHECK(owed("V = 0, interrupts", "zeros") == commands{entry, {0x5000'0000'0000'00a5, 0}});
    CHECK(owed("blocked", "blocked, interrupts") == commands{entry});
    CHECK(owed("blocked, interrupts", "blocked") == commands{entry, {0x5000'0000'0000'00a5, 0}});
    CHECK(owed("host A, interrupts", "host A, other interrupts") ==
          commands{entry, {0x3000'0020'0000'0000, 0x7fff'ffff'ffff'f003}, {0x5000'0000'0000'00a5, 0}});
    CHECK(owed("host A, other interrupts", "host A, interrupts of a guest") ==
          commands{entry, {0x3000'0020'0000'0000, 0x7fff'ffff'ffff'f003}, {0x5000'0000'0000'00a5, 0}});
    // All of them; interrupts stay as they are in the second.
    CHECK(owed("guest F, IOTLB and interrupts", "zeros") == commands{entry,
                                                                     {0x3000'0031'0000'0000, 0x7fff'ffff'ffff'f003},
                                                                     {0x5000'0000'0000'00a5, 0},
                                                                     {0x4000'00a5'0100'00a5, 0x7fff'ffff'ffff'f001}});
    CHECK(owed("host A, interrupts", "blocked, interrupts") == commands{entry, {0x3000'0020'0000'0000, 0x7fff'ffff'ffff'f003}});
    // As many invalidations at a time as the device takes.
    CHECK(a.set(state("host A, IOTLB"), {}, 1000, 0x20).owed.back() ==
          command_words{0x4000'00a5'2000'00a5, 0x7fff'ffff'ffff'f001});
}

TEST_CASE("AMD-Vi configure: every owed command is legal, and drops what the old entry left and nothing of the new domain") {
    world w;
    adversary a{w};
    auto const all = states();
    for (named const& old : all)
        for (named const& target : all) {
            if (old.e == target.e) continue;
            INFO(pair_of(old, target));
            std::vector<amdvi::invalidation> stale;
            for (command_words const& c : a.set(old.e, target.e).owed) {
                std::uint64_t const word[2]{c[0], c[1]};
                auto const decoded = amdvi::decode(word, w.unit.caps());
                REQUIRE(decoded);
                stale.push_back(decoded->stale);
            }
            auto const drops = [&](amdvi::cache c, amdvi::cache_tag const& t) {
                return std::any_of(stale.begin(), stale.end(), [&](auto const& s) { return s.drops(c, t); });
            };
            auto const domain = static_cast<std::uint16_t>(old.e[1]);
            for (std::uint32_t const p : {0u, pasid, 0xf'ffffu})
                for (std::uint64_t const page : {std::uint64_t{0}, amdvi_unit::host_at, every_bit}) {
                    amdvi::cache_tag const mine{device, domain, p, range<iova>::between(iova{page}, iova{page | 0xfff})};
                    CHECK(drops(amdvi::cache::device_entry, mine));
                    CHECK(drops(amdvi::cache::gcr3, mine));
                    CHECK(drops(amdvi::cache::guest_tables, mine));
                    bool const has_tables = (old.e[0] & 0xe00) != 0 || (old.e[0] >> 55 & 1) != 0;
                    bool const translated = (old.e[0] & 3) == 3 && has_tables;
                    for (auto const c : {amdvi::cache::host, amdvi::cache::guest, amdvi::cache::host_tables})
                        CHECK(drops(c, mine) == translated);
                    bool const remapped = (old.e[2] & 1) != 0 && (old.e[2] != target.e[2] || old.e[3] != target.e[3]);
                    CHECK(drops(amdvi::cache::interrupt, mine) == remapped);
                    CHECK(drops(amdvi::cache::interrupt_table, mine));
                    CHECK(drops(amdvi::cache::device, mine) == (((is_valid(old.e)      ? old.e[1]
                                                                  : is_valid(target.e) ? target.e[1]
                                                                                       : 0) &
                                                                 iotlb) != 0));
                    // Of other devices and of other domains nothing.
                    amdvi::cache_tag other = mine;
                    other.source = device + 1;
                    other.domain = static_cast<std::uint16_t>(domain + 1);
                    for (std::size_t c = 0; c < amdvi::cache_kinds; ++c)
                        CHECK_FALSE(drops(static_cast<amdvi::cache>(c), other));
                }
        }
}

TEST_CASE("AMD-Vi configure: random changes of random legal entries") {
    world w;
    adversary a{w};
    auto const all = states();
    random_bits random{0xa311};
    for (std::uint64_t n = 0, changes = fewer(4000); n < changes; ++n) {
        // The words of legal entries, and bits that no word makes illegal: Mode stays with its root, GV with its own.
        auto const next = [&] {
            entry_words e = all[random.below(all.size())].e;
            if (random.one_in(3)) e[1] ^= iotlb;
            if (random.one_in(3)) e[0] ^= std::uint64_t{1} << 61;
            if (random.one_in(3)) e[0] ^= std::uint64_t{1} << 62;
            if (random.one_in(4)) e[1] = (e[1] & ~std::uint64_t{0xffff}) | random.below(4);
            if (random.one_in(4)) e[1] ^= random.below(4) << 40;
            if (random.one_in(4)) e[2] ^= random.below(8) << 56;
            if (random.one_in(4)) e[3] ^= std::uint64_t{1} << 53;
            if (random.one_in(4)) e[2] ^= 1;
            if (random.one_in(8)) e[0] ^= 1;
            if (random.one_in(8)) e[0] ^= 2;
            return e;
        };
        entry_words const old = next();
        entry_words const target = next();
        amdvi::device_entry_check const check{w.unit.caps(), w.unit.registers, {}, false};
        auto const legal = [&](entry_words const& e) {
            return (!is_valid(e) || check.translation_error(entry_of(e)) == amdvi::device_entry_error::none) &&
                   ((e[2] & 1) == 0 || check.interrupt_error(entry_of(e)) == amdvi::device_entry_error::none);
        };
        if (!legal(old) || !legal(target)) continue;
        CAPTURE(old, target);
        change const c = a.set(old, target);
        REQUIRE(c.ok);
        CHECK(w.get() == target);
        a.judge(c, old, target);
        CHECK(c.owed == owed_for(old, target));
    }
    if (all_cases()) CHECK(a.judged() > 1'000'000);
}

// --- making -----------------------------------------------------------------------------------------------------------------

TEST_CASE("AMD-Vi configure: a blocked entry, one that lets all pass, and one with host tables, word by word") {
    using amdvi::host_updates;
    CHECK(words_of(amdvi::make_blocked_entry(0x11)) == entry_words{0x1, 0x11});
    CHECK(words_of(amdvi::make_blocked_entry(0xffff)) == entry_words{0x1, 0xffff});
    CHECK(words_of(amdvi::make_identity_entry(0x11)) == entry_words{0x6000'0000'0000'0003, 0x11});
    CHECK(words_of(amdvi::make_identity_entry(0x11, read)) == entry_words{0x2000'0000'0000'0003, 0x11});
    CHECK(words_of(amdvi::make_identity_entry(0x11, write)) == entry_words{0x4000'0000'0000'0003, 0x11});
    CHECK(words_of(amdvi::make_identity_entry(0x11, none)) == entry_words{0x3, 0x11});
    CHECK(words_of(amdvi::make_host_entry(0x11, 3, 0x100'0000)) == entry_words{0x6000'0000'0100'0603, 0x11});
    CHECK(words_of(amdvi::make_host_entry(0x2a, 4, 0x200'0000)) == entry_words{0x6000'0000'0200'0803, 0x2a});
    CHECK(words_of(amdvi::make_host_entry(0x11, 6, 0xf'ffff'ffff'f000, read)) == entry_words{0x200f'ffff'ffff'fc03, 0x11});
    CHECK(words_of(amdvi::make_host_entry(0x11, 1, 0x1000, write)) == entry_words{0x4000'0000'0000'1203, 0x11});
    CHECK(words_of(amdvi::make_host_entry(0x11, 3, 0x100'0000, read_write, host_updates::accessed)) ==
          entry_words{0x6000'0000'0100'0683, 0x11});
    CHECK(words_of(amdvi::make_host_entry(0x11, 3, 0x100'0000, read_write, host_updates::accessed_and_dirty)) ==
          entry_words{0x6000'0000'0100'0783, 0x11});
}

TEST_CASE("AMD-Vi configure: guest tables alone and over host tables, word by word") {
    // The GCR3 root lies in three places.
    CHECK(words_of(amdvi::with_guest(amdvi::make_identity_entry(0x30), {0x76'5432'1000, 2, 4, true})) ==
          entry_words{0x65c0'0000'0000'0003, 0x0007'6000'a864'0030});
    CHECK(words_of(amdvi::with_guest(amdvi::make_identity_entry(0), {0xa'bcde'f123'5000, 3, 5, true})) ==
          entry_words{0x76c0'0000'0000'0003, 0xabcd'e800'e246'0000, 0x0040'0000'0000'0000, 0});
    CHECK(words_of(amdvi::with_guest(amdvi::make_identity_entry(0x30), {0x500'0000, 1})) ==
          entry_words{0x6080'0000'0000'0003, 0x0a00'0030});
    CHECK(words_of(amdvi::with_guest(amdvi::make_host_entry(0x40, 3, 0x110'0000), {0x500'9000, 1, 4, true})) ==
          entry_words{0x64c0'0000'0110'0603, 0x0a01'0040});
    for (unsigned bit = 12; bit < 52; ++bit) {
        CAPTURE(bit);
        auto const e = amdvi::with_guest(amdvi::make_identity_entry(0xffff), {one_bit(bit), 1});
        CHECK(e.gcr3_root() == one_bit(bit));
        entry_words expected{0x6080'0000'0000'0003, 0xffff};
        if (bit < 15) expected[0] |= one_bit(58 + bit - 12);
        if (bit >= 15 && bit < 31) expected[1] |= one_bit(16 + bit - 15);
        if (bit >= 31) expected[1] |= one_bit(43 + bit - 31);
        CHECK(words_of(e) == expected);
    }
    // Once more with other tables: nothing of the first remains.
    auto const first = amdvi::with_guest(amdvi::make_identity_entry(1), {0xf'ffff'ffff'f000, 3, 5, true});
    CHECK(amdvi::with_guest(first, {0x1000, 1}) == amdvi::with_guest(amdvi::make_identity_entry(1), {0x1000, 1}));
}

TEST_CASE("AMD-Vi configure: remapped interrupts, word by word") {
    CHECK(words_of(amdvi::with_interrupts({}, {0x300'0080, 9})) == entry_words{0, 0, 0x2000'0000'0300'0093, 0});
    CHECK(words_of(amdvi::with_interrupts(amdvi::make_blocked_entry(0x11), {0xf'ffff'ffff'ff80, 11})) ==
          entry_words{0x1, 0x11, 0x200f'ffff'ffff'ff97, 0});
    CHECK(words_of(amdvi::with_interrupts({}, {0x80, 0})) == entry_words{0, 0, 0x2000'0000'0000'0081, 0});
    // Beside guest tables of five levels, and what passes stays.
    amdvi::device_table_entry const e{0, 0, 0x0740'0000'0000'0000, 1};
    CHECK(words_of(amdvi::with_interrupts(e, {0x300'0080, 9})) == entry_words{0, 0, 0x2740'0000'0300'0093, 1});
}

TEST_CASE("AMD-Vi configure: erratum 63, who forwards all system management messages must grant writing") {
    for (std::uint64_t management = 0; management < 4; ++management)
        for (access const granted : {none, read, write, read_write}) {
            CAPTURE(management, granted.bits);
            auto e = amdvi::make_host_entry(0x11, 3, 0x100'0000, granted);
            e.set<"SysMgt">(management);
            entry_words expected = words_of(e);
            if (management == 1) expected[0] |= one_bit(62);
            CHECK(words_of(amdvi::with_erratum_63(e)) == expected);
        }
}

TEST_CASE("AMD-Vi configure: the IOMMU takes what is made for what it is meant to be") {
    world w;
    auto const fate_of = [&](amdvi::device_table_entry const& e, std::uint64_t address, std::uint32_t p = amdvi::no_pasid) {
        w.put(words_of(e));
        judged_only<stored_memory> looked_at{&w.memory};
        amdvi::iommu const hardware{w.unit.caps(), w.unit.registers, looked_at};
        return hardware.translate({device, iova{address}, write, p, amdvi::request_type::untranslated});
    };
    auto const to = [&](auto const& answer) { return answer ? answer->output.value : every_bit; };
    constexpr std::uint64_t host_at = amdvi_unit::host_at;
    constexpr std::uint64_t guest_at = amdvi_unit::guest_at;
    CHECK(amdvi_event(fate_of(amdvi::make_blocked_entry(0x11), host_at)) == amdvi::event::io_page_fault);
    CHECK(to(fate_of(amdvi::make_identity_entry(0x11), host_at)) == host_at);
    CHECK(amdvi_event(fate_of(amdvi::make_identity_entry(0x11, read), host_at)) == amdvi::event::io_page_fault);
    auto const host = amdvi::make_host_entry(0x11, 3, host_a, read_write, amdvi::host_updates::accessed_and_dirty);
    CHECK(to(fate_of(host, host_at)) == 0x9abc'd789);
    CHECK(to(fate_of(amdvi::make_host_entry(0x11, 6, grown_a), host_at)) == 0x9abc'd789);
    auto const guest = amdvi::with_guest(amdvi::make_identity_entry(0x11), {gcr3_c, 1});
    CHECK(to(fate_of(guest, guest_at, pasid)) == 0x1'2345'6abc);
    CHECK(to(fate_of(guest, guest_at)) == guest_at);
    CHECK(to(fate_of(amdvi::with_guest(guest, {gcr3_f, 1, 5, true}), guest_at)) == 0x1'5345'6abc);
    CHECK(to(fate_of(amdvi::with_guest(host, {gcr3_e, 1, 4, true}), guest_at)) == 0x2'4345'6abc);
}

TEST_CASE("AMD-Vi configure: entries are made at compile time too") {
    constexpr auto e = amdvi::with_interrupts(
        amdvi::with_guest(amdvi::make_host_entry(0x40, 3, 0x110'0000), {0x500'9000, 1, 4, true}), {0x300'0000, 9});
    static_assert(e.word[0] == 0x64c0'0000'0110'0603 && e.word[1] == 0x0a01'0040 && e.word[2] == with_1);
    static_assert(amdvi::with_erratum_63(amdvi::make_blocked_entry(1)) == amdvi::make_blocked_entry(1));
    CHECK(e.has_host_tables());
}

} // namespace stagewalk::test
