/// \file
/// An SMMU: from a device's request to an address, through stream table, context descriptors and page tables (IHI
/// 0070 3.3, 3.4, 7.3).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../core/translation.hpp"
#include "../memory/byte_swapped.hpp"
#include "../memory/concept.hpp"
#include "../walk/trace.hpp"
#include "../walk/update.hpp"
#include "../walk/walk.hpp"
#include "binding.hpp"
#include "binding_lookup.hpp"
#include "caches.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "control.hpp"
#include "event.hpp"
#include "memory_type.hpp"
#include "nested.hpp"
#include "policy.hpp"
#include "request.hpp"
#include "stage2_translator.hpp"
#include "termination.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// An SMMU over the memory that holds its tables. It has no state that a request changes, its caches aside; access flags and
/// dirty states in memory that can be updated are.
/// \tparam M the memory; the unit's output addresses are of the same space (a guest's unit: GPA).
/// \tparam Caches `smmu::caches`, or none.
template <memory M, class Caches = no_caches>
class iommu {
public:
    using input = iova;                                      ///< What it translates from.
    using output = typename M::address;                      ///< What it translates to, and the space of its tables.
    using fault_type = fault<event>;                         ///< Its fault.
    using answer = outcome<translation<output>, fault_type>; ///< What it says of a request.

    /// \param caps the capabilities; free of contradiction().
    /// \param registers how it is switched on, and its stream table.
    /// \param m the memory that holds the tables, alive as long as this object.
    /// \param rules the open points.
    constexpr iommu(capabilities const& caps, control const& registers, M& m, policy const& rules = {}) requires(!Caches::exist)
        : lookup_{caps, registers, rules, m}, memory_{&m}, caches_{nullptr} {}
    /// The same with caches: empty ones, alive as long as this object and its copies.
    constexpr iommu(capabilities const& caps, control const& registers, M& m, policy const& rules,
                    Caches& kept) requires Caches::exist : lookup_{caps, registers, rules, m, &kept},
                                                           memory_{&m},
                                                           caches_{&kept} {}

    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return lookup_.caps(); }
    /// The registers.
    [[nodiscard]] constexpr control const& registers() const { return lookup_.registers(); }
    /// The open points.
    [[nodiscard]] constexpr policy const& rules() const { return lookup_.rules(); }

    /// Translates \p r. Every entry is read once: those of the configuration word by word in ascending order, and judged when all
    /// words are here.
    /// \return the translation, or the fault with its place; `fault::reported` says whether an event is recorded, `fault::detail`
    /// how the access ended. Of the attributes see to_attributes(). The answer to a translation request of a stream with split
    /// stages is an intermediate address.
    [[nodiscard, gnu::flatten]] constexpr answer translate(request const& r) const noexcept {
        no_trace trace;
        return translate(r, trace);
    }

    /// The same, and \p trace is called with every entry: a `configuration_step` of each table's entry, and a `traced_step` of
    /// each stage.
    template <class Trace>
    [[nodiscard]] constexpr answer translate(request const& r, Trace&& trace) const noexcept {
        fill_tickets const tickets = begin<Trace>();
        if (registers().cr0.template get<"SMMUEN">() == 0) [[unlikely]]
            return while_off(r);
        if (r.type == request_type::translated && passes_unchecked(r)) [[unlikely]]
            return bypassed(r.address, r.memory);
        binding b;
        fault_type why;
        std::uint64_t substreams = 0;
        if (!lookup_.find_stream(r, b, substreams, why, trace)) [[unlikely]]
            return failure{configuration_fault(why, r)};
        if (b.uses_stage1 && b.uses_stage2) return stagewalk::detail::apart(through_both(b, r, substreams, tickets, trace));
        if (b.uses_stage1 && !lookup_.find_context(b, r, substreams, tickets.context, why, trace)) [[unlikely]]
            return failure{configuration_fault(why, r)};
        // A translation request asks which rights there are, and no event tells of what it does not find (IHI 0070 3.9.1).
        access const need = needs(r, b.stream, caps()) | (r.type == request_type::translation ? inquiring : none);
        if (!b.uses_stage1) {
            // What passes stage 1 by must be an intermediate address; what passes everything by, or has been translated whole, a
            // physical one.
            bool const alone = b.stream.configuration() == stream_configuration::bypass ||
                               (r.type == request_type::translated && !b.uses_stage2);
            if (r.address.value > low_mask(alone ? caps().output_size() : caps().intermediate_size())) [[unlikely]]
                return too_wide(r.address, need);
            if (!b.uses_stage2) return bypass(r, b.stream);
            return through_stage2(b, r, need, tickets.translation, trace);
        }
        half const h = b.world == stream_world::el2 ? half::lower : half_of(r.address.value);
        if (!has_tables(b.context, h, b.world) || (refuses(b, h) && !need.covers(privileged))) [[unlikely]]
            return unmapped(b, r.address, need);
        return with_granule(b.context.granule_of(h),
                            [&](auto g) { return through_stage1<g()>(b, h, r, need, tickets.translation, trace); });
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

    /// Carries out a command: drops what it makes stale, and waits for accesses that began before. What else a command asks
    /// for, a completion or a response, is for the caller, who gets it back decoded.
    /// \param word its two words.
    /// \return the command, or CMDQ_CONS.ERR.
    constexpr outcome<command, command_error> execute(std::uint64_t const (&word)[2]) const noexcept {
        auto const decoded = decode(word, caps(), registers());
        if constexpr (Caches::exist) {
            if (decoded) caches_->drop(decoded->stale);
        }
        return decoded;
    }

    /// Finds what \p r is bound to, without a look at the page tables, save where context descriptors lie behind stage 2. The
    /// address does not matter, nor whether the unit is on.
    [[nodiscard]] constexpr outcome<binding, fault_type> find(request const& r) const noexcept {
        no_trace trace;
        binding b;
        fault_type why;
        if (!lookup_.find(r, b, why, trace)) return failure{configuration_fault(why, r)};
        return b;
    }

    /// Calls \p visit with half \p h of the stage 1 of \p b, of whatever granule, and returns what it returns. Of a binding that
    /// uses stage 1, and a half that has_tables(). Its tables are in the space of the unit, or nested in the intermediate space:
    /// then \p Output says so.
    template <class Output = output, class Visitor>
    constexpr auto with_stage1(binding const& b, half h, Visitor&& visit) const {
        return with_granule(b.context.granule_of(h),
                            [&](auto g) { return visit(stage1_of<g(), Output>(b, h, caps(), rules())); });
    }
    /// Calls \p visit with the stage 2 of \p b, of whatever granule, and returns what it returns. Of a binding that uses stage 2.
    template <class Visitor>
    constexpr auto with_stage2(binding const& b, Visitor&& visit) const {
        return with_granule(b.stream.stage2_granule(), [&](auto g) { return visit(stage2_of<g(), output>(b, caps(), rules())); });
    }

private:
    using middle = intermediate<output>;

    template <class Trace>
    static constexpr bool is_caching =
        std::conjunction_v<std::is_same<std::remove_cvref_t<Trace>, no_trace>, std::bool_constant<Caches::exist>>;

    // What fills will have to show: nothing, where nothing is filled.
    struct fill_tickets {
        fill_ticket context{};
        fill_ticket translation{};
    };
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr fill_tickets begin() const noexcept {
        if constexpr (is_caching<Trace>) {
            return {lookup_.template begin<Trace>(), caches_->iotlb.begin()};
        } else {
            return {};
        }
    }
    // Whose the translations of a binding are.
    [[nodiscard, gnu::always_inline]] constexpr iotlb_tag tag_of(binding const& b) const {
        bool const has_vmid = caps().template has<"S2P">() && b.world == stream_world::el1;
        bool const has_asid = b.uses_stage1 && b.world != stream_world::el2;
        return {has_vmid ? b.vmid() : std::uint16_t{0}, has_asid ? b.asid() : std::uint16_t{0}, b.world, b.uses_stage1,
                b.uses_stage2};
    }
    // Whether the TLB has to do with the request: a translation request asks the tables. An address with a tag in its top byte
    // would be dropped under another.
    [[nodiscard, gnu::always_inline]] static constexpr bool may_cache(request const& r) {
        auto const top = static_cast<std::int64_t>(r.address.value) >> 55;
        return r.type == request_type::ordinary && (top == 0 || top == -1);
    }
    // The TLB before `walk`. A walk shows of its access alone that it passes without a change to the tables.
    template <class Trace, class Walk>
    [[nodiscard, gnu::always_inline]] constexpr auto through_tlb(binding const& b, request const& r, access need,
                                                                 fill_ticket ticket, Walk&& walk) const noexcept
        -> decltype(walk()) {
        if constexpr (is_caching<Trace>) {
            if (may_cache(r)) [[likely]] {
                iotlb_tag const whose = tag_of(b);
                auto hit = caches_->iotlb.find(r.address, whose, need);
                if (hit) [[likely]]
                    return *hit;
                auto walked = walk();
                if (walked && b.uses_stage1 && b.uses_stage2) caches_->expect_pieces();
                if (walked) caches_->iotlb.insert(ticket, r.address, *walked, whose, need, walked->effective.rights() & need);
                return walked;
            }
        }
        return walk();
    }

    // --- without tables ----------------------------------------------------------------------------------------------

    // Unless translated requests are to be checked, they pass without a look at anything, if there can be any.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr bool passes_unchecked(request const& r) const noexcept {
        return caps().template has<"ATS">() && registers().cr0.template get<"ATSCHK">() == 0 &&
               r.address.value <= low_mask(caps().output_size());
    }

    // An SMMU that is off: no event tells of an ordinary request, whatever happens (IHI 0070 6.3.14).
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr answer while_off(request const& r) const noexcept {
        auto const& global = registers().gbpa;
        if (r.type != request_type::ordinary) {
            fault_type f;
            f.code = r.type == request_type::translation ? event::f_bad_ats_treq : event::f_transl_forbidden;
            return failure{configuration_fault(f, r)};
        }
        if (global.template get<"ABORT">() != 0 || r.address.value > low_mask(caps().output_size())) {
            fault_type f;
            f.reported = false;
            f.input = r.address.value;
            return failure{f};
        }
        memory_attributes memory = r.memory;
        if (caps().template has<"ATTR_TYPES_OVR">())
            memory = overridden(memory, global.template get<"MTCFG">() != 0, global.template get<"MemAttr">(),
                                global.template get<"SHCFG">());
        return bypassed(r.address, memory);
    }

    // The memory type with which a request enters stage 2, or leaves the unit.
    [[nodiscard, gnu::always_inline]] constexpr memory_attributes incoming(request const& r, stream_table_entry const& e) const {
        if (!caps().template has<"ATTR_TYPES_OVR">()) return r.memory;
        return overridden(r.memory, e.get<"MTCFG">() != 0, e.get<"MemAttr">(), e.get<"SHCFG">());
    }
    [[nodiscard, gnu::always_inline]] constexpr answer bypass(request const& r, stream_table_entry const& e) const {
        return bypassed(r.address, incoming(r, e));
    }
    [[nodiscard, gnu::always_inline]] static constexpr answer bypassed(input at, memory_attributes const& memory) {
        return translation<output>{output{at.value}, to_attributes(read_write | stagewalk::execute, memory), 64,
                                   passage::bypassed};
    }

    // --- through tables ----------------------------------------------------------------------------------------------

    // Whether the half is closed to unprivileged accesses.
    [[nodiscard, gnu::always_inline]] constexpr bool refuses(binding const& b, half h) const {
        return caps().template has<"E0PD">() && b.world != stream_world::el2 && b.context.refuses_unprivileged(h);
    }

    template <granule G, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_stage1(binding const& b, half h, request const& r, access need,
                                                                      [[maybe_unused]] fill_ticket ticket,
                                                                      Trace& trace) const noexcept {
        auto const first = stage1_of<G, output>(b, h, caps(), rules());
        if (b.is_stage1_swapped()) [[unlikely]] {
            byte_swapped<M> memory{*memory_};
            return finish(b, h, r.address, need, through_tlb<Trace>(b, r, need, ticket, [&] {
                              return stagewalk::detail::apart(walk_cold(first, memory, r.address, need, trace));
                          }));
        }
        if constexpr (std::is_same_v<Trace, no_trace>) {
            return finish(b, h, r.address, need,
                          through_tlb<Trace>(b, r, need, ticket, [&] { return walk(first, *memory_, r.address, need); }));
        } else {
            return finish(b, h, r.address, need, walk(first, *memory_, r.address, need, trace));
        }
    }
    template <class S, class Memory, class Trace>
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr auto walk_cold(S const& s, Memory& memory, input at, access need,
                                                                            Trace& trace) noexcept {
        return walk(s, memory, at, need, trace);
    }
    // Stage 1 alone: its answer with the memory type that it says.
    template <class Outcome>
    [[nodiscard, gnu::always_inline]] constexpr answer finish(binding const& b, half h, input at, access need,
                                                              Outcome walked) const noexcept {
        if (!walked) [[unlikely]]
            return failure{refused_by_stage1(outer_fault(walked.error()), b.context, at, need, caps(), registers())};
        return translation<output>{walked->output, to_attributes(walked->effective.rights(), memory_of(b, h, walked->effective)),
                                   walked->lg2_size, passage::walked};
    }
    // The memory type of a page that stage 1 maps.
    [[nodiscard, gnu::always_inline]] constexpr memory_attributes memory_of(binding const& b, half h, attributes mapped) const {
        std::uint64_t const sh = !has_wide_tables(b.context, caps()) || b.context.granule_of(h) == granule::k64
                                     ? mapped.bits >> 8
                                     : (h == half::lower ? b.context.template get<"SH0">() : b.context.template get<"SH1">());
        return stage1_memory(b.context.memory_attribute(stage1<granule::k4>::attribute_index(mapped)), sh & 3);
    }

    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_stage2(binding const& b, request const& r, access need,
                                                                      [[maybe_unused]] fill_ticket ticket,
                                                                      Trace& trace) const noexcept {
        stage2_translator<M, Trace> second{b, caps(), rules(), *memory_, trace};
        auto walked = through_tlb<Trace>(b, r, need, ticket, [&] { return second.translate(middle{r.address.value}, need); });
        if (!walked) [[unlikely]]
            return failure{second_stage_fault(walked.error(), b, r.address, middle{r.address.value}, need)};
        return translation<output>{walked->output,
                                   to_attributes(walked->effective.rights(), through(b, incoming(r, b.stream), *walked)),
                                   walked->lg2_size, passage::walked};
    }
    // The memory type after stage 2.
    [[nodiscard, gnu::always_inline]] constexpr memory_attributes through(binding const& b, memory_attributes const& first,
                                                                          translation<output> const& second) const {
        bool const wide = has_wide_stage2(b.stream, caps());
        std::uint64_t const sh = wide ? b.stream.template get<"S2SH0">() : second.effective.bits >> 8 & 3;
        bool const forces = caps().template has<"FWB">() && b.stream.template get<"S2FWB">() != 0;
        std::uint64_t code = stage2<granule::k4>::memory_attribute(second.effective);
        if (forces && !b.uses_stage1 && (code & 7) == 7) code = 6; // there is no stage 1 to have its way: write-back
        return combine(first, code, sh, forces);
    }

    // Both stages. A stage-1 leaf's update is checked against stage 2 at once, as the manual orders faults, and made when nothing
    // refuses the access any more.
    template <class Trace>
    [[nodiscard, gnu::noinline]] constexpr answer through_both(binding& b, request const& r, std::uint64_t substreams,
                                                               [[maybe_unused]] fill_tickets tickets,
                                                               Trace& trace) const noexcept {
        stage2_translator<M, Trace> second{b, caps(), rules(), *memory_, trace};
        guest_tables<M, Trace> tables{second, *memory_, caps(), b.stream};
        fault_type why;
        if (!lookup_.find_context_in(tables, b, r, substreams, tickets.context, why, trace)) [[unlikely]]
            return failure{configuration_fault(why, r)};
        access const need = needs(r, b.stream, caps()) | (r.type == request_type::translation ? inquiring : none);
        half const h = half_of(r.address.value);
        if (!has_tables(b.context, h, b.world) || (refuses(b, h) && !need.covers(privileged))) [[unlikely]]
            return unmapped(b, r.address, need);
        return through_tlb<Trace>(b, r, need, tickets.translation, [&] {
            return with_granule(b.context.granule_of(h), [&](auto g) -> answer {
                auto const first = stage1_of<g(), middle>(b, h, caps(), rules());
                if (b.is_stage1_swapped()) {
                    byte_swapped<guest_tables<M, Trace>> swapped{tables};
                    return walk_both(first, swapped, tables, second, b, h, r, need, trace);
                }
                return walk_both(first, tables, tables, second, b, h, r, need, trace);
            });
        });
    }
    template <class S, class Memory, class Trace>
    [[nodiscard, gnu::noinline]] constexpr answer walk_both(S const& first, Memory& tables, guest_tables<M, Trace> const& guest,
                                                            stage2_translator<M, Trace> const& second, binding const& b, half h,
                                                            request const& r, access need, Trace& trace) const noexcept {
        for (unsigned restarts = 0;; ++restarts) {
            owed_update owed;
            auto walked = walk_guest(first, tables, r.address, need, owed, trace);
            if (!walked) return failure{nested_fault_of(walked.error(), guest.why().why, b, r.address, need)};
            if (owed.is_owed()) {
                auto const allowed = tables.check_update(middle{owed.of.address});
                if (!allowed) return failure{nested_refusal(allowed.error().why, level_of(owed), b, r.address, need)};
            }
            if (need.covers(inquiring) && ats_mode_of(b.stream, caps(), registers()) == ats_mode::split) [[unlikely]] {
                typename Memory::error error{};
                settled const how = settle(tables, owed, error);
                if (how == settled::changed && restarts < max_restarts) continue;
                if (how != settled::done)
                    return failure{
                        nested_refusal(how == settled::failed ? error.why : guest.why().why, level_of(owed), b, r.address, need)};
                return translation<output>{output{walked->output.value},
                                           to_attributes(walked->effective.rights(), memory_of(b, h, walked->effective)),
                                           walked->lg2_size, passage::walked};
            }
            // Who only asks dirties nothing that one of the stages does not let be written.
            bool const both_write = !need.covers(inquiring) || walked->effective.rights().covers(write);
            owed_update owed_second;
            auto through_second = second.translate(walked->output, both_write ? need : need & ~write, owed_second);
            if (need.covers(inquiring) && through_second && !through_second->effective.rights().covers(write))
                owed.desired = S::not_dirtied(owed.of.entry, owed.desired);
            if (!through_second) return failure{second_stage_fault(through_second.error(), b, r.address, walked->output, need)};

            typename Memory::error error{};
            settled how = settle(tables, owed, error);
            if (how == settled::failed) return failure{nested_refusal(error.why, level_of(owed), b, r.address, need)};
            bool const unsteady = how == settled::changed;
            if (how == settled::done) how = second.settle_leaf(owed_second);
            if (how == settled::changed && restarts < max_restarts) continue;
            if (unsteady) return failure{nested_refusal(guest.why().why, level_of(owed), b, r.address, need)};
            if (how != settled::done)
                return failure{
                    second_stage_fault(second.failed_update(walked->output, owed_second), b, r.address, walked->output, need)};
            access const both = walked->effective.rights() & through_second->effective.rights();
            return translation<output>{
                through_second->output, to_attributes(both, through(b, memory_of(b, h, walked->effective), *through_second)),
                walked->lg2_size < through_second->lg2_size ? walked->lg2_size : through_second->lg2_size, passage::walked};
        }
    }
    [[nodiscard]] static constexpr std::uint8_t level_of(owed_update const& owed) {
        return static_cast<std::uint8_t>(owed.of.level);
    }
    template <class S, class Memory, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_guest(S const& first, Memory& tables, input at, access need,
                                                                owed_update& owed, Trace& trace) const noexcept {
        // Tables of the other byte order are rare: no second copy of the fast lane for them.
        if constexpr (std::is_same_v<Trace, no_trace> && std::is_same_v<Memory, guest_tables<M, Trace>>) {
            return walk_owing(first, tables, at, need, owed);
        } else {
            return walk_owing(first, tables, at, need, owed, trace);
        }
    }

    // --- faults ------------------------------------------------------------------------------------------------------

    // Nothing is mapped in this half, or not for this requester.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr failure<fault_type> unmapped(binding const& b, input at,
                                                                                   access need) const {
        fault_type f;
        f.code = event::f_translation;
        f.stage = fault_stage::first;
        f.at = fault_at::input;
        return failure{refused_by_stage1(f, b.context, at, need, caps(), registers())};
    }
    // What passes stage 1 by is wider than what it may become. It is recorded, whatever else says no.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr failure<fault_type> too_wide(input at, access need) const {
        fault_type f;
        f.code = event::f_addr_size;
        f.stage = fault_stage::first;
        f.at = fault_at::input;
        f.input = at.value;
        f.detail = flags_of(f, need, caps());
        f.reported = !need.covers(inquiring);
        return failure{f};
    }
    // A fault of stage 2 that found the input's own intermediate address wanting.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault_type second_stage_fault(fault_type f, binding const& b, input at,
                                                                                    middle between, access need) const {
        f.at = fault_at::input;
        f.intermediate = between.value;
        return refused_by_stage2(f, b.stream, at, need, caps(), registers());
    }
    // A fault of stage 1 whose tables are behind stage 2: its own, or what stood before a table. A table that did not keep still
    // aborts: `last` is what its memory said of it.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault_type nested_fault_of(nested_fault<event, fault_type> const& f,
                                                                                 fault_type const& last, binding const& b,
                                                                                 input at, access need) const {
        if (f.by != nested_by::outer) return nested_refusal(f.inner, f.outer.level, b, at, need);
        if (f.outer.code == event::f_walk_eabt) return nested_refusal(last, f.outer.level, b, at, need);
        return refused_by_stage1(f.outer, b.context, at, need, caps(), registers());
    }
    // What stood before a stage-1 table: stage 2, or memory itself that does not give or take the descriptor of `level`.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault_type nested_refusal(fault_type f, std::uint8_t level,
                                                                                binding const& b, input at, access need) const {
        if (f.stage == fault_stage::first) f.level = level;
        return refused_by_stage2(f, b.stream, at, need, caps(), registers());
    }
    // A fault of the configuration, or of stage 2 before a context descriptor.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault_type configuration_fault(fault_type f, request const& r) const {
        f.input = r.address.value;
        if (f.code == event::f_transl_forbidden) f.detail = r.access.covers(write) ? 0 : fault_detail::reading;
        if (r.type == request_type::translation) {
            f.detail &= ~fault_detail::stalled;
            f.reported = f.reported && is_told_of_translation(f.code, caps(), registers());
        }
        return f;
    }

    binding_lookup<M, Caches> lookup_;
    M* memory_;
    [[no_unique_address]] stagewalk::detail::caches_of<Caches> caches_;
};

/// Without caches.
template <memory M>
iommu(capabilities, control, M&) -> iommu<M>;
/// The same with rules.
template <memory M>
iommu(capabilities, control, M&, policy) -> iommu<M>;
/// With caches.
template <memory M, class Caches>
iommu(capabilities, control, M&, policy, Caches&) -> iommu<M, Caches>;

} // namespace smmu
} // namespace v0
} // namespace stagewalk
