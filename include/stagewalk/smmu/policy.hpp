/// \file
/// The points that the SMMUv3 manual leaves open and that units in the field decide differently.
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace smmu {

/// Whether the depth of stage-2 tables must fit the implemented address size, as it must in a processor: 4 KiB level 0 needs an
/// OAS of 44 bits, 16 KiB level 1 42, 64 KiB level 1 44; level -1 and 16 KiB level 0 need 52.
enum class start_level : std::uint64_t {
    any,     ///< No: the SMMU's own rules alone.
    by_size, ///< Yes: C_BAD_STE.
};

/// What SMMUv3.0 does with an input size that is out of range. From SMMUv3.1 on it is illegal.
enum class table_size : std::uint64_t {
    illegal, ///< C_BAD_STE or C_BAD_CD.
    clamped, ///< It counts as the nearest legal one.
};

/// Where a pointer to context descriptors beyond the intermediate address size is found, nested.
enum class context_pointer : std::uint64_t {
    illegal,    ///< In the stream table entry: C_BAD_STE.
    translated, ///< At stage 2, which does not translate it.
};

/// The open points of an SMMU.
struct policy {
    start_level stage2_start{start_level::any};        ///< Depth of stage-2 tables against OAS.
    table_size sizes{table_size::illegal};             ///< Sizes out of range in SMMUv3.0.
    context_pointer pointer{context_pointer::illegal}; ///< S1ContextPtr beyond IAS.

    /// Policies are equal that decide alike.
    friend constexpr bool operator==(policy const&, policy const&) = default;
};

} // namespace smmu
} // namespace v0
} // namespace stagewalk
