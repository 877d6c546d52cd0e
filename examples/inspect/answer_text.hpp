/// \file
/// Answers and walks as text and as JSON.
#pragma once

#include "unit.hpp"

#include <nlohmann/json.hpp>

#include <string>

namespace inspect {

using json = nlohmann::ordered_json;

/// `r`, `w`, `rw`, or `-` for no right.
[[nodiscard]] char const* rights_text(stagewalk::access a);
/// "context", "table", "input".
[[nodiscard]] char const* at_text(stagewalk::fault_at at);
/// One line for people: "ok: 1000, rights rw, page 4K".
[[nodiscard]] std::string answer_line(answer const& a);
/// Members `result`, `address`, `fault` and so on.
[[nodiscard]] json answer_json(answer const& a);

/// An entry with every field, each line indented by \p indent and not beyond column 80.
[[nodiscard]] std::string entry_text(decoded_entry const& e, std::size_t indent);
/// The same as JSON.
[[nodiscard]] json entry_json(decoded_entry const& e);

/// A whole walk for people, with how it ended.
[[nodiscard]] std::string walk_text(traced const& t, std::size_t indent);
/// The same as JSON.
[[nodiscard]] json walk_json(traced const& t);

/// "write of 1000 by 00:10.0 (source 0080)".
[[nodiscard]] std::string question_text(question const& q, bool source_is_bdf);

/// The head of every JSON answer: its schema with its version, and the capture's name.
[[nodiscard]] json json_head(char const* command, capture const& c);

} // namespace inspect
