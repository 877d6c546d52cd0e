/// \file
/// An AMD IOMMU: from a device's request to an address, through device table, GCR3 tables and page tables (48882 2.2).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/translation.hpp"
#include "../memory/concept.hpp"
#include "../walk/trace.hpp"
#include "../walk/walk.hpp"
#include "binding.hpp"
#include "binding_lookup.hpp"
#include "caches.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "control.hpp"
#include "device_table.hpp"
#include "event.hpp"
#include "guest_table.hpp"
#include "host_table.hpp"
#include "nested.hpp"
#include "policy.hpp"
#include "refusal.hpp"
#include "request.hpp"
#include "special_range.hpp"

#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

/// How an IOMMU is set up, beside its registers.
struct settings {
    policy rules{}; ///< The points that the manual leaves open.
    bool snp{};     ///< SNP is on: a device table entry with Mode = 0 is illegal. The reverse map table is not looked at.
    bool interrupt_range{true}; ///< Whether FEEx_xxxxh is special. A tool that looks at tables alone turns it off.

    /// Settings are equal field by field.
    friend constexpr bool operator==(settings const&, settings const&) = default;
};

/// An AMD IOMMU over the memory that holds its tables. It has no state that a request changes, its caches aside; accessed and
/// dirty bits in memory that can be updated are set. That a device table entry with SE has reported its one fault is for the
/// caller to remember.
/// \tparam M the memory; the unit's output addresses are of the same space (a guest's unit: GPA).
/// \tparam Caches `amdvi::caches`, or none.
template <memory M, class Caches = no_caches>
class iommu {
public:
    using input = iova;                                      ///< What it translates from.
    using output = typename M::address;                      ///< What it translates to, and the space of its tables.
    using fault_type = fault<event>;                         ///< Its fault.
    using answer = outcome<translation<output>, fault_type>; ///< What it says of a request.

    /// Host tables alone.
    using host_stage = host_table<input, output>;
    /// Guest tables alone.
    using guest_stage = guest_table<input, output>;
    /// The guest tables of a nested translation.
    using nested_guest_stage = guest_table<input, intermediate<output>>;
    /// The host tables of a nested translation.
    using nested_host_stage = host_table<intermediate<output>, output>;

    /// \param caps the capabilities; free of contradiction().
    /// \param registers how it is switched on, and its device table.
    /// \param m the memory that holds the tables, alive as long as this object.
    /// \param set how it is set up.
    constexpr iommu(capabilities const& caps, control const& registers, M& m, settings const& set = {}) requires(!Caches::exist)
        : iommu{caps, registers, m, set, static_cast<Caches*>(nullptr)} {}
    /// The same with caches: empty ones, alive as long as this object and its copies.
    constexpr iommu(capabilities const& caps, control const& registers, M& m, settings const& set,
                    Caches& kept) requires Caches::exist : iommu{caps, registers, m, set, &kept} {}

private:
    constexpr iommu(capabilities const& caps, control const& registers, M& m, settings const& set, Caches* kept)
        : settings_{set}, caches_{kept}, lookup_{caps, registers, set.rules, set.snp, m}, excluded_{registers.excluded(caps)},
          has_ht_range_{set.rules.ht == ht_range::reserved && !caps.has<"HTRangeIgnore">()}, host_{{1, output{}, {}, set.rules},
                                                                                                   {2, output{}, {}, set.rules},
                                                                                                   {3, output{}, {}, set.rules},
                                                                                                   {4, output{}, {}, set.rules},
                                                                                                   {5, output{}, {}, set.rules},
                                                                                                   {6, output{}, {}, set.rules}},
          nested_host_{4, output{}, {}, set.rules}, guest_{4, output{}, guest_options(), set.rules},
          nested_guest_{4, middle{}, guest_options(), set.rules} {}

public:
    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return lookup_.caps(); }
    /// The registers.
    [[nodiscard]] constexpr control const& registers() const { return lookup_.registers(); }
    /// How it is set up.
    [[nodiscard]] constexpr settings const& setup() const { return settings_; }

    /// Translates \p r. Every entry is judged as it was read, once for each walk that meets it; the device table entry word by
    /// word in ascending order, when all words are here.
    /// \return the translation, or the fault with its place; `fault::reported` says whether the manual lets it be logged.
    [[nodiscard, gnu::flatten]] constexpr answer translate(request const& r) const noexcept {
        no_trace trace;
        return translate(r, trace);
    }

    /// The same, and \p trace is called with every entry: a `configuration_step` of each table's entry, and a `traced_step` of
    /// each stage.
    template <class Trace>
    [[nodiscard]] constexpr answer translate(request const& r, Trace&& trace) const noexcept {
        if (!is_enabled()) [[unlikely]]
            return stagewalk::detail::apart(while_off(r));
        if (settings_.interrupt_range && interrupt_range<input>.contains(r.address) && !r.has_pasid() &&
            r.type != request_type::translated) [[unlikely]]
            return stagewalk::detail::apart(interrupt(r));
        device_finding found;
        fill_tickets const tickets = begin<Trace>();
        device_table_entry const& e = found.entry;
        if (!recall<Trace>(r, found)) {
            if (auto const read_well = lookup_.read_entry(r, found, trace); !read_well) [[unlikely]]
                return failure{read_well.error()};
            if (e.get<"V">() == 0) [[unlikely]]
                return bypass(r);
            if (auto const good = lookup_.judge_entry(r, found); !good) [[unlikely]]
                return failure{good.error()};
            keep<Trace>(tickets, r, found);
        }
        if (is_special(r, e)) [[unlikely]] {
            special_answer const special = answer_specially(r, found);
            if (special.decides) return stagewalk::detail::apart(special.what);
        }
        if (lookup_.check().has_guest(e) || r.has_pasid()) {
            return stagewalk::detail::apart(translate_guest(e.word[0], e.word[1], e.word[2], found.address, r.address, r.access,
                                                            r.pasid, r.type, tickets.translation, trace));
        }
        if (!e.has_host_tables()) [[unlikely]]
            return stagewalk::detail::apart(identity(r, found));
        if (!std::is_same_v<std::remove_cvref_t<Trace>, no_trace> || !is_common(e)) [[unlikely]]
            return stagewalk::detail::apart(
                through_host(e.word[0], e.word[1], r.address, host_needs(r), r.type, tickets.translation, trace));
        access const need = host_needs(r);
        return through_tlb<Trace>(tag_of(e, no_pasid), tickets.translation, false, r.address, need,
                                  [&] { return through_common(r, e, need); });
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
    /// \return the command, or why there is none.
    constexpr outcome<command, command_error> execute(std::uint64_t const (&word)[2]) const noexcept {
        auto const decoded = decode(word, caps());
        if constexpr (Caches::exist) {
            if (decoded) caches_->drop(decoded->stale);
        }
        return decoded;
    }

    /// Finds what the device of \p r is bound to, through GCR3 tables too but without a look at its page tables; save those
    /// host tables that GCR3 tables lie behind, which may get accessed bits. Neither the address matters, nor the type of
    /// request, nor whether the unit is on.
    [[nodiscard]] constexpr outcome<binding, fault_type> find(request const& r) const noexcept {
        no_trace trace;
        device_finding found;
        if (auto const read_well = lookup_.read_entry(r, found, trace); !read_well) return failure{read_well.error()};
        binding b{binding_kind::bypass, found.entry, no_pasid, 0};
        if (found.entry.get<"V">() == 0) return b;
        if (auto const good = lookup_.judge_entry(r, found); !good) return failure{good.error()};
        if (found.entry.get<"TV">() == 0) return failure{lookup_.not_valid(r, found)};
        bool const over_host = found.entry.has_host_tables();
        b.kind = over_host ? binding_kind::host : binding_kind::identity;
        if (!uses_guest(r, found.entry)) {
            if (r.has_pasid()) return failure{refuse_pasid(r, found)};
            return b;
        }
        b.kind = over_host ? binding_kind::nested : binding_kind::guest;
        b.pasid = r.has_pasid() ? r.pasid : 0;
        nested_walk<M> both{host_of(nested_host_, found.entry), memory()};
        auto const root = over_host ? lookup_.find_guest(found.entry, b.pasid, both.guest_memory(), trace)
                                    : lookup_.find_guest(found.entry, b.pasid, memory(), trace);
        if (!root) return failure{without_guest(both, root.error(), r, found.entry, b.pasid)};
        b.guest_root = root->table();
        return b;
    }

    /// The host tables of a binding of kind `host`.
    [[nodiscard]] constexpr host_stage host_stage_of(binding const& b) const { return host_of(host_[0], b.entry); }
    /// The guest tables of a binding of kind `guest`.
    [[nodiscard]] constexpr guest_stage guest_stage_of(binding const& b) const {
        return guest_of(guest_, b.entry, b.pasid, b.guest_root);
    }
    /// The host tables of a binding of kind `nested`, with the rights of the device. The IOMMU's own reading of guest tables
    /// asks for the tables' rights alone: `nested_walk{nested_host_stage_of(b), memory}` is what translate() uses. With
    /// `nested{…}` a device that may not read would have no guest tables.
    [[nodiscard]] constexpr nested_host_stage nested_host_stage_of(binding const& b) const {
        return host_of(nested_host_, b.entry);
    }
    /// The guest tables of a binding of kind `nested`.
    [[nodiscard]] constexpr nested_guest_stage nested_guest_stage_of(binding const& b) const {
        return guest_of(nested_guest_, b.entry, b.pasid, b.guest_root);
    }

private:
    using middle = intermediate<output>;

    template <class Trace>
    static constexpr bool is_caching =
        std::conjunction_v<std::is_same<std::remove_cvref_t<Trace>, no_trace>, std::bool_constant<Caches::exist>>;

    // What fills will have to show: nothing, where nothing is filled.
    struct fill_tickets {
        fill_ticket device{};
        fill_ticket translation{};
    };
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr fill_tickets begin() const noexcept {
        if constexpr (is_caching<Trace>) {
            return {caches_->devices.begin(), caches_->iotlb.begin()};
        } else {
            return {};
        }
    }
    // A device table entry that was valid and legal when it was read.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr bool recall(request const& r, device_finding& found) const noexcept {
        if constexpr (is_caching<Trace>) {
            if (!caches_->devices.find(r.source, found.entry.word)) return false;
            found.address = lookup_.address_of(r);
            return true;
        } else {
            return false;
        }
    }
    template <class Trace>
    [[gnu::always_inline]] constexpr void keep(fill_tickets const& tickets, request const& r, device_finding const& found) const {
        if constexpr (is_caching<Trace>) caches_->devices.insert(tickets.device, r.source, found.entry.word);
    }

    // The TLB before `walk`. A walk that `marks` shows of its access alone that it passes without a change to the tables.
    template <class Trace, class Walk>
    [[nodiscard, gnu::always_inline]] constexpr answer through_tlb(iotlb_tag const& whose, fill_ticket ticket, bool marks,
                                                                   input at, access need, Walk&& walk) const noexcept {
        if constexpr (is_caching<Trace>) {
            auto hit = caches_->iotlb.find(at, whose, need);
            if (hit) [[likely]]
                return *hit;
            auto walked = walk();
            // What an inquiry that is no write is granted depends on the dirty bit, which a write may set.
            bool const lasts = !marks || (need & (inquiring | write)) != inquiring;
            if (walked && lasts) {
                access const granted = walked->effective.rights();
                caches_->iotlb.insert(ticket, at, *walked, whose, need, marks ? granted & need : granted);
            }
            return walked;
        } else {
            return walk();
        }
    }
    [[nodiscard, gnu::always_inline]] static constexpr iotlb_tag tag_of(device_table_entry const& e, std::uint64_t pasid) {
        bool const by_guest = pasid != no_pasid;
        return {static_cast<std::uint16_t>(e.get<"DomainID">()), by_guest ? static_cast<std::uint32_t>(pasid) : 0, by_guest,
                rights_of(e), e.get<"HAD">()};
    }

    struct special_answer {
        bool decides;
        answer what;
    };

    [[nodiscard, gnu::always_inline]] constexpr bool is_enabled() const {
        return registers().main.template get<"IommuEn">() != 0;
    }
    [[nodiscard, gnu::always_inline]] constexpr M& memory() const { return lookup_.memory_of_tables(); }

    // --- without tables ----------------------------------------------------------------------------------------------

    [[nodiscard]] static constexpr answer bypass(request const& r) {
        return translation<output>{output{r.address.value}, read_write, 64, passage::bypassed};
    }
    [[nodiscard]] static constexpr answer as_interrupt(request const& r) {
        return translation<output>{output{r.address.value}, write, 64, passage::interrupt};
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr answer while_off(request r) {
        if (r.type != request_type::translation) return bypass(r);
        fault_type f = refused_by_configuration(event::none, r, {});
        f.reported = false;
        return failure{f};
    }
    // A plain write is an interrupt (48882 2.1.4.3).
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr answer interrupt(request r) {
        if (r.type == request_type::untranslated && is_plain_write(r)) return as_interrupt(r);
        return refuse_request(r, {}, invalid_request::interrupt_range);
    }
    [[nodiscard]] static constexpr bool is_plain_write(request const& r) {
        return (r.access & (read_write | stagewalk::execute)) == write;
    }
    [[nodiscard]] static constexpr answer refuse_request(request const& r, configuration_place const& place,
                                                         invalid_request why) {
        return failure{refused_by_configuration(event::invalid_device_request, r, place, type_of(why))};
    }

    // Whether a request to a valid entry needs a closer look before its tables are used.
    [[nodiscard, gnu::always_inline]] constexpr bool is_special(request const& r, device_table_entry const& e) const {
        return r.type != request_type::untranslated || e.get<"TV">() == 0 || excluded_.contains(r.address) ||
               (has_ht_range_ && hypertransport_range<input>.contains(r.address));
    }
    // Requests of ATS, the HyperTransport range, entries that translate nothing and the exclusion range, in the manual's order.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr special_answer answer_specially(request r, device_finding found) const {
        device_table_entry const& e = found.entry;
        if (r.type != request_type::untranslated && e.get<"I">() == 0)
            return {true, refuse_request(r, found.place(), invalid_request::no_iotlb)};
        if (r.type == request_type::translated) return {true, bypass(r)};
        if (has_ht_range_ && !r.has_pasid() && hypertransport_range<input>.contains(r.address)) {
            ht_verdict const v = judge_ht(r.address, e, r.type == request_type::translation, is_plain_write(r));
            if (v.is == ht_passage::refused) return {true, refuse_request(r, found.place(), v.why)};
            if (v.is == ht_passage::interrupt) return {true, as_interrupt(r)};
            if (v.is == ht_passage::forwarded) return {true, bypass(r)};
        }
        if (e.get<"TV">() == 0) return {true, failure{lookup_.not_valid(r, found)}};
        bool const may_pass = registers().exclusion_base.template get<"Allow">() != 0 || e.get<"EX">() != 0;
        bool const counts = settings_.rules.excluded == exclusion::all || r.type == request_type::translation;
        if (may_pass && counts && !r.has_pasid() && excluded_.contains(r.address)) return {true, bypass(r)};
        return {false, bypass(r)};
    }

    // Mode = 0: the rights of the entry, and nothing else.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr answer identity(request r, device_finding found) const {
        access const granted = rights_of(found.entry);
        access const need = host_needs(r);
        if (!need.covers(inquiring) && !granted.covers(need & read_write)) {
            fault_type f;
            f.code = event::io_page_fault;
            f.at = fault_at::context;
            f.descriptor = found.address;
            f.entry = found.entry.word[0];
            f.detail = fault_detail::present | fault_detail::permission | flags_of(r.access);
            return failure{refused_by_tables(f, r, whose(r, found.entry, no_guest))};
        }
        return translation<output>{output{r.address.value}, granted, 64, passage::bypassed};
    }

    // --- through tables ----------------------------------------------------------------------------------------------

    [[nodiscard, gnu::always_inline]] static constexpr access rights_of(device_table_entry const& e) {
        static_assert(device_table_entry::mask<"IR">() == read.bits << 61);
        static_assert(device_table_entry::mask<"IW">() == write.bits << 61);
        return {e.word[0] >> 61 & read_write.bits};
    }
    // Whether the device has all rights and its host tables keep no bits.
    [[nodiscard, gnu::always_inline]] static constexpr bool is_common(device_table_entry const& e) {
        using dte = device_table_entry;
        constexpr std::uint64_t rights = dte::mask<"IR">() | dte::mask<"IW">();
        return (e.word[0] & (dte::mask<"HAD">() | rights)) == rights;
    }
    // Its stage is not copied: the one of its depth is entered at another root. A walk that marks nothing never starts again, at
    // the stage's own.
    [[nodiscard, gnu::always_inline]] constexpr answer through_common(request const& r, device_table_entry const& e,
                                                                      access need) const noexcept {
        auto walked = stagewalk::detail::fast_walk(host_[e.get<"Mode">() - 1], memory(), output{e.get<"HostPageTableRoot">()},
                                                   r.address, need, nullptr);
        if (!walked) [[unlikely]]
            return failure{refused_by_host(outer_fault(walked.error()), r.address, r.type, need, e.get<"DomainID">(),
                                           e.get<"SA">() != 0, e.get<"SE">() != 0)};
        return by_parts(*walked);
    }

    // The stage of an entry, from the prototype of its kind.
    template <class S>
    [[nodiscard, gnu::always_inline]] static constexpr S host_of(S const& prototype, device_table_entry const& e) {
        return prototype.with(e.get<"Mode">(), typename S::output{e.get<"HostPageTableRoot">()},
                              {rights_of(e), (e.get<"HAD">() & 1) != 0, (e.get<"HAD">() & 2) != 0});
    }
    template <class S>
    [[nodiscard, gnu::always_inline]] static constexpr S guest_of(S const& prototype, device_table_entry const& e,
                                                                  std::uint64_t pasid, std::uint64_t root) {
        return prototype.with(e.get<"GPM">() + 4, typename S::output{root}, e.has_host_tables() ? read_write : rights_of(e),
                              pasid == 0);
    }
    // What all guest tables have in common.
    [[nodiscard]] constexpr guest_table_options guest_options() const {
        return {read_write, caps().template has<"NXSup">(), false, registers().marks_guest_accessed(caps()),
                registers().marks_guest_dirty(caps())};
    }
    [[nodiscard, gnu::always_inline]] constexpr bool uses_guest(request const& r, device_table_entry const& e) const {
        return lookup_.check().has_guest(e) && (r.has_pasid() || e.get<"GIoV">() != 0);
    }

    // What a request needs of the tables. Fetching is reading too. A translation request asks what there is.
    [[nodiscard, gnu::always_inline]] static constexpr access host_needs(request const& r) {
        access need = r.access & read_write;
        if (r.access.covers(stagewalk::execute)) need = need | read;
        return r.type == request_type::translation ? need | read | inquiring : need;
    }
    [[nodiscard, gnu::always_inline]] constexpr access guest_needs(request const& r) const {
        return host_needs(r) | (r.access & stagewalk::execute) | (lookup_.is_user(r) ? none : privileged);
    }

    template <class S, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr auto walk_with(S const& s, input at, access need, Trace& trace) const noexcept {
        if constexpr (std::is_same_v<Trace, no_trace>) {
            // What walk does; clang 14 would call that.
            return stagewalk::detail::fast_walk(s, memory(), s.root(), at, need, nullptr);
        } else {
            return walk(s, memory(), at, need, trace);
        }
    }

    // A translation, copied part by part: whole, g++ 12 copies it in halves of 16 bytes out of words that were just stored.
    [[nodiscard, gnu::always_inline]] static constexpr answer by_parts(translation<output> const& t) {
        return translation<output>{t.output, t.effective, t.lg2_size, t.by};
    }

    // Out of line: host tables then keep the request in registers. The words of the entry and the parts of the request come one
    // by one: whole, they would be copied in halves of 16 bytes out of what was just stored in smaller ones, and that stalls. The
    // source and the last word are not needed.
    template <class Trace>
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr answer
    translate_guest(std::uint64_t first, std::uint64_t second, std::uint64_t third, std::uint64_t entry_at, input at,
                    access wanted, std::uint32_t pasid_or_none, request_type type, [[maybe_unused]] fill_ticket ticket,
                    Trace& trace) const noexcept {
        request const r{0, at, wanted, pasid_or_none, type};
        device_finding const found{device_table_entry{first, second, third}, entry_at};
        device_table_entry const& e = found.entry;
        if (!uses_guest(r, e)) {
            if (r.has_pasid()) return failure{refuse_pasid(r, found)};
            if (!e.has_host_tables()) return identity(r, found);
            return through_host(first, second, at, host_needs(r), type, ticket, trace);
        }
        std::uint64_t const pasid = r.has_pasid() ? r.pasid : 0;
        return through_tlb<Trace>(tag_of(e, pasid), ticket, true, at, guest_needs(r), [&]() -> answer {
            if (e.has_host_tables()) return through_both(r, e, pasid, trace);
            return through_guest(r, e, pasid, trace);
        });
    }
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr answer through_guest(request const& r, device_table_entry const& e,
                                                                     std::uint64_t pasid, Trace& trace) const noexcept {
        auto const root = lookup_.find_guest(e, pasid, memory(), trace);
        access const need = guest_needs(r);
        if (!root) [[unlikely]]
            return failure{refused_by_tables(report_nested(root.error().why, r.access), r, whose(r, e, pasid))};
        auto walked = walk_with(guest_of(guest_, e, pasid, root->table()), r.address, need, trace);
        if (!walked) [[unlikely]] {
            fault_type f = outer_fault(walked.error());
            f.detail |= flags_of(r.access);
            return failure{refused_by_tables(f, r, whose(r, e, pasid))};
        }
        return by_parts(*walked);
    }
    // Any host tables, out of line: of the entry the first two words.
    template <class Trace>
    [[nodiscard, gnu::noinline, gnu::flatten]] constexpr answer
    through_host(std::uint64_t first, std::uint64_t second, input at, access need, request_type type,
                 [[maybe_unused]] fill_ticket ticket, Trace& trace) const noexcept {
        device_table_entry const e{first, second};
        return through_tlb<Trace>(tag_of(e, no_pasid), ticket, e.get<"HAD">() != 0, at, need, [&]() -> answer {
            auto walked = walk_with(host_of(host_[0], e), at, need, trace);
            if (!walked) [[unlikely]]
                return failure{refused_by_host(outer_fault(walked.error()), at, type, need, e.get<"DomainID">(),
                                               e.get<"SA">() != 0, e.get<"SE">() != 0)};
            return by_parts(*walked);
        });
    }
    template <class Trace>
    [[nodiscard]] constexpr answer through_both(request const& r, device_table_entry const& e, std::uint64_t pasid,
                                                Trace& trace) const noexcept {
        access const need = guest_needs(r);
        nested_walk<M, Trace> both{host_of(nested_host_, e), memory(), trace};
        auto const root = lookup_.find_guest(e, pasid, both.guest_memory(), trace);
        if (!root) [[unlikely]]
            return failure{without_guest(both, root.error(), r, e, pasid)};
        auto const guest = guest_of(nested_guest_, e, pasid, root->table());
        for (unsigned restarts = 0;; ++restarts) {
            nested_updates owed;
            auto walked = both.translate(guest, r.address, need, owed);
            if (!walked) [[unlikely]]
                return failure{refused_by_tables(walked.error(), r, whose(r, e, pasid))};
            fault_type why;
            settled const how = both.settle_both(owed, need, why);
            if (how == settled::changed && restarts < max_restarts) continue;
            if (how != settled::done) return failure{refused_by_tables(both.located(why), r, whose(r, e, pasid))};
            return by_parts(*walked);
        }
    }

    // --- faults ------------------------------------------------------------------------------------------------------

    [[nodiscard]] constexpr refused_for whose(request const& r, device_table_entry const& e, std::uint64_t pasid) const {
        return {pasid, e.get<"DomainID">(), lookup_.is_user(r), e.get<"SA">() != 0, e.get<"SE">() != 0};
    }
    // GCR3 tables that lead nowhere, some of them perhaps behind host tables.
    template <class Both>
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr fault_type without_guest(Both const& both, guest_refusal const& refusal,
                                                                               request const& r, device_table_entry const& e,
                                                                               std::uint64_t pasid) const {
        auto const why = refusal.is_behind ? both.report(refusal.why, r.access) : report_nested(refusal.why, r.access);
        return refused_by_tables(why, r, whose(r, e, pasid));
    }
    // What a refusal needs is handed on by value: a request whose address a cold function knows would live in memory on the hot
    // path too.
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr fault_type
    refused_by_host(fault_type f, input at, request_type type, access need, std::uint64_t domain, bool silent, bool once) {
        f.detail |= flags_of(need & ~stagewalk::execute);
        return refused_by_tables(f, {0, at, need, no_pasid, type}, {no_guest, domain, false, silent, once});
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr fault_type refuse_pasid(request r, device_finding found) {
        return refused_by_configuration(event::invalid_device_request, r, found.place(), type_of(invalid_request::pasid));
    }

    settings settings_;
    [[no_unique_address]] stagewalk::detail::caches_of<Caches> caches_;
    binding_lookup<M> lookup_;
    range<input> excluded_;
    bool has_ht_range_; // HyperTransport's range is special
    // One stage of each kind, to be pointed at the tables of a device; of host tables alone one per depth.
    host_stage host_[6];
    nested_host_stage nested_host_;
    guest_stage guest_;
    nested_guest_stage nested_guest_;
};

/// Without caches.
template <memory M>
iommu(capabilities, control, M&) -> iommu<M>;
/// The same, set up.
template <memory M>
iommu(capabilities, control, M&, settings) -> iommu<M>;
/// With caches.
template <memory M, class Caches>
iommu(capabilities, control, M&, settings, Caches&) -> iommu<M, Caches>;

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
