// VT-d: root, context and PASID tables, second-stage and first-stage tables and pass-through, held against QEMU's intel-iommu.
#include "judge.hpp"

#include <stagewalk/build/allocator.hpp>
#include <stagewalk/build/table.hpp>
#include <stagewalk/core/size.hpp>
#include <stagewalk/vtd/command.hpp>
#include <stagewalk/vtd/configure.hpp>
#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/iommu.hpp>
#include <stagewalk/vtd/second_stage.hpp>

#include <functional>
#include <memory>
#include <optional>

namespace {

using namespace judge;
namespace sw = stagewalk;
namespace vtd = stagewalk::vtd;
using guest_ram = sw::flat<sw::pa>;
using unit_model = vtd::iommu<guest_ram>;
constexpr auto legacy_mode = vtd::table_mode::legacy;
constexpr auto scalable_mode = vtd::table_mode::scalable;

// --- what lies where in the guest's RAM --------------------------------------------------------------------------------------

constexpr std::uint64_t queue_at = 0x100'0000;  // the invalidation queue, one page
constexpr std::uint64_t status_at = 0x100'1000; // what its wait descriptors write
constexpr std::uint64_t scratch_at = 0x100'2000;
constexpr std::uint64_t tables_at = 0x200'0000;
constexpr std::uint64_t data_at = 0x400'0000; // up to the end: pages that devices may read and write
constexpr std::uint64_t mailbox_at = data_at; // where a device writes what it has read
constexpr std::uint64_t data_end = 0x2000'0000;

constexpr std::uint32_t slots[] = {4, 19}; // devices of both halves of a scalable root entry

bool is_data(std::uint64_t at) { return at > mailbox_at + 4095 && at < data_end; }
// Where DMA, or the fetch of an entry, would meet something else than RAM or nothing.
bool is_peculiar(std::uint64_t at) { return (at >= 0xa'0000 && at < 0x10'0000) || (at >= 0xb000'0000 && at < 0x1'0000'0000); }

// --- one access, both outcomes -----------------------------------------------------------------------------------------------

enum class seen { yes, no, unknown };

// What the library says of an access.
struct verdict {
    unit_model::answer answer{sw::failure{sw::fault<vtd::reason>{}}};
    std::vector<seen_word> before; // the entries that it looked at
    std::vector<seen_word> after;  // the same, with the accessed and dirty bits that the access sets
};

struct vtd_case {
    vtd::capabilities caps;
    vtd::request asked;
    verdict ours;
    std::optional<verdict> lenient;          // if we looked as little at some bits as QEMU does
    bool scalable{};                         // the mode
    seen arrived{seen::unknown};             // whether the DMA reached the place that ours, or the lenient one, names
    std::optional<vtd::fault_record> record; // QEMU's
    std::uint32_t status{};                  // FSTS
    std::uint64_t stray{};                   // the bits of entries that are not as after ours
    std::uint64_t lenient_stray{};           // the same for the lenient one
    bool context_is_cached{};                // no context entry was invalidated since the last access
    bool mailbox_refused{};                  // what was read could not be told, though ours says that it can

    [[nodiscard]] unit_model::answer const& answer() const { return ours.answer; }
    [[nodiscard]] bool refused() const { return !answer(); }
    [[nodiscard]] bool is_recorded() const { return refused() && answer().error().reported; }
    // The record of ours.
    [[nodiscard]] vtd::fault_record expected() const {
        return is_recorded() ? vtd::to_record(caps, answer().error(), asked) : vtd::fault_record{};
    }
    [[nodiscard]] bool writes() const { return asked.access.covers(sw::write); }
    [[nodiscard]] bool is(vtd::reason code) const { return refused() && answer().error().code == code; }
    [[nodiscard]] vtd::reason reason_of_record() const {
        return record ? static_cast<vtd::reason>(record->get<"FR">()) : vtd::reason::none;
    }
    // The first word of the entry of `table`, 0 if the walk did not come so far.
    [[nodiscard]] std::uint64_t first_word_of(std::string const& table) const {
        for (auto const& word : ours.before)
            if (word.table == table) return word.value;
        return 0;
    }
    [[nodiscard]] vtd::pasid_table_entry pasid_entry() const { return vtd::pasid_table_entry{first_word_of("PASID table")}; }
    // Whether the device is bound to no page tables.
    [[nodiscard]] bool passes_through() const {
        if (scalable) return pasid_entry().kind() == vtd::pasid_translation::pass_through;
        return vtd::context_entry{first_word_of("context")}.type() == vtd::translation_type::pass_through;
    }
    // RID_PASID.
    [[nodiscard]] std::uint64_t stand_in() const {
        for (auto const& word : ours.before)
            if (word.table == "context" && word.address % 32 == 8) return word.value & sw::low_mask(20);
        return 0;
    }
    // The bits that all entries of the page tables have.
    [[nodiscard]] std::uint64_t in_all_levels() const {
        std::uint64_t all = ~std::uint64_t{0};
        for (auto const& word : ours.before)
            if (word.is_of_page_tables()) all &= word.value;
        return all;
    }
    // Whether the records are equal but for the reason.
    [[nodiscard]] bool differs_in_reason_only() const {
        if (!is_recorded() || !record) return false;
        vtd::fault_record other = *record;
        other.set<"FR">(expected().get<"FR">());
        return other.word[0] == expected().word[0] && other.word[1] == expected().word[1];
    }
    [[nodiscard]] bool agrees() const {
        if (arrived == (refused() ? seen::yes : seen::no) || stray != 0 || mailbox_refused) return false;
        if (!is_recorded()) return !record && status == 0;
        return record && differs_in_reason_only() && reason_of_record() == answer().error().code && status == 2;
    }
    [[nodiscard]] std::string text() const {
        std::string t = writes() ? "write to " : "read from ";
        t += hex(asked.address.value) + " by " + hex(asked.source) + (scalable ? ", scalable mode" : ", legacy mode") + "\n";
        if (!refused()) {
            t += " ours: reaches " + hex(answer()->output.value);
        } else {
            t += " ours: refused, reason " + hex(static_cast<std::uint64_t>(answer().error().code));
            t += is_recorded() ? ", record " + hex(expected().word[1]) + " " + hex(expected().word[0]) : ", not recorded";
        }
        static constexpr char const* how[] = {"arrived", "did not arrive", "unknown whether it arrived"};
        t += "\n QEMU: " + std::string(how[static_cast<int>(arrived)]) + ", FSTS " + hex(status);
        if (record) t += ", record " + hex(record->word[1]) + " " + hex(record->word[0]);
        if (stray != 0) t += ", entries differ after the access in " + hex(stray);
        if (mailbox_refused) t += ", then did not let the device write to its mailbox";
        t += "\n";
        for (auto const& word : ours.before)
            t += "  " + word.table + " at " + hex(word.address) + ": " + hex(word.value) + "\n";
        return t;
    }
};

// --- what QEMU is known to do otherwise --------------------------------------------------------------------------------------

// What QEMU reports in scalable mode: the codes that legacy mode has for the like.
constexpr vtd::reason legacy_code_of(vtd::reason code, bool writes) {
    using enum vtd::reason;
    switch (code) {
    case scalable_root_unreadable: return root_unreadable;
    case scalable_root_not_present: return root_not_present;
    case scalable_root_reserved: return root_reserved;
    case scalable_context_unreadable: return context_unreadable;
    case scalable_context_not_present: return context_not_present;
    case scalable_context_reserved: return context_reserved;
    case second_stage_root_unreadable: return context_invalid;
    case second_stage_unreadable: return table_unreadable;
    case second_stage_not_present: return writes ? write_denied : read_denied;
    case second_stage_reserved: return table_reserved;
    case input_beyond_second_stage: return address_beyond_width;
    case scalable_write_denied: return write_denied;
    case scalable_read_denied: return read_denied;
    default: return none;
    }
}

constexpr std::uint64_t accessed = vtd::first_stage_page::mask<"A">();
constexpr std::uint64_t dirty = vtd::first_stage_page::mask<"D">();

constexpr version always{};
constexpr version until_now{~0u, 0, 0};

// Compares with what ours says without the bits that QEMU does not look at.
void be_lenient(vtd_case& c) {
    c.ours = *c.lenient;
    c.stray = c.lenient_stray;
    c.lenient.reset();
}

constexpr std::array known{
    deviation<vtd_case>{
        "reserved_bits_of_PASID_entries", "they are not looked at, and pointers beyond the host's width are followed",
        [](vtd_case const& c) {
            return c.lenient && (c.is(vtd::reason::pasid_directory_reserved) || c.is(vtd::reason::pasid_entry_reserved));
        },
        always, until_now, be_lenient},
    deviation<vtd_case>{"context_fields_that_the_unit_lacks",
                        "DTE, PASIDE, PRE and RID_PRIV are not looked at; RID_PASID counts, also beyond PDTS",
                        [](vtd_case const& c) {
                            return c.lenient &&
                                   (c.is(vtd::reason::scalable_context_reserved) || c.is(vtd::reason::scalable_context_invalid));
                        },
                        always, until_now, be_lenient},
    deviation<vtd_case>{"stage_that_the_unit_lacks", "PGTT of a first stage or of both is taken for a second stage",
                        [](vtd_case const& c) {
                            using enum vtd::pasid_translation;
                            auto const kind = c.pasid_entry().kind();
                            return c.lenient && c.is(vtd::reason::pasid_entry_invalid) && (kind == first_stage || kind == nested);
                        },
                        always, version{9, 2, 99}, be_lenient},
    deviation<vtd_case>{
        "PASID_entry_that_went",
        "while the context entry is cached, a PASID table entry counts as present: PASID caches are not known",
        [](vtd_case const& c) { return c.lenient && c.context_is_cached && c.is(vtd::reason::pasid_entry_not_present); }, always,
        until_now, be_lenient},
    deviation<vtd_case>{"A_and_D_without_snooping", "they are set whatever PWSNP is",
                        [](vtd_case const& c) { return c.lenient && c.is(vtd::reason::first_stage_update_unsnooped); }, always,
                        until_now, be_lenient},
    deviation<vtd_case>{"SNP_without_SC", "in scalable mode a page may have SNP although the unit has no snoop control",
                        [](vtd_case const& c) { return c.lenient && c.is(vtd::reason::second_stage_reserved); }, always,
                        until_now, be_lenient},
    deviation<vtd_case>{"reserved_bits_of_absent_root_half", "both halves are looked at, whether present or not",
                        [](vtd_case const& c) {
                            if (!c.scalable || c.reason_of_record() != vtd::reason::root_reserved) return false;
                            for (auto const& word : c.ours.before)
                                if (word.table == "root" && (word.value & 1) == 0 &&
                                    (word.value & (sw::bit_mask(11, 1) | c.caps.beyond_host())) != 0)
                                    return true;
                            return false;
                        }},
    deviation<vtd_case>{
        "first_stage_rights_of_each_entry", "each entry's rights are looked at before its reserved bits and what follows",
        [](vtd_case const& c) {
            using enum vtd::reason;
            bool const later = c.is(first_stage_not_present) || c.is(first_stage_unreadable) || c.is(first_stage_reserved) ||
                               c.is(user_denied) || c.is(scalable_output_in_interrupt_range);
            bool const user = c.reason_of_record() == user_denied && (c.in_all_levels() & 4) == 0;
            bool const writing = c.reason_of_record() == scalable_write_denied && c.writes() && (c.in_all_levels() & 2) == 0;
            return later && (user || writing) && !c.is(c.reason_of_record());
        },
        always, until_now, [](vtd_case& c) { c.record->set<"FR">(static_cast<std::uint64_t>(c.answer().error().code)); }},
    deviation<vtd_case>{"accessed_bits_of_refused_request", "A is set on the way to a fault, as the manual allows",
                        [](vtd_case const& c) { return c.refused() && c.record && (c.stray & accessed) != 0; }, always, until_now,
                        [](vtd_case& c) { c.stray &= ~accessed; }},
    deviation<vtd_case>{"dirty_bit_of_refused_request", "D is set though the output lies in FEEx_xxxxh",
                        [](vtd_case const& c) {
                            return c.is(vtd::reason::scalable_output_in_interrupt_range) && c.writes() && c.record &&
                                   c.stray == dirty;
                        },
                        always, until_now, [](vtd_case& c) { c.stray = 0; }},
    deviation<vtd_case>{"A_or_D_lost", "of A and D, one that is missing is not set where the other one is there",
                        [](vtd_case const& c) {
                            std::uint64_t const leaf = c.ours.before.empty() ? 0 : c.ours.before.back().value;
                            return !c.refused() && c.writes() && (c.stray == accessed || c.stray == dirty) &&
                                   (leaf & (accessed | dirty)) == (c.stray ^ (accessed | dirty));
                        },
                        always, until_now, [](vtd_case& c) { c.stray = 0; }},
    deviation<vtd_case>{"one_code_for_PASID_entries", "whatever is wrong with the way to a PASID table entry has code 58h",
                        [](vtd_case const& c) {
                            using enum vtd::reason;
                            return (c.is(pasid_directory_unreadable) || c.is(pasid_directory_not_present) ||
                                    c.is(pasid_entry_not_present) || c.is(pasid_entry_invalid)) &&
                                   c.reason_of_record() == pasid_entry_unreadable;
                        },
                        always, version{9, 2, 99},
                        [](vtd_case& c) { c.record->set<"FR">(static_cast<std::uint64_t>(c.answer().error().code)); }},
    deviation<vtd_case>{
        "PASID_entry_type_before_presence", "PGTT and AW of a PASID table entry that is not present are looked at",
        [](vtd_case const& c) {
            return c.is(vtd::reason::pasid_entry_not_present) && c.reason_of_record() == vtd::reason::pasid_entry_invalid;
        },
        version{9, 2, 99}, until_now,
        [](vtd_case& c) { c.record->set<"FR">(static_cast<std::uint64_t>(c.answer().error().code)); }},
    deviation<vtd_case>{
        "record_names_a_pasid", "PV of a record without PASID is FFFFh: it is not to be looked at",
        [](vtd_case const& c) { return c.record && c.record->get<"PP">() == 0 && c.record->get<"PV">() == 0xffff; }, always,
        until_now, [](vtd_case& c) { c.record->set<"PV">(0); }},
    deviation<vtd_case>{"record_keeps_the_whole_address", "FI has bits above the widest table, which the manual has zero",
                        [](vtd_case const& c) {
                            std::uint64_t const whole = c.asked.address.value & ~sw::low_mask(12);
                            return c.record && c.is_recorded() && c.record->get<"FI">() == whole &&
                                   whole > c.expected().get<"FI">();
                        },
                        always, until_now, [](vtd_case& c) { c.record->set<"FI">(c.expected().get<"FI">()); }},
    deviation<vtd_case>{"record_of_rid_pasid", "a request without PASID is recorded as if it had that which stands in for it",
                        [](vtd_case const& c) {
                            return c.scalable && !c.asked.has_pasid() && c.record && c.record->get<"PP">() != 0 &&
                                   c.record->get<"PV">() == (c.stand_in() & 0xffff);
                        },
                        always, until_now,
                        [](vtd_case& c) {
                            c.record->set<"PP">(0);
                            c.record->set<"PV">(0);
                        }},
    deviation<vtd_case>{"legacy_codes_in_scalable_mode", "reasons are those of legacy mode",
                        [](vtd_case const& c) {
                            return c.scalable && c.is_recorded() && c.record &&
                                   c.reason_of_record() == legacy_code_of(c.answer().error().code, c.writes()) &&
                                   c.reason_of_record() != vtd::reason::none;
                        },
                        always, until_now,
                        [](vtd_case& c) { c.record->set<"FR">(static_cast<std::uint64_t>(c.answer().error().code)); }},
    deviation<vtd_case>{
        "recorded_in_spite_of_FPD",
        "reserved bits of a context entry count as not qualified; FPD is not looked at where the walk to it fails",
        [](vtd_case const& c) {
            using enum vtd::reason;
            if (!c.refused() || c.is_recorded()) return false;
            bool const context = c.is(context_reserved) || c.is(scalable_context_reserved);
            bool const pasid = c.is(pasid_directory_not_present) || c.is(pasid_entry_not_present) || c.is(pasid_entry_invalid);
            vtd::reason const theirs = c.reason_of_record();
            return (context && theirs == context_reserved) ||
                   (pasid &&
                    (theirs == c.answer().error().code || theirs == pasid_entry_invalid || theirs == pasid_entry_unreadable));
        }},
    deviation<vtd_case>{"AW_of_pass_through_entry", "AW of a PASID table entry that passes through must be a supported one",
                        [](vtd_case const& c) {
                            vtd::pasid_table_entry const e = c.pasid_entry();
                            return c.passes_through() && !c.caps.second_stage_levels(e.second_stage_levels()) &&
                                   c.reason_of_record() == vtd::reason::pasid_entry_unreadable;
                        },
                        always, version{9, 2, 99}},
    deviation<vtd_case>{"first_stage_width_by_AW", "which addresses are canonical is told by AW, not by FSPM",
                        [](vtd_case const& c) {
                            return c.reason_of_record() == vtd::reason::not_canonical && !c.is(vtd::reason::not_canonical) &&
                                   c.pasid_entry().get<"AW">() != 2;
                        }},
    deviation<vtd_case>{"pass_through_of_any_address", "an address beyond the host's width passes through",
                        [](vtd_case const& c) {
                            return (c.is(vtd::reason::address_beyond_width) || c.is(vtd::reason::output_beyond_host)) &&
                                   c.passes_through() && !c.record;
                        }},
    deviation<vtd_case>{"interrupt_request_of_any_kind",
                        "reads of FEEx_xxxxh, and writes that are not of four bytes, are let pass",
                        [](vtd_case const& c) { return c.is(vtd::reason::interrupt_request_illegal) && !c.record; }},
};

// --- the unit ----------------------------------------------------------------------------------------------------------------

class bench {
public:
    bench(session& s, emulator const& program, std::string const& properties, vtd::table_mode wanted)
        : m{program, pc({"-device", "intel-iommu," + properties}), devices()},
          caps{m.read64(base + 0x08), m.read64(base + 0x10), 0, m.read32(base)}, ram{m.memory()}, mode{wanted} {
        s.release = program.release();
        // QEMU's walks are coherent, and set A and D without asking PWSNP; it does not say so in ECAP.
        if (caps.has<"FSTS">()) caps.ecap.set<"SMPWCS">(1);
        if (caps.contradiction() != vtd::capability_error::none) throw broken{"the capabilities contradict themselves"};
        for (std::uint32_t i = 0; i < std::size(slots); ++i) {
            device[i] = std::make_unique<edu>(m, slots[i], i);
            probe[i] = std::make_unique<prober>(m, *device[i], scratch_at);
        }
        vtd::invalidation_queue_address queue;
        queue.set<"IQA">(queue_at);
        queue.set<"DW">(mode == scalable_mode);
        m.write64(base + 0x90, queue.word[0]);
        command(queue_enable);
    }

    // Other root tables.
    void point_to(vtd::root_table_address root) {
        m.write64(base + 0x20, root.word[0]);
        command(set_root_pointer);
        root_ = root;
    }
    void enable() { command(translation_enable); }

    // The library's idea of this unit. QEMU's choices where the manual leaves one.
    [[nodiscard]] unit_model model() { return model_with(caps); }
    // One that QEMU's lacks of checks in scalable mode agree with, if what soften() clears is cleared.
    [[nodiscard]] unit_model lenient_model() {
        vtd::capabilities more = caps;
        more.ecap.set<"RPS">(1);
        more.ecap.set<"SC">(1);
        return model_with(more);
    }
    // An entry without the bits that QEMU does not look at. A pointer that it follows beyond the host's width leads to nothing.
    [[nodiscard]] std::uint64_t soften(seen_word const& word, bool context_is_cached) const {
        std::uint64_t const nothing = (sw::low_mask(caps.host_address_width) & ~sw::low_mask(12));
        auto const pointing = [&](std::uint64_t value) {
            return (value & caps.beyond_host()) == 0 ? value : (value & sw::low_mask(12)) | nothing;
        };
        std::size_t const w = word.address / 8;
        using context = vtd::scalable_context_entry;
        if (word.table == "context" && w % 4 == 0)
            return (word.value | context::mask<"PDTS">()) &
                   ~(context::mask<"DTE">() | context::mask<"PASIDE">() | context::mask<"PRE">());
        if (word.table == "context" && w % 4 == 1) return word.value & ~context::mask<"RID_PRIV">();
        if (word.table == "PASID directory") return pointing(word.value & ~vtd::pasid_directory_entry::reserved());
        if (word.table != "PASID table") return word.value;
        switch (w % 8) {
        case 0: {
            vtd::pasid_table_entry e{word.value};
            if (context_is_cached) e.set<"P">(1);
            if (!caps.has<"FSTS">() && e.uses_first_stage())
                e.set<"PGTT">(static_cast<std::uint64_t>(vtd::pasid_translation::second_stage));
            std::uint64_t const second = vtd::pasid_table_entry::mask<"AW">() | vtd::pasid_table_entry::mask<"SSPTPTR">();
            std::uint64_t const unused = vtd::pasid_table_entry::mask<"SSADE">() | (caps.has<"SSTS">() ? 0 : second);
            return pointing(e.word[0] & ~vtd::pasid_table_entry::reserved(0) & ~unused);
        }
        case 1:
            return (word.value & vtd::pasid_table_entry::mask<"DID">()) |
                   (caps.has<"FSTS">() ? vtd::pasid_table_entry::mask<"PWSNP">() : 0);
        case 2:
            if (!caps.has<"FSTS">()) return 0;
            return pointing(word.value & ~vtd::pasid_table_entry::reserved(2) &
                            ~(vtd::pasid_table_entry::mask<"EAFE">() | vtd::pasid_table_entry::mask<"SRE">()));
        default: return 0;
        }
    }

    // Puts a descriptor into the queue; submit() makes the unit look, with the next exchange of the machine.
    template <class Descriptor>
    void add(Descriptor const& d) {
        std::uint64_t word[4]{};
        std::copy(std::begin(d.word), std::end(d.word), word);
        put(word);
    }
    void add(vtd::owed_commands const& owed) {
        for (std::size_t i = 0; i < owed.count; ++i)
            put(owed.word[i]);
    }
    void submit() {
        add(vtd::wait_and_write(status_at, ++ticket_, true));
        m.queue_write64(base + 0x88, tail_);
    }
    void expect_done() {
        if (static_cast<std::uint32_t>(m.load(status_at)) != ticket_) throw broken{"the unit does not take a descriptor"};
    }
    void invalidate_everything() {
        add(vtd::invalidate_contexts());
        if (mode == scalable_mode) add(vtd::invalidate_pasids());
        add(vtd::invalidate_iotlb());
        submit();
        m.exchange();
        expect_done();
    }

    // Reads the fault registers and clears them.
    void take_faults(vtd_case& c) {
        std::uint64_t const at = base + caps.cap.get<"FRO">() * 16;
        std::size_t const fsts = m.queue_read32(base + 0x34);
        std::size_t const low = m.queue_read64(at);
        std::size_t const high = m.queue_read64(at + 8);
        auto const& answers = m.exchange();
        c.status = static_cast<std::uint32_t>(answers[fsts]);
        vtd::fault_record const record{answers[low], answers[high]};
        if (record.get<"F">() != 0) {
            c.record = record;
            m.queue_write32(at + 12, 0x8000'0000);
        }
        if (c.status != 0) m.queue_write32(base + 0x34, c.status);
    }

    machine m;
    vtd::capabilities caps;
    guest_ram ram;
    vtd::table_mode mode;
    std::unique_ptr<edu> device[std::size(slots)];
    std::unique_ptr<prober> probe[std::size(slots)];

private:
    [[nodiscard]] unit_model model_with(vtd::capabilities const& with) {
        vtd::settings set;
        set.rules.second_stage_rights = vtd::rights_order::each_entry;
        set.rules.root = vtd::root_halves::both;
        return {with, root_, ram, set};
    }

    static constexpr std::uint64_t base = 0xfed9'0000;
    static constexpr std::uint32_t translation_enable = 1u << 31; // bits of GCMD and GSTS
    static constexpr std::uint32_t set_root_pointer = 1u << 30;
    static constexpr std::uint32_t queue_enable = 1u << 26;

    static std::vector<std::string> devices() {
        std::vector<std::string> all;
        for (std::uint32_t slot : slots)
            for (auto const& word : edu::option(slot))
                all.push_back(word);
        return all;
    }
    void command(std::uint32_t bit) {
        static constexpr std::uint32_t lasting = translation_enable | queue_enable;
        m.write32(base + 0x18, (m.read32(base + 0x1c) & lasting) | bit);
        if ((m.read32(base + 0x1c) & bit) == 0) throw broken{"the unit does not take command " + hex(bit)};
    }
    void put(std::uint64_t const (&word)[4]) {
        std::uint64_t const bytes = mode == scalable_mode ? 32 : 16;
        for (std::uint64_t w = 0; w < bytes / 8; ++w)
            m.store(queue_at + tail_ + w * 8, word[w]);
        tail_ = (tail_ + bytes) % 4096;
    }

    vtd::root_table_address root_;
    std::uint64_t tail_{};
    std::uint32_t ticket_{};
};

// --- random tables -----------------------------------------------------------------------------------------------------------

// What the tables of one device map.
struct mapping {
    std::uint64_t iova;
    std::uint64_t bytes;
    std::uint64_t to;
    sw::access granted; // to a request of a user
};

// One table of one mode: it lies in fresh pages, and is gone afterwards.
class scene {
public:
    scene(session& s, bench& b)
        : s_{&s}, b_{&b}, first_{tables_at + s.random.below(4096) * 4096},
          allocator_{sw::range<sw::pa>::between(sw::pa{first_}, sw::pa{first_ + 0x80'0000 - 1})}, configure_{b.caps, b.ram},
          which_{s.random.small(std::size(slots))}, source_{b.device[which_]->source()}, domain_{static_cast<std::uint16_t>(
                                                                                             1 + s.random.below(0xffff))} {}
    ~scene() { b_->m.clear(first_, allocator_.taken() * 4096); }
    scene(scene const&) = delete;
    scene& operator=(scene const&) = delete;

    // A cleared page for a table.
    [[nodiscard]] sw::pa page() {
        auto const got = allocator_.take(12);
        if (!got) throw broken{"out of tables"};
        return *got;
    }

    // --- configuration entries ---

    void bind(vtd::context_entry const& e) {
        sw::pa const root = page();
        sw::pa const contexts = page();
        sw::pa const at = contexts + source_ * 16u;
        unbind_ = [=, this] { done(configure_.clear(at, e, source_)); };
        bind_ = [=, this] { done(configure_.set(at, e, source_)); };
        bind_();
        done(configure_.set(root, vtd::root_entry::make(contexts.value)));
        vtd::root_table_address to;
        to.set<"RTA">(root.value);
        begin(to);
    }
    void bind(vtd::pasid_table_entry const& e) {
        sw::pa const root = page();
        sw::pa const contexts[] = {page(), page()};
        sw::pa const directory = page();
        sw::pa const pasids = page();
        done(configure_.set(directory, vtd::pasid_directory_entry::make(pasids.value)));
        sw::pa const at = contexts[source_ >> 7 & 1] + (source_ & 0x7fu) * 32;
        auto const context = vtd::scalable_context_entry::make(directory.value, s_->random.below(8));
        done(configure_.set(pasids, e, 0));
        done(configure_.set(at, context, source_));
        if (s_->random.one_in(2)) {
            unbind_ = [=, this] { done(configure_.clear(pasids, e, 0)); };
            bind_ = [=, this] { done(configure_.set(pasids, e, 0)); };
        } else {
            unbind_ = [=, this] { done(configure_.clear(at, context, source_)); };
            bind_ = [=, this] { done(configure_.set(at, context, source_)); };
        }
        done(configure_.set(root, vtd::scalable_root_entry::make(contexts[0].value, contexts[1].value)));
        vtd::root_table_address to;
        to.set<"RTA">(root.value);
        to.set<"TTM">(static_cast<std::uint64_t>(scalable_mode));
        begin(to);
    }

    // --- page tables ---

    // Random mappings in `stage`, whose attributes are among `rights`.
    template <class Stage, std::size_t N>
    void fill(Stage const& stage, sw::attributes const (&rights)[N]) {
        sw::table table{stage, b_->ram, allocator_};
        auto& random = s_->random;
        // A few places, so that mappings share tables.
        std::uint64_t places[3];
        for (auto& place : places)
            place = random() & sw::low_mask(stage.width());
        auto const any = [&] {
            std::uint64_t const at = (random.pick(places) & ~sw::low_mask(32)) | random.below(std::uint64_t{1} << 32);
            return stage.admits(sw::iova{at}) ? at : at | ~sw::low_mask(stage.width()); // the upper half, where there is one
        };
        for (unsigned i = 1 + random.small(6); i > 0; --i) {
            std::uint64_t lg2 = 12;
            if (random.one_in(3)) lg2 = 21;
            if (random.one_in(10) && (stage.sizes() >> 30 & 1) != 0) lg2 = 30;
            std::uint64_t const count = lg2 == 30 ? 1 : 1 + random.below(4);
            std::uint64_t const at = any() & ~sw::low_mask(lg2);
            std::uint64_t to = 0;
            if (lg2 < 30) to = (data_at + 0x20'0000 + random.below(data_end - data_at - 0x100'0000)) & ~sw::low_mask(lg2);
            add(table, at, count << lg2, to, random.pick(rights));
        }
        if (random.one_in(8)) add(table, any() & ~sw::low_mask(21), 0x20'0000, 0xfee0'0000, random.pick(rights));
        mailbox_ = any() & ~sw::low_mask(12);
        add(table, mailbox_, 4096, mailbox_at, sw::read_write);
    }

    // What a device meets that passes through: all of memory.
    void pass_through() {
        mappings_.push_back({data_at, data_end - data_at, data_at, sw::read_write});
        mailbox_ = mailbox_at;
    }

    // --- accesses ---

    // Breaks the tables in half of the cases, then has several accesses judged.
    void judge_accesses(std::uint64_t width) {
        auto& random = s_->random;
        expect_mapped();
        bool const breaks = random.one_in(2);
        vtd::request accesses[6];
        for (auto& access : accesses)
            access = any_request(width);
        if (breaks)
            for (unsigned i = 1 + random.small(2); i > 0; --i)
                break_path_of(random.pick(accesses));
        b_->invalidate_everything();
        for (auto const& access : accesses)
            hold(access);
        if (!breaks && random.one_in(2)) unbind_and_bind(accesses);
    }

private:
    // The entry that binds the device goes and comes again. The only invalidations are those that the library says are owed.
    template <std::size_t N>
    void unbind_and_bind(vtd::request const (&accesses)[N]) {
        for (auto const& access : accesses) {
            if (!b_->model().translate(access)) continue;
            hold(access); // QEMU has cached it now
            unbind_();
            hold(access, false);
            bind_();
            hold(access, false);
            return;
        }
    }

    void done(sw::outcome<vtd::owed_commands, sw::memory_error> const& change) {
        if (!change) throw broken{"an entry cannot be written"};
        b_->add(*change);
    }
    void begin(vtd::root_table_address to) {
        b_->point_to(to);
        b_->invalidate_everything();
    }

    template <class Stage>
    void add(sw::table<Stage, guest_ram, sw::bump_allocator<sw::pa>>& table, std::uint64_t at, std::uint64_t bytes,
             std::uint64_t to, sw::attributes with) {
        sw::access granted = with.rights();
        if constexpr (requires { Stage::privileged_only; })
            if ((with.bits & Stage::privileged_only) != 0) granted = sw::none;
        if (table.map(sw::range{sw::iova{at}, bytes}, sw::pa{to}, with)) mappings_.push_back({at, bytes, to, granted});
    }

    // What was mapped is found again, or else both verdicts may agree on nothing.
    void expect_mapped() {
        for (mapping const& of : mappings_) {
            vtd::request r;
            r.source = source_;
            r.address = sw::iova{of.iova + of.bytes / 2};
            r.access = of.granted.covers(sw::write) ? sw::write : sw::read;
            std::uint64_t const to = of.to + of.bytes / 2;
            auto const special = [](std::uint64_t at) { return at >> 20 == 0xfee; };
            if (of.granted == sw::none || special(r.address.value) || special(to)) continue;
            auto const found = verdict_of(b_->model(), r).answer;
            if (!found || found->output.value != to) throw broken{hex(r.address.value) + " is not mapped to " + hex(to)};
        }
    }

    [[nodiscard]] vtd::request any_request(std::uint64_t width) {
        auto& random = s_->random;
        vtd::request r;
        r.source = source_;
        r.bytes = 8;
        r.access = random.one_in(2) ? sw::write : sw::read;
        std::uint64_t at = random() & sw::low_mask(width);
        if (!mappings_.empty() && !random.one_in(16)) {
            mapping const& of = mappings_[random.below(mappings_.size())];
            at = of.iova + random.below(of.bytes);
            if (random.one_in(8)) at = of.iova + of.bytes - 8;
            if (random.one_in(8)) at = of.iova;
            if (random.one_in(12)) at = of.iova + of.bytes;
            if (random.one_in(12)) at = of.iova - 8;
            if (random.one_in(12)) at ^= std::uint64_t{1} << random.below(64);
        }
        if (random.one_in(24)) at = random.any_width();
        if (random.one_in(24)) {
            // An interrupt, to a processor that is not there.
            at = 0xfee1'0000 + random.below(0xe0) * 0x1000;
            if (random.one_in(2)) r.bytes = 4;
        }
        r.address = sw::iova{at & ~std::uint64_t{7}};
        return r;
    }

    // Flips a bit of an entry that `r` meets, or makes the entry another.
    void break_path_of(vtd::request const& r) {
        recorder path;
        auto const model = b_->model();
        (void)model.translate(r, path);
        if (path.words.empty()) return;
        auto& random = s_->random;
        // Page tables rather than what leads to them: that is the same for all accesses.
        std::size_t first = 0;
        if (!random.one_in(4))
            while (first + 1 < path.words.size() && !path.words[first].is_of_page_tables())
                ++first;
        seen_word const& word = path.words[first + random.below(path.words.size() - first)];
        std::uint64_t value = word.value ^ std::uint64_t{1} << random.below(64);
        if (random.one_in(8)) value = word.value & ~std::uint64_t{random.below(8)};
        if (random.one_in(16)) value = word.value ^ (random() & random() & random());
        b_->m.store(word.address, value);
    }

    // One access: ours, QEMU's, and the comparison.
    void hold(vtd::request const& r, bool invalidates = true) {
        vtd_case c;
        c.caps = b_->caps;
        c.asked = r;
        c.scalable = b_->mode == scalable_mode;
        c.context_is_cached = !invalidates;
        auto const model = b_->model();
        c.ours = verdict_of(model, r);
        if (c.scalable && c.refused()) {
            if (is_tangled(c.ours)) return; // what QEMU does not look at in one entry counts in the other
            c.lenient = lenient(r, c.context_is_cached);
        }

        auto const& goal = c.lenient ? c.lenient->answer : c.answer();
        std::uint64_t const to = goal ? goal->output.value : 0;
        if (is_peculiar(to) || (!goal && is_peculiar(goal.error().descriptor))) return;
        if (goal && !is_data(to) && (c.writes() || b_->m.is_ram(to, 8))) return; // tables, or what is none of ours
        s_->count(c.refused() ? hex(static_cast<std::uint64_t>(c.answer().error().code)) : "");

        if (invalidates) invalidate_for(r);
        b_->submit();
        access(c, is_data(to) ? to : 0);
        c.stray = difference(c.ours);
        if (c.lenient) c.lenient_stray = difference(*c.lenient);
        s_->judge(c, known);
    }

    // The access as QEMU's device does it; `to`: where it should arrive, 0 = nowhere that can be seen.
    void access(vtd_case& c, std::uint64_t to) {
        prober& probe = *b_->probe[which_];
        if (c.writes()) {
            bool const there = probe.write(c.asked.address.value, to, c.asked.bytes);
            if (to != 0) c.arrived = there ? seen::yes : seen::no;
        } else {
            probe.read(c.asked.address.value, to);
        }
        b_->expect_done();
        b_->take_faults(c);
        if (c.writes() || to == 0 || c.record) return;

        // What was read is told by a write, if the device may write.
        vtd::request back = c.asked;
        back.access = sw::write;
        back.address = sw::iova{mailbox_};
        auto const way = verdict_of(b_->model(), back).answer;
        if (!way || way->output.value != mailbox_at) return;
        c.arrived = probe.fetch(mailbox_, mailbox_at) ? seen::yes : seen::no;
        vtd_case again;
        b_->take_faults(again);
        c.mailbox_refused = again.record.has_value();
    }

    void put_back(std::vector<seen_word> const& words) {
        for (auto const& word : words)
            b_->m.store(word.address, word.value);
    }
    // What it does to the entries is undone, for QEMU to do.
    [[nodiscard]] verdict verdict_of(unit_model const& model, vtd::request const& r) {
        recorder path;
        verdict v;
        v.answer = model.translate(r, path);
        v.before = path.words;
        for (auto const& word : v.before)
            v.after.push_back({word.table, word.address, b_->m.load(word.address)});
        put_back(v.before);
        return v;
    }
    // The verdict if we looked at as little as QEMU does.
    [[nodiscard]] verdict lenient(vtd::request const& r, bool context_is_cached) {
        auto const model = b_->lenient_model();
        verdict softened[4]; // one for each table of the configuration
        for (auto& v : softened) {
            v = verdict_of(model, r);
            for (auto const& word : v.before)
                b_->m.store(word.address, b_->soften(word, context_is_cached));
        }
        verdict v = verdict_of(model, r);
        for (std::size_t i = std::size(softened); i-- > 0;)
            put_back(softened[i].before);
        return v;
    }
    // Which bits of the entries are not as they should be after the access. QEMU's unit leaves the configuration alone.
    [[nodiscard]] std::uint64_t difference(verdict const& v) const {
        std::uint64_t bits = 0;
        for (auto const& word : v.after)
            if (word.is_of_page_tables()) bits |= b_->m.load(word.address) ^ word.value;
        return bits;
    }
    // Whether two entries of a walk are one.
    [[nodiscard]] static bool is_tangled(verdict const& v) {
        for (std::size_t i = 0; i < v.before.size(); ++i)
            for (std::size_t j = 0; j < i; ++j)
                if (v.before[i].address == v.before[j].address) return true;
        return false;
    }

    // Earlier accesses may have left translations with other rights. Any descriptor that covers this one serves.
    void invalidate_for(vtd::request const& r) {
        auto& random = s_->random;
        auto const found = b_->model().find(r);
        auto const pages = static_cast<std::uint8_t>(random.below(19));
        bool const by_pasid = found && found->kind == vtd::binding_kind::first_stage && random.one_in(2);
        if (!found || random.one_in(3)) {
            b_->add(vtd::invalidate_iotlb());
        } else if (random.one_in(2)) {
            if (by_pasid) {
                b_->add(vtd::invalidate_pasid_iotlb(found->domain, found->pasid));
            } else {
                b_->add(vtd::invalidate_iotlb(found->domain));
            }
        } else if (by_pasid) {
            b_->add(vtd::invalidate_pasid_iotlb(found->domain, found->pasid, r.address, pages, false));
        } else {
            b_->add(vtd::invalidate_iotlb(found->domain, r.address, pages, false));
        }
    }

public:
    [[nodiscard]] std::uint16_t domain() const { return domain_; }

private:
    session* s_;
    bench* b_;
    std::uint64_t first_;
    sw::bump_allocator<sw::pa> allocator_;
    vtd::configurator<guest_ram> configure_;
    unsigned which_;
    std::uint16_t source_;
    std::uint16_t domain_;
    std::function<void()> unbind_;
    std::function<void()> bind_;
    std::uint64_t mailbox_{};
    std::vector<mapping> mappings_;
};

// --- the modes ---------------------------------------------------------------------------------------------------------------

// Rights, and bits that say nothing of them: EMT and IPAT; PWT, PCD and PAT.
constexpr sw::attributes second_stage_rights[] = {sw::read, sw::write, sw::read_write, sw::attributes::from_bits(0x73)};
using process_stage = unit_model::process_stage;
constexpr sw::attributes first_stage_rights[] = {sw::read, sw::read_write, sw::attributes::from_bits(0x9b),
                                                 sw::attributes::from_bits(process_stage::privileged_only | 3)};

struct unit_kind {
    std::string properties;
    vtd::table_mode mode;
};

// Units of all these kinds, each started when it is needed; the tables that `make` makes are spread over them.
template <class Make>
void hold_on(session& s, std::vector<unit_kind> const& kinds, Make const& make) {
    emulator const program{"STAGEWALK_QEMU_X86", "qemu-system-x86_64"};
    std::vector<std::unique_ptr<bench>> units(kinds.size());
    while (s.next_table()) {
        std::size_t const i = s.random.below(units.size());
        bool const fresh = !units[i];
        if (fresh) units[i] = std::make_unique<bench>(s, program, kinds[i].properties, kinds[i].mode);
        bench& b = *units[i];
        scene here{s, b};
        std::uint64_t const width = make(b, here);
        if (fresh) b.enable();
        here.judge_accesses(width);
    }
}

// The depth of a second stage that the unit has.
std::uint64_t any_levels(session& s, bench const& b) {
    std::uint64_t const levels = 3 + s.random.below(2);
    return b.caps.second_stage_levels(levels) ? levels : b.caps.deepest_second_stage();
}

void legacy(session& s) {
    hold_on(s, {{"aw-bits=48", legacy_mode}, {"aw-bits=39", legacy_mode}}, [&](bench& b, scene& here) {
        std::uint64_t const levels = any_levels(s, b);
        sw::pa const root = here.page();
        unit_model::legacy_stage const stage{b.caps, levels, root, {}};
        here.fill(stage, second_stage_rights);
        here.bind(vtd::context_entry::make(vtd::translation_type::untranslated_only, root.value, levels, here.domain()));
        return stage.width();
    });
}

void scalable_second_stage(session& s) {
    hold_on(s, {{"x-scalable-mode=on,aw-bits=48", scalable_mode}, {"x-scalable-mode=on,aw-bits=39", scalable_mode}},
            [&](bench& b, scene& here) {
                std::uint64_t const levels = any_levels(s, b);
                sw::pa const root = here.page();
                unit_model::scalable_stage const stage{b.caps, levels, root, {}};
                here.fill(stage, second_stage_rights);
                here.bind(vtd::pasid_table_entry::make_second_stage(root.value, levels, here.domain()));
                return stage.width();
            });
}

void pass_through(session& s) {
    hold_on(s, {{"aw-bits=48", legacy_mode}, {"aw-bits=39", legacy_mode}, {"x-scalable-mode=on,aw-bits=48", scalable_mode}},
            [&](bench& b, scene& here) {
                if (b.mode == scalable_mode) {
                    auto entry = vtd::pasid_table_entry::make_pass_through(here.domain());
                    if (!s.random.one_in(4)) entry.set<"AW">(2); // the manual does not look at it
                    here.bind(entry);
                } else {
                    std::uint64_t const unused_root = s.random() & sw::bit_mask(38, 12);
                    here.bind(vtd::context_entry::make(vtd::translation_type::pass_through, unused_root, any_levels(s, b),
                                                       here.domain()));
                }
                here.pass_through();
                return std::uint64_t{30};
            });
}

void scalable_first_stage(session& s) {
    emulator const program{"STAGEWALK_QEMU_X86", "qemu-system-x86_64"};
    char const* with = nullptr;
    for (char const* property : {"x-flts", "fsts"})
        if (program.has_property("intel-iommu", property)) with = property;
    if (with == nullptr) throw skipped{"needs QEMU 10.0 for the first stage, this is " + program.release().text()};
    std::string const properties = "x-scalable-mode=on,aw-bits=48," + std::string(with) + "=on";
    hold_on(s, {{properties, scalable_mode}}, [&](bench& b, scene& here) {
        sw::pa const root = here.page();
        process_stage const stage{b.caps, 4, root, {}};
        here.fill(stage, first_stage_rights);
        auto entry = vtd::pasid_table_entry::make_first_stage(root.value, 4, here.domain());
        entry.set<"AW">(2); // the manual does not look at it
        entry.set<"PWSNP">(1);
        here.bind(entry);
        return std::uint64_t{64};
    });
}

constexpr mode modes[] = {{"legacy", 1000, legacy},
                          {"scalable_second_stage", 1000, scalable_second_stage},
                          {"pass_through", 700, pass_through},
                          {"scalable_first_stage", 1000, scalable_first_stage}};

} // namespace

int main(int argc, char** argv) { return run(argc, argv, modes); }
