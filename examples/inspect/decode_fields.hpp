/// \file
/// Any entry of the library as an entry for people.
#pragma once

#include "unit.hpp"

#include <stagewalk/stagewalk.hpp>

namespace inspect {

/// Copies the words and every field of \p e into \p out.
template <class Entry>
void decode_fields(Entry const& e, decoded_entry& out) {
    out.words.assign(e.word, e.word + Entry::words);
    e.for_each_field([&](stagewalk::field_view const& f) { out.fields.push_back(f); });
    out.reserved.assign(Entry::words, 0);
}

} // namespace inspect
