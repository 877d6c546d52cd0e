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
#include "binding.hpp"
#include "binding_lookup.hpp"
#include "caches.hpp"
#include "capabilities.hpp"
#include "command.hpp"
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

/// A VT-d remapping unit over the memory that holds its tables. The unit itself has no state that a request changes, its caches
/// aside; A/D bits in memory that can be updated are set.
/// \tparam M the memory; the unit's output addresses are of the same space (a guest's unit: GPA).
/// \tparam Caches `vtd::caches`, or none.
template <memory M, class Caches = no_caches>
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
    constexpr iommu(capabilities const& caps, root_table_address root, M& m, settings set = {}) requires(!Caches::exist)
        : iommu{caps, root, m, set, static_cast<Caches*>(nullptr)} {}
    /// The same with caches: empty ones, alive as long as this object and its copies. After a new root table they are to be
    /// dropped, as software asks for.
    constexpr iommu(capabilities const& caps, root_table_address root, M& m, settings set, Caches& kept) requires Caches::exist
        : iommu{caps, root, m, set, &kept} {}

private:
    constexpr iommu(capabilities const& caps, root_table_address root, M& m, settings set, Caches* kept)
        : settings_{set}, lookup_{without_host_permission(caps), root, m, set.rules, kept}, caches_{kept},
          legacy_{{this->caps(), 3, output{}, {set.rules}},
                  {this->caps(), 4, output{}, {set.rules}},
                  {this->caps(), 5, output{}, {set.rules}}},
          second_{{this->caps(), 3, output{}, scalable_options()},
                  {this->caps(), 4, output{}, scalable_options()},
                  {this->caps(), 5, output{}, scalable_options()}},
          nested_second_{{this->caps(), 3, output{}, scalable_options()},
                         {this->caps(), 4, output{}, scalable_options()},
                         {this->caps(), 5, output{}, scalable_options()}},
          first_{{this->caps(), 4, output{}}, {this->caps(), 5, output{}}}, nested_first_{{this->caps(), 4, middle{}},
                                                                                          {this->caps(), 5, middle{}}} {}

public:
    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return lookup_.caps(); }
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
        auto const ticket = begin<Trace>();
        if (!settings_.enabled) {
            if (r.type == request_type::untranslated) return bypass(r);
            return refuse(r, reason::none, fault_at::context, false);
        }
        if (r.type == request_type::reserved || (r.type == request_type::translation && r.access.covers(write)))
            return refuse(r, reason::none, fault_at::input, false);
        if (settings_.interrupt_ranges && !r.has_pasid() && interrupt_range<input>.contains(r.address)) [[unlikely]] {
            if (r.type == request_type::untranslated || r.type == request_type::translation) return interrupt(r);
        }
        if (reason const bad = lookup_.judge_mode(r); bad != reason::none) [[unlikely]]
            return refuse(r, bad, fault_at::context, false);
        if (lookup_.mode() == table_mode::scalable) return stagewalk::detail::apart(translate_scalable(r, ticket, trace));
        legacy_finding found;
        if (auto no = lookup_.find_legacy(r, found, trace)) [[unlikely]]
            return refuse(r, no);
        if (!uses_tables(r) || found.context.type() == translation_type::pass_through) [[unlikely]]
            return without_tables(r, found.quiet());
        access const need = needs(r, false);
        if constexpr (is_caching<Trace>) {
            iotlb_tag const whose{static_cast<std::uint16_t>(found.context.template get<"DID">()), 0, false};
            return through_tlb(whose, ticket, false, r, need, [&] { return through_legacy(found, r, need, trace); });
        } else {
            return through_legacy(found, r, need, trace);
        }
    }

    /// Translates \p r and calls \p use with the answer, all before an execute() that drops something and began meanwhile
    /// returns.
    /// \param r the request.
    /// \param use called as `use(answer)`; short, and without execute() in it.
    /// \return what \p use returns.
    template <class Use>
    constexpr decltype(auto) translate_and(request const& r, Use&& use) const noexcept {
        if constexpr (Caches::exist) {
            stagewalk::inside const here{caches_->iotlb, iotlb_tag{}};
            return use(translate(r));
        } else {
            return use(translate(r));
        }
    }

    /// Carries out an invalidation descriptor: drops what it makes stale, and waits for accesses that began before. What else
    /// a descriptor asks for, a completion or a response, is for the caller, who gets it back decoded.
    /// \param word its words in ascending order; the upper two are zero for descriptors of 128 bits.
    /// \param queue IQA_REG.
    /// \return the descriptor, or IQEI.
    constexpr outcome<command, queue_error> execute(std::uint64_t const (&word)[4],
                                                    invalidation_queue_address queue) const noexcept {
        auto const decoded = decode(word, queue, lookup_.mode(), caps());
        if constexpr (Caches::exist) {
            if (decoded) caches_->drop(decoded->stale);
        }
        return decoded;
    }

    /// Finds what the device of \p r is bound to, without a look at its page tables. The address does not matter, nor whether the
    /// unit is on; of the access, only what may be refused before a walk (privileged, execute).
    [[nodiscard]] constexpr outcome<binding, fault_type> find(request const& r) const noexcept {
        no_trace trace;
        if (reason const bad = lookup_.judge_mode(r); bad != reason::none) return refuse(r, bad, fault_at::context, false);
        if (lookup_.mode() == table_mode::scalable) {
            scalable_finding found;
            if (auto no = lookup_.find_scalable(r, found, trace)) return refuse(r, no);
            return found.to_binding();
        }
        legacy_finding found;
        if (auto no = lookup_.find_legacy(r, found, trace)) return refuse(r, no);
        return found.to_binding();
    }

    /// The page tables of a binding of kind `legacy_second_stage`.
    [[nodiscard]] constexpr legacy_stage legacy_stage_of(binding const& b) const {
        return legacy_[b.second_levels - 3].with_root(output{b.second_root});
    }
    /// The page tables of a binding of kind `second_stage`.
    [[nodiscard]] constexpr scalable_stage second_stage_of(binding const& b) const {
        return second_[b.second_levels - 3].with(output{b.second_root}, b.accessed_dirty, b.walks_snoop, b.memory_types);
    }
    /// The page tables of a binding of kind `first_stage`.
    [[nodiscard]] constexpr process_stage first_stage_of(binding const& b) const {
        return first_[b.first_levels - 4].with(output{b.first_root}, {b.write_protect, b.extended_accessed, b.walks_snoop, 64});
    }
    /// The second stage of a binding of kind `nested`.
    [[nodiscard]] constexpr nested_second_stage nested_second_stage_of(binding const& b) const {
        return nested_second_[b.second_levels - 3].with(output{b.second_root}, b.accessed_dirty, b.walks_snoop, b.memory_types);
    }
    /// The first stage of a binding of kind `nested`.
    [[nodiscard]] constexpr nested_first_stage nested_first_stage_of(binding const& b) const {
        return nested_first_[b.first_levels - 4].with(middle{b.first_root}, {b.write_protect, b.extended_accessed, b.walks_snoop,
                                                                             lookup_.second_stage_width(b.second_levels)});
    }

private:
    using middle = intermediate<output>;

    template <class Trace>
    static constexpr bool is_caching =
        std::conjunction_v<std::is_same<std::remove_cvref_t<Trace>, no_trace>, std::bool_constant<Caches::exist>>;

    // What a fill of the IOTLB will have to show.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr fill_ticket begin() const noexcept {
        if constexpr (is_caching<Trace>) {
            return caches_->iotlb.begin();
        } else {
            return {};
        }
    }

    // The IOTLB before `walk`. A walk that `marks` shows of its access alone that it passes without a change to the tables.
    template <class Walk>
    [[nodiscard, gnu::always_inline]] constexpr answer through_tlb(iotlb_tag whose, fill_ticket ticket, bool marks,
                                                                   request const& r, access need, Walk&& walk) const noexcept {
        auto hit = caches_->iotlb.find(r.address, whose, need);
        if (hit) [[likely]] {
            if (!lands_in_interrupt_range(*hit, r)) [[likely]]
                return *hit;
        }
        auto walked = walk();
        // What an inquiry that is no write is granted depends on the dirty bit, which a write may set.
        bool const lasts = !marks || (need & (inquiring | write)) != inquiring;
        if (walked && lasts) {
            access const granted = walked->effective.rights();
            caches_->iotlb.insert(ticket, r.address, *walked, whose, need, marks ? granted & need : granted);
        }
        return walked;
    }

    // Scalable mode, out of line and with a request of its own: legacy mode then keeps the caller's in registers. Its stages are
    // made of the words of the PASID table entry: a binding would take all of them apart.
    template <class Trace>
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr answer translate_scalable(request r, [[maybe_unused]] fill_ticket ticket,
                                                                                   Trace& trace) const noexcept {
        scalable_finding found;
        if (auto no = lookup_.find_scalable(r, found, trace)) [[unlikely]]
            return refuse(r, no);
        if (!uses_tables(r)) [[unlikely]]
            return without_tables(r, found.quiet());
        if constexpr (is_caching<Trace>) {
            pasid_table_entry const entry = found.pasid_entry();
            if (entry.kind() == pasid_translation::pass_through) return without_tables(r, found.quiet());
            bool const first = entry.uses_first_stage();
            iotlb_tag const whose{static_cast<std::uint16_t>(entry.get<"DID">()), static_cast<std::uint32_t>(found.pasid), first};
            bool const marks = first || entry.get<"SSADE">() != 0;
            return through_tlb(whose, ticket, marks, r, needs(r, found.privileged != 0),
                               [&] { return through_scalable(found, r, trace); });
        } else {
            return through_scalable(found, r, trace);
        }
    }
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_scalable(scalable_finding const& found, request const& r,
                                                                        Trace& trace) const noexcept {
        pasid_table_entry const entry = found.pasid_entry();
        switch (entry.kind()) {
        case pasid_translation::second_stage: return through_stage(pointed(second_, entry), found, r, trace);
        case pasid_translation::first_stage: return through_stage(pointed(first_, entry, 64), found, r, trace);
        case pasid_translation::nested: return through_nested(found, r, trace);
        default: return without_tables(r, found.quiet());
        }
    }

    // The stage of an entry, from the prototype of its depth.
    template <class S>
    [[nodiscard, gnu::always_inline]] static constexpr S pointed(S const (&prototypes)[3], pasid_table_entry const& e) {
        return prototypes[e.second_stage_levels() - 3].with(typename S::output{e.get<"SSPTPTR">()}, e.get<"SSADE">() != 0,
                                                            e.get<"PWSNP">() != 0, e.get<"EMTE">() != 0);
    }
    template <class S>
    [[nodiscard, gnu::always_inline]] static constexpr S pointed(S const (&prototypes)[2], pasid_table_entry const& e,
                                                                 std::uint64_t output_width) {
        return prototypes[e.first_stage_levels() - 4].with(
            typename S::output{e.get<"FSPTPTR">()},
            {e.get<"WPE">() != 0, e.get<"EAFE">() != 0, e.get<"PWSNP">() != 0, output_width});
    }

    // A page request and a translated request have nothing to do with page tables, like pass-through.
    [[nodiscard, gnu::always_inline]] static constexpr bool uses_tables(request const& r) {
        return r.type != request_type::page && r.type != request_type::translated;
    }

    // Checks no rights.
    [[nodiscard, gnu::always_inline]] constexpr answer without_tables(request const& r, bool quiet) const noexcept {
        if (r.type == request_type::page) return translation<output>{output{r.address.value}, {}, 64, passage::queued};
        bool const scalable = lookup_.mode() == table_mode::scalable;
        if ((r.address.value & lookup_.beyond_host()) != 0)
            return refuse(r, scalable ? reason::output_beyond_host : reason::address_beyond_width, fault_at::input, quiet);
        if (settings_.interrupt_ranges && interrupt_range<input>.contains(r.address) && r.type != request_type::translation)
            return refuse(r, scalable ? reason::scalable_output_in_interrupt_range : reason::output_in_interrupt_range,
                          fault_at::input, quiet);
        return bypass(r);
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_legacy(legacy_finding const& found, request const& r, access need,
                                                                      Trace& trace) const noexcept {
        auto const& stage = legacy_[found.context.levels() - 3];
        auto walked = walk_legacy(stage, output{found.context.template get<"SSPTPTR">()}, r.address, need, trace);
        if (!walked) [[unlikely]]
            return quieten(outer_fault(walked.error()), r.type, found.quiet());
        if (lands_in_interrupt_range(*walked, r)) [[unlikely]]
            return refuse(r, reason::output_in_interrupt_range, fault_at::input, found.quiet(), 0, 0, legacy_stage::number);
        return *walked;
    }

    template <class S, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_stage(S const& s, scalable_finding const& found, request const& r,
                                                                     Trace& trace) const noexcept {
        access const need = needs(r, found.privileged != 0);
        for (unsigned restarts = 0;; ++restarts) {
            owed_update owed;
            auto walked = walk_with(s, r.address, need, owed, trace);
            if (!walked) [[unlikely]]
                return quieten(outer_fault(walked.error()), r.type, found.quiet());
            if (lands_in_interrupt_range(*walked, r)) [[unlikely]]
                return refuse(r, reason::scalable_output_in_interrupt_range, fault_at::input, found.quiet(), 0, 0, S::number);
            if constexpr (marking<S>) {
                typename M::error error{};
                settled const how = settle(memory(), owed, error);
                if (how == settled::changed && restarts < max_restarts) continue;
                if (how != settled::done)
                    return quieten(fault_of<S>(s.update_failed(), fault_at::table, r.address, owed.of), r.type, found.quiet());
            }
            return *walked;
        }
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_nested(scalable_finding const& found, request const& r,
                                                                      Trace& trace) const noexcept {
        pasid_table_entry const entry = found.pasid_entry();
        std::uint64_t const reach = lookup_.second_stage_width(entry.second_stage_levels());
        access const need = needs(r, found.privileged != 0);
        nested_walk<input, M, Trace> both{pointed(nested_first_, entry, reach), pointed(nested_second_, entry), memory(), trace};
        for (unsigned restarts = 0;; ++restarts) {
            nested_updates owed;
            auto walked = both.translate(r.address, need, owed);
            if (!walked) [[unlikely]]
                return quieten(outer_fault(walked.error()), r.type, found.quiet());
            if (lands_in_interrupt_range(*walked, r)) [[unlikely]]
                return refuse(r, reason::scalable_output_in_interrupt_range, fault_at::input, found.quiet(), 0, 0,
                              fault_stage::second);
            fault_type why;
            settled const how = both.settle_both(r.address, owed, why);
            if (how == settled::changed && restarts < max_restarts) continue;
            if (how != settled::done) return quieten(why, r.type, found.quiet());
            return *walked;
        }
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_legacy(legacy_stage const& s, output root, input at, access need,
                                                                 Trace& trace) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return stagewalk::detail::walk_from(s, memory(), root, at, need);
        } else {
            return walk(s.with_root(root), memory(), at, need, trace);
        }
    }
    template <class S, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_with(S const& s, input at, access need, owed_update& owed,
                                                               Trace& trace) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            // What walk_owing does; clang 14 would call that.
            return stagewalk::detail::fast_walk(s, memory(), s.root(), at, need, &owed);
        } else {
            return walk_owing(s, memory(), at, need, owed, trace);
        }
    }

    // What a request needs of the tables. A translation request asks what there is, writing included unless it says no-write to
    // a unit that listens.
    [[nodiscard, gnu::always_inline]] constexpr access needs(request const& r, bool as_privileged) const {
        access need = r.access & read_write;
        if (r.access.covers(stagewalk::execute)) need = need | read;
        if (r.type == request_type::translation) need = is_no_write(r) ? inquiring | read : inquiring | read_write;
        if (r.bytes == 0) need = need | zero_length;
        if (as_privileged) need = need | privileged;
        return need;
    }

    // An access counts with its very bytes, a translation request with the whole page that it is given.
    [[nodiscard, gnu::always_inline]] constexpr bool lands_in_interrupt_range(translation<output> const& t,
                                                                              request const& r) const {
        if (!settings_.interrupt_ranges) return false;
        if (r.type != request_type::translation) return interrupt_range<output>.contains(t.output);
        std::uint64_t const mask = t.offset_mask();
        auto const reached = range<output>::between(output{t.output.value & ~mask}, output{t.output.value | mask});
        return reached.overlaps(interrupt_range<output>);
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

    // A unit may not know the no-write flag.
    [[nodiscard]] constexpr bool is_no_write(request const& r) const { return r.no_write && caps().template has<"NWFS">(); }

    // --- small things ------------------------------------------------------------------------------------------------

    [[nodiscard, gnu::always_inline]] constexpr M& memory() const { return lookup_.memory_of_tables(); }

    // What all second stages of scalable mode have in common.
    [[nodiscard]] constexpr second_stage_options scalable_options() const {
        bool const alternate = lookup_.root().template get<"SSIRWE">() != 0 && caps().template has<"SSIRWS">();
        return {settings_.rules, false, true, false, alternate};
    }
    [[nodiscard]] static constexpr capabilities without_host_permission(capabilities caps) {
        caps.ecap.set<"HPTS">(0);
        return caps;
    }

    [[nodiscard, gnu::always_inline]] static constexpr failure<fault_type> refuse(request const& r, binding_refusal const& no) {
        return refuse(r, no.code, fault_at::context, no.quiet, no.descriptor, no.entry);
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

    settings settings_;
    binding_lookup<M, Caches> lookup_;
    [[no_unique_address]] stagewalk::detail::caches_of<Caches> caches_;
    // One stage of each kind per depth, to be pointed at the tables of a device.
    legacy_stage legacy_[3];
    scalable_stage second_[3];
    nested_second_stage nested_second_[3];
    process_stage first_[2];
    nested_first_stage nested_first_[2];
};

/// Without caches.
template <memory M>
iommu(capabilities, root_table_address, M&) -> iommu<M>;
/// The same, set up.
template <memory M>
iommu(capabilities, root_table_address, M&, settings) -> iommu<M>;
/// With caches.
template <memory M, class Caches>
iommu(capabilities, root_table_address, M&, settings, Caches&) -> iommu<M, Caches>;

} // namespace vtd
} // namespace v0
} // namespace stagewalk
