/// \file
/// The pages that a capture holds, as memory for the library's walks.
#pragma once

#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace inspect {

/// Finds a page's words by its number. Open addressing, at most half full, so that a look-up is one or two loads.
class page_directory {
public:
    /// Room for \p pages pages.
    explicit page_directory(std::size_t pages = 0) {
        std::size_t size = 16;
        while (size < pages * 2)
            size *= 2;
        slots_.resize(size);
    }

    /// \return false where the page is there already.
    bool insert(std::uint64_t page, std::uint64_t* words) {
        if ((count_ + 1) * 2 > slots_.size()) grow();
        std::size_t const i = slot_of(page);
        if (slots_[i].words != nullptr) return false;
        slots_[i] = {page, words};
        ++count_;
        return true;
    }

    /// The page's words; null where it is not there.
    [[nodiscard]] std::uint64_t* find(std::uint64_t page) const noexcept { return slots_[slot_of(page)].words; }

    /// How many pages there are.
    [[nodiscard]] std::size_t size() const { return count_; }

    /// Calls \p visit with the number and the words of every page, in no order.
    template <class Visitor>
    void for_each(Visitor visit) const {
        for (slot const& s : slots_)
            if (s.words != nullptr) visit(s.page, s.words);
    }

private:
    struct slot {
        std::uint64_t page{};
        std::uint64_t* words{};
    };

    [[nodiscard]] std::size_t slot_of(std::uint64_t page) const noexcept {
        std::size_t const mask = slots_.size() - 1;
        std::size_t i = static_cast<std::size_t>(page * 0x9e37'79b9'7f4a'7c15 >> 32) & mask;
        while (slots_[i].words != nullptr && slots_[i].page != page)
            i = (i + 1) & mask;
        return i;
    }
    void grow() {
        page_directory larger{slots_.size()};
        for_each([&](std::uint64_t page, std::uint64_t* words) { larger.insert(page, words); });
        *this = std::move(larger);
    }

    std::vector<slot> slots_;
    std::size_t count_{};
};

/// Host memory, found page by page: the library's policy for guest RAM with holes.
struct host_window {
    page_directory const* pages; ///< Alive as long as this object.

    /// The words of the page at \p page; null where there is none.
    std::uint64_t* operator()(stagewalk::pa page) const noexcept { return pages->find(page.value >> 12); }
};
using host_memory = stagewalk::windowed<stagewalk::pa, host_window>;            ///< Sparse host memory.
using host_stage = stagewalk::vtd::second_stage<stagewalk::ipa, stagewalk::pa>; ///< A host's stage 2.
using host_translator = stagewalk::single<host_stage, host_memory>;             ///< A host's stage 2 with its memory.
using guest_view = stagewalk::translated<host_translator, host_memory>;         ///< Guest memory as the host sees it.

/// A guest's memory, as far as it was captured: read directly, or (place_behind) through a host's stage 2.
///
/// It remembers the first page that a request asked for and that is not there, so that a tool can say "not captured"
/// where the walk itself only knows an entry that cannot be read.
class guest_memory {
public:
    using address = stagewalk::ipa;        ///< Guest-physical addresses.
    using error = stagewalk::memory_error; ///< Why an address is not served.

    /// The 64 bits at \p a.
    [[nodiscard]] stagewalk::outcome<std::uint64_t, error> load(address a) noexcept {
        if (behind_ != nullptr) {
            if (auto const loaded = behind_->load(a)) return *loaded;
            return lacks(a);
        }
        std::uint64_t const* const words = pages_.find(a.value >> 12);
        if (words == nullptr || (a.value & 7) != 0) [[unlikely]]
            return load_from_piece(a);
        if (seen_ != nullptr && a.value >> 12 != last_seen_)
            seen_->insert(last_seen_ = a.value >> 12, const_cast<std::uint64_t*>(words));
        return stagewalk::little_endian(words[(a.value & 0xfff) / 8]);
    }

    /// Adds the page at \p gpa. \return false where it is there already.
    bool add(std::uint64_t gpa, std::uint64_t* words) { return pages_.insert(gpa >> 12, words); }
    /// Adds \p bytes from \p gpa on; they stay where they are. To be followed by sort_pieces().
    void add(std::uint64_t gpa, std::string_view bytes) { pieces_.push_back({gpa, gpa + (bytes.size() - 1), bytes.data()}); }
    /// Makes what was added findable. Where pieces overlap, the one that begins first counts.
    /// \return false if any do.
    bool sort_pieces() {
        std::stable_sort(pieces_.begin(), pieces_.end(), [](piece const& a, piece const& b) { return a.first < b.first; });
        bool apart = true;
        std::vector<piece> kept;
        for (piece p : pieces_) {
            if (!kept.empty() && p.first <= kept.back().last) {
                apart = false;
                if (p.last <= kept.back().last) continue;
                p.bytes += kept.back().last + 1 - p.first;
                p.first = kept.back().last + 1;
            }
            kept.push_back(p);
        }
        pieces_ = std::move(kept);
        return apart;
    }
    /// The captured pages by number; those of memory images are not among them.
    [[nodiscard]] page_directory const& pages() const { return pages_; }
    /// How many pages there are in all.
    [[nodiscard]] std::uint64_t page_count() const {
        std::uint64_t n = pages_.size();
        for (piece const& p : pieces_)
            n += (p.last >> 12) - (p.first >> 12) + 1;
        return n;
    }

    /// Forgets which page was lacking.
    void begin_request() noexcept { lacking_ = nothing; }
    /// Whether a page was lacking since begin_request().
    [[nodiscard]] bool lacked() const { return lacking_ != nothing; }
    /// The address of the first such page.
    [[nodiscard]] std::uint64_t lacking() const { return lacking_; }

    /// From now on every page that is read is entered in \p seen; null ends it.
    void record_pages(page_directory* seen) {
        seen_ = seen;
        last_seen_ = nothing;
    }

    /// From now on every address goes through \p view; null ends it.
    void place_behind(guest_view* view) { behind_ = view; }

private:
    // Memory in one piece, both ends inclusive.
    struct piece {
        std::uint64_t first;
        std::uint64_t last;
        char const* bytes;
    };

    [[gnu::noinline]] stagewalk::outcome<std::uint64_t, error> load_from_piece(address a) noexcept {
        auto const after = std::upper_bound(pieces_.begin(), pieces_.end(), a.value,
                                            [](std::uint64_t at, piece const& p) { return at < p.first; });
        if (after == pieces_.begin() || (a.value & 7) != 0) return lacks(a);
        piece const& p = *(after - 1);
        if (a.value > p.last || p.last - a.value < 7) return lacks(a);
        if (seen_ != nullptr && a.value >> 12 != last_seen_) seen_->insert(last_seen_ = a.value >> 12, &found_in_piece);
        std::uint64_t word = 0;
        std::memcpy(&word, p.bytes + (a.value - p.first), sizeof word);
        return stagewalk::little_endian(word);
    }

    // Stands for the words of a page of a piece, which nobody looks at.
    static inline std::uint64_t found_in_piece{};

    static constexpr std::uint64_t nothing = ~std::uint64_t{0}; // never a page's address

    stagewalk::failure<error> lacks(address a) noexcept {
        if (lacking_ == nothing) lacking_ = a.value & ~std::uint64_t{0xfff};
        return stagewalk::failure{stagewalk::memory_error::outside};
    }

    page_directory pages_;
    std::vector<piece> pieces_; // ascending and apart
    guest_view* behind_{};
    page_directory* seen_{};
    std::uint64_t last_seen_{nothing};
    std::uint64_t lacking_{nothing};
};
static_assert(stagewalk::memory<guest_memory>);

} // namespace inspect
