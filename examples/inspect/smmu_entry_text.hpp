/// \file
/// Descriptors of SMMU page tables for people, out of the library's own field lists.
#pragma once

#include "decode_fields.hpp"
#include "number.hpp"
#include "unit.hpp"

#include <stagewalk/smmu/event_text.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/stagewalk.hpp>

#include <string>

namespace inspect {

/// A step of a walk through the tables of a stage of an SMMU. \p stage_name tells apart whose stage it is.
template <class Stage>
[[nodiscard]] decoded_entry decode_smmu_descriptor(stagewalk::traced_step<Stage> const& s, std::string const& stage_name) {
    namespace smmu = stagewalk::smmu;
    constexpr bool first = Stage::number == stagewalk::fault_stage::first;
    std::uint64_t const e = s.at.entry;
    bool const valid = Stage::is_present(e);
    bool const table = valid && (e & 2) != 0 && s.at.level != 0;
    decoded_entry out;
    out.level = 3 - static_cast<int>(s.at.level);
    out.what = stage_name + ", level " + std::to_string(*out.level) +
               (!valid            ? ", invalid"
                : table           ? ", table"
                : s.at.level == 0 ? ", page"
                                  : ", block");
    out.address = s.at.address;
    if (first && table) {
        decode_fields(smmu::stage1_table_descriptor{e}, out);
    } else if (first) {
        decode_fields(smmu::stage1_leaf_descriptor{e}, out);
    } else if (table) {
        decode_fields(smmu::stage2_table_descriptor{e}, out);
    } else {
        decode_fields(smmu::stage2_leaf_descriptor{e}, out);
    }
    switch (s.judged.is) {
    case stagewalk::verdict::table: out.verdict = "leads to the table at " + hex(s.of.target(e).value); break;
    case stagewalk::verdict::leaf:
        out.verdict = "maps " + page_size_text(s.judged.value) + " at " + hex(s.of.leaf_output(e, s.judged.value).value);
        break;
    case stagewalk::verdict::refused:
        out.verdict = std::string{"refused: "} + name_of(s.judged.code) + ", " + text_of(s.judged.code);
        break;
    }
    return out;
}

} // namespace inspect
