/// \file
/// A guest's stream table entry under a host's stage 2: which bits are the guest's, which the host's (IHI 0070 5.2).
#pragma once

#include "../core/outcome.hpp"
#include "capabilities.hpp"
#include "policy.hpp"
#include "stream_check.hpp"
#include "stream_table.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The bits of word \p w (0 to 7) of a stream table entry that belong to a guest whose stage 1 is nested: where its context
/// descriptors are, how they are fetched, what requests without SubstreamID do, and whether stage 1 may stall. All else is the
/// host's.
[[nodiscard]] constexpr std::uint64_t guest_bits(std::size_t w) {
    using s = stream_table_entry;
    if (w == 0)
        return s::mask<"V">() | s::mask<"Config">() | s::mask<"S1Fmt">() | s::mask<"S1ContextPtr">() | s::mask<"S1CDMax">();
    if (w == 1) return s::mask<"S1DSS">() | s::mask<"S1CIR">() | s::mask<"S1COR">() | s::mask<"S1CSH">() | s::mask<"S1STALLD">();
    return 0;
}

/// What a guest's stream table entry becomes.
struct nested_stream {
    stream_table_entry entry{}; ///< For the hardware.
    std::uint64_t
        dropped[stream_table_entry::words]{}; ///< Bits that the guest had set though they are the host's; an SHCFG of 1 is usual.
};

/// The entry for the hardware when a guest wants \p guest, and the host wants stage 2 as in \p host. A guest's abort stays one;
/// its bypass becomes the host's stage 2; its stage 1 is nested over it. Bits that its configuration does not use are cleared,
/// and so are those that it must not set, which are told: two entries that mean the same become the same.
/// \param guest the entry in the guest's table, each word read once.
/// \param guest_caps the capabilities that the guest was shown: it has stage 1 alone.
/// \param host an entry with stage 2 alone, of with_stage2().
/// \param rules the open points.
/// \return the entry, or why the guest's is illegal: its own C_BAD_STE.
[[nodiscard]] constexpr outcome<nested_stream, stream_entry_error>
nest(stream_table_entry const& guest, capabilities const& guest_caps, stream_table_entry const& host, policy const& rules = {}) {
    if (auto const bad = check(guest, guest_caps, rules); bad != stream_entry_error::none) return failure{bad};
    nested_stream made;
    auto const configuration = guest.configuration();
    made.entry = configuration == stream_configuration::abort ? stream_table_entry::make_abort() : host;
    bool const stage1 = configuration == stream_configuration::stage1;
    if (stage1) made.entry.set<"Config">(static_cast<std::uint64_t>(stream_configuration::nested));
    for (std::size_t w = 0; w < stream_table_entry::words; ++w) {
        std::uint64_t const own =
            w == 0 ? guest_bits(0) & ~(stream_table_entry::mask<"V">() | stream_table_entry::mask<"Config">()) : guest_bits(w);
        if (stage1) made.entry.word[w] = (made.entry.word[w] & ~own) | (guest.word[w] & own);
        made.dropped[w] = guest.word[w] & ~guest_bits(w) & ~stream_table_entry::ignored(w);
    }
    if (stage1) {
        // What the guest's unit takes for nothing must not count in the host's, which may have more; reserved encodings.
        made.entry.set<"S1Fmt">(static_cast<std::uint64_t>(guest.format()));
        made.entry.set<"S1DSS">(static_cast<std::uint64_t>(guest.without_substream()));
        if (guest_caps.substream_size() == 0 || guest.get<"S1CDMax">() == 0) {
            made.entry.set<"S1CDMax">(0);
            made.entry.set<"S1Fmt">(0);
            made.entry.set<"S1DSS">(0);
        }
    }
    return made;
}

} // namespace smmu
} // namespace v0
} // namespace stagewalk
