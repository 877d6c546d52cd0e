/// \file
/// Entries of AMD-Vi page tables for people, out of the library's own field lists.
#pragma once

#include "amdvi_fault_text.hpp"
#include "decode_fields.hpp"
#include "number.hpp"
#include "unit.hpp"

#include <stagewalk/amdvi/event_text.hpp>
#include <stagewalk/amdvi/guest_table.hpp>
#include <stagewalk/amdvi/host_table.hpp>
#include <stagewalk/stagewalk.hpp>

#include <string>

namespace inspect {

/// Adds what became of an entry.
template <class Stage>
void add_amdvi_verdict(stagewalk::traced_step<Stage> const& s, decoded_entry& out) {
    std::uint64_t const e = s.at.entry;
    switch (s.judged.is) {
    case stagewalk::verdict::table:
        out.verdict = "leads to the table at " + hex(s.of.target(e).value);
        if (s.judged.value + 1 != s.at.level) out.verdict += ", of level " + std::to_string(s.judged.value + 1);
        break;
    case stagewalk::verdict::leaf: {
        out.verdict = "maps " + page_size_text(s.judged.value) + " at " + hex(s.of.leaf_output(e, s.judged.value).value);
        std::uint64_t const slots = s.judged.value - Stage::shift(s.at.level);
        if (slots != 0) out.verdict += ", one of " + std::to_string(std::uint64_t{1} << slots) + " entries for the same page";
        break;
    }
    case stagewalk::verdict::refused:
        out.verdict = std::string{"refused: "} + name_of(s.judged.code) + ", " + refusal_text(s.judged.value);
        break;
    }
}

/// A step of a walk through guest tables. \p stage_name tells apart whose stage it is.
template <class Input, class Output>
[[nodiscard]] decoded_entry decode_amdvi_entry(stagewalk::traced_step<stagewalk::amdvi::guest_table<Input, Output>> const& s,
                                               std::string const& stage_name) {
    namespace amdvi = stagewalk::amdvi;
    constexpr char const* names[] = {"PTE", "PDE", "PDPE", "PML4E", "PML5E"};
    std::uint64_t const e = s.at.entry;
    bool const leaf = s.of.is_leaf(s.at.level, e);
    decoded_entry out;
    out.level = static_cast<int>(s.at.level) + 1;
    out.what = stage_name + ", level " + std::to_string(*out.level) + ", " + names[s.at.level];
    out.address = s.at.address;
    if (!leaf) {
        decode_fields(amdvi::guest_table_entry{e}, out);
    } else if (s.at.level == 0) {
        decode_fields(amdvi::guest_page{e}, out);
    } else if (s.at.level == 1) {
        decode_fields(amdvi::guest_large_page<21>{e}, out);
    } else {
        decode_fields(amdvi::guest_large_page<30>{e}, out);
    }
    if (s.of.is_present(e)) out.reserved[0] = e & s.of.reserved(s.at.level, leaf);
    add_amdvi_verdict(s, out);
    return out;
}

/// The same through host tables.
template <class Input, class Output>
[[nodiscard]] decoded_entry decode_amdvi_entry(stagewalk::traced_step<stagewalk::amdvi::host_table<Input, Output>> const& s,
                                               std::string const& stage_name) {
    namespace amdvi = stagewalk::amdvi;
    std::uint64_t const e = s.at.entry;
    std::uint64_t const next = amdvi::host_page{e}.get<"NextLevel">();
    bool const leaf = next == 0 || next == amdvi::sized_page;
    bool const present = s.of.is_present(e);
    decoded_entry out;
    out.level = static_cast<int>(s.at.level) + 1;
    out.what = stage_name + ", level " + std::to_string(*out.level) + (!present ? "" : leaf ? ", PTE" : ", PDE");
    out.address = s.at.address;
    if (leaf) {
        decode_fields(amdvi::host_page{e}, out);
        // As the tool has it, page migration control is not there.
        if (present) out.reserved[0] = e & (amdvi::host_page::reserved() | amdvi::host_page::mask<"PMC">());
    } else {
        decode_fields(amdvi::host_table_entry{e}, out);
        if (present) out.reserved[0] = e & amdvi::host_table_entry::reserved();
    }
    add_amdvi_verdict(s, out);
    return out;
}

} // namespace inspect
