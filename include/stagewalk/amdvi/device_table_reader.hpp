/// \file
/// Reading a device table entry as one snapshot (48882 2.2.2).
#pragma once

#include "../memory/concept.hpp"
#include "../walk/walk.hpp"
#include "device_table.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace stagewalk {
inline namespace v0 {
namespace amdvi {

namespace detail {

template <memory M>
[[nodiscard, gnu::always_inline]] inline constexpr bool load_word(stagewalk::detail::fast_memory<M>& m, std::uint64_t page,
                                                                  std::uint64_t index, std::uint64_t& word) noexcept {
    auto loaded = stagewalk::detail::load_entry(m, typename M::address{page}, index);
    if (!loaded) [[unlikely]]
        return false;
    word = *loaded;
    return true;
}

// Without a loop: g++ 12 unrolls one too late to keep the words in registers.
template <memory M, std::size_t... Word>
[[nodiscard, gnu::always_inline]] inline constexpr bool load_words(M& m, std::uint64_t page, std::uint64_t first,
                                                                   device_table_entry& e, std::index_sequence<Word...>) noexcept {
    stagewalk::detail::fast_memory<M> memory = m;
    return (load_word<M>(memory, page, first + Word, e.word[Word]) && ...);
}

} // namespace detail

/// Reads the entry at \p place into \p e: each word once, in ascending order. It crosses no page.
/// \param m the memory that holds the device table.
/// \param place where the entry is; it exists.
/// \param e receives the entry.
/// \return whether memory gave all words.
template <memory M>
[[nodiscard, gnu::always_inline]] inline constexpr bool read_device_entry(M& m, device_entry_place const& place,
                                                                          device_table_entry& e) noexcept {
    constexpr std::uint64_t in_page = 4096 / sizeof(device_table_entry);
    std::uint64_t const page = place.table + place.index / in_page * 4096;
    std::uint64_t const first = place.index % in_page * device_table_entry::words;
    return detail::load_words(m, page, first, e, std::make_index_sequence<device_table_entry::words>{});
}

} // namespace amdvi
} // namespace v0
} // namespace stagewalk
