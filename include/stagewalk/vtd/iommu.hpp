/// \file
/// A VT-d unit: from a device's request to an address, through root, context and PASID tables and page tables
/// (VT-d chapter 3).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../memory/concept.hpp"
#include "../walk/trace.hpp"
#include "../walk/walk.hpp"
#include "capabilities.hpp"
#include "context_table.hpp"
#include "first_stage.hpp"
#include "interrupt_range.hpp"
#include "nested.hpp"
#include "pasid_table.hpp"
#include "policy.hpp"
#include "reason.hpp"
#include "request.hpp"
#include "root_table.hpp"
#include "second_stage.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// How a unit is set up, beside its capabilities and its root table.
struct settings {
    /// GSTS.TES. A unit that is off lets untranslated requests pass, writes to FEEx_xxxxh too: whether they are interrupts to
    /// remap is then for the caller to say.
    bool enabled{true};
    bool interrupt_ranges{true}; ///< Whether FEEx_xxxxh is special. A tool that looks at tables alone turns it off.
    policy rules{};              ///< The points that the manual leaves open.

    /// Settings are equal field by field.
    friend constexpr bool operator==(settings const&, settings const&) = default;
};

/// One configuration entry that a traced request met.
/// \tparam Entry one of the root, context and PASID entries.
template <class Entry>
struct configuration_step {
    char const* table;     ///< What the table is called: "root", "context", "PASID directory", "PASID table".
    std::uint64_t address; ///< Where the entry was read.
    Entry entry;           ///< What it held.
};

/// How a device's requests are translated.
enum class binding_kind : std::uint8_t {
    pass_through,        ///< Not at all: output = input.
    legacy_second_stage, ///< By second-stage tables, legacy mode.
    second_stage,        ///< By second-stage tables, scalable mode.
    first_stage,         ///< By first-stage tables.
    nested,              ///< By first-stage tables over second-stage tables.
};

/// What the root, context and PASID entries of a device say, checked.
struct binding {
    binding_kind kind{};           ///< How its requests are translated.
    bool scalable{};               ///< Whether the unit is in scalable mode.
    bool quiet{};                  ///< FPD was set on the path: qualified faults are not recorded.
    bool privileged{};             ///< The requests' privilege, of their own or by RID_PRIV.
    std::uint16_t domain{};        ///< The domain id.
    std::uint32_t pasid{no_pasid}; ///< The PASID used: the request's own or RID_PASID; no_pasid in legacy mode.
    std::uint64_t first_root{};    ///< The first-stage root table; an intermediate address if nested.
    std::uint64_t first_levels{};  ///< Its depth, 4 or 5.
    std::uint64_t second_root{};   ///< The second-stage root table.
    std::uint64_t second_levels{}; ///< Its depth, 3 to 5.
    bool write_protect{};          ///< WPE.
    bool extended_accessed{};      ///< EAFE.
    bool accessed_dirty{};         ///< SSADE.
    bool walks_snoop{true};        ///< PWSNP.
    bool pages_snoop{};            ///< PGSNP.
    bool cache_disable{};          ///< CD.
    bool memory_types{};           ///< EMTE.
    std::uint32_t pat{};           ///< Eight memory types of 4 bits.

    /// Bindings are equal field by field.
    friend constexpr bool operator==(binding const&, binding const&) = default;
};

/// A VT-d remapping unit over the memory that holds its tables. The unit itself has no state that a request changes;
/// A/D bits in memory that can be updated are set.
/// \tparam M the memory; the unit's output addresses are of the same space (a guest's unit: GPA).
template <memory M>
class iommu {
public:
    using input = iova;                                      ///< What it translates from.
    using output = typename M::address;                      ///< What it translates to, and the space of its tables.
    using fault_type = fault<reason>;                        ///< Its fault.
    using answer = outcome<translation<output>, fault_type>; ///< What it says of a request.

    /// A domain's page tables in legacy mode.
    using legacy_stage = second_stage<input, output>;
    /// Second-stage page tables in scalable mode.
    using scalable_stage = second_stage<input, output, table_mode::scalable>;
    /// First-stage page tables.
    using process_stage = first_stage<input, output>;
    /// The first stage of a nested translation.
    using nested_first_stage = first_stage<input, intermediate<output>>;
    /// The second stage of a nested translation.
    using nested_second_stage = second_stage<intermediate<output>, output, table_mode::scalable>;

    /// \param caps the capabilities; free of contradiction(). Host permission tables are not implemented: HPTS counts as 0.
    /// \param root RTADDR_REG as GCMD.SRTP latched it.
    /// \param m the memory that holds the tables, alive as long as this object.
    /// \param set how the unit is set up.
    constexpr iommu(capabilities const& caps, root_table_address root, M& m, settings set = {})
        : caps_{without_host_permission(caps)}, root_{root}, memory_{&m}, settings_{set}, mode_fault_{judge_mode(caps_, root)},
          beyond_host_{caps_.beyond_host()}, bad_root_{root_entry::reserved(0) | beyond_host_},
          bad_context_{context_entry::reserved(0) | beyond_host_,
                       context_entry::reserved(1) | (context_entry::mask<"DID">() & ~(low_mask(caps_.domain_id_width()) << 8))},
          legacy_{{caps_, 3, output{}, {set.rules}}, {caps_, 4, output{}, {set.rules}}, {caps_, 5, output{}, {set.rules}}},
          second_{{caps_, 3, output{}, scalable_options()},
                  {caps_, 4, output{}, scalable_options()},
                  {caps_, 5, output{}, scalable_options()}},
          nested_second_{{caps_, 3, output{}, scalable_options()},
                         {caps_, 4, output{}, scalable_options()},
                         {caps_, 5, output{}, scalable_options()}} {
        for (std::size_t w = 0; w < scalable_context_entry::words; ++w)
            bad_scalable_context_[w] = scalable_context_entry::reserved_with(w, caps_);
        for (std::uint64_t kind = 0; kind < 8; ++kind) {
            pasid_table_entry e;
            e.set<"PGTT">(kind);
            for (std::size_t w = 0; w < pasid_table_entry::words; ++w)
                bad_pasid_[kind][w] = e.reserved_with(w, caps_, set.rules.unused);
            has_kind_[kind] = supports(e.kind());
        }
    }

    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return caps_; }
    /// How it is set up.
    [[nodiscard]] constexpr settings const& setup() const { return settings_; }

    /// Translates \p r. Every entry is read once: root and context entries word by word in ascending order, and judged when all
    /// words are here.
    /// \return the translation, or the fault with its place; `fault::reported` says whether the manual lets it be recorded.
    [[nodiscard, gnu::flatten]] constexpr answer translate(request const& r) const noexcept {
        no_trace trace;
        return translate(r, trace);
    }

    /// The same, and \p trace is called with every entry: a `configuration_step` of each table's entry, and a `traced_step` of
    /// each stage.
    template <class Trace>
    [[nodiscard]] constexpr answer translate(request const& r, Trace&& trace) const noexcept {
        if (!settings_.enabled) {
            if (r.type == request_type::untranslated) return bypass(r);
            return refuse(r, reason::none, fault_at::context, false);
        }
        if (r.type == request_type::reserved || (r.type == request_type::translation && r.access.covers(write)))
            return refuse(r, reason::none, fault_at::input, false);
        if (settings_.interrupt_ranges && !r.has_pasid() && interrupt_range<input>.contains(r.address)) [[unlikely]] {
            if (r.type == request_type::untranslated || r.type == request_type::translation) return interrupt(r);
        }
        if (reason const bad = judge_mode(r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, false);
        if (mode() == table_mode::scalable) return stagewalk::detail::apart(translate_scalable(r, trace));
        auto found = find_legacy(r, trace);
        if (!found) [[unlikely]]
            return failure{found.error()};
        if (!uses_tables(*found, r)) [[unlikely]]
            return without_tables(*found, r);
        return through_legacy(*found, r, trace);
    }

    /// Finds what the device of \p r is bound to, without a look at its page tables. The address does not matter, nor whether the
    /// unit is on; of the access, only what may be refused before a walk (privileged, execute).
    [[nodiscard]] constexpr outcome<binding, fault_type> find(request const& r) const noexcept {
        no_trace trace;
        return find(r, trace);
    }

    /// The page tables of a binding of kind `legacy_second_stage`.
    [[nodiscard]] constexpr legacy_stage legacy_stage_of(binding const& b) const {
        return legacy_[b.second_levels - 3].with_root(output{b.second_root});
    }
    /// The page tables of a binding of kind `second_stage`.
    [[nodiscard]] constexpr scalable_stage second_stage_of(binding const& b) const { return pointed(second_, b); }
    /// The page tables of a binding of kind `first_stage`.
    [[nodiscard]] constexpr process_stage first_stage_of(binding const& b) const {
        return {caps_, b.first_levels, output{b.first_root}, {b.write_protect, b.extended_accessed, b.walks_snoop, 64}};
    }
    /// The second stage of a binding of kind `nested`.
    [[nodiscard]] constexpr nested_second_stage nested_second_stage_of(binding const& b) const {
        return pointed(nested_second_, b);
    }
    /// The first stage of a binding of kind `nested`.
    [[nodiscard]] constexpr nested_first_stage nested_first_stage_of(binding const& b) const {
        return {caps_,
                b.first_levels,
                intermediate<output>{b.first_root},
                {b.write_protect, b.extended_accessed, b.walks_snoop, second_stage_width(b.second_levels)}};
    }

private:
    // --- finding the binding ---------------------------------------------------------------------------------------

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr outcome<binding, fault_type> find(request const& r, Trace& trace) const noexcept {
        if (reason const bad = judge_mode(r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, false);
        if (mode() == table_mode::scalable) return find_scalable(r, trace);
        return find_legacy(r, trace);
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr outcome<binding, fault_type> find_legacy(request const& r,
                                                                                         Trace& trace) const noexcept {
        // Root entry: it has no fault-processing-disable bit.
        std::uint64_t const root_at = root_.get<"RTA">() + (r.source >> 8) * sizeof(root_entry);
        root_entry root;
        if (!load(root_at, root.word)) [[unlikely]]
            return refuse(r, reason::root_unreadable, fault_at::context, false, root_at);
        trace(configuration_step<root_entry>{"root", root_at, root});
        if (root.get<"P">() == 0) [[unlikely]]
            return refuse(r, reason::root_not_present, fault_at::context, false, root_at, root.word[0]);
        if (((root.word[0] & bad_root_) | root.word[1]) != 0) [[unlikely]]
            return refuse(r, reason::root_reserved, fault_at::context, false, root_at, root.word[0]);

        // Context entry: its fault-processing-disable bit counts even where the entry is not present.
        std::uint64_t const context_at = root.get<"CTP">() + (r.source & 0xff) * sizeof(context_entry);
        context_entry context;
        if (!load(context_at, context.word)) [[unlikely]]
            return refuse(r, reason::context_unreadable, fault_at::context, false, context_at);
        trace(configuration_step<context_entry>{"context", context_at, context});
        bool const quiet = context.get<"FPD">() != 0;
        if (reason const bad = judge_context(context, r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, quiet, context_at, context.word[0]);

        binding b;
        b.kind =
            context.type() == translation_type::pass_through ? binding_kind::pass_through : binding_kind::legacy_second_stage;
        b.quiet = quiet;
        b.domain = static_cast<std::uint16_t>(context.get<"DID">());
        b.second_root = context.get<"SSPTPTR">();
        b.second_levels = context.levels();
        return b;
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr outcome<binding, fault_type> find_scalable(request const& r,
                                                                                           Trace& trace) const noexcept {
        // Scalable root entry, one half of it.
        std::uint64_t const root_at = root_.get<"RTA">() + (r.source >> 8) * sizeof(scalable_root_entry);
        scalable_root_entry root;
        if (!load(root_at, root.word)) [[unlikely]]
            return refuse(r, reason::scalable_root_unreadable, fault_at::context, false, root_at);
        trace(configuration_step<scalable_root_entry>{"root", root_at, root});
        std::size_t const half = r.source >> 7 & 1;
        if ((root.word[half] & 1) == 0) [[unlikely]]
            return refuse(r, reason::scalable_root_not_present, fault_at::context, false, root_at + half * 8, root.word[half]);
        if (has_bad_half(root, half)) [[unlikely]]
            return refuse(r, reason::scalable_root_reserved, fault_at::context, false, root_at + half * 8, root.word[half]);

        // Scalable context entry.
        std::uint64_t const context_table = half == 0 ? root.get<"LCTP">() : root.get<"UCTP">();
        std::uint64_t const context_at = context_table + (r.source & 0x7f) * sizeof(scalable_context_entry);
        scalable_context_entry context;
        if (!load(context_at, context.word)) [[unlikely]]
            return refuse(r, reason::scalable_context_unreadable, fault_at::context, false, context_at);
        trace(configuration_step<scalable_context_entry>{"context", context_at, context});
        bool quiet = context.get<"FPD">() != 0;
        if (reason const bad = judge_context(context, r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, quiet, context_at, context.word[0]);

        binding b;
        b.scalable = true;
        b.pasid = r.has_pasid() ? r.pasid : static_cast<std::uint32_t>(context.get<"RID_PASID">());
        b.privileged = r.has_pasid() ? r.access.covers(privileged) : context.get<"RID_PRIV">() != 0;
        // A translated request has been translated: its PASID is not looked up.
        if (r.type == request_type::translated) {
            b.quiet = quiet;
            return b;
        }

        // PASID directory entry.
        std::uint64_t const directory_at = context.get<"PASIDDIRPTR">() + (b.pasid >> 6) * sizeof(pasid_directory_entry);
        pasid_directory_entry directory;
        if (!load(directory_at, directory.word)) [[unlikely]]
            return refuse(r, reason::pasid_directory_unreadable, fault_at::context, quiet, directory_at);
        trace(configuration_step<pasid_directory_entry>{"PASID directory", directory_at, directory});
        quiet = quiet || directory.get<"FPD">() != 0;
        if (directory.get<"P">() == 0) [[unlikely]]
            return refuse(r, reason::pasid_directory_not_present, fault_at::context, quiet, directory_at, directory.word[0]);
        if ((directory.word[0] & (pasid_directory_entry::reserved() | beyond_host_)) != 0) [[unlikely]]
            return refuse(r, reason::pasid_directory_reserved, fault_at::context, quiet, directory_at, directory.word[0]);

        // PASID table entry.
        std::uint64_t const pasid_at = directory.get<"SMPTBLPTR">() + (b.pasid & 0x3f) * sizeof(pasid_table_entry);
        pasid_table_entry pasid;
        if (!load(pasid_at, pasid.word)) [[unlikely]]
            return refuse(r, reason::pasid_entry_unreadable, fault_at::context, quiet, pasid_at);
        trace(configuration_step<pasid_table_entry>{"PASID table", pasid_at, pasid});
        quiet = quiet || pasid.get<"FPD">() != 0;
        if (reason const bad = judge_pasid(pasid, r, b.privileged); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, quiet, pasid_at, pasid.word[0]);

        switch (pasid.kind()) {
        case pasid_translation::first_stage: b.kind = binding_kind::first_stage; break;
        case pasid_translation::second_stage: b.kind = binding_kind::second_stage; break;
        case pasid_translation::nested: b.kind = binding_kind::nested; break;
        case pasid_translation::pass_through: b.kind = binding_kind::pass_through; break;
        }
        b.quiet = quiet;
        b.domain = static_cast<std::uint16_t>(pasid.get<"DID">());
        b.first_root = pasid.get<"FSPTPTR">();
        b.first_levels = pasid.first_stage_levels();
        b.second_root = pasid.get<"SSPTPTR">();
        b.second_levels = pasid.second_stage_levels();
        b.write_protect = pasid.get<"WPE">() != 0;
        b.extended_accessed = pasid.get<"EAFE">() != 0;
        b.accessed_dirty = pasid.get<"SSADE">() != 0;
        b.walks_snoop = pasid.get<"PWSNP">() != 0;
        b.pages_snoop = pasid.get<"PGSNP">() != 0;
        b.cache_disable = pasid.get<"CD">() != 0;
        b.memory_types = pasid.get<"EMTE">() != 0;
        b.pat = static_cast<std::uint32_t>(pasid.get<"PAT">());
        return b;
    }

    [[nodiscard]] constexpr table_mode mode() const { return static_cast<table_mode>(root_.get<"TTM">()); }

    // RTADDR_REG against the capabilities, once for all requests (RTA.1, RTA.4).
    [[nodiscard]] static constexpr reason judge_mode(capabilities const& caps, root_table_address root) {
        switch (static_cast<table_mode>(root.get<"TTM">())) {
        case table_mode::legacy:
            return root.get<"SSIRWE">() != 0 && caps.has<"SSIRWS">() ? reason::root_pointer_invalid : reason::none;
        case table_mode::scalable: return caps.has<"SMTS">() ? reason::none : reason::root_pointer_invalid;
        case table_mode::abort: return caps.has<"ADMS">() ? reason::dma_aborted : reason::root_pointer_invalid;
        case table_mode::reserved: break;
        }
        return reason::root_pointer_invalid;
    }
    // The mode against the request (RTA.2, RTA.3, RTA.5).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_mode(request const& r) const {
        if (mode_fault_ != reason::none) return mode_fault_;
        if (mode() == table_mode::legacy && r.type == request_type::page) return reason::page_request_in_legacy_mode;
        if (mode() == table_mode::legacy && r.has_pasid()) return reason::pasid_in_legacy_mode;
        if (is_execute(r) && r.type != request_type::page && caps_.major_version() >= 8) return reason::execute_unsupported;
        return reason::none;
    }

    // The context entry in the manual's order (LCT.2 to LCT.5).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_context(context_entry const& c, request const& r) const {
        if (c.get<"P">() == 0) return reason::context_not_present;
        if (((c.word[0] & bad_context_[0]) | (c.word[1] & bad_context_[1])) != 0) return reason::context_reserved;
        bool const device_tlb = c.type() == translation_type::device_tlb;
        bool const through = c.type() == translation_type::pass_through;
        if (c.type() == translation_type::reserved || (device_tlb && !caps_.has<"DT">()) || (through && !caps_.has<"PT">()))
            return reason::context_invalid;
        if (r.type != request_type::untranslated && !device_tlb) return reason::request_blocked;
        if (!caps_.second_stage_levels(c.levels())) return reason::context_invalid;
        if (through && settings_.rules.pass_through == pass_through_width::largest && c.levels() != caps_.deepest_second_stage())
            return reason::address_beyond_width;
        return reason::none;
    }

    [[nodiscard, gnu::always_inline]] constexpr bool has_bad_half(scalable_root_entry const& root, std::size_t used) const {
        for (std::size_t half = 0; half < 2; ++half) {
            if (half != used && settings_.rules.root == root_halves::used) continue;
            bool const present = (root.word[half] & 1) != 0;
            if (present && (root.word[half] & (scalable_root_entry::reserved(half) | beyond_host_)) != 0) return true;
        }
        return false;
    }

    // The scalable context entry in the manual's order (SCT.2 to SCT.10).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_context(scalable_context_entry const& c, request const& r) const {
        if (c.get<"P">() == 0) return reason::scalable_context_not_present;
        if (has_bits_of(c.word, bad_scalable_context_)) return reason::scalable_context_reserved;
        bool const device_tlb = c.get<"DTE">() != 0;
        if ((!device_tlb && c.get<"PRE">() != 0) || c.get<"RID_PASID">() > c.last_pasid() ||
            (c.get<"EPTR">() != 0 && c.get<"PASIDE">() == 0))
            return reason::scalable_context_invalid;
        bool const page_request = r.type == request_type::page;
        if (!device_tlb && (r.type == request_type::translation || r.type == request_type::translated))
            return reason::device_tlb_disabled;
        if (r.has_pasid()) {
            // A translated request may carry a PASID where EPTR says so, whatever PASIDE is.
            if (c.get<"PASIDE">() == 0 && r.type != request_type::translated) return reason::pasid_disabled;
            if (r.pasid > low_mask(caps_.pasid_width())) return reason::pasid_beyond_unit;
            if (r.pasid > c.last_pasid()) return reason::pasid_beyond_directory;
        }
        if (page_request && c.get<"PRE">() == 0) return reason::page_requests_disabled;
        if (r.has_pasid() && r.pasid == c.get<"RID_PASID">()) return reason::pasid_is_rid_pasid;
        if (r.has_pasid() && r.type == request_type::translated && caps_.has<"PTRS">() && c.get<"EPTR">() == 0)
            return reason::translated_pasid_disabled;
        return reason::none;
    }

    // The PASID table entry in the manual's order (SPT.2 to SPT.6).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_pasid(pasid_table_entry const& p, request const& r,
                                                                   bool privileged_request) const {
        if (p.get<"P">() == 0) return reason::pasid_entry_not_present;
        if (has_bits_of(p.word, bad_pasid_[p.get<"PGTT">()])) return reason::pasid_entry_reserved;
        if (!has_kind_[p.get<"PGTT">()]) return reason::pasid_entry_invalid;
        if (p.uses_second_stage() && !caps_.second_stage_levels(p.second_stage_levels())) return reason::pasid_entry_invalid;
        if (p.uses_first_stage() && (p.get<"FSPM">() > 1 || (p.get<"FSPM">() == 1 && caps_.cap.get<"FS5LP">() == 0)))
            return reason::pasid_entry_invalid;
        if (p.kind() == pasid_translation::nested && p.get<"FSPTPTR">() > low_mask(second_stage_width(p.second_stage_levels())))
            return reason::pasid_entry_invalid;
        if (r.type == request_type::page) return reason::none;
        if (is_execute(r) && !caps_.has<"ERS">()) return reason::execute_disabled;
        if (privileged_request && p.get<"SRE">() == 0) return reason::supervisor_disabled;
        return reason::none;
    }

    // --- using it ----------------------------------------------------------------------------------------------------

    // Scalable mode, out of line and with a request of its own: legacy mode then keeps the caller's in registers.
    template <class Trace>
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr answer translate_scalable(request r, Trace& trace) const noexcept {
        auto found = find_scalable(r, trace);
        if (!found) [[unlikely]]
            return failure{found.error()};
        if (!uses_tables(*found, r)) [[unlikely]]
            return without_tables(*found, r);
        switch (found->kind) {
        case binding_kind::second_stage: return through_stage(second_stage_of(*found), *found, r, trace);
        case binding_kind::first_stage: return through_stage(first_stage_of(*found), *found, r, trace);
        default: return through_nested(*found, r, trace);
        }
    }

    // A page request, a translated request and pass-through have nothing to do with page tables.
    [[nodiscard, gnu::always_inline]] static constexpr bool uses_tables(binding const& b, request const& r) {
        return r.type != request_type::page && r.type != request_type::translated && b.kind != binding_kind::pass_through;
    }

    // Checks no rights.
    [[nodiscard, gnu::always_inline]] constexpr answer without_tables(binding const& b, request const& r) const noexcept {
        if (r.type == request_type::page) return translation<output>{output{r.address.value}, {}, 64, passage::queued};
        if ((r.address.value & beyond_host_) != 0)
            return refuse(r, b.scalable ? reason::output_beyond_host : reason::address_beyond_width, fault_at::input, b.quiet);
        if (settings_.interrupt_ranges && interrupt_range<input>.contains(r.address) && r.type != request_type::translation)
            return refuse(r, interrupt_output(b), fault_at::input, b.quiet);
        return bypass(r);
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_legacy(binding const& b, request const& r,
                                                                      Trace& trace) const noexcept {
        auto walked = walk_legacy(legacy_[b.second_levels - 3], output{b.second_root}, r.address, needs(b, r), trace);
        if (!walked) [[unlikely]]
            return quieten(own_fault(walked.error()), r.type, b.quiet);
        if (lands_in_interrupt_range(*walked, r)) [[unlikely]]
            return refuse(r, interrupt_output(b), fault_at::input, b.quiet, 0, 0, legacy_stage::number);
        return *walked;
    }

    template <class S, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_stage(S const& s, binding const& b, request const& r,
                                                                     Trace& trace) const noexcept {
        access const need = needs(b, r);
        for (unsigned restarts = 0;; ++restarts) {
            owed_update owed;
            auto walked = walk_with(s, r.address, need, owed, trace);
            if (!walked) [[unlikely]]
                return quieten(own_fault(walked.error()), r.type, b.quiet);
            if (lands_in_interrupt_range(*walked, r)) [[unlikely]]
                return refuse(r, interrupt_output(b), fault_at::input, b.quiet, 0, 0, S::number);
            if constexpr (marking<S>) {
                typename M::error error{};
                settled const how = settle(*memory_, owed, error);
                if (how == settled::changed && restarts < max_restarts) continue;
                if (how != settled::done)
                    return quieten(fault_of<S>(s.update_failed(), fault_at::table, r.address, owed.of), r.type, b.quiet);
            }
            return *walked;
        }
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_nested(binding const& b, request const& r,
                                                                      Trace& trace) const noexcept {
        access const need = needs(b, r);
        nested_walk<input, M, Trace> both{nested_first_stage_of(b), nested_second_stage_of(b), *memory_, trace};
        for (unsigned restarts = 0;; ++restarts) {
            nested_updates owed;
            auto walked = both.translate(r.address, need, owed);
            if (!walked) [[unlikely]]
                return quieten(own_fault(walked.error()), r.type, b.quiet);
            if (lands_in_interrupt_range(*walked, r)) [[unlikely]]
                return refuse(r, interrupt_output(b), fault_at::input, b.quiet, 0, 0, fault_stage::second);
            fault_type why;
            settled const how = both.settle_both(r.address, owed, why);
            if (how == settled::changed && restarts < max_restarts) continue;
            if (how != settled::done) return quieten(why, r.type, b.quiet);
            return *walked;
        }
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_legacy(legacy_stage const& s, output root, input at, access need,
                                                                 Trace& trace) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return stagewalk::detail::walk_from(s, *memory_, root, at, need);
        } else {
            return walk(s.with_root(root), *memory_, at, need, trace);
        }
    }
    template <class S, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_with(S const& s, input at, access need, owed_update& owed,
                                                               Trace& trace) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return walk_owing(s, *memory_, at, need, owed);
        } else {
            return walk_owing(s, *memory_, at, need, owed, trace);
        }
    }

    // What a request needs of the tables. A translation request asks what there is, writing included unless it says no-write to
    // a unit that listens.
    [[nodiscard, gnu::always_inline]] constexpr access needs(binding const& b, request const& r) const {
        access need = r.access & read_write;
        if (r.access.covers(execute)) need = need | read;
        if (r.type == request_type::translation) need = is_no_write(r) ? inquiring | read : inquiring | read_write;
        if (r.bytes == 0) need = need | zero_length;
        if (b.privileged) need = need | privileged;
        return need;
    }

    // An access counts with its very bytes, a translation request with the whole page that it is given.
    [[nodiscard, gnu::always_inline]] constexpr bool lands_in_interrupt_range(translation<output> const& t,
                                                                              request const& r) const {
        if (!settings_.interrupt_ranges) return false;
        std::uint64_t const mask = r.type == request_type::translation ? t.offset_mask() : 0;
        auto const reached = range<output>::between(output{t.output.value & ~mask}, output{t.output.value | mask});
        return reached.overlaps(interrupt_range<output>);
    }

    [[nodiscard]] static constexpr reason interrupt_output(binding const& b) {
        return b.scalable ? reason::scalable_output_in_interrupt_range : reason::output_in_interrupt_range;
    }

    [[nodiscard]] constexpr answer bypass(request const& r) const {
        return translation<output>{output{r.address.value}, read_write, 64, passage::bypassed};
    }

    // A request without PASID to FEEx_xxxxh (VT-d 3.14).
    [[nodiscard, gnu::always_inline]] constexpr answer interrupt(request const& r) const {
        bool const reads = r.access.covers(read);
        bool const writes = r.access.covers(write);
        translation<output> answered{output{r.address.value}, {}, 64, passage::interrupt};
        if (r.type == request_type::translation) {
            if (!is_no_write(r)) answered.effective = write;
            return answered;
        }
        if (writes && !reads && r.bytes == 4 && r.address.value % 4 == 0) {
            answered.effective = write;
            return answered;
        }
        if (reads && !writes && r.bytes == 0) return bypass(r);
        return refuse(r, reason::interrupt_request_illegal, fault_at::input, false);
    }

    // What the flags of a request say to this unit: it may not know no-write, and an execute request carries a PASID.
    [[nodiscard]] constexpr bool is_no_write(request const& r) const { return r.no_write && caps_.has<"NWFS">(); }
    [[nodiscard]] static constexpr bool is_execute(request const& r) { return r.has_pasid() && r.access.covers(execute); }

    // --- small things ------------------------------------------------------------------------------------------------

    // Reads an entry once, word by word. Its address is a multiple of its size: it lies within a page.
    template <std::size_t N>
    [[nodiscard, gnu::always_inline]] constexpr bool load(std::uint64_t at, std::uint64_t (&words)[N]) const noexcept {
        stagewalk::detail::fast_memory<M> memory = *memory_;
        output const page{at & ~low_mask(12)};
        std::uint64_t const first = (at & low_mask(12)) / 8;
        for (std::size_t i = 0; i < N; ++i) {
            auto loaded = stagewalk::detail::load_entry(memory, page, first + i);
            if (!loaded) [[unlikely]]
                return false;
            words[i] = *loaded;
        }
        return true;
    }

    // Whether an entry has any of the bits \p bad.
    template <std::size_t N>
    [[nodiscard, gnu::always_inline]] static constexpr bool has_bits_of(std::uint64_t const (&words)[N],
                                                                        std::uint64_t const (&bad)[N]) {
        std::uint64_t found = 0;
        for (std::size_t i = 0; i < N; ++i)
            found |= words[i] & bad[i];
        return found != 0;
    }

    // What all second stages of scalable mode have in common.
    [[nodiscard]] constexpr second_stage_options scalable_options() const {
        bool const alternate = root_.get<"SSIRWE">() != 0 && caps_.has<"SSIRWS">();
        return {settings_.rules, false, true, false, alternate};
    }
    // The stage of a binding, from the prototype of its depth.
    template <class S>
    [[nodiscard, gnu::always_inline]] static constexpr S pointed(S const (&prototypes)[3], binding const& b) {
        return prototypes[b.second_levels - 3]
            .with_root(output{b.second_root})
            .with_options(b.accessed_dirty, b.walks_snoop, b.memory_types);
    }

    [[nodiscard]] constexpr bool supports(pasid_translation kind) const {
        switch (kind) {
        case pasid_translation::first_stage: return caps_.has<"FSTS">();
        case pasid_translation::second_stage: return caps_.has<"SSTS">();
        case pasid_translation::nested: return caps_.has<"NEST">();
        case pasid_translation::pass_through: return caps_.has<"PT">();
        }
        return false;
    }

    // min(MGAW, AGAW) in bits.
    [[nodiscard]] constexpr std::uint64_t second_stage_width(std::uint64_t levels) const {
        std::uint64_t const width = 12 + 9 * levels;
        return width < caps_.guest_address_width() ? width : caps_.guest_address_width();
    }

    [[nodiscard]] static constexpr capabilities without_host_permission(capabilities caps) {
        caps.ecap.set<"HPTS">(0);
        return caps;
    }

    // What a refusal needs of the request is handed on by value: a request whose address a cold function knows would
    // live in memory on the hot path too.
    [[nodiscard, gnu::always_inline]] static constexpr failure<fault_type>
    refuse(request const& r, reason code, fault_at at, bool quiet, std::uint64_t descriptor = 0, std::uint64_t entry = 0,
           fault_stage stage = fault_stage::configuration) {
        return refuse(r.address, r.type, quiet, code, at, stage, descriptor, entry);
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr failure<fault_type>
    refuse(input address, request_type type, bool quiet, reason code, fault_at at, fault_stage stage, std::uint64_t descriptor,
           std::uint64_t entry) {
        return quieten({code, stage, at, no_level, true, address.value, 0, descriptor, entry, 0}, type, quiet);
    }

    // A fault that an FPD bit suppresses, or that ATS tells the device about, is not recorded.
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr failure<fault_type> quieten(fault_type f, request_type type,
                                                                                         bool quiet) {
        f.reported = f.code != reason::none && !(quiet && is_qualified(f.code)) && !is_recoverable(f.code, type);
        return failure{f};
    }

    capabilities caps_;
    root_table_address root_;
    M* memory_;
    settings settings_;
    reason mode_fault_;            // what every request gets, if the mode is none that the unit has
    std::uint64_t beyond_host_;    // the address bits that the host does not have
    std::uint64_t bad_root_;       // the reserved bits of a legacy root entry's low word
    std::uint64_t bad_context_[2]; // those of a legacy context entry
    legacy_stage legacy_[3];       // by depth
    std::uint64_t bad_scalable_context_[scalable_context_entry::words]{}; // the reserved bits of a scalable context entry
    std::uint64_t bad_pasid_[8][pasid_table_entry::words]{};              // those of a PASID table entry, by PGTT
    bool has_kind_[8]{};                                                  // which PGTT the unit supports
    scalable_stage second_[3];                                            // by depth
    nested_second_stage nested_second_[3];                                // by depth
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
