// SMMUv3: stream tables, context descriptors, stages 1 and 2 and both, held against QEMU's arm-smmuv3.
#include "judge.hpp"

#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/core/size.hpp>
#include <stagewalk/smmu/command.hpp>
#include <stagewalk/smmu/configure.hpp>
#include <stagewalk/smmu/event_record.hpp>
#include <stagewalk/smmu/event_text.hpp>
#include <stagewalk/smmu/iommu.hpp>

#include <bit>
#include <functional>
#include <memory>

namespace {

using namespace judge;
namespace sw = stagewalk;
namespace smmu = stagewalk::smmu;
using smmu::event;
using smmu::granule;
using smmu::half;
using guest_ram = sw::flat<sw::pa>;
using unit_model = smmu::iommu<guest_ram>;
using middle = sw::intermediate<sw::pa>;

// --- what lies where in the guest's RAM --------------------------------------------------------------------------------------

constexpr std::uint64_t commands_at = 0x4200'0000; // the command queue, one page
constexpr std::uint64_t events_at = 0x4200'1000;   // the event queue, one page
constexpr std::uint64_t scratch_at = 0x4200'2000;
constexpr std::uint64_t mailbox_at = 0x4200'3000; // where a device writes what it has read
constexpr std::uint64_t tables_at = 0x4300'0000;
constexpr std::uint64_t tables_bytes = 0x200'0000;
constexpr std::uint64_t inner_tables_at = 0x4600'0000; // those that lie behind stage 2
constexpr std::uint64_t inner_tables_bytes = 0x100'0000;
constexpr std::uint64_t data_at = 0x4800'0000; // up to the end: what devices may read and write
constexpr std::uint64_t data_end = 0x6000'0000;
constexpr std::uint64_t ram_at = 0x4000'0000;

// Devices whose StreamIDs, 20h, 98h and F8h, are found through different level-1 descriptors of small second levels.
constexpr std::uint32_t slots[] = {4, 19, 31};

bool is_data(std::uint64_t at) { return at >= data_at && at < data_end; }
// Where DMA, or the fetch of an entry, would meet something else than RAM or nothing.
bool is_peculiar(std::uint64_t at) { return at < ram_at || (at >= 0x40'0000'0000 && at < 0x100'0000'0000); }

// --- one access, both outcomes -----------------------------------------------------------------------------------------------

enum class seen { yes, no, unknown };

// An access that came where it was looked for.
struct arrival {
    std::uint64_t address;
    bool writes;
};

// What a deviation leaves out, for ours to be asked again without it.
struct leaving_out {
    bool privilege{}; // who may do nothing without privilege
    bool access{};    // the access flag
    bool size{};      // how wide an output address may be
    bool reach{};     // how wide the address of context descriptors may be
    bool top{};       // the upper bits of pointers in configuration entries
    bool upper{};     // TBI1: TBI0 counts for both halves
    bool stage1{};    // stage 1
    bool kind{};      // whether it reads or writes: the other is asked
};

// Whether `word` is a descriptor of a page table: recorder calls those "level 0" and so on.
bool is_of_page_tables(seen_word const& word) { return word.table.substr(0, 6) == "level "; }

struct smmu_case {
    smmu::request asked;
    unit_model::answer ours{sw::failure{sw::fault<event>{}}};
    smmu::event_record expected; // of ours, if it is to be recorded
    leaving_out without;
    std::function<void(smmu_case&)> ask_again; // ours and expected, as `without` says
    smmu::capabilities caps;
    smmu::control registers;
    smmu::stream_table_descriptor descriptor; // the level-1 descriptor that leads to the device's entry, if there is one
    smmu::stream_table_entry stream;          // that of the device
    smmu::context_descriptor context;         // its context descriptor, where stage 1 is on
    std::uint64_t watched{};     // where the DMA was looked for: the place that ours names, or would if it did not refuse
    seen arrived{seen::unknown}; // whether it came there
    bool strayed{};              // it reached the place where it would have gone if no entry had been changed, and must not
    std::vector<smmu::event_record> events; // QEMU's
    std::vector<arrival> earlier;           // since a table was changed last
    recorder path;                          // of ours
    recorder latest;                        // of ours, as it was asked last

    [[nodiscard]] bool refused() const { return !ours; }
    [[nodiscard]] bool is_recorded() const { return refused() && ours.error().reported && ours.error().code != event::none; }
    [[nodiscard]] bool is(event code) const { return refused() && ours.error().code == code; }
    [[nodiscard]] bool writes() const { return asked.access.covers(sw::write); }
    [[nodiscard]] event told() const { return events.size() == 1 ? static_cast<event>(events[0].get<"TYPE">()) : event::none; }
    [[nodiscard]] bool told_nothing() const { return events.empty(); }
    // Whether QEMU tells what ours does, of the same stage.
    [[nodiscard]] bool told_alike() const {
        return is(told()) && (!smmu::is_stage_event(told()) || events[0].get<"S2">() == expected.get<"S2">());
    }
    [[nodiscard]] bool agrees() const {
        if (arrived == (refused() ? seen::yes : seen::no) || strayed) return false;
        if (arrived == seen::yes && ours->output.value != watched) return false;
        if (!is_recorded()) return events.empty();
        return events.size() == 1 && events[0] == expected;
    }
    // Where QEMU's SMMU refuses, QEMU tries again with half of the access, and then the other half.
    void join_parts() {
        if (events.size() != 2) return;
        smmu::event_record first = events[1];
        if (first.get<"InputAddr">() == asked.address.value + 4) first.set<"InputAddr">(asked.address.value);
        if (first.word[3] == events[0].word[3] + 4) first.word[3] -= 4;
        if (first == events[0]) events.pop_back();
    }
    [[nodiscard]] static std::string text_of(smmu::event_record const& e) {
        std::string t = smmu::name_of(static_cast<event>(e.get<"TYPE">()));
        for (std::uint64_t word : e.word)
            t += " " + hex(word);
        return t;
    }
    [[nodiscard]] std::string text() const {
        std::string t = (writes() ? "write to " : "read from ") + hex(asked.address.value) + " by " + hex(asked.source) + "\n";
        if (ours) {
            t += " ours: reaches " + hex(ours->output.value);
        } else {
            t += " ours: refused, " +
                 (is_recorded() ? text_of(expected) : smmu::name_of(ours.error().code) + std::string(", not recorded"));
        }
        static constexpr char const* how[] = {"arrived", "did not arrive", "unknown whether it arrived"};
        t += "\n QEMU: " + std::string(how[static_cast<int>(arrived)]) + (strayed ? ", went where it went before" : "");
        for (auto const& e : events)
            t += "; " + text_of(e);
        t += " (" + hex(watched) + ")\n  CR0 " + hex(registers.cr0.word[0]) + ", CR2 " + hex(registers.cr2.word[0]) + ", GBPA " +
             hex(registers.gbpa.word[0]) + ", STRTAB_BASE " + hex(registers.base.word[0]) + ", STRTAB_BASE_CFG " +
             hex(registers.configuration.word[0]);
        return t + "\n" + path.text();
    }
};

// --- what QEMU is known to do otherwise --------------------------------------------------------------------------------------

constexpr version always{};
constexpr version until_now{~0u, 0, 0};

// Whether two refusals are of different codes or stages.
bool has_other_cause(unit_model::fault_type const& a, unit_model::fault_type const& b) {
    return a.code != b.code || a.stage != b.stage;
}
// Whether QEMU says something else than ours, and ours says something else if a member is left out.
template <bool leaving_out::*Member>
bool changes_without(smmu_case c) {
    if (c.without.*Member) return false;
    if (c.refused() && (c.is_recorded() ? c.told_alike() : c.told_nothing() && c.arrived != seen::yes)) return false;
    unit_model::answer const before = c.ours;
    c.without.*Member = true;
    c.ask_again(c);
    if (before || c.ours) return !before || !c.ours;
    return has_other_cause(before.error(), c.ours.error());
}
template <bool leaving_out::*Member>
void leave_out(smmu_case& c) {
    c.without.*Member = true;
    c.ask_again(c);
}

// Whether an access of the other kind is granted, and one has left the translation of this one's page or block, of both stages.
bool hits_nested(smmu_case c) {
    if (!c.stream.has_stage1() || !c.stream.has_stage2()) return false;
    leave_out<&leaving_out::kind>(c);
    return c.ours && std::any_of(c.earlier.begin(), c.earlier.end(), [&](arrival const& of) {
               return of.writes != c.writes() && (of.address ^ c.asked.address.value) <= c.ours->offset_mask();
           });
}
// Whether stage 2 refuses the way to a stage-1 table, and QEMU tells what lower_tables_of_stage1 says.
bool is_told_of_stage1(smmu_case const& c) {
    if (!c.refused() || c.ours.error().stage != sw::fault_stage::second) return false;
    smmu::event_record told = smmu::to_record(c.ours.error(), c.asked, c.caps);
    if (c.ours.error().at != sw::fault_at::table || told.get<"CLASS">() != 1) return false;
    granule const g = c.context.granule_of(smmu::half_of(c.asked.address.value));
    told.set<"S2">(0);
    told.set<"PnU">(0);
    told.set<"TTRnW">(0);
    told.word[3] = c.ours.error().intermediate & ~sw::low_mask(smmu::lg2_of(g));
    bool const tells = c.context.get<"R">() != 0 || c.is(event::f_walk_eabt);
    return tells ? c.events.size() == 1 && c.events[0] == told : c.told_nothing() && c.is_recorded();
}

// Whether ours says that stage 2 refuses the stage-1 table `root` itself, and QEMU tells that, or nothing where S2R is 0.
bool is_told_of_root(smmu_case const& c, std::uint64_t root) {
    smmu_case of_root = c;
    of_root.asked.address = sw::iova{root};
    of_root.asked.access = sw::read;
    leave_out<&leaving_out::stage1>(of_root);
    if (c.told_nothing()) return c.arrived != seen::yes && of_root.refused() && !of_root.is_recorded();
    smmu::event_record const& told = c.events[0];
    bool const names_root = !smmu::is_stage_event(c.told()) || told.word[3] == (root & ~sw::low_mask(12));
    return of_root.is(c.told()) && told.get<"S2">() != 0 && told.get<"CLASS">() == 1 && names_root;
}

// Whether ours refuses the stream table entry for `why`.
bool has_illegal_stream(smmu_case const& c, smmu::stream_entry_error why) {
    return c.is(event::c_bad_ste) && static_cast<smmu::stream_entry_error>(c.ours.error().detail & 0xffff) == why;
}
// Whether a table that ours met on the way forbids writing.
bool has_read_only_table(smmu_case const& c) {
    return std::any_of(c.path.words.begin(), c.path.words.end(), [](seen_word const& word) {
        return is_of_page_tables(word) && word.table != "level 0" && (word.value & 3) == 3 && (word.value >> 62 & 1) != 0;
    });
}

constexpr std::array known{
    deviation<smmu_case>{
        "addresses_of_48_bits",
        "wider addresses do not reach the SMMU",
        [](smmu_case const& c) { return c.asked.address.value >> 48 != 0 && c.told_nothing() && c.arrived != seen::yes; },
        always,
        {7, 2, 99}},
    deviation<smmu_case>{"pointers_cut_off", "STRTAB_BASE holds 52 bits of an address, TTB0, TTB1 and S2TTB hold 48",
                         [](smmu_case const& c) { return c.refused() && changes_without<&leaving_out::top>(c); }, always,
                         until_now, leave_out<&leaving_out::top>},
    deviation<smmu_case>{"context_pointer", "S1ContextPtr holds 48 bits, and is not held against OAS",
                         [](smmu_case const& c) { return c.is(event::c_bad_ste) && changes_without<&leaving_out::reach>(c); },
                         always, until_now, leave_out<&leaving_out::reach>},
    deviation<smmu_case>{"top_byte_of_both_halves", "TBI0 counts for the upper half too, TBI1 for none",
                         [](smmu_case const& c) {
                             return smmu::half_of(c.asked.address.value) == half::upper && c.stream.has_stage1() &&
                                    c.context.get<"TBI0">() != c.context.get<"TBI1">() && changes_without<&leaving_out::upper>(c);
                         },
                         always, until_now, leave_out<&leaving_out::upper>},
    deviation<smmu_case>{"no_output_size",
                         "output addresses may have 48 bits, whatever OAS and CD.IPS say",
                         [](smmu_case const& c) { return c.is(event::f_addr_size) && changes_without<&leaving_out::size>(c); },
                         always,
                         {8, 2, 99},
                         leave_out<&leaving_out::size>},
    deviation<smmu_case>{"output_size_late",
                         "addresses of tables have any size, those of pages are looked at last",
                         [](smmu_case const& c) {
                             bool const late = c.told() == event::f_permission || c.told() == event::f_access;
                             bool const of_table = (c.is(event::f_addr_size)) && c.ours.error().level != sw::no_level &&
                                                   c.ours.error().level > 0 && (c.ours.error().entry & 3) == 3;
                             return c.is(event::f_addr_size) && (late || of_table) && changes_without<&leaving_out::size>(c);
                         },
                         {8, 3, 0},
                         until_now,
                         leave_out<&leaving_out::size>},
    deviation<smmu_case>{"no_access_flag",
                         "stage 1 does not look at the access flag",
                         [](smmu_case const& c) { return c.is(event::f_access) && changes_without<&leaving_out::access>(c); },
                         always,
                         {8, 0, 99},
                         leave_out<&leaving_out::access>},
    deviation<smmu_case>{
        "no_privilege", "every access is privileged, and PAN does not count",
        [](smmu_case const& c) { return c.is(event::f_permission) && changes_without<&leaving_out::privilege>(c); }, always,
        until_now, leave_out<&leaving_out::privilege>},
    deviation<smmu_case>{"write_only_forgotten",
                         "a read that hits a translation that a write left is not refused by stage 2",
                         [](smmu_case const& c) {
                             return !c.writes() && c.is(event::f_permission) && c.told_nothing() && c.arrived != seen::no &&
                                    hits_nested(c);
                         },
                         {9, 1, 0},
                         until_now,
                         leave_out<&leaving_out::kind>},
    deviation<smmu_case>{"hit_without_intermediate_address",
                         "where stage 2 refuses a write that hits a translation that a read left, the address between is 0",
                         [](smmu_case const& c) {
                             return c.writes() && c.is(event::f_permission) && c.told_alike() && c.events[0].get<"S2">() != 0 &&
                                    c.events[0].word[3] == 0 && hits_nested(c);
                         },
                         {9, 1, 0},
                         until_now,
                         [](smmu_case& c) { c.events[0].word[3] = c.expected.word[3]; }},
    deviation<smmu_case>{"lower_tables_of_stage1",
                         "what stage 2 refuses of a stage-1 table below the first is told, or not, as if stage 1 refused it, "
                         "with the address of the table",
                         is_told_of_stage1,
                         {9, 1, 0},
                         until_now,
                         [](smmu_case& c) {
                             c.events.clear();
                             if (c.is_recorded()) c.events.push_back(c.expected);
                         }},
    deviation<smmu_case>{"event_without_class",
                         "CLASS of a stage's events is 0, where it is to be IN",
                         [](smmu_case const& c) {
                             return c.is_recorded() && smmu::is_stage_event(c.told()) && c.events[0].get<"CLASS">() == 0 &&
                                    c.expected.get<"CLASS">() == 2;
                         },
                         always,
                         {9, 0, 99},
                         [](smmu_case& c) { c.events[0].set<"CLASS">(2); }},
    deviation<smmu_case>{"address_of_context_fetch", "the address of F_CD_FETCH stands in the second half of the record's middle",
                         [](smmu_case const& c) { return c.told() == event::f_cd_fetch && c.events[0].word[3] == 0; }, always,
                         until_now, [](smmu_case& c) { std::swap(c.events[0].word[2], c.events[0].word[3]); }},
    deviation<smmu_case>{"whole_intermediate_address", "bits 11:0 of the intermediate address are in the record",
                         [](smmu_case const& c) {
                             return smmu::is_stage_event(c.told()) && c.events[0].get<"S2">() != 0 &&
                                    (c.events[0].word[3] & sw::low_mask(12)) != 0;
                         },
                         always, until_now, [](smmu_case& c) { c.events[0].word[3] &= ~sw::low_mask(12); }},
    deviation<smmu_case>{"bad_streamid_recorded", "C_BAD_STREAMID is recorded whatever CR2.RECINVSID says",
                         [](smmu_case const& c) {
                             return c.is(event::c_bad_streamid) && !c.is_recorded() && c.told() == event::c_bad_streamid &&
                                    c.events[0] == smmu::to_record(c.ours.error(), c.asked, c.caps);
                         },
                         always, until_now, [](smmu_case& c) { c.events.clear(); }},
    deviation<smmu_case>{"fetch_address_of_any_size", "fetch addresses in records have bits beyond OAS",
                         [](smmu_case const& c) {
                             event const of = c.told();
                             return (of == event::f_ste_fetch || of == event::f_cd_fetch || of == event::f_walk_eabt) &&
                                    c.events[0].word[3] > sw::low_mask(c.caps.output_size());
                         },
                         always, until_now, [](smmu_case& c) { c.events[0].word[3] &= sw::low_mask(c.caps.output_size()); }},
    deviation<smmu_case>{"implicit_reads", "RnW of an event on the way to a table says that the table was read",
                         [](smmu_case const& c) {
                             return c.told() != event::none && c.events[0].get<"S2">() != 0 && c.events[0].get<"CLASS">() != 2 &&
                                    c.events[0].get<"RnW">() != 0 && c.writes();
                         },
                         always, until_now, [](smmu_case& c) { c.events[0].set<"RnW">(0); }},
    deviation<smmu_case>{"no_direction_of_tables",
                         "TTRnW is 0, where the right to read a stage-1 table is missing",
                         [](smmu_case const& c) {
                             return c.is(event::f_permission) && c.told_alike() && c.events[0].get<"CLASS">() == 1 &&
                                    c.events[0].get<"TTRnW">() == 0 && c.expected.get<"TTRnW">() != 0;
                         },
                         {9, 1, 0},
                         until_now,
                         [](smmu_case& c) { c.events[0].set<"TTRnW">(1); }},
    deviation<smmu_case>{"tables_side_by_side", "the first of a stage 2's tables side by side serves for all of them",
                         [](smmu_case const& c) {
                             granule const g = c.stream.stage2_granule();
                             if (!c.stream.has_stage2() || g == granule::none) return false;
                             std::uint64_t const size = std::uint64_t{1} << smmu::lg2_of(g);
                             std::uint64_t const first = c.stream.stage2_table() & sw::low_mask(48);
                             auto const beyond = [&](std::uint64_t at) { return at - first >= size && at - first < 16 * size; };
                             auto const& met = c.latest.words;
                             if (std::any_of(met.begin(), met.end(), [&](seen_word const& word) {
                                     return is_of_page_tables(word) && beyond(word.address);
                                 }))
                                 return true;
                             if (c.is(event::f_walk_eabt) && c.ours.error().stage == sw::fault_stage::second &&
                                 beyond(c.ours.error().descriptor))
                                 return true;
                             // What is not there has not been met.
                             std::uint64_t const top = smmu::stage2_top(c.caps, g, false, c.stream.get<"S2SL0">(), 0);
                             if (c.stream.has_stage1() || top == smmu::no_top) return false;
                             std::uint64_t const lg2_span = smmu::lg2_of(g) + (smmu::lg2_of(g) - 3) * (top + 1);
                             std::uint64_t const of = c.asked.address.value;
                             return lg2_span < 64 && of >> lg2_span != 0 && of <= sw::low_mask(64 - c.stream.get<"S2T0SZ">());
                         }},
    deviation<smmu_case>{"tables_translated_at_once",
                         "TTB0 and TTB1 pass stage 2 with the context descriptor, needed or not",
                         [](smmu_case const& c) {
                             if (!c.stream.has_stage1() || !c.stream.has_stage2() || c.events.size() > 1) return false;
                             return is_told_of_root(c, c.context.table(half::lower)) ||
                                    is_told_of_root(c, c.context.table(half::upper));
                         },
                         {9, 1, 0}},
    deviation<smmu_case>{"quiet_hit", "no event is told where a translation that another access left does not grant this one",
                         [](smmu_case const& c) {
                             return c.stream.has_stage2() && !c.stream.has_stage1() && c.is(event::f_permission) &&
                                    c.told_nothing() && c.arrived != seen::yes;
                         }},
    deviation<smmu_case>{"stage2_input_size", "stage 2 may not have more input bits than S2PS has output bits",
                         [](smmu_case const& c) {
                             return c.stream.has_stage2() && c.told() == event::c_bad_ste &&
                                    64 - c.stream.get<"S2T0SZ">() > smmu::address_size(c.stream.get<"S2PS">());
                         }},
    deviation<smmu_case>{"span", "a second level has 2^Span entries, of any Span; beyond them C_BAD_STE is told",
                         [](smmu_case const& c) {
                             std::uint64_t const index = c.asked.source & sw::low_mask(c.registers.split());
                             std::uint64_t const span = c.descriptor.get<"Span">();
                             bool const within = index >> span == 0;
                             return c.is(event::c_bad_streamid) && c.registers.two_levels(c.caps) && span != 0 &&
                                    (within ? c.told() != event::c_bad_streamid : c.told() == event::c_bad_ste);
                         }},
    deviation<smmu_case>{"split_of_any_size", "SPLIT may be other than 6, 8 and 10",
                         [](smmu_case const& c) {
                             return c.registers.two_levels(c.caps) &&
                                    c.registers.configuration.get<"SPLIT">() != c.registers.split();
                         }},
    deviation<smmu_case>{"second_level_alignment", "second levels lie where L2Ptr says, aligned or not",
                         [](smmu_case const& c) {
                             auto const& d = c.descriptor;
                             return c.registers.two_levels(c.caps) && d.is_valid(c.registers.split()) &&
                                    (d.word[0] & sw::bit_mask(55, 5)) != d.table();
                         }},
    deviation<smmu_case>{"second_level_pointer", "L2Ptr goes on up to bit 63",
                         [](smmu_case const& c) {
                             return c.registers.two_levels(c.caps) && c.descriptor.word[0] >> 56 != 0 &&
                                    c.told() == event::f_ste_fetch && c.arrived != seen::yes;
                         }},
    deviation<smmu_case>{"stream_table_alignment", "the highest address bit within a stream table counts",
                         [](smmu_case const& c) {
                             std::uint64_t const size = c.registers.configuration.get<"LOG2SIZE">();
                             std::uint64_t lg2 = size + 6;
                             if (c.registers.two_levels(c.caps))
                                 lg2 = size > c.registers.split() + 3 ? size - c.registers.split() + 3 : 6;
                             return c.registers.cr0.get<"SMMUEN">() != 0 && lg2 < 52 &&
                                    (c.registers.base.get<"ADDR">() >> (lg2 - 1) & 1) != 0;
                         }},
    deviation<smmu_case>{"substreams", "an entry with S1CDMax is illegal, also where there are no substreams, or no stage 1",
                         [](smmu_case const& c) {
                             return c.stream.get<"Config">() > 4 && c.stream.get<"S1CDMax">() != 0 &&
                                    (c.caps.substream_size() == 0 || !c.stream.has_stage1()) && c.told() == event::c_bad_ste;
                         }},
    deviation<smmu_case>{"stall_disable", "S1STALLD is illegal without stage 1 too",
                         [](smmu_case const& c) {
                             return c.stream.has_stage2() && !c.stream.has_stage1() && c.stream.get<"S1STALLD">() != 0 &&
                                    c.told() == event::c_bad_ste;
                         }},
    deviation<smmu_case>{"stage2_start", "stage-2 tables may start too high for their input size",
                         [](smmu_case const& c) {
                             return has_illegal_stream(c, smmu::stream_entry_error::stage2_start) && c.told() != event::c_bad_ste;
                         }},
    deviation<smmu_case>{"stage2_updates", "S2HA is not illegal, and has no effect",
                         [](smmu_case const& c) {
                             return has_illegal_stream(c, smmu::stream_entry_error::updates) && c.told() != event::c_bad_ste;
                         }},
    deviation<smmu_case>{"block_of_any_level", "a block descriptor maps at every level but the last",
                         [](smmu_case const& c) {
                             return c.is(event::f_translation) && c.ours.error().level != sw::no_level &&
                                    c.ours.error().level != 0 && (c.ours.error().entry & 3) == 1 &&
                                    c.told() != event::f_translation;
                         }},
    deviation<smmu_case>{"read_only_table_at_once", "a write is refused by the first table that is read-only",
                         [](smmu_case const& c) {
                             if (!c.writes() || !c.is_recorded() || c.told() != event::f_permission || !has_read_only_table(c))
                                 return false;
                             smmu::event_record other = c.expected;
                             other.set<"TYPE">(c.events[0].get<"TYPE">());
                             return other == c.events[0];
                         }},
    deviation<smmu_case>{
        "read_only_table_forgotten", "a write that hits a translation that a read left is not refused by tables",
        [](smmu_case const& c) { return c.writes() && c.is(event::f_permission) && has_read_only_table(c) && c.told_nothing(); }},
    deviation<smmu_case>{"no_gbpa",
                         "an SMMU that is off never aborts",
                         [](smmu_case const& c) {
                             return c.registers.cr0.get<"SMMUEN">() == 0 && c.registers.gbpa.get<"ABORT">() != 0 &&
                                    c.told_nothing() && c.arrived != seen::no;
                         },
                         always,
                         {7, 2, 99}},
};

// --- the unit ----------------------------------------------------------------------------------------------------------------

class bench {
public:
    bench(session& s, emulator const& program, std::vector<std::string> const& options)
        : m{program, arm_virt(options), devices()}, caps{m.read32(base + 0x00), m.read32(base + 0x04), m.read32(base + 0x0c),
                                                         m.read32(base + 0x14), m.read32(base + 0x1c)},
          ram{m.memory()} {
        s.release = program.release();
        if (caps.contradiction() != smmu::capability_error::none) throw broken{"the capabilities contradict themselves"};
        for (std::uint32_t i = 0; i < std::size(slots); ++i) {
            device[i] = std::make_unique<edu>(m, slots[i], i);
            probe[i] = std::make_unique<prober>(m, *device[i], scratch_at);
        }
        m.write64(base + 0x90, commands_at | lg2_commands);
        m.write64(base + 0xa0, events_at | lg2_events);
        m.write32(base + 0x20, queues_on);
    }

    // Other registers; nothing that was cached before counts any more.
    void program(smmu::control const& to, std::uint16_t vmid) {
        registers_ = to;
        m.queue_write32(base + 0x20, queues_on);
        m.queue_write32(base + 0x2c, static_cast<std::uint32_t>(to.cr2.word[0]));
        m.queue_write32(base + 0x44, static_cast<std::uint32_t>(to.gbpa.word[0]) | 1u << 31);
        m.queue_write64(base + 0x80, to.base.word[0]);
        m.queue_write32(base + 0x88, static_cast<std::uint32_t>(to.configuration.word[0]));
        add(smmu::invalidate_streams(0, 32));
        if (caps.has<"S2P">())
            add(smmu::invalidate_vmid(vmid));
        else
            add(smmu::invalidate_stage1(smmu::stream_world::el1, vmid));
        complete();
        m.queue_write32(base + 0x20, static_cast<std::uint32_t>(to.cr0.word[0]) | queues_on);
        std::size_t const acknowledged = m.queue_read32(base + 0x24);
        if (((m.exchange()[acknowledged] ^ to.cr0.word[0]) & 1) != 0) throw broken{"the unit cannot be switched"};
    }
    [[nodiscard]] smmu::control const& registers() const { return registers_; }
    // Lets the device's words of its last read be written to the mailbox, while the unit is off.
    bool fetch(prober& by) {
        m.queue_write32(base + 0x20, queues_on);
        m.queue_write32(base + 0x44, 1u << 31);
        bool const got = by.fetch(mailbox_at, mailbox_at);
        m.queue_write32(base + 0x44, static_cast<std::uint32_t>(registers_.gbpa.word[0]) | 1u << 31);
        m.queue_write32(base + 0x20, static_cast<std::uint32_t>(registers_.cr0.word[0]) | queues_on);
        return got;
    }

    [[nodiscard]] unit_model model() { return {caps, registers_, ram}; }

    // --- commands: put some into the queue, then complete() or submit() ---

    template <class Command>
    void add(Command const& c) {
        put(c.word[0], c.word[1]);
    }
    void add(smmu::owed_commands const& owed) {
        for (std::size_t i = 0; i < owed.count; ++i)
            put(owed.word[i][0], owed.word[i][1]);
    }
    // The unit looks at them with the next exchange of the machine.
    void submit() {
        add(smmu::synchronise());
        m.queue_write32(base + 0x98, command_);
    }
    void complete() {
        submit();
        take_events();
    }

    // The events since the last time.
    std::vector<smmu::event_record> take_events() {
        std::size_t const done = m.queue_read32(base + 0x9c);
        std::size_t const error = m.queue_read32(base + 0x60);
        std::size_t const prod = m.queue_read32(base + 0x1'00a8);
        auto const& answers = m.exchange();
        if (answers[done] != command_ || answers[error] != 0)
            throw broken{"the unit does not take a command: CMDQ_CONS " + hex(answers[done]) + " of " + hex(command_) +
                         ", GERROR " + hex(answers[error])};
        std::vector<smmu::event_record> events;
        for (auto const end = static_cast<std::uint32_t>(answers[prod]); event_ != end;
             event_ = (event_ + 1) & ((2u << lg2_events) - 1)) {
            std::uint64_t const at = events_at + (event_ & ((1u << lg2_events) - 1)) * std::uint64_t{32};
            events.push_back(smmu::event_record{m.load(at), m.load(at + 8), m.load(at + 16), m.load(at + 24)});
        }
        if (!events.empty()) m.queue_write32(base + 0x1'00ac, event_);
        return events;
    }

    machine m;
    smmu::capabilities caps;
    guest_ram ram;
    std::unique_ptr<edu> device[std::size(slots)];
    std::unique_ptr<prober> probe[std::size(slots)];

private:
    static constexpr std::uint64_t base = 0x905'0000;
    static constexpr std::uint32_t queues_on = 12; // CR0.EVENTQEN and CMDQEN
    static constexpr std::uint32_t lg2_commands = 8;
    static constexpr std::uint32_t lg2_events = 7;

    static std::vector<std::string> devices() {
        std::vector<std::string> all;
        for (std::uint32_t slot : slots)
            for (auto const& word : edu::option(slot))
                all.push_back(word);
        return all;
    }
    void put(std::uint64_t low, std::uint64_t high) {
        std::uint64_t const at = commands_at + (command_ & ((1u << lg2_commands) - 1)) * std::uint64_t{16};
        m.store(at, low);
        m.store(at + 8, high);
        command_ = (command_ + 1) & ((2u << lg2_commands) - 1);
    }

    smmu::control registers_;
    std::uint32_t command_{};
    std::uint32_t event_{};
};

// --- random tables -----------------------------------------------------------------------------------------------------------

// What the tables of one device map, as they are made.
struct mapping {
    std::uint64_t from;
    std::uint64_t bytes;
    std::uint64_t to;
};

// Where `at` leads by `all`; 0 = nowhere.
std::uint64_t lead(std::vector<mapping> const& all, std::uint64_t at) {
    for (auto const& of : all)
        if (at - of.from < of.bytes) return of.to + (at - of.from);
    return 0;
}

// The tables for one device, in fresh memory. They are gone afterwards.
class scene {
public:
    scene(session& s, bench& b)
        : s_{&s}, b_{&b}, allocator_{sw::range<sw::pa>::between(sw::pa{tables_at}, sw::pa{tables_at + tables_bytes - 1})},
          which_{s.random.small(std::size(slots))}, source_{b.device[which_]->source()},
          asid_{static_cast<std::uint16_t>(s.random())}, vmid_{static_cast<std::uint16_t>(
                                                             s.random() & (b.caps.has<"VMID16">() ? 0xffff : 0xff))} {
        // So that tables lie at different places.
        for (unsigned i = s.random.small(8); i > 0; --i)
            (void)take(12 + s.random.small(5));
    }
    ~scene() {
        b_->m.clear(tables_at, take(12).value - tables_at);
        b_->m.clear(inner_tables_at, inner_used_);
    }
    scene(scene const&) = delete;
    scene& operator=(scene const&) = delete;

    // A cleared table of 2^lg2 bytes.
    [[nodiscard]] sw::pa take(std::uint64_t lg2) {
        auto const got = allocator_.take(lg2);
        if (!got) throw broken{"out of tables"};
        return *got;
    }

    // --- the stream table ---

    // One that has an entry for the device, of one level or two.
    void make_stream_table(bool two_levels) {
        auto& random = s_->random;
        smmu::control to{0, 0, 1, random.one_in(2) ? 2u : 0u};
        std::uint64_t const size = 8 + random.below(3);
        to.configuration.set<"LOG2SIZE">(size);
        if (two_levels) {
            static constexpr std::uint64_t splits[] = {6, 8, 10};
            std::uint64_t const split = random.pick(splits);
            std::uint64_t const index = source_ & sw::low_mask(split);
            std::uint64_t const least = static_cast<std::uint64_t>(std::bit_width(index));
            std::uint64_t const bits = least + random.below(split - least + 1);
            to.configuration.set<"FMT">(1);
            to.configuration.set<"SPLIT">(split);
            sw::pa const descriptors = take(size > split + 3 ? size - split + 3 : 6);
            sw::pa const entries = take(bits + 6);
            to.base.set<"ADDR">(descriptors.value);
            descriptor_at_ = descriptors.value + (source_ >> split) * 8;
            b_->m.store(descriptor_at_, smmu::stream_table_descriptor::make(entries.value, bits).word[0]);
            stream_at_ = entries.value + index * 64;
        } else {
            sw::pa const entries = take(size + 6);
            to.base.set<"ADDR">(entries.value);
            stream_at_ = entries.value + source_ * std::uint64_t{64};
        }
        registers_ = to;
    }
    // What the scene's registers are, before begin().
    [[nodiscard]] smmu::control& registers() { return registers_; }
    void program() { b_->program(registers_, vmid_); }
    // The unit is switched on with the registers, and the device gets its entry.
    void begin() {
        program();
        set(stream_);
    }

    // --- the entries: as they were made ---

    [[nodiscard]] smmu::stream_table_entry& stream() { return stream_; }

    void set(smmu::stream_table_entry const& to) {
        smmu::configurator configure{b_->caps, registers_, b_->ram};
        auto const done = configure.set(sw::pa{stream_at_}, to, source_, [&](auto const& owed) { flush(owed); });
        if (!done) throw broken{"a stream table entry cannot be written"};
    }
    void set(smmu::context_descriptor const& to) {
        smmu::configurator configure{b_->caps, registers_, b_->ram};
        auto const done = configure.set(sw::pa{context_at_}, to, source_, 0, stream_, [&](auto const& owed) { flush(owed); });
        if (!done) throw broken{"a context descriptor cannot be written"};
    }

    // --- stage 1 ---

    // A context whose halves have tables of granule `g` (rarely of others), alone or over stage 2.
    void make_stage1(granule g) {
        auto& random = s_->random;
        bool const nested = stream_.has_stage2();
        smmu::context_descriptor d = smmu::context_descriptor::make(0, 32, g, 48, asid_);
        // Tables and data lie below 2^31 here; behind stage 2 anywhere.
        d.set<"IPS">(nested ? b_->caps.idr5.get<"OAS">() : random.below(ends_at_wide_sizes() ? 6 : 7));
        d.set<"TBI0">(random.one_in(4));
        d.set<"TBI1">(random.one_in(4));
        d.set<"AFFD">(random.one_in(3));
        d.set<"WXN">(random.one_in(4));
        d.set<"PAN">(random.one_in(4));
        d.set<"HAD0">(random.one_in(4));
        d.set<"HAD1">(random.one_in(4));
        d.set<"R">(!random.one_in(5));
        d.set<"ASET">(random.one_in(2));
        bool const upper = random.one_in(s_->release < version{8, 0, 0} ? 16 : 2);
        bool const lower = !upper || random.one_in(2);
        d.set<"EPD0">(!lower);
        d.set<"EPD1">(!upper);
        if (lower) make_half(d, half::lower, g);
        if (upper) make_half(d, half::upper, g);

        if (nested) {
            auto const at = inner_take(6);
            context_at_ = inner_tables_at + (at.value - inner_from_);
            stream_.set<"S1ContextPtr">(at.value);
            stream_.set<"Config">(static_cast<std::uint64_t>(smmu::stream_configuration::nested));
            auto const rest = smmu::stream_table_entry::make_stage1(at.value);
            stream_.word[1] |= rest.word[1] & ~smmu::stream_table_entry::mask<"SHCFG">();
        } else {
            sw::pa const at = take(6);
            context_at_ = at.value;
            stream_ = smmu::stream_table_entry::make_stage1(at.value, 0, smmu::context_format::linear, vmid_);
        }
        set(d);
    }

    // --- stage 2 ---

    // Stage 2 of granule `g`. With `under`, it leads to where stage-1 tables will lie.
    void make_stage2(granule g, bool under) {
        auto& random = s_->random;
        auto const sizes = smmu::stage2_sizes(b_->caps, g, false);
        std::uint64_t bits = 0;
        std::uint64_t lg2_root = 0;
        do {
            bits = under ? 36 + random.below(64 - sizes.least - 36 + 1)
                         : 64 - (sizes.least + random.below(sizes.most - sizes.least + 1));
            std::uint64_t const top = smmu::lowest_stage2_top(b_->caps, g, bits, false);
            lg2_root = bits - smmu::lg2_of(g) - (smmu::lg2_of(g) - 3) * top + 3;
        } while (under && lg2_root > smmu::lg2_of(g) && !random.one_in(8)); // of tables side by side QEMU knows the first alone
        stream_ = smmu::with_stage2(smmu::stream_table_entry::make_bypass(), b_->caps, 0, bits, g, vmid_);
        // Any start that reaches.
        for (std::uint64_t top = 3; top > 0; --top) {
            std::uint64_t const code = smmu::to_start_level(g, top);
            if (code < 3 && smmu::stage2_top(b_->caps, g, false, code, 0) == top && smmu::stage2_reaches(g, top, bits) &&
                random.one_in(3))
                stream_.set<"S2SL0">(code);
        }
        std::uint64_t const top = smmu::stage2_top(b_->caps, g, false, stream_.get<"S2SL0">(), 0);
        std::uint64_t const shift = smmu::lg2_of(g) + (smmu::lg2_of(g) - 3) * top;
        lg2_root = bits - shift + 3;
        stream_.set<"S2TTB">(take(lg2_root > 6 ? lg2_root : 6).value);
        stream_.set<"S2AFFD">(random.one_in(3));
        stream_.set<"S2R">(!random.one_in(5));
        if (!under && random.one_in(6)) stream_.set<"S2PS">(random.below(6));
        smmu::binding bound;
        bound.stream = stream_;
        smmu::with_granule(g, [&](auto constant) {
            auto const stage = smmu::stage2_of<constant(), sw::pa>(bound, b_->caps, {});
            sw::table table{stage, b_->ram, allocator_};
            if (under) {
                // Above all physical addresses of RAM, so that it is clear what an address belongs to.
                inner_from_ = (random() & sw::low_mask(bits) & ~sw::low_mask(25)) | std::uint64_t{1} << 35;
                inner_allocator_ = sw::bump_allocator<middle>{sw::range{middle{inner_from_}, inner_tables_bytes}};
                if (!table.map({middle{inner_from_}, inner_tables_bytes}, sw::pa{inner_tables_at}, any_stage2_attributes(false)))
                    throw broken{"tables cannot be mapped"};
            }
            fill(table, second_, [&](std::uint64_t) { return any_stage2_attributes(true); }, {});
        });
        if (!under) mappings_ = second_;
    }

    // A device that no tables translate: all of memory.
    void make_bypass() {
        stream_ = smmu::stream_table_entry::make_bypass();
        mappings_.push_back({ram_at, data_end - ram_at, ram_at});
    }
    void make_abort() {
        make_bypass();
        stream_ = smmu::stream_table_entry::make_abort();
        stream_.set<"Config">(s_->random.below(4));
    }

    // --- accesses ---

    // Several accesses, then changes, then the accesses again, and others.
    void judge_accesses() {
        auto& random = s_->random;
        smmu::request accesses[5];
        for (auto& access : accesses)
            access = any_request();
        bool const changes = random.one_in(2);
        if (!changes || random.one_in(2))
            for (unsigned i = 0; i < 2; ++i)
                hold(accesses[i]);
        if (!changes) {
            for (unsigned i = 2; i < std::size(accesses); ++i)
                hold(accesses[i]);
            return;
        }
        for (unsigned i = 1 + random.small(2); i > 0; --i)
            change_path_of(random.pick(accesses), accesses);
        for (auto const& access : accesses)
            hold(access);
    }

    // Makes the stream table another: what leads to the entry, or the entry itself.
    void break_stream_table() {
        auto& random = s_->random;
        machine& m = b_->m;
        switch (random.below(registers_.two_levels(b_->caps) ? 8u : 5u)) {
        case 0: registers_.configuration.set<"LOG2SIZE">(random.below(9)); break;
        case 1: registers_.configuration.set<"LOG2SIZE">(random.below(64)); break;
        case 2: registers_.base.word[0] ^= std::uint64_t{1} << (6 + random.below(50)); break;
        case 3: registers_.configuration.set<"SPLIT">(random.below(32)); break;
        case 4: registers_.base.word[0] |= random() & sw::bit_mask(15, 6); break;
        case 5: m.store(descriptor_at_, (m.load(descriptor_at_) & ~std::uint64_t{31}) | random.below(32)); break;
        default: m.store(descriptor_at_, m.load(descriptor_at_) ^ std::uint64_t{1} << random.below(64)); break;
        }
    }

private:
    // --- making tables ---

    [[nodiscard]] middle inner_take(std::uint64_t lg2) {
        auto const got = inner_allocator_.take(lg2);
        if (!got) throw broken{"out of tables"};
        inner_used_ = inner_tables_bytes;
        return *got;
    }

    void make_half(smmu::context_descriptor& d, half h, granule g) {
        auto& random = s_->random;
        static constexpr granule granules[] = {granule::k4, granule::k16, granule::k64};
        if (random.one_in(6)) g = random.pick(granules);
        if (!b_->caps.supports(g)) g = granule::k4;
        std::uint64_t const size = random.one_in(3) ? 16 + random.below(24) : random.one_in(2) ? 16 : 25;
        bool const nested = stream_.has_stage2();
        std::uint64_t const shift = smmu::lg2_of(g) + (smmu::lg2_of(g) - 3) * smmu::stage1_top(g, 64 - size);
        std::uint64_t const lg2_root = 64 - size - shift + 3;
        std::uint64_t const lg2 = lg2_root > 6 ? lg2_root : 6;
        std::uint64_t const root = nested ? inner_take(lg2).value : take(lg2).value;
        if (h == half::lower) {
            d.set<"T0SZ">(size);
            d.set<"TG0">(smmu::to_tg0(g));
            d.set<"TTB0">(root);
        } else {
            d.set<"T1SZ">(size);
            d.set<"TG1">(smmu::to_tg1(g));
            d.set<"IR1">(1);
            d.set<"OR1">(1);
            d.set<"SH1">(3);
            d.set<"TTB1">(root);
        }
        smmu::binding bound;
        bound.stream = stream_;
        bound.context = d;
        bool const free_top_byte = d.ignores_top_byte(h);
        smmu::with_granule(g, [&](auto constant) {
            auto const attributes = [&](std::uint64_t lg2_size) { return any_stage1_attributes(lg2_size, smmu::lg2_of(g)); };
            if (nested) {
                sw::flat<middle> memory{b_->m.byte(inner_tables_at), inner_tables_bytes, middle{inner_from_}};
                auto const stage = smmu::stage1_of<constant(), middle>(bound, h, b_->caps, {});
                sw::table table{stage, memory, inner_allocator_};
                fill(table, mappings_, attributes, second_);
            } else {
                auto const stage = smmu::stage1_of<constant(), sw::pa>(bound, h, b_->caps, {});
                sw::table table{stage, b_->ram, allocator_};
                fill(table, mappings_, attributes, {});
            }
        });
        if (free_top_byte) top_byte_free_[h == half::upper] = true;
    }

    // From 8.0 on QEMU ends where IPS or S2PS is more than 48 bits, and where stage 2 is not VMSAv8-64.
    [[nodiscard]] bool ends_at_wide_sizes() const { return s_->release >= version{8, 0, 0}; }
    [[nodiscard]] bool ends_qemu(std::uint64_t address, std::uint64_t value) const {
        if (!ends_at_wide_sizes()) return false;
        if (address == context_at_) return smmu::context_descriptor{value}.get<"IPS">() > 5;
        if (address != stream_at_ + 16 || !b_->caps.has<"S2P">()) return false;
        smmu::stream_table_entry const changed{0, 0, value};
        return changed.get<"S2PS">() > 5 || changed.get<"S2AA64">() == 0;
    }

    [[nodiscard]] sw::attributes any_stage1_attributes(std::uint64_t lg2, std::uint64_t lg2_page) {
        auto& random = s_->random;
        using leaf = smmu::stage1_leaf_descriptor;
        std::uint64_t bits = smmu::stage1<granule::k4>::memory(random.below(8), random.below(4)).bits;
        bits |= random.one_in(4) ? sw::read.bits : sw::read_write.bits;
        if (random.one_in(3)) bits |= sw::execute.bits;
        if (random.one_in(12)) bits |= smmu::stage1<granule::k4>::privileged_only;
        if (random.one_in(2)) bits |= smmu::stage1<granule::k4>::global;
        if (random.one_in(8)) bits |= leaf::mask<"DBM">();
        if (random.one_in(8)) bits |= leaf::mask<"PXN">();
        if (random.one_in(8)) bits |= leaf::mask<"UXN">();
        if (random.one_in(lg2 == lg2_page ? 3 : 8)) bits |= leaf::mask<"Contiguous">();
        return sw::attributes::from_bits(bits);
    }
    // With `data`, rights of any kind.
    [[nodiscard]] sw::attributes any_stage2_attributes(bool data) {
        auto& random = s_->random;
        static constexpr sw::access rights[] = {sw::read, sw::write, sw::read_write, sw::read_write, sw::read_write};
        std::uint64_t bits = smmu::stage2<granule::k4>::memory(15, 3).bits;
        if (data)
            bits |= random.pick(rights).bits;
        else
            bits |= random.one_in(4) ? sw::read.bits : sw::read_write.bits; // tables are only read
        if (data && random.one_in(8)) bits |= smmu::stage2_leaf_descriptor::mask<"Contiguous">();
        return sw::attributes::from_bits(bits);
    }

    // Random mappings in `table`. They lead to data, or to what `under` maps.
    template <class Table, class Attributes>
    void fill(Table& table, std::vector<mapping>& into, Attributes const& attributes, std::vector<mapping> const& under) {
        auto& random = s_->random;
        auto const& stage = table.of();
        using input = typename Table::input;
        using output = typename Table::output;
        auto const whole = *stage.admitted().begin();
        std::uint64_t const smallest = static_cast<std::uint64_t>(std::countr_zero(stage.sizes()));
        // A few places, so that mappings share tables.
        std::uint64_t places[2];
        for (auto& place : places)
            place = random() & whole.span();
        for (unsigned i = 2 + random.small(4); i > 0; --i) {
            std::uint64_t lg2 = smallest;
            for (std::uint64_t more = stage.sizes() & (stage.sizes() - 1); more != 0 && random.one_in(2); more &= more - 1)
                lg2 = static_cast<std::uint64_t>(std::countr_zero(more));
            std::uint64_t count = 1 + random.below(4);
            if (lg2 == smallest && random.one_in(4)) count = std::uint64_t{1} << (stage.contiguous_size(0) - lg2);
            if (lg2 > 25) count = 1;
            std::uint64_t const align = std::uint64_t{1} << lg2;
            std::uint64_t const bytes = count << lg2;
            std::uint64_t const from =
                whole.first().value +
                (((random.pick(places) ^ (random() & sw::low_mask(lg2 + 6))) & whole.span()) & ~(align - 1));
            std::uint64_t to = 0;
            if (!under.empty()) {
                mapping const& of = under[random.below(under.size())];
                to = (of.from + random.below(of.bytes)) & ~(align - 1);
            } else if (lg2 > 25) {
                to = ram_at;
            } else {
                to = (data_at + random.below(data_end - data_at - bytes)) & ~(align - 1);
                if (to < data_at) to += align;
            }
            if (table.map({input{from}, bytes}, output{to}, attributes(lg2))) into.push_back({from, bytes, to});
        }
    }

    // --- accesses ---

    [[nodiscard]] smmu::request any_request() {
        auto& random = s_->random;
        smmu::request r;
        r.source = source_;
        r.access = random.one_in(2) ? sw::write : sw::read;
        std::uint64_t at = random.any_width();
        if (!mappings_.empty() && !random.one_in(24)) {
            mapping const& of = mappings_[random.below(mappings_.size())];
            std::uint64_t offset = random.below(of.bytes);
            // Of large pages mostly the part that is data.
            if (second_.empty() || !stream_.has_stage1()) {
                std::uint64_t const first = of.to < data_at ? data_at - of.to : 0;
                std::uint64_t const beyond = of.to + of.bytes > data_end ? data_end - of.to : of.bytes;
                if (first < beyond) offset = first + random.below(beyond - first);
            }
            at = of.from + offset;
            if (random.one_in(8)) at = of.from + of.bytes - 8;
            if (random.one_in(8)) at = of.from;
            if (random.one_in(16)) at = of.from + of.bytes;
            if (random.one_in(16)) at = of.from - 8;
            if (random.one_in(16)) at ^= std::uint64_t{1} << random.below(s_->release < version{8, 0, 0} ? 48 : 64);
            if (top_byte_free_[at >> 55 & 1] && random.one_in(2)) at = (at & sw::low_mask(56)) | random.below(256) << 56;
        }
        r.address = sw::iova{at & ~std::uint64_t{7}};
        return r;
    }

    // Where a word lies that a walk met, behind stage 2 or not.
    [[nodiscard]] std::uint64_t place_of(seen_word const& word) const {
        if (!stream_.has_stage1() || !stream_.has_stage2()) return word.address;
        if (word.address - inner_from_ < inner_tables_bytes) return inner_tables_at + (word.address - inner_from_);
        std::uint64_t const to = lead(second_, word.address);
        return to != 0 ? to : word.address;
    }
    // Whether it is one of the scene's tables.
    [[nodiscard]] static bool is_ours(std::uint64_t at) {
        return at - tables_at < tables_bytes || at - inner_tables_at < inner_tables_bytes;
    }
    // Flips a bit of a word that `r` meets, or makes it another; what that makes stale is invalidated.
    void change_path_of(smmu::request const& r, smmu::request const (&accesses)[5]) {
        auto& random = s_->random;
        recorder path;
        auto const model = b_->model();
        (void)model.translate(r, path);
        if (path.words.empty()) return;
        // Page tables rather than what leads to them: that is the same for all accesses.
        std::size_t at = random.below(path.words.size());
        if (!is_of_page_tables(path.words[at]) && !random.one_in(3)) at = path.words.size() - 1;
        seen_word const& word = path.words[at];
        std::uint64_t const place = place_of(word);
        std::uint64_t value = word.value ^ std::uint64_t{1} << random.below(64);
        if (is_of_page_tables(word)) {
            if (random.one_in(6)) value = word.value ^ 1u << random.below(2);
            if (random.one_in(6)) value = word.value ^ 1u << (6 + random.below(5));
            if (random.one_in(6)) value = word.value ^ std::uint64_t{1} << (28 + random.below(20));
        }
        if (random.one_in(24)) value = word.value ^ (random() & random() & random());
        if (!is_ours(place) || ends_qemu(place, value)) return;
        b_->m.store(place, value);
        arrivals_.clear();
        // A context descriptor that was found through the changed word survives what drops translations.
        if (!is_of_page_tables(word) || stream_.has_stage2()) {
            forget_configuration();
            b_->complete();
        }
        forget_translations(accesses);
        b_->complete();
    }
    // One of the commands that drop the configuration of the device.
    void forget_configuration() {
        auto& random = s_->random;
        switch (random.below(3)) {
        case 0: b_->add(smmu::invalidate_stream(source_, false)); break;
        case 1: b_->add(smmu::invalidate_streams(source_, 1 + random.below(31))); break;
        default: b_->add(smmu::invalidate_streams(0, 32)); break;
        }
    }
    // Commands that drop the translations of the accesses.
    void forget_translations(smmu::request const (&accesses)[5]) {
        auto& random = s_->random;
        constexpr auto world = smmu::stream_world::el1;
        if (!b_->caps.has<"S2P">()) {
            if (random.one_in(3)) {
                b_->add(smmu::invalidate_stage1(world, vmid_));
                return;
            }
        } else if (stream_.has_stage2() || random.one_in(3)) {
            // Also of the VMID that an entry has got meanwhile.
            smmu::stream_table_entry const now{0, 0, b_->m.load(stream_at_ + 16)};
            auto const vmid = static_cast<std::uint16_t>(now.get<"S2VMID">());
            if (!stream_.has_stage1() && random.one_in(2)) {
                for (auto const& access : accesses)
                    for (std::uint16_t each : {vmid, vmid_})
                        b_->add(smmu::invalidate_intermediate(each, access.address.value, false));
                return;
            }
            b_->add(smmu::invalidate_vmid(vmid));
            b_->add(smmu::invalidate_vmid(vmid_));
            return;
        }
        for (auto const& access : accesses) {
            auto const one = smmu::invalidate_address(world, vmid_, asid_, access.address, false);
            if (!b_->caps.has<"RIL">() || random.one_in(2)) {
                b_->add(one);
                continue;
            }
            // The 64 KiB around it, in pages of any granule that covers them.
            smmu::tlb_command around = one;
            around.set<"ADDR">(access.address.value & ~sw::low_mask(16));
            smmu::for_each_range(around, 16 + random.below(3), granule::k4, 0, [&](auto const& c) { b_->add(c); });
        }
    }
    void flush(smmu::owed_commands const& owed) {
        b_->add(owed);
        b_->complete();
    }

    // One access: ours, QEMU's, and the comparison.
    void hold(smmu::request const& r) {
        machine& m = b_->m;
        prober& probe = *b_->probe[which_];
        smmu_case c;
        c.asked = r;
        c.caps = b_->caps;
        c.registers = b_->registers();
        for (std::size_t w = 0; w < 8; ++w) {
            c.stream.word[w] = m.load(stream_at_ + w * 8);
            if (descriptor_at_ != 0) c.descriptor.word[0] = m.load(descriptor_at_);
            if (context_at_ != 0) c.context.word[w] = m.load(context_at_ + w * 8);
        }
        c.ask_again = [this](smmu_case& of) { consider(of); };
        consider(c);

        std::uint64_t const intended = intended_output(r.address.value);
        smmu_case most = c;
        most.path.words.clear();
        most.without = {true, true, true, true, true, false, false, false};
        consider(most);
        std::uint64_t const to = c.ours ? c.ours->output.value : most.ours ? most.ours->output.value : intended;
        c.watched = to;
        for (auto const& one : {c, most}) {
            // Tables must not lie where devices write.
            for (auto const& word : one.path.words)
                if (is_data(place_of(word))) return;
            if (is_peculiar(one.ours ? one.ours->output.value : one.ours.error().descriptor) && one.stream.get<"V">() != 0)
                return;
        }
        bool const writes = r.access.covers(sw::write);
        if (c.ours && !is_data(to) && (writes || m.is_ram(to, 8))) return; // tables, or what is none of ours
        s_->count(c.ours ? "" : smmu::name_of(c.ours.error().code));

        bool const is_seen = is_data(to);
        bool const is_elsewhere = is_data(intended) && intended != to;
        if (writes) {
            if (is_elsewhere) m.store(intended, 0);
            bool const there = probe.write(r.address.value, is_seen ? to : 0);
            if (is_seen) c.arrived = there ? seen::yes : seen::no;
            c.strayed = is_elsewhere && m.load(intended) != 0;
        } else {
            probe.read(r.address.value, is_seen ? to : 0);
        }
        c.events = b_->take_events();
        c.join_parts();
        if (!writes && is_seen) {
            c.arrived = b_->fetch(probe) ? seen::yes : seen::no;
            if (!b_->take_events().empty()) throw broken{"an event of a unit that is off"};
        }
        c.earlier = arrivals_;
        if (c.arrived == seen::yes) arrivals_.push_back({r.address.value, writes});
        s_->judge(c, known);
    }
    // What ours says.
    void consider(smmu_case& c) const {
        machine const& m = b_->m;
        smmu::capabilities caps = b_->caps;
        smmu::control registers = b_->registers();
        smmu::request r = c.asked;
        smmu::stream_table_entry stream = c.stream;
        smmu::context_descriptor context = c.context;
        if (c.without.privilege) {
            r.access = r.access | sw::privileged;
            context.set<"PAN">(0);
        }
        if (c.without.stage1) stream.set<"Config">(static_cast<std::uint64_t>(smmu::stream_configuration::stage2));
        if (c.without.kind) r.access = {r.access.bits ^ sw::read_write.bits};
        if (c.without.access) {
            context.set<"AFFD">(1);
            stream.set<"S2AFFD">(1);
        }
        if (c.without.size) {
            context.set<"IPS">(5);
            stream.set<"S2PS">(5);
        }
        if (c.without.reach) stream.set<"S1ContextPtr">(stream.get<"S1ContextPtr">() & sw::low_mask(48));
        if (c.without.size || c.without.reach) caps.idr5.set<"OAS">(5);
        if (c.without.upper) context.set<"TBI1">(context.get<"TBI0">());
        if (c.without.top) {
            registers.base.set<"ADDR">(registers.base.get<"ADDR">() & sw::low_mask(52));
            stream.set<"S2TTB">(stream.get<"S2TTB">() & sw::low_mask(48));
            context.set<"TTB0">(context.get<"TTB0">() & sw::low_mask(48));
            context.set<"TTB1">(context.get<"TTB1">() & sw::low_mask(48));
        }
        auto const put = [&](auto const& entry, std::uint64_t at) {
            for (std::size_t w = 0; w < std::size(entry.word) && at != 0; ++w)
                m.store(at + w * 8, entry.word[w]);
        };
        put(stream, stream_at_);
        put(context, context_at_);
        recorder path;
        c.ours = unit_model{caps, registers, b_->ram}.translate(r, path);
        c.expected = {};
        if (c.is_recorded()) c.expected = smmu::to_record(c.ours.error(), c.asked, c.caps);
        if (c.without.privilege) c.expected.set<"PnU">(0); // the device has none
        if (c.path.words.empty()) c.path = path;
        c.latest = path;
        put(c.stream, stream_at_);
        put(c.context, context_at_);
    }
    // Where `at` led when the tables were made.
    [[nodiscard]] std::uint64_t intended_output(std::uint64_t at) const {
        std::uint64_t const to = lead(mappings_, at);
        return stream_.has_stage1() && stream_.has_stage2() ? lead(second_, to) : to;
    }

    session* s_;
    bench* b_;
    sw::bump_allocator<sw::pa> allocator_;
    unsigned which_;
    std::uint16_t source_;
    std::uint16_t asid_;
    std::uint16_t vmid_;
    smmu::control registers_;
    std::uint64_t descriptor_at_{};
    std::uint64_t stream_at_{};
    std::uint64_t context_at_{};
    smmu::stream_table_entry stream_;
    bool top_byte_free_[2]{};
    std::vector<mapping> mappings_; // of the device's addresses
    std::vector<mapping> second_;   // of stage 2
    std::vector<arrival> arrivals_; // since a table was changed last
    sw::bump_allocator<middle> inner_allocator_{sw::range<middle>{}};
    std::uint64_t inner_from_{};
    std::uint64_t inner_used_{};
};

// --- the modes ---------------------------------------------------------------------------------------------------------------

// A unit for each format of stream table (QEMU does not go back to one level), started when it is needed.
template <class Make>
void hold_on(session& s, std::vector<std::string> const& options, granule g, Make const& make) {
    emulator const program{"STAGEWALK_QEMU_ARM", "qemu-system-aarch64"};
    std::unique_ptr<bench> units[2];
    while (s.next_table()) {
        std::size_t const two_levels = s.random.below(2);
        if (!units[two_levels]) units[two_levels] = std::make_unique<bench>(s, program, options);
        bench& b = *units[two_levels];
        if (!b.caps.supports(g)) throw skipped{"this QEMU has no granule of that size: it is " + program.release().text()};
        scene here{s, b};
        here.make_stream_table(two_levels != 0);
        make(b, here);
        here.judge_accesses();
    }
}

template <granule G>
void stage1(session& s) {
    hold_on(s, {}, G, [&](bench&, scene& here) {
        here.make_stage1(G);
        here.begin();
    });
}

void bypass_and_abort(session& s) {
    hold_on(s, {}, granule::k4, [&](bench&, scene& here) {
        switch (s.random.below(4)) {
        case 0: here.make_abort(); break;
        case 1: here.make_stage1(granule::k4); break;
        default: here.make_bypass(); break;
        }
        if (s.random.one_in(4)) {
            here.registers().cr0.set<"SMMUEN">(0);
            here.registers().gbpa.set<"ABORT">(s.random.below(2));
        }
        bool const breaks = s.random.one_in(3);
        here.begin();
        if (breaks) {
            here.break_stream_table();
            here.program();
        }
    });
}

// The machine's options for a stage that `first` is the first QEMU to have.
std::vector<std::string> with_stage(std::string const& stage, version first) {
    emulator const program{"STAGEWALK_QEMU_ARM", "qemu-system-aarch64"};
    if (program.release() < first)
        throw skipped{"needs QEMU " + first.text() + " for stage=" + stage + ", this is " + program.release().text()};
    return {"-global", "arm-smmuv3.stage=" + stage};
}

template <granule G>
void stage2(session& s) {
    hold_on(s, with_stage("2", {8, 1, 0}), G, [&](bench&, scene& here) {
        here.make_stage2(G, false);
        here.begin();
    });
}

void nested(session& s) {
    hold_on(s, with_stage("nested", {9, 1, 0}), granule::k4, [&](bench&, scene& here) {
        static constexpr granule granules[] = {granule::k4, granule::k16, granule::k64};
        here.make_stage2(s.random.pick(granules), true);
        here.make_stage1(s.random.pick(granules));
        here.begin();
    });
}

constexpr mode modes[] = {{"stage1_4k", 700, stage1<granule::k4>},   {"stage1_16k", 700, stage1<granule::k16>},
                          {"stage1_64k", 700, stage1<granule::k64>}, {"bypass_and_abort", 700, bypass_and_abort},
                          {"stage2_4k", 700, stage2<granule::k4>},   {"stage2_16k", 700, stage2<granule::k16>},
                          {"stage2_64k", 700, stage2<granule::k64>}, {"nested", 1000, nested}};

} // namespace

int main(int argc, char** argv) { return run(argc, argv, modes); }
