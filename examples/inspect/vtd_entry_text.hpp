/// \file
/// Entries of VT-d page tables for people, out of the library's own field lists.
#pragma once

#include "decode_fields.hpp"
#include "number.hpp"
#include "unit.hpp"

#include <stagewalk/stagewalk.hpp>

#include <string>

namespace inspect {

/// The formats of a stage's entries.
template <stagewalk::fault_stage>
struct vtd_formats {
    using upper = stagewalk::vtd::second_stage_upper_entry;
    using table = stagewalk::vtd::second_stage_table_entry;
    using page = stagewalk::vtd::second_stage_page;
    template <unsigned Lg2>
    using large_page = stagewalk::vtd::second_stage_large_page<Lg2>;
};
template <>
struct vtd_formats<stagewalk::fault_stage::first> {
    using upper = stagewalk::vtd::first_stage_upper_entry;
    using table = stagewalk::vtd::first_stage_table_entry;
    using page = stagewalk::vtd::first_stage_page;
    template <unsigned Lg2>
    using large_page = stagewalk::vtd::first_stage_large_page<Lg2>;
};

/// A step of a walk through the tables of a first or second stage. \p stage_name tells apart whose stage it is.
template <class Stage>
[[nodiscard]] decoded_entry decode_table_entry(stagewalk::traced_step<Stage> const& s, std::string const& stage_name) {
    using formats = vtd_formats<Stage::number>;
    constexpr char const* names[] = {"PTE", "PDE", "PDPE", "PML4E", "PML5E"};
    std::uint64_t const e = s.at.entry;
    bool const leaf = s.of.is_leaf(s.at.level, e);
    decoded_entry out;
    out.what = stage_name + ", level " + std::to_string(s.at.level + 1) + ", " + names[s.at.level];
    out.level = static_cast<int>(s.at.level) + 1;
    out.address = s.at.address;
    if (s.at.level >= 3) {
        decode_fields(typename formats::upper{e}, out);
    } else if (s.at.level == 0) {
        decode_fields(typename formats::page{e}, out);
    } else if (!leaf) {
        decode_fields(typename formats::table{e}, out);
    } else if (s.at.level == 1) {
        decode_fields(typename formats::template large_page<21>{e}, out);
    } else {
        decode_fields(typename formats::template large_page<30>{e}, out);
    }
    if (s.of.is_present(e)) out.reserved[0] = e & s.of.reserved(s.at.level, leaf);
    switch (s.judged.is) {
    case stagewalk::verdict::table: out.verdict = "leads to the table at " + hex(Stage::target(e).value); break;
    case stagewalk::verdict::leaf:
        out.verdict = "maps " + page_size_text(s.judged.value) + " at " + hex(s.of.leaf_output(e, s.judged.value).value);
        break;
    case stagewalk::verdict::refused:
        out.verdict = "refused: " + hex(static_cast<std::uint64_t>(s.judged.code)) + "h, " + text(s.judged.code);
        break;
    }
    return out;
}

} // namespace inspect
