/// \file
/// A VT-d unit: from a device's request to an address, through root table, context table and page tables
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
#include "interrupt_range.hpp"
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
    bool enabled{true};          ///< GSTS.TES. A unit that is off lets untranslated requests pass.
    bool interrupt_ranges{true}; ///< Whether FEEx_xxxxh is special. A tool that looks at tables alone turns it off.
    policy rules{};              ///< The points that the manual leaves open.

    /// Settings are equal field by field.
    friend constexpr bool operator==(settings const&, settings const&) = default;
};

/// One configuration entry that a traced request met.
/// \tparam Entry `root_entry` or `context_entry`.
template <class Entry> struct configuration_step {
    char const* table;     ///< What the table is called: "root" or "context".
    std::uint64_t address; ///< Where the entry was read.
    Entry entry;           ///< What it held.
};

/// A VT-d remapping unit over the memory that holds its tables. The unit itself has no state that a request changes.
///
/// Implemented is legacy mode; a root table register in another mode is answered as by a unit without it (30h, 33h).
/// \tparam M the memory; the unit's output addresses are of the same space (a guest's unit: GPA).
template <memory M> class iommu {
public:
    using input = iova;                             ///< What it translates from.
    using output = typename M::address;             ///< What it translates to, and the space of its tables.
    using fault_type = fault<reason>;               ///< Its fault.
    using stage_type = second_stage<input, output>; ///< A domain's page tables.

    /// \param caps the capabilities; free of contradiction().
    /// \param root RTADDR_REG as GCMD.SRTP latched it.
    /// \param m the memory that holds the tables, alive as long as this object.
    /// \param set how the unit is set up.
    constexpr iommu(capabilities const& caps, root_table_address root, M& m, settings set = {})
        : caps_{caps}, root_{root}, memory_{&m}, settings_{set}, mode_{judge_mode(caps, root)},
          bad_root_{root_entry::reserved(0) | caps.beyond_host()},
          bad_context_{context_entry::reserved(0) | caps.beyond_host(),
                       context_entry::reserved(1) |
                           (context_entry::mask<"DID">(1) & ~(low_mask(caps.domain_id_width()) << 8))},
          stages_{stage_type{caps, 3, output{}, set.rules}, stage_type{caps, 4, output{}, set.rules},
                  stage_type{caps, 5, output{}, set.rules}} {}

    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return caps_; }

    /// What a device is bound to.
    struct binding {
        context_entry context; ///< The context entry, checked.
        bool bypasses;         ///< Pass-through: there are no page tables.
        bool quiet;            ///< FPD: qualified faults are not recorded.
        stage_type stage;      ///< The page tables, unless it bypasses them.

        /// The domain id.
        [[nodiscard]] constexpr std::uint16_t domain() const {
            return static_cast<std::uint16_t>(context.template get<"DID">());
        }
    };

    /// Translates \p r. At most 4 + 5 loads: an entry of 128 bits is read as two words in ascending order, and judged
    /// when both are here.
    /// \return the translation, or the fault with its place; `fault::reported` says whether the manual lets it be
    /// recorded. A request that is refused without a fault has the code `reason::none`.
    [[nodiscard, gnu::flatten]] constexpr outcome<translation<output>, fault_type> translate(
        request const& r) const noexcept {
        no_trace trace;
        return translate(r, trace);
    }

    /// The same, and \p trace is called with every entry: `configuration_step<root_entry>`,
    /// `configuration_step<context_entry>`, `traced_step<stage_type>`.
    template <class Trace>
    [[nodiscard]] constexpr outcome<translation<output>, fault_type> translate(request const& r,
                                                                               Trace& trace) const noexcept {
        if (!settings_.enabled) {
            if (r.type == request_type::untranslated) return bypass(r);
            return refuse(r, reason::none, fault_at::context, false);
        }
        if (settings_.interrupt_ranges && !r.has_pasid() && interrupt_range<input>.contains(r.address)) [[unlikely]] {
            if (r.type == request_type::untranslated || r.type == request_type::translation) return interrupt(r);
        }
        auto found = find_context(r, trace);
        if (!found) [[unlikely]]
            return failure{found.error()};
        return through(*found, r, trace);
    }

    /// Finds what the device of \p r is bound to, without a look at its page tables; the address and the access do not
    /// matter.
    [[nodiscard]] constexpr outcome<binding, fault_type> find(request const& r) const noexcept {
        no_trace trace;
        auto const found = find_context(r, trace);
        if (!found) return failure{found.error()};
        context_entry const& c = *found;
        return binding{c, bypasses(c), is_quiet(c), stage_of(c).with_root(root_of(c))};
    }

private:
    // The context entry says all; a copy of the domain's stage is for those who keep it.
    [[nodiscard]] static constexpr bool bypasses(context_entry const& c) {
        return c.type() == translation_type::pass_through;
    }
    [[nodiscard]] static constexpr bool is_quiet(context_entry const& c) { return c.get<"FPD">() != 0; }
    [[nodiscard]] constexpr stage_type const& stage_of(context_entry const& c) const { return stages_[c.levels() - 3]; }
    [[nodiscard]] static constexpr output root_of(context_entry const& c) { return output{c.get<"SSPTPTR">()}; }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr outcome<context_entry, fault_type> find_context(
        request const& r, Trace& trace) const noexcept {
        if (reason const bad = judge_mode(r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, false);

        // Root entry: it has no fault-processing-disable bit.
        std::uint64_t const bus = r.source >> 8;
        std::uint64_t const root_at = root_.get<"RTA">() + bus * sizeof(root_entry);
        root_entry root;
        if (!load(root_at, root.word)) [[unlikely]]
            return refuse(r, reason::root_unreadable, fault_at::context, false, root_at);
        trace(configuration_step<root_entry>{"root", root_at, root});
        if (root.get<"P">() == 0) [[unlikely]]
            return refuse(r, reason::root_not_present, fault_at::context, false, root_at, root.word[0]);
        if (((root.word[0] & bad_root_) | root.word[1]) != 0) [[unlikely]]
            return refuse(r, reason::root_reserved, fault_at::context, false, root_at, root.word[0]);

        // Context entry: its fault-processing-disable bit counts even where the entry is not present.
        std::uint64_t const devfn = r.source & 0xff;
        std::uint64_t const context_at = root.get<"CTP">() + devfn * sizeof(context_entry);
        context_entry context;
        if (!load(context_at, context.word)) [[unlikely]]
            return refuse(r, reason::context_unreadable, fault_at::context, false, context_at);
        trace(configuration_step<context_entry>{"context", context_at, context});
        if (reason const bad = judge_context(context, r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, is_quiet(context), context_at, context.word[0]);
        return context;
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr outcome<translation<output>, fault_type> through(
        context_entry const& c, request const& r, Trace& trace) const noexcept {
        // No page tables: a translated request, or pass-through. Neither checks rights.
        if (r.type == request_type::translated || bypasses(c)) {
            if ((r.address.value & caps_.beyond_host()) != 0)
                return refuse(r, reason::address_beyond_width, fault_at::input, is_quiet(c));
            if (settings_.interrupt_ranges && interrupt_range<input>.contains(r.address))
                return refuse(r, reason::output_in_interrupt_range, fault_at::input, is_quiet(c));
            return bypass(r);
        }
        access need = r.access;
        if (r.bytes == 0) need = need | zero_length;
        // A translation request asks what there is; it fails only where there is nothing at all.
        bool const asks = r.type == request_type::translation;
        auto walked = traced_walk(c, r.address, asks ? none : need, trace);
        if (!walked) [[unlikely]]
            return quieten(walked.error(), r.type, is_quiet(c));
        if (asks && walked->effective.rights() == none)
            return refuse(r, reason::read_denied, fault_at::input, is_quiet(c), 0, 0, fault_stage::second);
        if (settings_.interrupt_ranges) {
            // An access counts with its very bytes, a translation request with the whole page that it is given.
            std::uint64_t const mask = asks ? walked->offset_mask() : 0;
            auto const reached =
                range<output>::between(output{walked->output.value & ~mask}, output{walked->output.value | mask});
            if (reached.overlaps(interrupt_range<output>)) [[unlikely]]
                return refuse(r, reason::output_in_interrupt_range, fault_at::input, is_quiet(c), 0, 0,
                              fault_stage::second);
        }
        return *walked;
    }

    // Reads an entry once, word by word.
    template <std::size_t N>
    [[nodiscard, gnu::always_inline]] constexpr bool load(std::uint64_t at, std::uint64_t (&words)[N]) const noexcept {
        for (std::size_t i = 0; i < N; ++i) {
            auto loaded = memory_->load(output{at + i * 8});
            if (!loaded) [[unlikely]]
                return false;
            words[i] = *loaded;
        }
        return true;
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto traced_walk(context_entry const& c, input at, access need,
                                                                 Trace& trace) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return detail::walk_from(stage_of(c), *memory_, root_of(c), at, need);
        } else {
            return walk(stage_of(c).with_root(root_of(c)), *memory_, at, need, trace);
        }
    }

    // RTADDR_REG.TTM against the capabilities (RTA.1, RTA.4), once for all requests.
    [[nodiscard]] static constexpr reason judge_mode(capabilities const& caps, root_table_address root) {
        switch (static_cast<table_mode>(root.get<"TTM">())) {
        case table_mode::legacy:
            break;
        case table_mode::abort:
            return caps.ecap.get<"ADMS">() != 0 ? reason::dma_aborted : reason::root_pointer_invalid;
        default:
            return reason::root_pointer_invalid;
        }
        if (root.get<"SSIRWE">() != 0 && caps.ecap.get<"SSIRWS">() != 0) return reason::root_pointer_invalid;
        return reason::none;
    }

    // The mode against the request (RTA.1 to RTA.4).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_mode(request const& r) const {
        if (mode_ != reason::none) return mode_;
        if (r.has_pasid()) return reason::pasid_in_legacy_mode;
        if (r.type == request_type::page) return reason::page_request_in_legacy_mode;
        return reason::none;
    }

    // The context entry in the manual's order (LCT.2 to LCT.5).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_context(context_entry const& c, request const& r) const {
        if (c.get<"P">() == 0) return reason::context_not_present;
        if (((c.word[0] & bad_context_[0]) | (c.word[1] & bad_context_[1])) != 0)
            return reason::context_reserved;
        bool const device_tlb = c.type() == translation_type::device_tlb;
        bool const through = c.type() == translation_type::pass_through;
        if (c.type() == translation_type::reserved || (device_tlb && caps_.ecap.get<"DT">() == 0) ||
            (through && caps_.ecap.get<"PT">() == 0))
            return reason::context_invalid;
        if (r.type != request_type::untranslated && !device_tlb) return reason::request_blocked;
        if (!caps_.second_stage_levels(c.levels())) return reason::context_invalid;
        if (through && settings_.rules.pass_through == pass_through_width::largest &&
            c.levels() != caps_.deepest_second_stage())
            return reason::address_beyond_width;
        return reason::none;
    }

    [[nodiscard]] constexpr outcome<translation<output>, fault_type> bypass(request const& r) const {
        return translation<output>{output{r.address.value}, read_write, 64, passage::bypassed};
    }

    // A request without PASID to FEEx_xxxxh (VT-d 3.14).
    [[nodiscard]] constexpr outcome<translation<output>, fault_type> interrupt(request const& r) const {
        bool const reads = r.access.covers(read);
        bool const writes = r.access.covers(write);
        translation<output> const special{output{r.address.value}, {}, 64, passage::interrupt};
        if (r.type == request_type::translation) {
            translation<output> answer = special;
            if (!r.no_write) answer.effective = write;
            return answer;
        }
        if (writes && !reads && r.bytes == 4) {
            translation<output> answer = special;
            answer.effective = write;
            return answer;
        }
        if (reads && !writes && r.bytes == 0) return bypass(r);
        return refuse(r, reason::interrupt_request_illegal, fault_at::input, false);
    }

    // What a refusal needs of the request is handed on by value: a request whose address a cold function knows would
    // live in memory on the hot path too.
    [[nodiscard, gnu::always_inline]] static constexpr failure<fault_type> refuse(
        request const& r, reason code, fault_at at, bool quiet, std::uint64_t descriptor = 0, std::uint64_t entry = 0,
        fault_stage stage = fault_stage::configuration) {
        return refuse(r.address, r.type, quiet, code, at, stage, descriptor, entry);
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr failure<fault_type> refuse(
        input address, request_type type, bool quiet, reason code, fault_at at, fault_stage stage,
        std::uint64_t descriptor, std::uint64_t entry) {
        return quieten({code, stage, at, no_level, true, address.value, 0, descriptor, entry, 0}, type, quiet);
    }

    // A fault that the entry's FPD suppresses, or that ATS tells the device about, is not recorded.
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr failure<fault_type> quieten(
        fault_type f, request_type type, bool quiet) {
        f.reported = f.code != reason::none && !(quiet && is_qualified(f.code)) && !is_recoverable(f.code, type);
        return failure{f};
    }

    capabilities caps_;
    root_table_address root_;
    M* memory_;
    settings settings_;
    reason mode_;                  // what is wrong with the mode, whatever the request
    std::uint64_t bad_root_;       // reserved bits of a root entry, word 0; all of word 1 is reserved
    std::uint64_t bad_context_[2]; // reserved bits of a context entry
    stage_type stages_[3];
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
