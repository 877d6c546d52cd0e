/// \file
/// A host for the captured guest: its RAM scattered over host memory in pages of three sizes, and the stage 2 that says
/// where, written by the library's own encoder.
#pragma once

#include "capture.hpp"
#include "unit.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace inspect {

/// A piece of the guest's RAM that lies in one piece in the host.
struct fragment {
    std::uint64_t gpa{};
    std::uint64_t hpa{};
    std::uint64_t lg2{}; ///< 12, 21 or 30.
};

/// The host. Not movable: its parts refer to each other.
class fragmented_host {
public:
    /// Scatters the RAM of \p c, the same way every time, and moves the captured pages along.
    /// \throw bad_input if the capture says nothing of its RAM, or too much.
    explicit fragmented_host(capture const& c);
    fragmented_host(fragmented_host const&) = delete;
    fragmented_host& operator=(fragmented_host const&) = delete;

    /// The layout that the tables were written from, ascending by GPA.
    [[nodiscard]] std::vector<fragment> const& layout() const { return layout_; }
    /// Where \p gpa lies by the layout, without a look at the tables; nothing outside RAM.
    [[nodiscard]] fragment const* find(std::uint64_t gpa) const;
    /// How many table pages the encoder took, the root included.
    [[nodiscard]] std::uint64_t tables() const { return allocator_.taken() + 1; }

    /// Stage 2.
    [[nodiscard]] host_translator const& stage2() const { return *stage2_; }
    /// The guest's memory as it is seen through stage 2.
    [[nodiscard]] guest_view& view() { return *view_; }

    /// The way from \p gpa through stage 2, entry by entry.
    [[nodiscard]] std::vector<decoded_entry> trace(std::uint64_t gpa, stagewalk::access access);

private:
    void scatter(std::vector<ram_piece> const& ram);
    void write_tables();
    void move_pages(capture const& c);

    std::vector<fragment> layout_;
    std::vector<std::uint64_t> table_words_;
    page_directory pages_;
    host_memory memory_;
    stagewalk::bump_allocator<stagewalk::pa> allocator_;
    std::optional<host_translator> stage2_;
    std::optional<guest_view> view_;
};

} // namespace inspect
