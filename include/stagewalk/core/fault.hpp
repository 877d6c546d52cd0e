/// \file
/// Why an address could not be translated.
#pragma once

#include <cstdint>

namespace stagewalk {
inline namespace v0 {

/// What the IOMMU was doing when the fault was found. The order is that of CLASS in an Arm SMMUv3 event; every
/// architecture can tell the three apart.
enum class fault_at : std::uint8_t {
    context, ///< Finding the device's configuration (Arm CD, VT-d root/context/PASID, AMD DTE).
    table,   ///< Fetching or judging a table entry as such (Arm TT): unreadable, reserved bits.
    input,   ///< The input address itself (Arm IN): width, rights, the range that it leads to.
};

/// Which translation stage found the fault.
enum class fault_stage : std::uint8_t {
    configuration = 0, ///< None yet.
    first = 1,         ///< Stage 1.
    second = 2,        ///< Stage 2.
};

/// Stands in `fault::level` for a fault that no table entry is to blame for.
inline constexpr std::uint8_t no_level = 0xff;

/// Why an address could not be translated, with everything that the manual's record asks for.
/// \tparam Code the architecture's fault code; its enumerators are the manual's numbers, 0 means that the manual names
/// no code.
template <class Code>
struct fault {
    using code_type = Code; ///< The architecture's fault code.

    Code code{};                                   ///< The manual's number.
    fault_stage stage{fault_stage::configuration}; ///< The stage that found it.
    fault_at at{fault_at::context};                ///< What was being done.
    std::uint8_t level{no_level};                  ///< The table level, 0 = the level of the smallest leaves.
    bool reported{true};          ///< Whether the manual lets it be recorded (VT-d FPD, Arm CD.R and S2R, AMD SA and SE).
    std::uint64_t input{};        ///< The address that was asked for, in the stage's input space.
    std::uint64_t intermediate{}; ///< The intermediate address (IPA), where a second stage refused it; else 0.
    std::uint64_t descriptor{};   ///< The address of the entry to blame, in the space of its tables; else 0.
    std::uint64_t entry{};        ///< Its first 64 bits, as they were judged; 0 where it could not be read.
    std::uint64_t detail{};       ///< The architecture's own flags.

    /// Faults are equal field by field.
    friend constexpr bool operator==(fault const&, fault const&) = default;
};

/// Whose fault a nested fault is.
enum class nested_by : std::uint8_t {
    outer,  ///< The outer stage's own; there is no inner fault.
    table,  ///< The inner translation refused the reading of one of the outer stage's tables.
    update, ///< The inner translation refused the writing of an A/D bit into one of the outer stage's tables.
    output, ///< The inner translation refused the outer stage's output.
};

/// A fault of one stage whose tables and output go through another translation, of whatever architecture.
/// \tparam Code the outer stage's fault code.
/// \tparam Inner the whole fault type of the inner translation, itself nested where there are three stages.
template <class Code, class Inner>
struct nested_fault {
    nested_by by{nested_by::outer}; ///< Whose fault it is.
    /// Where the outer stage stood. For `table` and `update` its code is the one for an entry that memory does not give or take;
    /// for `output` it is 0.
    fault<Code> outer{};
    Inner inner{}; ///< The inner translation's fault, unless `by` is `outer`.

    /// Nested faults are equal that have equal parts.
    friend constexpr bool operator==(nested_fault const&, nested_fault const&) = default;
};

/// The fault of who was asked. Where its memory is itself translated, by a host that it knows nothing of, a refused read is an
/// entry that cannot be read.
template <class Code>
[[nodiscard]] constexpr fault<Code> outer_fault(fault<Code> const& f) {
    return f;
}
/// The same of a fault that says who refused.
template <class Code, class Inner>
[[nodiscard]] constexpr fault<Code> outer_fault(nested_fault<Code, Inner> const& f) {
    return f.outer;
}

} // namespace v0
} // namespace stagewalk
