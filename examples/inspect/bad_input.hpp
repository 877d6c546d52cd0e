/// \file
/// What is wrong with the input: one line that names the file or key. The tool ends with status 2.
#pragma once

#include <stdexcept>
#include <string>

namespace inspect {

/// Thrown before anything has been printed.
struct bad_input : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The exit status for bad input and for a wrong command line.
inline constexpr int status_bad_input = 2;

} // namespace inspect
