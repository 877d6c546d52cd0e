// AMD-Vi: device table, host tables of one to six levels, and the event log, held against QEMU's amd-iommu.
//
// QEMU's model lets pass much that the manual refuses, and differs from release to release. Where it differs it must do exactly
// what is known of it: `emulation` tells where a walk of its kind ends, and a deviation covers nothing else.
#include "judge.hpp"

#include <stagewalk/amdvi/command.hpp>
#include <stagewalk/amdvi/configure.hpp>
#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/event_text.hpp>
#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/amdvi/ring.hpp>
#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/core/size.hpp>

#include <algorithm>
#include <bit>
#include <iterator>
#include <memory>
#include <optional>

namespace {

using namespace judge;
namespace sw = stagewalk;
namespace amdvi = stagewalk::amdvi;
using amdvi::device_table_entry;
using guest_ram = sw::flat<sw::pa>;
using unit_model = amdvi::iommu<guest_ram>;
using host_stage = unit_model::host_stage;
using place = std::optional<std::uint64_t>; // where DMA goes; nothing: it is refused

// --- what lies where in the guest's RAM --------------------------------------------------------------------------------------

constexpr std::uint64_t commands_at = 0x100'0000; // the command buffer, one page
constexpr std::uint64_t events_at = 0x100'1000;   // the event log, one page
constexpr std::uint64_t status_at = 0x100'2000;   // what COMPLETION_WAIT stores
constexpr std::uint64_t scratch_at = 0x100'3000;
constexpr std::uint64_t device_tables_at = 0x110'0000; // several, of up to two pages each
constexpr std::uint64_t tables_at = 0x200'0000;
constexpr std::uint64_t tables_bytes = 0x80'0000; // for one scene
constexpr std::uint64_t mailbox_at = 0x400'0000;  // where a device writes what it has read
constexpr std::uint64_t data_at = mailbox_at + 4096;
constexpr std::uint64_t data_end = 0x2000'0000;

constexpr std::uint32_t slots[] = {4, 19}; // 20h and 98h: inside and outside of a table of one page

bool is_data(std::uint64_t at) { return at >= data_at && at <= data_end - 8; }
// Where DMA, or the reading of an entry, would meet something else than RAM or nothing.
bool is_peculiar(std::uint64_t at) { return (at >= 0xa'0000 && at < 0x10'0000) || (at >= 0xb000'0000 && at < 0x1'0000'0000); }

// --- how QEMU walks ----------------------------------------------------------------------------------------------------------

constexpr version before_rewrite{10, 1, 99}; // the walk was written anew for 10.2
constexpr version rewrite{10, 2, 0};
constexpr version before_repair{11, 0, 99}; // and repaired in 11.0.3, and perhaps in stable releases before
constexpr version always{};
constexpr version until_now{~0u, 0, 0};

enum class walk_kind {
    by_next_level, // before the rewrite: NextLevel is followed wherever it leads
    one_by_one,    // since then: one level after the other; a page with NextLevel 0 is as large as those of the level below
    falling,       // repaired: NextLevel is followed, and must fall
};
struct walk_manner {
    walk_kind kind;
    version first;
    version last;
};
constexpr walk_manner manners[] = {{walk_kind::by_next_level, always, before_rewrite},
                                   {walk_kind::one_by_one, rewrite, before_repair},
                                   {walk_kind::falling, rewrite, until_now}};

// Bits of a device table entry that QEMU wants to be zero, whatever V and IV are: before 10.1, and since then. The newer ones
// were ported back to some stable releases.
using reserved_words = std::uint64_t[4];
constexpr reserved_words older_reserved = {0x8030'0000'0000'00fc, 0x100, 0x08f0'0000'0000'0000, ~std::uint64_t{0}};
constexpr reserved_words newer_reserved = {0x8000'0000'0000'007c, 0, 0x0030'0000'0000'0000, 0x003f'0000'0000'7fff};

struct emulation {
    place to{};
    bool ends{true};     // whether QEMU comes to an end at all
    bool is_peculiar{};  // it reads an entry where there is something else than RAM
    bool judged_entry{}; // reserved bits of the device table entry are enough to refuse
};

constexpr std::uint64_t address_bits = 0x000f'ffff'ffff'f000;

// The walk of one kind, from the first word of a device table entry on.
class qemu_walk {
public:
    qemu_walk(machine const& m, walk_kind kind, std::uint64_t iova, bool writes)
        : m_{&m}, kind_{kind}, iova_{iova}, need_{std::uint64_t{1} << (writes ? 62 : 61)} {}

    emulation from(std::uint64_t entry) {
        std::uint64_t const mode = next_level(entry);
        bool const translates = (entry & 2) != 0;
        if (!translates && kind_ != walk_kind::by_next_level) return found_;
        if (!translates || mode == 0) {
            if ((entry & need_) != 0 || kind_ != walk_kind::by_next_level) found_.to = iova_;
        } else if (mode != 7) {
            if (kind_ == walk_kind::by_next_level) {
                by_next_level(entry, mode);
            } else if ((entry & both) != 0 && (mode == 6 || iova_ >> (12 + 9 * mode) == 0)) {
                kind_ == walk_kind::one_by_one ? one_by_one(entry, mode) : falling(entry, mode);
            }
        }
        return found_;
    }

private:
    static constexpr std::uint64_t both = std::uint64_t{3} << 61; // IR and IW
    static std::uint64_t next_level(std::uint64_t e) { return e >> 9 & 7; }

    // The entry of a table of `level`, from 1 on, that `e` leads to.
    bool read(std::uint64_t& e, std::uint64_t level) {
        std::uint64_t const at = (e & address_bits) + (iova_ >> 9 * level & 0xff8);
        found_.is_peculiar = found_.is_peculiar || is_peculiar(at);
        bool const readable = m_->is_ram(at, 8);
        if (readable) e = m_->load(at);
        return readable;
    }
    void reach(std::uint64_t e, std::uint64_t lg2) {
        std::uint64_t const mask = sw::low_mask(lg2);
        if ((e & need_) != 0) found_.to = (e & address_bits & ~mask) | (iova_ & mask);
    }
    static std::uint64_t told_size(std::uint64_t e) {
        return static_cast<std::uint64_t>(std::countr_one((e & address_bits) | 0xfff)) + 1;
    }

    void by_next_level(std::uint64_t e, std::uint64_t level) {
        for (int steps = 0; steps < 64; ++steps) {
            if ((e & 1) == 0 || (e & need_) == 0 || !read(e, level) || e == 0) return;
            std::uint64_t const next = next_level(e);
            if (next == 0 || next == 7) return reach(e, next == 7 ? told_size(e) : 3 + 9 * level);
            level = next;
        }
        found_.ends = false;
    }
    void one_by_one(std::uint64_t e, std::uint64_t level) {
        std::uint64_t rights = both;
        std::uint64_t lg2;
        do {
            --level;
            lg2 = 12 + 9 * level;
            rights &= e;
            if (rights == 0 || (e & 1) == 0) break;
            if (next_level(e) == 0 || next_level(e) == 7) break;
            if (!read(e, level + 1)) return;
        } while (level > 0);
        if (rights != 0 && (e & 1) != 0 && next_level(e) == 7) lg2 = told_size(e);
        if ((e & 1) != 0) reach(e, lg2);
    }
    void falling(std::uint64_t e, std::uint64_t level) {
        std::uint64_t rights = both & e;
        while (read(e, level)) {
            rights &= e;
            std::uint64_t const next = next_level(e);
            if ((e & 1) == 0) return;
            if (rights == 0) return reach(e, 3 + 9 * level);
            if (next == 0 || next == 7) return reach(e, next == 7 ? told_size(e) : 3 + 9 * level);
            if (next >= level) return;
            level = next;
        }
    }

    machine const* m_;
    walk_kind kind_;
    std::uint64_t iova_;
    std::uint64_t need_;
    emulation found_;
};

// All that this release may do with a request.
std::vector<emulation> emulate(machine const& m, version release, reserved_words const& reserved, std::uint64_t entry_at,
                               std::uint64_t iova, bool writes) {
    if (!m.is_ram(entry_at, 32)) return {emulation{}};
    emulation without_walk;
    for (std::uint64_t w = 0; w < 4; ++w)
        if ((m.load(entry_at + w * 8) & reserved[w]) != 0) without_walk.judged_entry = true;
    std::uint64_t const entry = m.load(entry_at);
    bool const is_valid = (entry & 1) != 0;
    if (!is_valid && !without_walk.judged_entry) without_walk.to = iova;
    if (!is_valid || without_walk.judged_entry) return {without_walk};
    std::vector<emulation> all;
    for (auto const& manner : manners)
        if (manner.first <= release && release <= manner.last) all.push_back(qemu_walk{m, manner.kind, iova, writes}.from(entry));
    return all;
}

// --- one access, both outcomes -----------------------------------------------------------------------------------------------

bool is_same(amdvi::event_record const& a, amdvi::event_record const& b) {
    return a.word[0] == b.word[0] && a.word[1] == b.word[1];
}

struct amdvi_case {
    amdvi::request asked;
    device_table_entry entry; // of the device, if the table reaches so far
    unit_model::answer ours{sw::failure{unit_model::fault_type{}}};
    std::optional<amdvi::event_record> expected; // of ours
    bool is_silent{};                            // there is none because of SA or SE
    std::vector<emulation> known_walks;          // what this QEMU may do
    bool is_seen{true};                          // whether `went` was found out
    place went{};                                // where the DMA was
    std::vector<amdvi::event_record> logged;     // QEMU's
    bool disturbed{};                            // an entry is not what it was
    std::string entries;

    [[nodiscard]] bool refused() const { return !ours; }
    [[nodiscard]] place goes() const { return ours ? place{ours->output.value} : place{}; }
    [[nodiscard]] bool writes() const { return asked.access.covers(sw::write); }
    [[nodiscard]] bool is(amdvi::event code) const { return refused() && ours.error().code == code; }
    // Flags of our fault.
    [[nodiscard]] bool has(std::uint64_t detail) const { return refused() && (ours.error().detail & detail) != 0; }
    [[nodiscard]] amdvi::device_entry_error entry_error() const {
        return refused() ? amdvi::entry_error_of(ours.error()) : amdvi::device_entry_error::none;
    }
    // An entry of a page table is to blame, and what for.
    [[nodiscard]] bool blames_table(std::uint64_t with, std::uint64_t without) const {
        return is(amdvi::event::io_page_fault) && ours.error().level != sw::no_level && (with == 0 || has(with)) && !has(without);
    }
    [[nodiscard]] std::uint64_t blamed_next_level() const { return ours.error().entry >> 9 & 7; }

    // Whether the DMA went astray, to where QEMU is known to let it go.
    [[nodiscard]] bool strays() const {
        if (!is_seen || went == goes()) return false;
        return std::any_of(known_walks.begin(), known_walks.end(), [&](emulation const& e) { return e.to == went; });
    }
    [[nodiscard]] bool event_agrees() const {
        if (!expected) return logged.empty();
        return logged.size() == 1 && is_same(logged[0], *expected);
    }
    [[nodiscard]] bool agrees() const { return (!is_seen || went == goes()) && event_agrees() && !disturbed; }
    [[nodiscard]] std::string text() const {
        auto const told = [](place p) { return p ? "reaches " + hex(*p) : std::string("refused"); };
        std::string t = (writes() ? "write to " : "read from ") + hex(asked.address.value) + " by " + hex(asked.source) +
                        ", entry " + hex(entry.word[0]) + " " + hex(entry.word[1]) + " " + hex(entry.word[2]) + " " +
                        hex(entry.word[3]) + "\n ours: " + told(goes());
        if (refused()) t += std::string(", ") + amdvi::name_of(ours.error().code);
        if (expected) t += ", event " + hex(expected->word[0]) + " " + hex(expected->word[1]);
        t += "\n QEMU: " + (is_seen ? told(went) : "not seen");
        for (auto const& e : logged)
            t += ", event " + hex(e.word[0]) + " " + hex(e.word[1]);
        if (disturbed) t += ", an entry has changed";
        t += "\n known of QEMU:";
        for (auto const& e : known_walks)
            t += " " + told(e.to);
        return t + "\n" + entries;
    }
};

// --- what QEMU is known to do otherwise --------------------------------------------------------------------------------------

namespace flag = amdvi::fault_detail;
using amdvi::device_entry_error;

// The DMA counts as if it had gone where ours says, and no event as the right one: QEMU saw nothing wrong.
void put_back(amdvi_case& c) {
    c.went = c.goes();
    if (c.expected && c.logged.empty()) c.logged.push_back(*c.expected);
}
// The same where QEMU refuses what ours lets pass; the event is part of that.
void let_pass(amdvi_case& c) {
    c.went = c.goes();
    c.logged.clear();
}
void write_expected(amdvi_case& c) { c.logged.assign(1, *c.expected); }

bool logs_first(amdvi_case const& c, amdvi::event code) {
    return c.expected && !c.logged.empty() && c.logged[0].get<"EventCode">() == static_cast<std::uint64_t>(code);
}

constexpr std::array known{
    // The device table.
    deviation<amdvi_case>{"reserved_bits_of_entries_count_always",
                          "reserved bits of a device table entry count while V or IV is 0, and more of them before 10.1",
                          [](amdvi_case const& c) {
                              return c.strays() && !c.refused() && !c.went &&
                                     std::any_of(c.known_walks.begin(), c.known_walks.end(),
                                                 [](emulation const& e) { return e.judged_entry; });
                          },
                          always, until_now, let_pass},
    deviation<amdvi_case>{"illegal_entries_are_used", "no encoding of a device table entry is illegal, and few bits are reserved",
                          [](amdvi_case const& c) {
                              return c.strays() && c.is(amdvi::event::illegal_dev_table_entry) &&
                                     c.entry_error() != device_entry_error::beyond_table;
                          },
                          always, until_now, put_back},
    deviation<amdvi_case>{"size_of_the_device_table_does_not_count", "entries are read beyond the end of the device table",
                          [](amdvi_case const& c) { return c.strays() && c.entry_error() == device_entry_error::beyond_table; },
                          always, until_now, put_back},
    deviation<amdvi_case>{"tv_0_is_identity", "an entry with TV = 0 lets pass what its IR and IW grant",
                          [](amdvi_case const& c) {
                              return c.strays() && c.is(amdvi::event::io_page_fault) && c.entry.get<"TV">() == 0 &&
                                     c.went == c.asked.address.value;
                          },
                          always, before_rewrite, put_back},
    deviation<amdvi_case>{"mode_0_grants_all", "an entry with Mode = 0 lets everything pass, whatever its IR and IW are",
                          [](amdvi_case const& c) {
                              return c.strays() && c.has(flag::permission) && c.entry.get<"Mode">() == 0 &&
                                     c.went == c.asked.address.value;
                          },
                          rewrite, until_now, put_back},
    // Host tables.
    deviation<amdvi_case>{"address_beyond_the_tables", "bits of the address above the tables are ignored",
                          [](amdvi_case const& c) {
                              std::uint64_t const mode = c.entry.get<"Mode">();
                              return c.strays() && c.is(amdvi::event::io_page_fault) && c.ours.error().level == sw::no_level &&
                                     mode >= 1 && mode <= 5 && c.asked.address.value >> (12 + 9 * mode) != 0;
                          },
                          always, before_rewrite, put_back},
    deviation<amdvi_case>{"absent_pages_are_used", "an entry that is not zero maps a page, whatever PR says",
                          [](amdvi_case const& c) {
                              return c.strays() && c.blames_table(0, flag::present) && c.ours.error().entry != 0 &&
                                     (c.blamed_next_level() == 0 || c.blamed_next_level() == 7);
                          },
                          always, before_rewrite, put_back},
    deviation<amdvi_case>{"reserved_bits_of_tables_are_ignored", "reserved bits of page table entries are not looked at",
                          [](amdvi_case const& c) { return c.strays() && c.blames_table(flag::reserved, 0); }, always, until_now,
                          put_back},
    deviation<amdvi_case>{"pages_of_any_size_at_any_level", "a page may have any size at any level, and 2^53 bytes",
                          [](amdvi_case const& c) {
                              return c.strays() && c.blames_table(flag::present, flag::reserved | flag::permission) &&
                                     (c.blamed_next_level() == 0 || c.blamed_next_level() == 7);
                          },
                          always, until_now, put_back},
    deviation<amdvi_case>{"levels_need_not_fall", "NextLevel may be that of the table itself, or a higher one",
                          [](amdvi_case const& c) {
                              return c.strays() && c.blames_table(flag::present, flag::reserved | flag::permission) &&
                                     c.blamed_next_level() > c.ours.error().level && c.blamed_next_level() < 7;
                          },
                          always, until_now, put_back},
    deviation<amdvi_case>{"skipped_bits_are_ignored", "bits of the address that belong to skipped levels are ignored",
                          [](amdvi_case const& c) {
                              return c.strays() && c.blames_table(flag::present, flag::reserved | flag::permission) &&
                                     c.blamed_next_level() < c.ours.error().level && c.blamed_next_level() > 0;
                          },
                          always, until_now, put_back},
    deviation<amdvi_case>{"rights_of_the_last_entry_alone", "rights that the device or a table lacks are given by the last entry",
                          [](amdvi_case const& c) { return c.strays() && c.has(flag::permission); }, rewrite, until_now,
                          put_back},
    deviation<amdvi_case>{"large_pages_are_cut", "a page with NextLevel 0 is as large as those of the level below",
                          [](amdvi_case const& c) { return c.strays() && !c.refused() && c.ours->lg2_size > 12; }, rewrite,
                          before_repair, put_back},
    deviation<amdvi_case>{"levels_are_not_skipped", "one level follows the other, whatever NextLevel says",
                          [](amdvi_case const& c) { return c.strays() && !c.refused() && c.entry.get<"Mode">() > 2; }, rewrite,
                          before_repair, put_back},
    // The event log.
    deviation<amdvi_case>{"nothing_is_logged", "the event log is never written",
                          [](amdvi_case const& c) { return c.expected && c.logged.empty(); }, always, before_rewrite,
                          write_expected},
    deviation<amdvi_case>{
        "faults_of_entries_are_not_logged", "TV = 0, a Mode of 7, and rights that Mode = 0 lacks are refused without an event",
        [](amdvi_case const& c) { return c.expected && c.logged.empty() && c.ours.error().at == sw::fault_at::context; }, rewrite,
        until_now, write_expected},
    deviation<amdvi_case>{"faults_are_not_suppressed", "SA and SE are ignored",
                          [](amdvi_case const& c) { return c.is_silent && !c.expected && !c.logged.empty(); }, rewrite, until_now,
                          [](amdvi_case& c) { c.logged.clear(); }},
    deviation<amdvi_case>{"refusals_are_logged_twice", "QEMU asks twice for the translation of an access that is refused",
                          [](amdvi_case const& c) {
                              auto const half = static_cast<std::ptrdiff_t>(c.logged.size() / 2);
                              return half != 0 && c.logged.size() % 2 == 0 &&
                                     std::equal(c.logged.begin(), c.logged.begin() + half, c.logged.begin() + half,
                                                c.logged.end(), is_same);
                          },
                          rewrite, until_now, [](amdvi_case& c) { c.logged.resize(c.logged.size() / 2); }},
    deviation<amdvi_case>{"unreadable_tables_are_page_faults_too", "an unreadable table is logged, and then a page fault",
                          [](amdvi_case const& c) {
                              return logs_first(c, amdvi::event::page_tab_hardware_error) && c.logged.size() == 2 &&
                                     c.logged[1].get<"EventCode">() == static_cast<std::uint64_t>(amdvi::event::io_page_fault);
                          },
                          rewrite, until_now, [](amdvi_case& c) { c.logged.resize(1); }},
    deviation<amdvi_case>{"reserved_bits_of_entries_come_first", "reserved bits that do not count hide what is wrong besides",
                          [](amdvi_case const& c) {
                              return logs_first(c, amdvi::event::illegal_dev_table_entry) && c.logged.size() == 1 &&
                                     !c.is(amdvi::event::illegal_dev_table_entry) && !c.went &&
                                     std::any_of(c.known_walks.begin(), c.known_walks.end(),
                                                 [](emulation const& e) { return e.judged_entry; });
                          },
                          rewrite, until_now, write_expected},
    deviation<amdvi_case>{"later_faults_are_logged", "what QEMU takes for right is followed by what it refuses",
                          [](amdvi_case const& c) {
                              bool const goes_on =
                                  c.is(amdvi::event::illegal_dev_table_entry) || c.blames_table(flag::present, 0);
                              return goes_on && !c.went && c.expected && c.logged.size() == 1 &&
                                     c.logged[0].get<"EventCode">() != c.expected->get<"EventCode">() &&
                                     c.logged[0].get<"DeviceID">() == c.asked.source;
                          },
                          rewrite, until_now, write_expected},
    deviation<amdvi_case>{"page_faults_have_other_flags", "flags of a page fault: I, and the access where GN and NX are",
                          [](amdvi_case const& c) {
                              std::uint64_t const flags = 0x8 | (c.writes() ? 2u : 1u);
                              return logs_first(c, amdvi::event::io_page_fault) && (c.logged[0].word[0] >> 48 & 0xfff) == flags;
                          },
                          rewrite, until_now,
                          [](amdvi_case& c) {
                              constexpr std::uint64_t flags = sw::bit_mask(59, 48);
                              c.logged[0].word[0] = (c.logged[0].word[0] & ~flags) | (c.expected->word[0] & flags);
                          }},
    deviation<amdvi_case>{"other_events_have_no_flags", "flags of events that are no page faults are 0",
                          [](amdvi_case const& c) {
                              return c.expected && !c.logged.empty() && !logs_first(c, amdvi::event::io_page_fault) &&
                                     (c.logged[0].word[0] >> 48 & 0xfff) == 0 && (c.expected->word[0] >> 48 & 0xfff) != 0;
                          },
                          rewrite, until_now,
                          [](amdvi_case& c) { c.logged[0].word[0] |= c.expected->word[0] & sw::bit_mask(59, 48); }},
    deviation<amdvi_case>{
        "events_have_no_domain", "the DomainID of an event is 0",
        [](amdvi_case const& c) { return c.expected && !c.logged.empty() && c.logged[0].get<"DomainID">() == 0; }, rewrite,
        until_now, [](amdvi_case& c) { c.logged[0].set<"DomainID">(c.expected->get<"DomainID">()); }},
    deviation<amdvi_case>{"events_have_no_address", "the address of an event is 0",
                          [](amdvi_case const& c) { return c.expected && !c.logged.empty() && c.logged[0].word[1] == 0; },
                          rewrite, until_now, [](amdvi_case& c) { c.logged[0].word[1] = c.expected->word[1]; }},
};

// --- the unit ----------------------------------------------------------------------------------------------------------------

class bench {
public:
    explicit bench(session& s) : bench{s, emulator{"STAGEWALK_QEMU_X86", "qemu-system-x86_64"}} {}

    // The library's idea of this unit: it has no guest translation, whatever it says of itself.
    [[nodiscard]] unit_model model() {
        amdvi::settings set;
        set.rules.guest = amdvi::guest_disabled::ignored;
        return {caps, registers, ram, set};
    }

    // Another device table of one or more pages, and DevTblSegEn, which counts only where there are segments.
    void point_to(std::uint64_t device_table, std::uint64_t pages, std::uint64_t segments) {
        amdvi::device_table_base_register table;
        table.set<"DevTabBase">(device_table);
        table.set<"Size">(pages - 1);
        registers.table[0] = table;
        registers.main.set<"DevTblSegEn">(segments);
        m.queue_write64(base, table.word[0]);
        m.queue_write64(base + 0x18, registers.main.word[0]);
    }
    // What this QEMU has reserved in device table entries.
    [[nodiscard]] reserved_words const& reserved() const { return has_older_reserved_ ? older_reserved : newer_reserved; }
    [[nodiscard]] std::uint64_t entry_of(unsigned which) const {
        return registers.table[0].get<"DevTabBase">() + device[which]->source() * 32u;
    }
    // The entry of a device, written as software does. Its cached faults are forgotten.
    void set_entry(unsigned which, device_table_entry const& e) {
        auto const owed = configure_.set(sw::pa{entry_of(which)}, e, device[which]->source());
        if (!owed) throw broken{"an entry cannot be written"};
        for (std::size_t i = 0; i < owed->count; ++i)
            put(owed->word[i]);
    }

    // Puts a command into the buffer; submit() makes the unit look, with the next exchange of the machine.
    template <class Command>
    void add(Command const& c) {
        put(c.word);
    }
    void submit() {
        add(amdvi::wait_and_write(status_at, ++ticket_, true));
        m.queue_write64(base + 0x2008, tail_);
    }
    void expect_done() {
        if (m.load(status_at) != ticket_) throw broken{"the unit does not carry out a command"};
    }

    // Carries out what was added. QEMU from 10.2 on judges an entry also when it is told of a change, and logs what it finds.
    void settle() {
        submit();
        m.exchange();
        expect_done();
        for (auto const& e : take_events())
            if (e.get<"EventCode">() != 1 && e.get<"EventCode">() != 3) throw broken{"a command caused event " + hex(e.word[0])};
    }
    // What is new in the event log. It is then empty.
    std::vector<amdvi::event_record> take_events() {
        std::uint64_t const tail = m.read64(base + 0x2018) & 0xff0;
        std::vector<amdvi::event_record> events;
        for (; head_ != tail; head_ = (head_ + 16) % 4096)
            events.emplace_back(m.load(events_at + head_), m.load(events_at + head_ + 8));
        if (!events.empty()) m.queue_write64(base + 0x2010, head_);
        return events;
    }

    machine m;
    amdvi::capabilities caps;
    amdvi::control registers;
    guest_ram ram;
    std::unique_ptr<edu> device[std::size(slots)];
    std::unique_ptr<prober> probe[std::size(slots)];

private:
    static constexpr std::uint64_t base = 0xfed8'0000;

    bench(session& s, emulator const& program)
        : m{program, pc({"-device", options(program)}), devices()},
          caps{m.read64(base + 0x30), m.read64(base + 0x1a0), capability()}, ram{m.memory()}, configure_{caps, ram} {
        s.release = program.release();
        if (caps.contradiction() != amdvi::capability_error::none) throw broken{"the capabilities contradict themselves"};
        for (std::uint32_t i = 0; i < std::size(slots); ++i) {
            device[i] = std::make_unique<edu>(m, slots[i], i);
            probe[i] = std::make_unique<prober>(m, *device[i], scratch_at);
        }
        amdvi::ring_base_register ring;
        ring.set<"Length">(8);
        ring.set<"Base">(commands_at);
        m.write64(base + 0x08, ring.word[0]);
        ring.set<"Base">(events_at);
        m.write64(base + 0x10, ring.word[0]);
        registers.main.set<"EventLogEn">(1);
        registers.main.set<"CmdBufEn">(1);
        registers.main.set<"IommuEn">(1);
        point_to(device_tables_at, 2, 0);
        device_table_entry e;
        e.set<"PPR">(1); // tells the masks apart
        set_entry(0, e);
        settle();
        has_older_reserved_ = !probe[0]->write(mailbox_at, mailbox_at);
        take_events();
        m.clear(device_tables_at, 0x2000);
    }

    // By default releases from 9.2 on let all DMA pass.
    static std::string options(emulator const& program) {
        std::string words = "amd-iommu";
        if (program.has_property(words, "pt")) words += ",pt=off";
        return words + (program.has_property("amd-iommu", "dma-remap") ? ",dma-remap=on" : "");
    }
    static std::vector<std::string> devices() {
        std::vector<std::string> all;
        for (std::uint32_t slot : slots)
            for (auto const& word : edu::option(slot))
                all.push_back(word);
        return all;
    }
    // The first dword of the capability of the IOMMU's PCI function.
    std::uint32_t capability() {
        for (std::uint32_t devfn = 0; devfn < 256; ++devfn) {
            if (m.configuration(devfn, 8) >> 16 != 0x0806) continue;
            for (std::uint32_t at = m.configuration(devfn, 0x34) & 0xfc; at != 0;) {
                std::uint32_t const header = m.configuration(devfn, at);
                if ((header & 0xff) == 0xf) return header;
                at = header >> 8 & 0xfc;
            }
        }
        throw broken{"there is no IOMMU among the PCI functions"};
    }
    void put(std::uint64_t const (&word)[2]) {
        m.store(commands_at + tail_, word[0]);
        m.store(commands_at + tail_ + 8, word[1]);
        tail_ = (tail_ + 16) % 4096;
    }

    amdvi::configurator<guest_ram> configure_;
    std::uint64_t tail_{};
    std::uint64_t head_{};
    std::uint64_t ticket_{};
    bool has_older_reserved_{};
};

// --- random tables -----------------------------------------------------------------------------------------------------------

// What host tables map.
struct mapping {
    std::uint64_t iova;
    std::uint64_t bytes;
    std::uint64_t to;
};

enum class breaks { ignored_bits, anything };

// One device table and the host tables of one device: they lie in fresh pages, and are gone afterwards.
class scene {
public:
    scene(session& s, bench& b)
        : s_{&s}, b_{&b}, first_{tables_at + s.random.below(4096) * 4096},
          allocator_{sw::range<sw::pa>::between(sw::pa{first_}, sw::pa{first_ + tables_bytes - 1})},
          which_{s.random.small(std::size(slots))}, domain_{static_cast<std::uint16_t>(1 + s.random.below(0xffff))},
          device_table_{device_tables_at + s.random.below(16) * 0x2000} {
        b_->point_to(device_table_, 2, s.random.one_in(8) ? 1 + s.random.below(7) : 0);
    }
    ~scene() {
        b_->m.clear(first_, allocator_.taken() * 4096);
        b_->m.clear(device_table_, 0x2000);
    }
    scene(scene const&) = delete;
    scene& operator=(scene const&) = delete;

    [[nodiscard]] std::uint16_t domain() const { return domain_; }
    [[nodiscard]] std::uint64_t any_levels() { return 1 + s_->random.below(std::min<std::uint64_t>(b_->caps.host_levels(), 6)); }
    [[nodiscard]] sw::access any_rights() {
        static constexpr sw::access rights[] = {sw::read, sw::write, sw::read_write, sw::read_write, sw::read_write};
        return s_->random.one_in(24) ? sw::none : s_->random.pick(rights);
    }

    // Host tables of this depth with random mappings in them.
    // \return their root.
    std::uint64_t fill(std::uint64_t levels) {
        host_stage const stage{levels, page()};
        sw::table table{stage, b_->ram, allocator_};
        // A few places, so that mappings share tables.
        std::uint64_t places[3];
        for (auto& near : places)
            near = s_->random() & stage.last_input().value;
        for (unsigned i = 1 + s_->random.small(6); i > 0; --i) {
            std::uint64_t const near = (s_->random.pick(places) & ~sw::low_mask(32)) | s_->random.below(std::uint64_t{1} << 32);
            std::uint64_t const at = near & stage.last_input().value;
            s_->random.one_in(3) ? map_pages(table, at) : map_page(table, at);
        }
        for (unsigned i = s_->random.small(3); i > 0; --i)
            map_skipping(stage);
        return stage.root().value;
    }
    // The device's entry from now on.
    void bind(device_table_entry const& e) {
        b_->set_entry(which_, e);
        b_->settle();
        entry_ = e;
        has_logged_ = false;
    }
    // The same table, cut behind its first page, or where there is no memory.
    void cut_device_table() { move_device_table(device_table_, 1); }
    void lose_device_table() { move_device_table(std::uint64_t{1} << 34, 2); }

    // A request near what is mapped; once in `directly` times it names a place of memory itself, or is any.
    [[nodiscard]] amdvi::request any_request(std::uint64_t directly = 12) {
        auto& random = s_->random;
        amdvi::request r;
        r.source = b_->device[which_]->source();
        r.access = random.one_in(2) ? sw::write : sw::read;
        std::uint64_t at = random.any_width();
        if (mappings_.empty() || random.one_in(directly)) {
            if (!random.one_in(4)) at = data_at + random.below(data_end - data_at);
        } else {
            mapping const& of = mappings_[random.below(mappings_.size())];
            std::uint64_t const low = std::max(of.to, data_at);
            std::uint64_t const high = std::min(of.to + (of.bytes - 1), data_end - 8);
            std::uint64_t to = low < high ? low + random.below(high - low) : of.to + random.below(of.bytes);
            if (low < high && random.one_in(8)) to = high & ~std::uint64_t{7};
            if (low < high && random.one_in(8)) to = low;
            at = of.iova + (to - of.to);
            if (random.one_in(24)) at = of.iova + of.bytes;
            if (random.one_in(24)) at = of.iova - 8;
            if (random.one_in(12)) at ^= std::uint64_t{1} << random.below(64);
        }
        r.address = sw::iova{at & ~std::uint64_t{7}};
        return r;
    }

    // Changes an entry of host tables that `r` meets.
    void break_path_of(amdvi::request const& r, breaks what) {
        auto& random = s_->random;
        recorder path;
        (void)b_->model().translate(r, path);
        std::vector<seen_word> levels;
        for (auto const& word : path.words)
            if (word.table.substr(0, 5) == "level") levels.push_back(word);
        if (levels.empty()) return;
        seen_word const& word = levels[random.below(levels.size())];
        std::uint64_t value = word.value;
        bool const leaf = (value >> 9 & 7) == 0 || (value >> 9 & 7) == 7;
        if (what == breaks::ignored_bits) {
            std::uint64_t const ignored = sw::bit_mask(8, 1) | std::uint64_t{1} << 63 |
                                          (leaf ? amdvi::host_page::mask<"FC">() | amdvi::host_page::mask<"U">() : 0);
            // Address bits inside of a large page, too, where they do not tell its size.
            std::uint64_t const level = static_cast<std::uint64_t>(word.table.back() - '0');
            std::uint64_t const inside = (value >> 9 & 7) == 0 ? sw::low_mask(12 + 9 * level) & ~sw::low_mask(12) : 0;
            value ^= random() & (ignored | inside);
        } else {
            switch (random.below(8)) {
            case 0: value &= ~std::uint64_t{1}; break;
            case 1: value &= ~(std::uint64_t{1 + random.below(3)} << 61); break;
            case 2: value = (value & ~sw::bit_mask(11, 9)) | random.below(8) << 9; break;
            case 3: value ^= std::uint64_t{1} << (52 + random.below(9)); break;
            case 4: value = (value | sw::bit_mask(12 + random.below(40), 12)); break;
            case 5: value = random.one_in(4) ? ~std::uint64_t{0} : 0; break;
            default: value ^= std::uint64_t{1} << random.below(64); break;
            }
        }
        b_->m.store(word.address, value);
    }
    // Takes rights from an entry that leads to a table.
    void narrow_path_of(amdvi::request const& r) {
        recorder path;
        (void)b_->model().translate(r, path);
        if (path.words.size() < 6) return; // the words of the device table entry, the page, and nothing between
        seen_word const& word = path.words[4 + s_->random.below(path.words.size() - 5)];
        b_->m.store(word.address, word.value & ~(std::uint64_t{1 + s_->random.below(3)} << 61));
    }

    // One access: ours, QEMU's, and the comparison.
    void hold(amdvi::request const& r) {
        machine& m = b_->m;
        recorder path;
        amdvi_case c;
        c.asked = r;
        auto const model = b_->model();
        std::uint64_t const entry_at = b_->entry_of(which_);
        c.ours = model.translate(r, path);
        c.entries = path.text();
        if (c.refused()) {
            auto const& f = c.ours.error();
            c.is_silent = !f.reported || (amdvi::is_once(f) && has_logged_);
            if (!c.is_silent) c.expected = amdvi::to_record(f, r);
            has_logged_ = has_logged_ || amdvi::is_once(f);
        }
        if (m.is_ram(entry_at, 32))
            for (std::uint64_t w = 0; w < 4; ++w)
                c.entry.word[w] = m.load(entry_at + w * 8);
        c.known_walks = emulate(m, s_->release, b_->reserved(), entry_at, r.address.value, c.writes());

        // What cannot be put to QEMU: interrupts, walks that it does not end, what would overwrite more than data, and what may
        // go out of sight or not.
        std::vector<std::uint64_t> places;
        bool good = !amdvi::interrupt_range<sw::iova>.contains(r.address);
        c.is_seen = !c.goes() || is_data(*c.goes());
        if (c.goes() && c.is_seen) places.push_back(*c.goes());
        if (!c.is_seen) good = good && *c.goes() >= data_end && !is_peculiar(*c.goes());
        for (auto const& e : c.known_walks) {
            good = good && e.ends && !e.is_peculiar;
            if (e.to == c.goes()) continue;
            good = good && c.is_seen && (!e.to || is_data(*e.to));
            if (e.to) places.push_back(*e.to);
        }
        if (is_data(r.address.value)) places.push_back(r.address.value);
        for (auto const& word : path.words)
            good = good && !is_peculiar(word.address);
        if (!good) return;
        s_->count(c.ours ? "" : amdvi::name_of(c.ours.error().code));

        invalidate_for(r);
        prober& probe = *b_->probe[which_];
        if (c.writes()) {
            for (std::uint64_t at : places)
                m.store(at, s_->random());
            probe.write(r.address.value, 0);
            for (std::uint64_t at : places)
                if (m.load(at) == probe.written()) c.went = at;
            b_->expect_done();
            c.logged = b_->take_events();
        } else {
            std::vector<std::uint64_t> words;
            for (std::uint64_t at : places)
                m.store(at, words.emplace_back(s_->random()));
            probe.read(r.address.value, 0);
            b_->expect_done();
            c.logged = b_->take_events();
            std::uint64_t const got = fetch();
            for (std::size_t i = places.size(); i-- > 0;)
                if (got == m.load(places[i]) && got == words[i]) c.went = places[i];
        }
        for (auto const& word : path.words)
            c.disturbed = c.disturbed || m.load(word.address) != word.value;
        s_->judge(c, known);
    }

private:
    // A cleared page for a table.
    [[nodiscard]] sw::pa page() {
        auto const got = allocator_.take(12);
        if (!got) throw broken{"out of tables"};
        return *got;
    }
    [[nodiscard]] sw::attributes any_attributes() {
        constexpr std::uint64_t formats = amdvi::host_page::mask<"FC">() | amdvi::host_page::mask<"U">();
        return sw::attributes::from_bits(any_rights().bits | (s_->random() & formats));
    }
    // Where a page of 2^`lg2` bytes may lie: so that some of it is data, or, seldom, where there is no memory.
    [[nodiscard]] std::uint64_t any_output(std::uint64_t lg2) {
        if (s_->random.one_in(16)) return s_->random() & sw::low_mask(52) & ~sw::low_mask(lg2);
        return (data_at + s_->random.below(data_end - data_at)) & ~sw::low_mask(lg2);
    }
    template <class Table>
    void map_page(Table& table, std::uint64_t near) {
        std::uint64_t const largest = static_cast<std::uint64_t>(std::bit_width(table.of().sizes())) - 1;
        std::uint64_t lg2 = 12 + s_->random.below(largest - 11);
        if (s_->random.one_in(3)) lg2 -= (lg2 - 12) % 9; // a page of its level's own size
        add(table, near & ~sw::low_mask(lg2), std::uint64_t{1} << lg2, any_output(lg2));
    }
    // A run of pages in several sizes: as far as the addresses on both sides are aligned alike.
    template <class Table>
    void map_pages(Table& table, std::uint64_t near) {
        std::uint64_t const alike = 12 + s_->random.below(12);
        std::uint64_t const to = any_output(12);
        std::uint64_t const at = (near & ~sw::low_mask(alike)) | (to & sw::low_mask(alike));
        add(table, at, (1 + s_->random.below(1000)) << 12, to);
    }
    template <class Table>
    void add(Table& table, std::uint64_t at, std::uint64_t bytes, std::uint64_t to) {
        if (table.map(sw::range{sw::iova{at}, bytes}, sw::pa{to}, any_attributes())) mappings_.push_back({at, bytes, to});
    }
    // A page whose path leaves levels out: the encoder of tables does not.
    void map_skipping(host_stage const& stage) {
        auto& random = s_->random;
        sw::pa table = stage.root();
        std::uint64_t iova = 0;
        for (std::uint64_t level = stage.top();;) {
            std::uint64_t const index = random.below(level == 5 ? 128 : 512);
            iova |= index << stage.shift(level);
            std::uint64_t const slot = (table + index * 8).value;
            if (b_->m.load(slot) != 0) return;
            if (level < 5 && (level == 0 || random.one_in(3))) {
                std::uint64_t const lg2 = std::min<std::uint64_t>(stage.shift(level) + random.below(9), 51);
                std::uint64_t const to = any_output(lg2);
                std::uint64_t const slots_of_page = std::uint64_t{1} << (lg2 - stage.shift(level));
                std::uint64_t const first = slot & ~sw::low_mask(3 + lg2 - stage.shift(level));
                for (std::uint64_t i = 0; i < slots_of_page; ++i)
                    if (b_->m.load(first + i * 8) != 0) return;
                for (std::uint64_t i = 0; i < slots_of_page; ++i)
                    b_->m.store(first + i * 8, stage.make_leaf(sw::pa{to}, lg2, any_attributes()));
                mappings_.push_back({iova & ~sw::low_mask(lg2), std::uint64_t{1} << lg2, to});
                return;
            }
            std::uint64_t const next = random.below(level == 0 ? 1 : level);
            sw::pa const below = page();
            b_->m.store(slot, stage.make_table(below, next + 1));
            table = below;
            level = next;
        }
    }

    void move_device_table(std::uint64_t to, std::uint64_t pages) {
        b_->point_to(to, pages, 0);
        invalidate_entry();
        b_->settle();
    }
    // What the device has got. It writes it to the mailbox while its entry lets all pass.
    std::uint64_t fetch() {
        device_table_entry saved;
        std::uint64_t const at = b_->entry_of(which_);
        bool const has_entry = b_->m.is_ram(at, 32);
        std::uint64_t const lost_at = b_->registers.table[0].get<"DevTabBase">();
        if (!has_entry) b_->point_to(device_table_, 2, 0);
        std::uint64_t const entry_at = b_->entry_of(which_);
        for (std::uint64_t w = 0; w < 4; ++w) {
            saved.word[w] = b_->m.load(entry_at + w * 8);
            b_->m.store(entry_at + w * 8, 0);
        }
        invalidate_entry();
        b_->submit();
        b_->probe[which_]->fetch(mailbox_at, mailbox_at);
        b_->expect_done();
        for (std::uint64_t w = 0; w < 4; ++w)
            b_->m.store(entry_at + w * 8, saved.word[w]);
        if (!has_entry) b_->point_to(lost_at, 2, 0);
        invalidate_entry();
        b_->settle();
        return b_->m.load(mailbox_at);
    }
    void invalidate_entry() {
        b_->add(amdvi::invalidate_device_entry(b_->device[which_]->source()));
        b_->add(amdvi::invalidate_domain(static_cast<std::uint16_t>(entry_.get<"DomainID">())));
    }
    // Earlier accesses may have left translations with other rights. Any command that covers this one serves.
    void invalidate_for(amdvi::request const& r) {
        std::uint64_t const page = r.address.value & ~sw::low_mask(12);
        auto const domain = static_cast<std::uint16_t>(entry_.get<"DomainID">());
        switch (s_->random.below(b_->caps.has<"IASup">() ? 3 : 2)) {
        case 0: b_->add(amdvi::invalidate_domain(domain)); break;
        case 1:
            b_->add(amdvi::invalidate_pages(domain, amdvi::no_pasid, sw::range{sw::iova{page}, 4096}, s_->random.one_in(2)));
            break;
        default: b_->add(amdvi::invalidate_all()); break;
        }
        b_->submit();
    }

    session* s_;
    bench* b_;
    std::uint64_t first_;
    sw::bump_allocator<sw::pa> allocator_;
    unsigned which_;
    std::uint16_t domain_;
    std::uint64_t device_table_;
    device_table_entry entry_;
    bool has_logged_{}; // a page fault, since the entry was written
    std::vector<mapping> mappings_;
};

// --- the modes ---------------------------------------------------------------------------------------------------------------

// Tables without faults other than rights: every address that is mapped, and every bit that must not count.
void host_addresses(session& s) {
    bench b{s};
    while (s.next_table()) {
        scene here{s, b};
        std::uint64_t const levels = here.any_levels();
        std::uint64_t const root = here.fill(levels);
        sw::access const granted = s.random.one_in(4) ? here.any_rights() : sw::read_write;
        here.bind(amdvi::make_host_entry(here.domain(), levels, root, granted));
        amdvi::request accesses[8];
        for (auto& access : accesses)
            access = here.any_request();
        for (unsigned i = s.random.small(4); i > 0; --i)
            here.break_path_of(s.random.pick(accesses), breaks::ignored_bits);
        if (s.random.one_in(3)) here.narrow_path_of(s.random.pick(accesses));
        for (auto const& access : accesses)
            here.hold(access);
    }
}

// Tables with broken entries in them.
void faults(session& s) {
    bench b{s};
    while (s.next_table()) {
        scene here{s, b};
        std::uint64_t const levels = here.any_levels();
        std::uint64_t const root = here.fill(levels);
        device_table_entry e = amdvi::make_host_entry(here.domain(), levels, root);
        e.set<"SA">(s.random.one_in(8));
        e.set<"SE">(s.random.one_in(8));
        here.bind(e);
        amdvi::request accesses[8];
        for (auto& access : accesses)
            access = here.any_request();
        // What is cached of the good tables must be gone when they are broken.
        here.hold(accesses[0]);
        here.break_path_of(accesses[0], breaks::anything);
        here.hold(accesses[0]);
        for (unsigned i = 1 + s.random.small(4); i > 0; --i)
            here.break_path_of(s.random.pick(accesses), breaks::anything);
        for (auto const& access : accesses)
            here.hold(access);
    }
}

// Device table entries of all kinds, good and broken, and device tables that end too early or are not there.
void device_table(session& s) {
    bench b{s};
    while (s.next_table()) {
        scene here{s, b};
        std::uint64_t const levels = here.any_levels();
        std::uint64_t const root = here.fill(levels);
        device_table_entry e;
        switch (s.random.below(8)) {
        case 0: break;
        case 1: e = amdvi::make_blocked_entry(here.domain()); break;
        case 2: e = amdvi::make_identity_entry(here.domain(), here.any_rights()); break;
        default: e = amdvi::make_host_entry(here.domain(), levels, root, here.any_rights()); break;
        }
        if (s.random.one_in(4)) e = amdvi::with_interrupts(e, {scratch_at, s.random.below(12)});
        if (s.random.one_in(8)) e.set<"SA">(1);
        if (s.random.one_in(8)) e.set<"SE">(1);
        // Fields that decide, and any bit.
        if (s.random.one_in(12)) e.set<"V">(0);
        if (s.random.one_in(8)) e.set<"TV">(0);
        if (s.random.one_in(8)) e.set<"Mode">(s.random.below(8));
        if (s.random.one_in(12)) e.set<"HAD">(s.random.below(4));
        if (s.random.one_in(12)) e.set<"IoCtl">(s.random.below(4));
        if (s.random.one_in(3)) {
            std::uint64_t& word = e.word[s.random.below(4)];
            word ^= std::uint64_t{1} << s.random.below(64);
        }
        here.bind(e);
        if (s.random.one_in(6)) here.cut_device_table();
        if (s.random.one_in(24)) here.lose_device_table();
        for (unsigned i = 0; i < 5; ++i)
            here.hold(here.any_request(2));
    }
}

constexpr mode modes[] = {{"host_addresses", 800, host_addresses}, {"device_table", 800, device_table}, {"faults", 800, faults}};

} // namespace

int main(int argc, char** argv) { return run(argc, argv, modes); }
