// SPDX-License-Identifier: MIT
/// @file
/// The version of the library. The build files read these three lines: no other file of the source tree decides it.
#pragma once

#define STAGEWALK_VERSION_MAJOR 0 ///< Changes when interfaces change incompatibly.
#define STAGEWALK_VERSION_MINOR 1 ///< Changes when something is added (before 1.0: when interfaces change).
#define STAGEWALK_VERSION_PATCH 0 ///< Changes with corrections.
