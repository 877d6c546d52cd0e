/// \file
/// Writing root, context and PASID entries in an order that hardware tolerates, with the invalidations that follow
/// (VT-d 6.2.2 and 6.5.3).
#pragma once

#include "../core/outcome.hpp"
#include "../memory/concept.hpp"
#include "capabilities.hpp"
#include "command.hpp"
#include "context_table.hpp"
#include "pasid_table.hpp"
#include "root_table.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// The descriptors that a change of an entry owes, in order; each as four words.
struct owed_commands {
    std::uint64_t word[3][4]{}; ///< The descriptors.
    std::size_t count{};        ///< How many there are.

    /// Adds descriptor \p d.
    template <class Descriptor>
    constexpr void add(Descriptor const& d) {
        for (std::size_t w = 0; w < Descriptor::words; ++w)
            word[count][w] = d.word[w];
        ++count;
    }
};

/// Writes configuration entries of a unit.
/// An entry that becomes present is complete in memory before its P bit; one that goes loses its P bit and nothing else, for
/// hardware may be reading it: the rest may be written over once the owed invalidations are done. A present entry is never
/// changed in place: it goes, and comes. The translations that a device itself keeps are the caller's to invalidate, after the
/// owed ones.
///
/// \tparam M the memory that holds the tables.
template <table_memory M>
class configurator {
public:
    using address = typename M::address;          ///< The space of the tables.
    using error = typename M::error;              ///< What the memory reports.
    using result = outcome<owed_commands, error>; ///< The invalidations that the change owes, or what the memory reports.

    /// \param caps the unit's capabilities: in caching mode, entries that come owe invalidations too.
    /// \param m the memory, alive as long as this object.
    constexpr configurator(capabilities const& caps, M& m) : caching_{caps.cap.get<"CM">() != 0}, memory_{&m} {}

    /// Makes context entry \p e of \p source present at \p at, where none was.
    constexpr result set(address at, context_entry const& e, std::uint16_t source) {
        auto const domain = static_cast<std::uint16_t>(e.get<"DID">());
        return come(at, e, [&](owed_commands& owed) { changed_context(owed, 0, source, domain); });
    }
    /// Makes scalable context entry \p e of \p source present at \p at, where none was.
    constexpr result set(address at, scalable_context_entry const& e, std::uint16_t source) {
        return come(at, e, [&](owed_commands& owed) { changed_context(owed, source); });
    }
    /// Makes PASID table entry \p e of \p pasid present at \p at, where none was.
    constexpr result set(address at, pasid_table_entry const& e, std::uint32_t pasid) {
        return come(at, e, [&](owed_commands& owed) { changed_pasid(owed, 0, pasid, e); });
    }
    /// Makes PASID directory entry \p e present at \p at, where none was.
    constexpr result set(address at, pasid_directory_entry const& e) {
        return come(at, e, [&](owed_commands& owed) { owed.add(invalidate_pasids()); });
    }
    /// Makes root entry \p e present at \p at, where none was.
    constexpr result set(address at, root_entry const& e) {
        return come(at, e, [&](owed_commands& owed) { changed_everything(owed, false); });
    }
    /// Makes both halves of scalable root entry \p e present at \p at, where none was.
    constexpr result set(address at, scalable_root_entry const& e) {
        // Each half has its own present bit, so each word is complete by itself.
        for (std::size_t w = 0; w < scalable_root_entry::words; ++w)
            if (auto const stored = memory_->store(at + w * 8, e.word[w]); !stored) return failure{stored.error()};
        memory_->publish(at, sizeof(e));
        owed_commands owed;
        if (caching_) changed_everything(owed, true);
        return owed;
    }

    /// Takes the context entry \p e of \p source at \p at away.
    constexpr result clear(address at, context_entry const& e, std::uint16_t source) {
        auto const domain = static_cast<std::uint16_t>(e.get<"DID">());
        return go(at, e, [&](owed_commands& owed) { changed_context(owed, domain, source, domain); });
    }
    /// Takes the scalable context entry \p e of \p source at \p at away.
    constexpr result clear(address at, scalable_context_entry const& e, std::uint16_t source) {
        return go(at, e, [&](owed_commands& owed) { changed_context(owed, source); });
    }
    /// Takes the root entry \p e at \p at away.
    constexpr result clear(address at, root_entry const& e) {
        return go(at, e, [&](owed_commands& owed) { changed_everything(owed, false); });
    }
    /// Takes both halves of the scalable root entry \p e at \p at away.
    constexpr result clear(address at, scalable_root_entry const& e) {
        for (std::size_t w = 0; w < scalable_root_entry::words; ++w)
            if (auto const stored = memory_->store(at + w * 8, e.word[w] & ~std::uint64_t{1}); !stored)
                return failure{stored.error()};
        memory_->publish(at, sizeof(e));
        owed_commands owed;
        changed_everything(owed, true);
        return owed;
    }
    /// Takes the PASID directory entry \p e at \p at away.
    constexpr result clear(address at, pasid_directory_entry const& e) {
        return go(at, e, [&](owed_commands& owed) {
            owed.add(invalidate_pasids());
            owed.add(invalidate_iotlb());
        });
    }
    /// Takes the PASID table entry \p e of \p pasid at \p at away.
    constexpr result clear(address at, pasid_table_entry const& e, std::uint32_t pasid) {
        auto const domain = static_cast<std::uint16_t>(e.get<"DID">());
        return go(at, e, [&](owed_commands& owed) { changed_pasid(owed, domain, pasid, e); });
    }

private:
    template <class Entry, class Owe>
    constexpr result come(address at, Entry const& e, Owe const& owe) {
        for (std::size_t w = Entry::words; w-- > 0;)
            if (auto const stored = memory_->store(at + w * 8, w == 0 ? e.word[0] & ~std::uint64_t{1} : e.word[w]); !stored)
                return failure{stored.error()};
        memory_->publish(at, sizeof(e));
        if (auto const stored = memory_->store(at, e.word[0]); !stored) return failure{stored.error()};
        memory_->publish(at, 8);
        owed_commands owed;
        if (caching_) owe(owed); // what is not present may be cached: domain 0 tags it
        return owed;
    }

    template <class Entry, class Owe>
    constexpr result go(address at, Entry const& e, Owe const& owe) {
        if (auto const stored = memory_->store(at, e.word[0] & ~std::uint64_t{1}); !stored) return failure{stored.error()};
        memory_->publish(at, 8);
        owed_commands owed;
        owe(owed);
        return owed;
    }

    // A cached entry has the domain of its own tag (0 where it was not present), its translations have that of the entry.
    constexpr void changed_context(owed_commands& owed, std::uint16_t tag, std::uint16_t source, std::uint16_t domain) const {
        owed.add(invalidate_contexts(tag, source, 0));
        owed.add(invalidate_iotlb(domain));
    }
    constexpr void changed_context(owed_commands& owed, std::uint16_t source) const {
        owed.add(invalidate_contexts(0, source, 0));
        owed.add(invalidate_pasids());
        owed.add(invalidate_iotlb());
    }
    constexpr void changed_pasid(owed_commands& owed, std::uint16_t tag, std::uint32_t pasid, pasid_table_entry const& e) const {
        auto const domain = static_cast<std::uint16_t>(e.get<"DID">());
        owed.add(invalidate_pasids(tag, pasid));
        if (e.uses_second_stage()) {
            owed.add(invalidate_iotlb(domain));
        } else {
            owed.add(invalidate_pasid_iotlb(domain, pasid));
        }
    }
    constexpr void changed_everything(owed_commands& owed, bool scalable) const {
        owed.add(invalidate_contexts());
        if (scalable) owed.add(invalidate_pasids());
        owed.add(invalidate_iotlb());
    }

    bool caching_;
    M* memory_;
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
