/// \file
/// A range of mapped addresses on one line.
#pragma once

#include "answer_text.hpp"
#include "number.hpp"
#include "text.hpp"
#include "unit.hpp"

#include <string>

namespace inspect {

/// "0000126e6000-0000126e6fff -> 000103000000  w      4K  1 x 4K".
[[nodiscard]] inline std::string mapping_text(mapping const& m) {
    std::string pages = count_text(m.leaves) + " x " + page_size_text(m.smallest);
    if (m.largest != m.smallest) pages += ".." + page_size_text(m.largest);
    return "  " + hex(m.first, 12) + '-' + hex(m.last, 12) + " -> " + hex(m.output, 12) + "  " +
           padded(rights_text(m.effective.rights()), 2) + "  " + padded(size_text(m.last - m.first), 6, true) + "  " +
           (m.smallest >= 64 ? "unchanged" : pages) + '\n';
}

} // namespace inspect
