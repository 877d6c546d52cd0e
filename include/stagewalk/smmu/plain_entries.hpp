/// \file
/// Recognises stream table entries and context descriptors that are legal beyond doubt, with masks that are made once.
#pragma once

#include "../core/size.hpp"
#include "capabilities.hpp"
#include "context_check.hpp"
#include "context_descriptor.hpp"
#include "policy.hpp"
#include "stage_shape.hpp"
#include "stream_check.hpp"
#include "stream_table.hpp"

#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// The entries that are legal and common in one SMMU. It never allows what check() calls illegal; what it does not allow, check()
/// judges.
class plain_entries {
public:
    /// \param caps the capabilities.
    /// \param rules the open points.
    constexpr plain_entries(capabilities const& caps, policy const& rules) {
        // SMMUv3.0 and stricter rules have more to look at.
        if (caps.minor_version() == 0 || rules.stage2_start != start_level::any || (caps.idr0.get<"TTF">() & 2) == 0) return;
        most_substreams_ = caps.substream_size() == 0 ? 31 : caps.substream_size();
        for (std::uint64_t code = 0; code < 8; ++code) {
            std::uint64_t const bits = address_size(code) < caps.output_size() ? address_size(code) : caps.output_size();
            highest_[code] = low_mask(bits < 48 ? bits : 48);
        }
        prepare_sizes(caps);
        prepare_stream(caps);
        prepare_context(caps);
    }

    /// Whether \p e is plainly legal, and does not abort. Its first four words count.
    [[nodiscard, gnu::always_inline]] constexpr bool allows(stream_table_entry const& e) const {
        by_configuration const& look = stream_[e.get<"Config">()];
        // Valid, and none of the configurations that abort.
        constexpr std::uint64_t valid_and_on = 1 | 8;
        std::uint64_t const bad = ((e.word[0] ^ valid_and_on) & look.bad[0]) | (e.word[1] & look.bad[1]) |
                                  ((e.word[2] ^ stage2_want_) & look.bad[2]) | (e.word[3] & look.bad[3]);
        if (bad != 0 || (look.stage1 && e.get<"S1CDMax">() > most_substreams_)) return false;
        return !look.stage2 || ((stage2_sizes_[e.get<"S2TG">() * 4 + e.get<"S2SL0">()] >> e.get<"S2T0SZ">() & 1) != 0 &&
                                e.stage2_table() <= highest_[e.get<"S2PS">()]);
    }

    /// Whether \p d is plainly legal under \p e in the EL1 stream world. Its first three words count.
    [[nodiscard, gnu::always_inline]] constexpr bool allows(context_descriptor const& d, stream_table_entry const& e) const {
        std::uint64_t const bad =
            ((d.word[0] ^ context_want_) & context_bad_[0]) | (d.word[1] & context_bad_[1]) | (d.word[2] & context_bad_[2]);
        if (bad != 0 || (d.get<"S">() & e.get<"S1STALLD">()) != 0) return false;
        std::uint64_t const highest = highest_[d.get<"IPS">()];
        bool const lower =
            d.get<"EPD0">() != 0 || ((lower_sizes_[d.get<"TG0">()] >> d.get<"T0SZ">() & 1) != 0 && d.get<"TTB0">() <= highest);
        bool const upper =
            d.get<"EPD1">() != 0 || ((upper_sizes_[d.get<"TG1">()] >> d.get<"T1SZ">() & 1) != 0 && d.get<"TTB1">() <= highest);
        return lower && upper;
    }

private:
    // What a stream table entry of one Config must not have.
    struct by_configuration {
        std::uint64_t bad[4]{~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}};
        bool stage1{};
        bool stage2{true}; // and sizes: an entry that aborts has all the right bits, and no size is legal that is 0
    };

    constexpr void prepare_sizes(capabilities const& caps) {
        for (std::uint64_t tg = 0; tg < 4; ++tg) {
            for (std::uint64_t size = 0; size < 64; ++size) {
                std::uint64_t const bit = std::uint64_t{1} << size;
                granule const first = granule_from_tg0(tg);
                if (caps.supports(first) && stage1_sizes(caps, first, false).allow(size)) lower_sizes_[tg] |= bit;
                granule const second = granule_from_tg1(tg);
                if (caps.supports(second) && stage1_sizes(caps, second, false).allow(size)) upper_sizes_[tg] |= bit;
                for (std::uint64_t sl0 = 0; sl0 < 4; ++sl0) {
                    std::uint64_t const top = stage2_top(caps, first, false, sl0, 0);
                    if (caps.supports(first) && stage2_sizes(caps, first, false).allow(size) && top != no_top &&
                        stage2_reaches(first, top, 64 - size))
                        stage2_sizes_[tg * 4 + sl0] |= bit;
                }
            }
        }
    }

    constexpr void prepare_stream(capabilities const& caps) {
        using s = stream_table_entry;
        std::uint64_t const model = caps.idr0.get<"STALL_MODEL">();
        std::uint64_t const order = caps.idr0.get<"TTENDIAN">();
        std::uint64_t const stage2_bad =
            s::mask<"S2AA64">() | (model != 0 ? s::mask<"S2S">() : 0) | (order != 0 ? s::mask<"S2ENDI">() : 0) |
            (caps.updates_access() ? 0 : s::mask<"S2HA">()) | (caps.updates_dirty() ? 0 : s::mask<"S2HD">()) |
            (caps.updates_tables() ? s::mask<"S2HAFT">() : 0);
        stage2_want_ = s::mask<"S2AA64">() | (model == 2 ? s::mask<"S2S">() : 0) | (order == 3 ? s::mask<"S2ENDI">() : 0);
        for (std::uint64_t c = 4; c < 8; ++c) {
            by_configuration& look = stream_[c];
            look.stage1 = (c & 1) != 0;
            look.stage2 = (c & 2) != 0;
            if ((look.stage1 && !caps.has<"S1P">()) || (look.stage2 && !caps.has<"S2P">())) continue;
            std::uint64_t const reach = look.stage2 ? caps.intermediate_size() : caps.output_size();
            bool const tagged = c != 4 && caps.has<"S2P">() && !caps.has<"VMID16">();
            look.bad[0] = s::mask<"V">() | 8 | (look.stage1 ? s::mask<"S1ContextPtr">() & ~low_mask(reach) : 0) |
                          (look.stage1 && !caps.has<"CD2L">() ? s::mask<"S1Fmt">() : 0);
            look.bad[1] = (caps.has<"ATS">() && c != 4 ? s::mask<"EATS">() : 0) | (look.stage1 ? s::mask<"STRW">() : 0) |
                          (look.stage1 && model != 0 ? s::mask<"S1STALLD">() : 0);
            look.bad[2] = (look.stage2 ? stage2_bad : 0) | (tagged ? s::mask<"S2VMID">() & ~low_mask(8) : 0);
            look.bad[3] = look.stage2 ? s::mask<"S2DS">() | (s::mask<"S2TTB">() & ~low_mask(52)) : 0;
        }
    }

    constexpr void prepare_context(capabilities const& caps) {
        using c = context_descriptor;
        std::uint64_t const model = caps.idr0.get<"STALL_MODEL">();
        std::uint64_t const order = caps.idr0.get<"TTENDIAN">();
        context_want_ = c::mask<"V">() | c::mask<"AA64">() | c::mask<"A">() | (model == 2 ? c::mask<"S">() : 0) |
                        (order == 3 ? c::mask<"ENDI">() : 0);
        context_bad_[0] = c::mask<"V">() | c::mask<"AA64">() | (caps.has<"TERM_MODEL">() ? c::mask<"A">() : 0) |
                          (model != 0 ? c::mask<"S">() : 0) | (order != 0 ? c::mask<"ENDI">() : 0) |
                          (caps.updates_access() ? 0 : c::mask<"HA">()) | (caps.updates_dirty() ? 0 : c::mask<"HD">()) |
                          (caps.has<"ASID16">() ? 0 : c::mask<"ASID">() & ~(low_mask(8) << 48));
        context_bad_[1] = caps.updates_tables() ? c::mask<"HAFT">() : 0;
        context_bad_[2] = caps.has<"DS">() ? c::mask<"DS">() : 0;
    }

    by_configuration stream_[8]{};
    std::uint64_t stage2_want_{};
    std::uint64_t stage2_sizes_[16]{}; // legal S2T0SZ, by S2TG and S2SL0
    std::uint64_t lower_sizes_[4]{};   // legal T0SZ, by TG0
    std::uint64_t upper_sizes_[4]{};   // legal T1SZ, by TG1
    std::uint64_t highest_[8]{};       // the last address of a table, by S2PS or IPS
    std::uint64_t most_substreams_{};  // the largest S1CDMax
    std::uint64_t context_bad_[3]{~std::uint64_t{0}, ~std::uint64_t{0}, ~std::uint64_t{0}};
    std::uint64_t context_want_{};
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
