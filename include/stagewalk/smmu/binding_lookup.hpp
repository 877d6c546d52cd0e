/// \file
/// From a StreamID and SubstreamID to a binding, through stream table and context descriptors (IHI 0070 3.3).
#pragma once

#include "../core/fault.hpp"
#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "../tlb/entry_cache.hpp"
#include "../walk/trace.hpp"
#include "../walk/walk.hpp"
#include "binding.hpp"
#include "capabilities.hpp"
#include "context_check.hpp"
#include "control.hpp"
#include "event.hpp"
#include "nested.hpp"
#include "plain_entries.hpp"
#include "policy.hpp"
#include "request.hpp"
#include "stage2_translator.hpp"
#include "stream_check.hpp"
#include "termination.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Finds bindings. It has no state that a request changes, the caches aside: entries that let a request pass are kept; what
/// refuses one is read anew. A request that is traced sees memory alone.
/// \tparam M the memory that holds the tables.
/// \tparam Caches `smmu::caches`, or none.
template <memory M, class Caches = no_caches>
class binding_lookup {
public:
    using output = typename M::address; ///< The space of the tables.

    /// \param caps the capabilities.
    /// \param registers where the stream table lies.
    /// \param rules the open points.
    /// \param m the memory, alive as long as this object.
    /// \param kept the caches, alive as long as this object; or null.
    constexpr binding_lookup(capabilities const& caps, control const& registers, policy const& rules, M& m,
                             Caches* kept = nullptr)
        : caps_{caps}, registers_{registers}, rules_{rules}, memory_{&m}, caches_{kept}, table_{registers.table(caps)},
          streams_{std::uint64_t{1} << registers.stream_bits(caps)}, split_{registers.split()},
          two_levels_{registers.two_levels(caps)}, highest_{low_mask(caps.output_size())},
          substreams_{caps.substream_size() == 0 ? 0 : low_mask(5)}, plain_{caps, rules} {}

    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return caps_; }
    /// The registers.
    [[nodiscard]] constexpr control const& registers() const { return registers_; }
    /// The open points.
    [[nodiscard]] constexpr policy const& rules() const { return rules_; }

    /// Finds what \p r is bound to. Its address does not matter; its access, only for the flags of a fault.
    /// \param r the request.
    /// \param b receives the binding.
    /// \param why receives the fault where there is none.
    /// \param trace called with every entry.
    /// \return whether there is one.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr bool find(request const& r, binding& b, fault<event>& why,
                                                          Trace& trace) const noexcept {
        std::uint64_t substreams = 0;
        auto const ticket = begin<Trace>();
        if (!find_stream(r, b, substreams, why, trace)) [[unlikely]]
            return false;
        if (!b.uses_stage1) return true;
        if (b.uses_stage2) return find_context_behind_stage2(b, r, substreams, ticket, why, trace);
        return find_context(b, r, substreams, ticket, why, trace);
    }

    /// What a context descriptor that is found from here on has to show before it is kept: to be taken before find_stream(),
    /// since what makes a stream stale makes its descriptors stale too.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr fill_ticket begin() const noexcept {
        if constexpr (is_caching<Trace>) {
            return caches_->contexts.begin();
        } else {
            return {};
        }
    }

    /// The first part of find(): what the stream table says, without a look at context descriptors.
    /// \param r the request.
    /// \param b receives the binding but for its context descriptor and world.
    /// \param substreams receives the width of SubstreamIDs, for the second part.
    /// \param why receives the fault where there is none.
    /// \param trace called with every entry.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr bool find_stream(request const& r, binding& b, std::uint64_t& substreams,
                                                                 fault<event>& why, Trace& trace) const noexcept {
        if (r.source >= streams_) [[unlikely]]
            return refuse_stream(why, 0, 0);
        fill_ticket ticket;
        if constexpr (is_caching<Trace>) {
            if (recall_stream(r, b, substreams)) return true;
            ticket = caches_->streams.begin();
        }
        std::uint64_t at = table_ + std::uint64_t{r.source} * sizeof(stream_table_entry);
        if (two_levels_ && !follow(r.source, at, why, trace)) [[unlikely]]
            return false;
        if (!load<words_read<Trace>>(at, b.stream.word)) [[unlikely]]
            return refuse(why, event::f_ste_fetch, at);
        trace(configuration_step<stream_table_entry>{"stream table", at, b.stream});
        if (!judge_stream(r, b, substreams, at, why)) [[unlikely]]
            return false;
        if constexpr (is_caching<Trace>) caches_->streams.insert(ticket, r.source, first_half(b.stream.word).word);
        return true;
    }

    /// The second part of find() where stage 2 is not used.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr bool find_context(binding& b, request const& r, std::uint64_t substreams,
                                                                  fill_ticket ticket, fault<event>& why,
                                                                  Trace& trace) const noexcept {
        b.world = world_of(b.stream, caps_, registers_);
        auto const fetch = [&](std::uint64_t at, auto& words, auto count) {
            return load<count()>(at, words) || refuse(why, event::f_cd_fetch, at);
        };
        return find_context_with(fetch, b, r.source, substreams, highest_, ticket, why, trace);
    }
    /// The second part of find() where stage 2 is used: context descriptors lie in \p tables.
    template <class Trace>
    [[nodiscard]] constexpr bool find_context_in(guest_tables<M, Trace>& tables, binding& b, request const& r,
                                                 std::uint64_t substreams, fill_ticket ticket, fault<event>& why,
                                                 Trace& trace) const noexcept {
        auto const fetch = [&](std::uint64_t at, auto& words, auto count) {
            auto const physical = tables.reach(typename guest_tables<M, Trace>::address{at}, read);
            if (!physical) {
                why = tables.why().why;
                why.at = fault_at::context;
                why.detail &= ~fault_detail::table_read; // no table, a context descriptor
                why = refused_by_stage2(why, b.stream, r.address, needs(r, b.stream, caps_), caps_, registers_);
                return false;
            }
            if (load<count()>(physical->value, words)) return true;
            static_cast<void>(refuse(why, event::f_cd_fetch, physical->value));
            why.intermediate = at;
            return false;
        };
        return find_context_with(fetch, b, r.source, substreams, low_mask(caps_.intermediate_size()), ticket, why, trace);
    }

private:
    template <class Trace>
    static constexpr bool is_caching =
        std::conjunction_v<std::is_same<std::remove_cvref_t<Trace>, no_trace>, std::bool_constant<Caches::exist>>;

    // What a cache keeps of an entry.
    struct half_entry {
        std::uint64_t word[4];
    };
    [[nodiscard, gnu::always_inline]] static constexpr half_entry first_half(std::uint64_t const (&word)[8]) {
        return {{word[0], word[1], word[2], word[3]}};
    }

    // What the caches know of the stream, if nothing of it refuses the request.
    [[nodiscard, gnu::always_inline]] constexpr bool recall_stream(request const& r, binding& b,
                                                                   std::uint64_t& substreams) const noexcept {
        half_entry known{};
        if (!caches_->streams.find(r.source, known.word)) return false;
        for (std::size_t i = 0; i < 4; ++i)
            b.stream.word[i] = known.word[i];
        fault<event> unused;
        if (judge_stream(r, b, substreams, 0, unused)) [[likely]]
            return true;
        b = binding{};
        return false;
    }
    [[nodiscard, gnu::always_inline]] constexpr bool recall_context(std::uint64_t key, binding& b) const noexcept {
        half_entry known{};
        if (!caches_->contexts.find(key, known.word)) return false;
        for (std::size_t i = 0; i < 4; ++i)
            b.context.word[i] = known.word[i];
        fault<event> unused;
        return (b.world == stream_world::el1 && plain_.allows(b.context, b.stream)) || judge(b, 0, unused);
    }

    // The stream table entry of `b`, read from `at`, against the request.
    [[nodiscard, gnu::always_inline]] constexpr bool judge_stream(request const& r, binding& b, std::uint64_t& substreams,
                                                                  std::uint64_t at, fault<event>& why) const noexcept {
        if (!plain_.allows(b.stream)) [[unlikely]] {
            if (!judge(b.stream, at, why)) return false;
        }
        b.uses_stage2 = b.stream.has_stage2();
        if (r.type != request_type::ordinary) [[unlikely]] {
            if (!judge_ats(b, r, at, why)) return false;
            // What has been translated has passed stage 1, and both stages unless they are split.
            if (r.type == request_type::translated) return true;
        }
        bool const stage1 = b.stream.has_stage1();
        substreams = b.stream.get<"S1CDMax">() & substreams_;
        if (r.has_pasid() || (stage1 && substreams != 0)) [[unlikely]] {
            if (!choose_substream(b, r, substreams, at, why)) return false;
        } else {
            b.uses_stage1 = stage1;
        }
        return true;
    }

    // A request that nobody traces reads the words that are judged, half of an entry.
    template <class Trace>
    static constexpr std::size_t words_read = std::is_same_v<Trace, no_trace> ? 4 : 8;

    // Where the entry of a stream is in a table of two levels.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr bool follow(std::uint64_t source, std::uint64_t& at, fault<event>& why,
                                                            Trace& trace) const noexcept {
        at = table_ + (source >> split_) * sizeof(stream_table_descriptor);
        stream_table_descriptor d;
        if (!load<1>(at, d.word)) [[unlikely]]
            return refuse(why, event::f_ste_fetch, at);
        trace(configuration_step<stream_table_descriptor>{"level-1 stream table", at, d});
        std::uint64_t const index = source & low_mask(split_);
        if (!d.is_valid(split_) || index >> d.stream_bits() != 0) [[unlikely]]
            return refuse_stream(why, at, d.word[0]);
        at = d.table() + index * sizeof(stream_table_entry);
        return true;
    }

    // The manual's order, for what is not plainly legal.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr bool judge(stream_table_entry const& e, std::uint64_t at,
                                                                 fault<event>& why) const noexcept {
        auto const bad = check(e, caps_, rules_);
        if (bad != stream_entry_error::none) return refuse(why, event::c_bad_ste, at, e.word[0], static_cast<std::uint64_t>(bad));
        return e.configuration() != stream_configuration::abort || refuse(why, event::none, at, e.word[0]);
    }

    // Whether the stream has ATS at all.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr bool judge_ats(binding& b, request const& r, std::uint64_t at,
                                                                     fault<event>& why) const noexcept {
        bool const asks = r.type == request_type::translation;
        ats_mode const mode = ats_mode_of(b.stream, caps_, registers_);
        if (mode == ats_mode::off)
            return refuse(why, asks ? event::f_bad_ats_treq : event::f_transl_forbidden, at, b.stream.word[0]);
        if (!asks) b.uses_stage2 = mode == ats_mode::split;
        return true;
    }

    // Which context descriptor the request uses, or none: S1DSS (IHI 0070 5.2).
    [[nodiscard]] constexpr bool choose_substream(binding& b, request const& r, std::uint64_t substreams, std::uint64_t at,
                                                  fault<event>& why) const noexcept {
        std::uint32_t const pasid = r.pasid;
        bool const asks = r.type == request_type::translation;
        auto const without = b.stream.without_substream();
        if (pasid != no_pasid) {
            if (!b.stream.has_stage1() || substreams == 0 || pasid >> substreams != 0)
                return refuse(why, event::c_bad_substreamid, at, b.stream.word[0]);
            if (without == default_substream::zero && pasid == 0)
                return refuse(why, event::f_stream_disabled, at, b.stream.word[0]);
        } else if (without == default_substream::terminate) {
            return refuse(why, event::f_stream_disabled, at, b.stream.word[0]);
        }
        b.uses_stage1 = pasid != no_pasid || without != default_substream::bypass;
        // Who keeps intermediate addresses keeps this one as it is.
        if (!b.uses_stage1 && asks && ats_mode_of(b.stream, caps_, registers_) == ats_mode::split) b.uses_stage2 = false;
        if (b.uses_stage1) b.pasid = pasid == no_pasid ? 0 : pasid;
        return true;
    }

    // Where the context descriptor of SubstreamID `index` is: the level-1 descriptor that leads to it, or itself.
    struct context_place {
        std::uint64_t at;        // of the level-1 descriptor, or of the context descriptor
        std::uint64_t leaf_bits; // 0: there is no level 1
    };
    [[nodiscard]] static constexpr context_place place_of(stream_table_entry const& e, std::uint64_t substreams,
                                                          std::uint64_t index) {
        std::uint64_t const table = e.get<"S1ContextPtr">();
        if (substreams == 0) return {table, 0};
        if (e.format() == context_format::linear)
            return {(table & ~low_mask(substreams + 6)) + index * sizeof(context_descriptor), 0};
        std::uint64_t const leaf_bits = e.format() == context_format::two_levels_4k ? 6 : 10;
        std::uint64_t const size = substreams > leaf_bits + 3 ? substreams - leaf_bits + 3 : 6;
        return {(table & ~low_mask(size)) + (index >> leaf_bits) * sizeof(context_table_descriptor), leaf_bits};
    }

    // With a callable that reads context descriptors: physical ones, or those behind stage 2.
    template <class Fetch, class Trace>
    [[nodiscard, gnu::always_inline]] constexpr bool
    find_context_with(Fetch const& fetch, binding& b, std::uint32_t source, std::uint64_t substreams, std::uint64_t reach,
                      [[maybe_unused]] fill_ticket ticket, fault<event>& why, Trace& trace) const noexcept {
        std::uint64_t const index = b.pasid == no_pasid ? 0 : b.pasid;
        if constexpr (is_caching<Trace>) {
            if (recall_context(Caches::key_of(source, index), b)) return true;
        }
        context_place const place = place_of(b.stream, substreams, index);
        std::uint64_t at = place.at;
        if (place.leaf_bits != 0) [[unlikely]] {
            context_table_descriptor d;
            if (!fetch(at, d.word, std::integral_constant<std::size_t, 1>{})) return false;
            trace(configuration_step<context_table_descriptor>{"level-1 context table", at, d});
            std::uint64_t const table = d.get<"L2Ptr">() & ~low_mask(place.leaf_bits + 6);
            if (d.get<"V">() == 0 || table > reach) return refuse(why, event::c_bad_substreamid, at, d.word[0]);
            at = table + (index & low_mask(place.leaf_bits)) * sizeof(context_descriptor);
        }
        if (!fetch(at, b.context.word, std::integral_constant<std::size_t, words_read<Trace>>{})) [[unlikely]]
            return false;
        trace(configuration_step<context_descriptor>{"context table", at, b.context});
        bool const plain = b.world == stream_world::el1 && plain_.allows(b.context, b.stream);
        if (!plain && !judge(b, at, why)) [[unlikely]]
            return false;
        if constexpr (is_caching<Trace>)
            caches_->contexts.insert(ticket, Caches::key_of(source, index), first_half(b.context.word).word);
        return true;
    }
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr bool judge(binding const& b, std::uint64_t at,
                                                                 fault<event>& why) const noexcept {
        auto const bad = check(b.context, b.stream, b.world, caps_, rules_);
        return bad == context_error::none || refuse(why, event::c_bad_cd, at, b.context.word[0], static_cast<std::uint64_t>(bad));
    }

    template <class Trace>
    [[nodiscard, gnu::noinline]] constexpr bool find_context_behind_stage2(binding& b, request const& r, std::uint64_t substreams,
                                                                           fill_ticket ticket, fault<event>& why,
                                                                           Trace& trace) const noexcept {
        stage2_translator<M, Trace> second{b, caps_, rules_, *memory_, trace};
        guest_tables<M, Trace> tables{second, *memory_, caps_, b.stream};
        return find_context_in(tables, b, r, substreams, ticket, why, trace);
    }

    // Reads the first words of an entry once, in ascending order. Its address is a multiple of its size: it lies within a page.
    template <std::size_t Count, std::size_t N>
    [[nodiscard, gnu::always_inline]] constexpr bool load(std::uint64_t at, std::uint64_t (&words)[N]) const noexcept {
        if (at > highest_) [[unlikely]]
            return false;
        stagewalk::detail::fast_memory<M> memory = *memory_;
        return load_each(memory, at, words, std::make_index_sequence<Count>{});
    }
    template <class Memory, std::size_t N, std::size_t... I>
    [[nodiscard, gnu::always_inline]] static constexpr bool load_each(Memory& memory, std::uint64_t at, std::uint64_t (&words)[N],
                                                                      std::index_sequence<I...>) noexcept {
        auto const one = [&](std::size_t i, std::uint64_t& word) {
            auto loaded = stagewalk::detail::load_entry(memory, output{at & ~low_mask(12)}, (at & low_mask(12)) / 8 + i);
            if (loaded) word = *loaded;
            return static_cast<bool>(loaded);
        };
        return (one(I, words[I]) && ...);
    }

    // Leaves the fault in why. Always false: there is no binding.
    [[nodiscard, gnu::cold, gnu::noinline]] static constexpr bool refuse(fault<event>& why, event code, std::uint64_t descriptor,
                                                                         std::uint64_t entry = 0, std::uint64_t detail = 0) {
        why = {};
        why.code = code;
        why.reported = code != event::none;
        why.descriptor = descriptor;
        why.entry = entry;
        why.detail = detail;
        return false;
    }
    // A StreamID beyond the table is recorded only where CR2 says so.
    [[nodiscard, gnu::cold, gnu::noinline]] constexpr bool refuse_stream(fault<event>& why, std::uint64_t descriptor,
                                                                         std::uint64_t entry) const {
        static_cast<void>(refuse(why, event::c_bad_streamid, descriptor, entry));
        why.reported = registers_.cr2.get<"RECINVSID">() != 0;
        return false;
    }

    capabilities caps_;
    control registers_;
    policy rules_;
    M* memory_;
    [[no_unique_address]] stagewalk::detail::caches_of<Caches> caches_;
    std::uint64_t table_;   // the stream table
    std::uint64_t streams_; // how many StreamIDs it covers
    std::uint64_t split_;   // the StreamID bits of its second level
    bool two_levels_;
    std::uint64_t highest_;    // the last physical address
    std::uint64_t substreams_; // what counts of S1CDMax
    plain_entries plain_;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
