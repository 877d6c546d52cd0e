/// \file
/// The addresses that are interrupts and not memory: FEEx_xxxxh (VT-d 3.14).
#pragma once

#include "../core/range.hpp"

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// FEE00000h to FEEFFFFFh in the space of \p Address.
template <class Address>
inline constexpr range<Address> interrupt_range = range<Address>::between(Address{0xfee0'0000}, Address{0xfeef'ffff});

} // namespace vtd
} // namespace v0
} // namespace stagewalk
