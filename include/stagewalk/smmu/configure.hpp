/// \file
/// Writing stream table entries and context descriptors that hardware may be reading, without a moment in which it sees half of
/// one, and with the commands that each step owes (IHI 0070 3.21.3).
#pragma once

#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "context_check.hpp"
#include "context_descriptor.hpp"
#include "control.hpp"
#include "stream_check.hpp"
#include "stream_table.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The bits that hardware looks at in \p e: all that can change what it does. Of what it may look at, too.
[[nodiscard]] constexpr stream_table_entry used_bits(stream_table_entry const& e) {
    using s = stream_table_entry;
    stream_table_entry used;
    used.word[0] = s::mask<"V">();
    if (e.get<"V">() == 0) return used;
    used.word[0] |= s::mask<"Config">();
    if (e.configuration() == stream_configuration::abort) return used;
    used.word[1] = s::mask<"MEV">() | s::mask<"MemAttr">() | s::mask<"MTCFG">() | s::mask<"ALLOCCFG">() | s::mask<"SHCFG">() |
                   s::mask<"NSCFG">() | s::mask<"PRIVCFG">() | s::mask<"INSTCFG">() | s::mask<"DRE">() | s::mask<"CONT">() |
                   s::mask<"DCP">();
    if (e.configuration() == stream_configuration::bypass) return used;
    used.word[1] |= s::mask<"EATS">() | s::mask<"PPAR">() | s::mask<"S1MPAM">();
    used.word[2] = s::mask<"S2VMID">();
    if (e.has_stage1()) {
        used.word[0] |= s::mask<"S1Fmt">() | s::mask<"S1ContextPtr">() | s::mask<"S1CDMax">();
        used.word[1] |= s::mask<"S1DSS">() | s::mask<"S1CIR">() | s::mask<"S1COR">() | s::mask<"S1CSH">() | s::mask<"S1PIE">() |
                        s::mask<"S1STALLD">() | s::mask<"STRW">();
    }
    if (e.has_stage2()) {
        used.word[1] |= s::mask<"S2FWB">() | s::mask<"S2HWU">();
        used.word[2] |= ~s::reserved(2);
        used.word[3] |= ~s::reserved(3);
        for (std::size_t w = 4; w < s::words; ++w)
            used.word[w] = ~s::reserved(w);
    }
    return used;
}

/// The bits that hardware looks at in \p d, in stream world \p world.
[[nodiscard]] constexpr context_descriptor used_bits(context_descriptor const& d, stream_world world) {
    using c = context_descriptor;
    context_descriptor used;
    used.word[0] = c::mask<"V">();
    if (d.get<"V">() == 0) return used;
    for (std::size_t w = 0; w < c::words; ++w)
        used.word[w] = ~c::reserved(w);
    if (!has_tables(d, half::lower, world)) {
        used.word[0] &=
            ~(c::mask<"T0SZ">() | c::mask<"TG0">() | c::mask<"IR0">() | c::mask<"OR0">() | c::mask<"SH0">() | c::mask<"TBI0">());
        used.word[1] &= ~(c::mask<"TTB0">() | c::mask<"HAD0">());
    }
    if (!has_tables(d, half::upper, world)) {
        used.word[0] &=
            ~(c::mask<"T1SZ">() | c::mask<"TG1">() | c::mask<"IR1">() | c::mask<"OR1">() | c::mask<"SH1">() | c::mask<"TBI1">());
        used.word[2] &= ~(c::mask<"TTB1">() | c::mask<"HAD1">());
    }
    return used;
}

/// The bits of \p e that may live on in translations after the entry has changed, its configuration included.
[[nodiscard]] constexpr stream_table_entry translating_bits(stream_table_entry const& e) {
    using s = stream_table_entry;
    stream_table_entry bits;
    if (e.get<"V">() == 0 || (!e.has_stage1() && !e.has_stage2())) return bits;
    bits = used_bits(e);
    bits.word[1] &= s::mask<"STRW">() | s::mask<"S2FWB">() | s::mask<"S2HWU">();
    bits.word[2] &= ~(s::mask<"S2S">() | s::mask<"S2R">());
    return bits;
}

/// The same of \p d, in stream world \p world: everything but what becomes of faults.
[[nodiscard]] constexpr context_descriptor translating_bits(context_descriptor const& d, stream_world world) {
    using c = context_descriptor;
    context_descriptor bits;
    if (d.get<"V">() == 0) return bits;
    bits = used_bits(d, world);
    bits.word[0] &= ~(c::mask<"S">() | c::mask<"R">() | c::mask<"A">());
    return bits;
}

/// How an entry was changed.
enum class update_kind : std::uint8_t {
    nothing,  ///< It was so already.
    hitless,  ///< At every moment hardware saw the old entry or the new one.
    breaking, ///< In between it saw an entry that is not valid: requests that came then were aborted.
};

/// The commands that a step owes, in order, two words each. They must have completed before the next step.
struct owed_commands {
    std::uint64_t word[4][2]{}; ///< The commands; the last is a CMD_SYNC.
    std::size_t count{};        ///< How many there are.

    /// Adds command \p c.
    template <class Command>
    constexpr void add(Command const& c) {
        word[count][0] = c.word[0];
        word[count][1] = c.word[1];
        ++count;
    }
};

/// Writes stream table entries and context descriptors of an SMMU. Translations that a device keeps by itself (EATS) are the
/// caller's to invalidate, after the owed commands. If the memory refuses a store, what has been stored stays, and every state
/// that it can stop in is the old entry's, the new one's, or one that is not valid.
/// \tparam M the memory that holds the tables.
template <table_memory M>
class configurator {
public:
    using address = typename M::address;        ///< The space of the tables.
    using error = typename M::error;            ///< What the memory reports.
    using result = outcome<update_kind, error>; ///< How it went, or what the memory reports.

    /// \param caps the SMMU's capabilities.
    /// \param registers its registers: they say which stream world an entry uses.
    /// \param m the memory, alive as long as this object.
    constexpr configurator(capabilities const& caps, control const& registers, M& m)
        : caps_{caps}, registers_{registers}, memory_{&m} {}

    /// Makes the stream table entry of \p source at \p at what \p target says. Nobody else writes it meanwhile.
    /// \param at the address of the entry, a multiple of 64.
    /// \param target what it is to be.
    /// \param source its StreamID.
    /// \param flush called as `flush(owed_commands const&)` after each step; it returns when the commands have completed.
    template <class Flush>
    constexpr result set(address at, stream_table_entry const& target, std::uint32_t source, Flush&& flush) {
        stream_table_entry old;
        if (auto const read = load(at, old); !read) return failure{read.error()};
        auto const invalidate = [&](owed_commands& owed) { owed.add(invalidate_stream(source, true)); };
        auto const stale = [&](owed_commands& owed) {
            invalidate(owed);
            if (differ(old, target, translating_bits(old))) drop(owed, drop_translations(old));
        };
        return change(at, old, target, used_bits(old), used_bits(target), invalidate, stale, flush);
    }
    /// Makes the context descriptor \p pasid of \p source at \p at what \p target says. Nobody else writes it meanwhile.
    /// \param at the address of the descriptor, a multiple of 64, in the space of \p M.
    /// \param target what it is to be.
    /// \param source the StreamID.
    /// \param pasid the SubstreamID; 0 where there are none.
    /// \param stream the stream table entry that leads to it: its world and VMID tag the translations.
    /// \param flush called as `flush(owed_commands const&)` after each step; it returns when the commands have completed.
    template <class Flush>
    constexpr result set(address at, context_descriptor const& target, std::uint32_t source, std::uint32_t pasid,
                         stream_table_entry const& stream, Flush&& flush) {
        context_descriptor old;
        if (auto const read = load(at, old); !read) return failure{read.error()};
        auto const invalidate = [&](owed_commands& owed) { owed.add(invalidate_context(source, pasid, true)); };
        stream_world const world = world_of(stream, caps_, registers_);
        auto const stale = [&](owed_commands& owed) {
            invalidate(owed);
            // Not by ASID: global translations belong to every one.
            if (differ(old, target, translating_bits(old, world)))
                drop(owed, invalidate_stage1(world, static_cast<std::uint16_t>(stream.get<"S2VMID">())));
        };
        return change(at, old, target, used_bits(old, world), used_bits(target, world), invalidate, stale, flush);
    }

private:
    template <class Entry>
    [[nodiscard]] constexpr outcome<bool, error> load(address at, Entry& e) const {
        for (std::size_t w = 0; w < Entry::words; ++w) {
            auto const loaded = memory_->load(at + w * 8);
            if (!loaded) return failure{loaded.error()};
            e.word[w] = *loaded;
        }
        return true;
    }

    // Bits that the old entry does not use may change at any time. If what is left to change lies in one word, that word is
    // written at once between the others; else the entry is not valid meanwhile.
    template <class Entry, class Invalidate, class Stale, class Flush>
    constexpr result change(address at, Entry const& old, Entry const& target, Entry const& used, Entry const& wanted,
                            Invalidate const& invalidate, Stale const& stale, Flush&& flush) {
        if (old == target) return update_kind::nothing;
        Entry prepared;
        std::size_t critical = Entry::words;
        std::size_t different = 0;
        for (std::size_t w = 0; w < Entry::words; ++w) {
            prepared.word[w] = (old.word[w] & used.word[w]) | (target.word[w] & ~used.word[w]);
            if (((prepared.word[w] ^ target.word[w]) & wanted.word[w]) == 0) continue;
            critical = w;
            ++different;
        }
        if (different > 1) return replace(at, old, target, invalidate, stale, flush);

        // The critical word keeps even its unused bits: it is written once.
        if (critical < Entry::words) prepared.word[critical] = old.word[critical];
        Entry now = old;
        if (auto const done = step(at, now, prepared, invalidate, flush); !done) return failure{done.error()};
        Entry almost = prepared;
        if (critical < Entry::words) almost.word[critical] = target.word[critical];
        if (auto const done = step(at, now, almost, stale, flush); !done) return failure{done.error()};
        if (auto const done = step(at, now, target, invalidate, flush); !done) return failure{done.error()};
        return update_kind::hitless;
    }

    template <class Entry, class Invalidate, class Stale, class Flush>
    constexpr result replace(address at, Entry const& old, Entry const& target, Invalidate const& invalidate, Stale const& stale,
                             Flush&& flush) {
        constexpr std::uint64_t valid = Entry::template mask<"V">();
        Entry now = old;
        Entry next = old;
        next.word[0] &= ~valid;
        if (auto const done = step(at, now, next, stale, flush); !done) return failure{done.error()};
        next = target;
        next.word[0] &= ~valid;
        if (auto const done = step(at, now, next, invalidate, flush); !done) return failure{done.error()};
        if (auto const done = step(at, now, target, invalidate, flush); !done) return failure{done.error()};
        return update_kind::breaking;
    }

    // Writes the words that differ, shows them, and has the commands carried out.
    template <class Entry, class Owe, class Flush>
    constexpr outcome<bool, error> step(address at, Entry& now, Entry const& next, Owe const& owe, Flush&& flush) {
        if (now == next) return true;
        for (std::size_t w = 0; w < Entry::words; ++w) {
            if (now.word[w] == next.word[w]) continue;
            if (auto const stored = memory_->store(at + w * 8, next.word[w]); !stored) return failure{stored.error()};
        }
        memory_->publish(at, sizeof(Entry));
        now = next;
        owed_commands owed;
        owe(owed);
        owed.add(synchronise());
        flush(static_cast<owed_commands const&>(owed));
        return true;
    }

    // Whether two entries differ in bits that count.
    template <class Entry>
    [[nodiscard]] static constexpr bool differ(Entry const& a, Entry const& b, Entry const& bits) {
        std::uint64_t found = 0;
        for (std::size_t w = 0; w < Entry::words; ++w)
            found |= (a.word[w] ^ b.word[w]) & bits.word[w];
        return found != 0;
    }
    // Translations go when the entry is known to be gone: before, an access could make them again out of the old one.
    static constexpr void drop(owed_commands& owed, tlb_command const& c) {
        owed.add(synchronise());
        owed.add(c);
    }

    // What the translations that an entry made are tagged with.
    [[nodiscard]] constexpr tlb_command drop_translations(stream_table_entry const& old) const {
        auto const vmid = static_cast<std::uint16_t>(old.get<"S2VMID">());
        stream_world const world = world_of(old, caps_, registers_);
        if (world != stream_world::el1) return invalidate_stage1(world, 0);
        return caps_.has<"S2P">() ? invalidate_vmid(vmid) : invalidate_stage1(world, 0);
    }

    capabilities caps_;
    control registers_;
    M* memory_;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
