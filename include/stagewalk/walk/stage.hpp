/// \file
/// The contract between a table format and the walk.
///
/// A stage is a value: a format with its live configuration (root, levels, widths, features). It judges entries; it
/// never reads memory. Every entry is judged in one of two lanes:
///
/// The fast lane, `lane(access)`, recognises the entries that plainly lead on or plainly map, each with one merged test
/// where it can. It holds the masks, already merged with what the access needs, and lives in registers. It never
/// refuses.
///
/// `judge` is the law. It knows every condition of the manual in the manual's order and gives the fault code. A stage
/// would be complete with it alone; a test holds the fast lane against it. docs/add_a_format.md explains each member.
#pragma once

#include "../core/access.hpp"
#include "../core/address.hpp"
#include "../core/attributes.hpp"
#include "../core/fault.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace stagewalk {
inline namespace v0 {

/// What an entry turns out to be.
enum class verdict : std::uint8_t {
    refused, ///< The walk ends in a fault.
    table,   ///< Leads to a table.
    leaf,    ///< Maps a page.
};

/// One entry, met on the way down.
struct step {
    std::uint64_t level{};   ///< The level of its table, 0 = the level of the smallest leaves.
    std::uint64_t address{}; ///< Where it was read, in the space of the tables.
    std::uint64_t entry{};   ///< The value that was read, once.

    /// Steps are equal field by field.
    friend constexpr bool operator==(step const&, step const&) = default;
};

/// No entry, where a `step` is asked for.
inline constexpr step no_step{no_level, 0, 0};

/// What `judge` says of an entry. `denied` of a walk is the first entry that did not grant what is needed, or `no_step`.
/// \tparam Code the architecture's fault code.
template <class Code>
struct judgement {
    verdict is{verdict::refused}; ///< What the entry is.
    fault_at at{fault_at::table}; ///< Refused: the entry as such, or the access that it was to serve.
    Code code{};                  ///< Refused: the manual's number.
    std::uint64_t value{};        ///< Table: its level. Leaf: the lg2 size of the page. Refused: the `fault::detail`.
    step blame{};                 ///< Refused: the entry to name, which may be one met earlier.

    /// Leads to a table of \p level.
    [[nodiscard]] static constexpr judgement table(std::uint64_t level) { return {verdict::table, {}, {}, level, {}}; }
    /// Maps a page of 2^\p lg2 bytes.
    [[nodiscard]] static constexpr judgement leaf(std::uint64_t lg2) { return {verdict::leaf, {}, {}, lg2, {}}; }
    /// Refused with \p code; \p blame is the entry to name, \p detail what the architecture adds.
    [[nodiscard]] static constexpr judgement refuse(Code code, fault_at at, step const& blame, std::uint64_t detail = 0) {
        return {verdict::refused, at, code, detail, blame};
    }
};

/// Names its input and output address types, its fault code and what it carries from level to level.
template <class S>
concept has_stage_types = requires {
    typename S::input::space;
    typename S::output::space;
    typename S::code;
    typename S::path;
};

/// Has a root table, a top level (`levels_min` <= top() + 1 <= `levels_max`), indices, and for each level the lg2 size
/// that one entry spans. `number` is the stage that its faults name.
template <class S>
concept has_geometry = requires(S const& s, typename S::input in, std::uint64_t level) {
    { S::levels_min } -> std::convertible_to<unsigned>;
    { S::levels_max } -> std::convertible_to<unsigned>;
    { S::number } -> std::convertible_to<fault_stage>;
    { s.root() } -> std::same_as<typename S::output>;
    { s.top() } -> std::same_as<std::uint64_t>;
    { s.index(level, in) } -> std::same_as<std::uint64_t>;
    { s.shift(level) } -> std::same_as<std::uint64_t>;
};

/// One or two ranges of input addresses, to be iterated over.
/// \tparam Address the input address type.
/// \tparam N the number of ranges.
template <class Address, std::size_t N>
struct ranges {
    range<Address> part[N]; ///< The ranges, ascending and apart.

    /// The first range.
    [[nodiscard]] constexpr range<Address> const* begin() const { return part; }
    /// Past the last range.
    [[nodiscard]] constexpr range<Address> const* end() const { return part + N; }
};

/// Says which input addresses it admits, and why not.
template <class S>
concept checks_input = requires(S const& s, typename S::input in) {
    { s.admits(in) } -> std::same_as<bool>;
    { *s.admitted().begin() } -> std::convertible_to<range<typename S::input>>;
    { s.refuse(in) } -> std::same_as<typename S::code>;
};

/// Recognises plain entries: `leads_on` those that lead to a table and grant what is needed, `maps` those that map a
/// page and grant it. Both may be false of a good entry, never true of a bad one.
template <class L>
concept fast_lane = requires(L const& lane, std::uint64_t level, std::uint64_t e) {
    { lane.leads_on(level, e) } -> std::same_as<bool>;
    { lane.maps(level, e) } -> std::same_as<bool>;
};

/// Judges entries, fast (`lane`) and exactly (`judge`), and names the fault of an entry that cannot be read.
template <class S>
concept judges_entries = requires(S const& s, access a, typename S::path& p, step const& at, step& denied, std::uint64_t level) {
    { s.lane(a) } -> fast_lane;
    { s.judge(at, a, p, denied) } -> std::same_as<judgement<typename S::code>>;
    { s.unreadable(level) } -> std::same_as<typename S::code>;
};

/// Reads addresses and attributes out of entries that were accepted. `carry` adds an entry to the path.
template <class S>
concept reads_entries = requires(S const& s, std::uint64_t e, std::uint64_t level, std::uint64_t lg2, typename S::path& p,
                                 access a) {
    { s.is_present(e) } -> std::same_as<bool>;
    { S::carry(p, e) } -> std::same_as<void>;
    { S::leaf_size(level, e) } -> std::same_as<std::uint64_t>;
    { s.target(e) } -> std::same_as<typename S::output>;
    { s.leaf_output(e, lg2) } -> std::same_as<typename S::output>;
    { s.leaf_attributes(e, lg2, p, a) } -> std::same_as<attributes>;
};

/// A table format with its live configuration.
template <class S>
concept stage = has_stage_types<S> && has_geometry<S> && checks_input<S> && judges_entries<S> && reads_entries<S>;

/// The fault of stage \p S for input address \p in, with the entry to blame (or no_step).
template <has_stage_types S>
[[nodiscard]] constexpr fault<typename S::code> fault_of(typename S::code code, fault_at at, typename S::input in,
                                                         step const& blame) {
    fault<typename S::code> f;
    f.code = code;
    f.stage = S::number;
    f.at = at;
    f.level = static_cast<std::uint8_t>(blame.level);
    f.input = in.value;
    f.descriptor = blame.address;
    f.entry = blame.entry;
    return f;
}

/// A stage whose entries remember their use (A/D bits). Its fast lane takes only entries that have nothing left to remember.
template <class S>
concept marking = stage<S> && requires(S const& s, step const& at, access a, typename S::path const& p, bool leaf) {
    { s.marked(at, a, p, leaf) } -> std::same_as<std::uint64_t>;
    { s.may_update() } -> std::same_as<bool>;
    { s.update_refused() } -> std::same_as<typename S::code>;
    { s.update_failed() } -> std::same_as<typename S::code>;
};

/// Whether an entry of \p S may lead to a table more than one level down. The input's bits that the skipped levels would have
/// used must then be zero; `refuse_skip` says what it is if they are not. The fast lane leaves such entries to the law.
template <class S>
concept skips_levels = requires(S const& s, step const& at) {
    { s.refuse_skip(at) } -> std::same_as<judgement<typename S::code>>;
};

/// The bits of the input address that an entry of \p level skips if it leads to a table of level \p next.
template <class S>
[[nodiscard]] constexpr std::uint64_t skipped_bits(S const& s, std::uint64_t level, std::uint64_t next) {
    return low_mask(s.shift(level)) & ~low_mask(next + 1 < level ? s.shift(next + 1) : s.shift(level));
}

/// Whether the root table of \p S may be smaller than a page and lie anywhere in one (it declares `small_tables`, true). Then
/// `root_index(in)` is the index into it, and `inner_index(level, in)`, static, the index into every other table, which begins
/// where a page begins: it depends on nothing but the format.
template <class S>
inline constexpr bool small_tables = requires {
    requires S::small_tables;
};

/// The lg2 size in bytes of a table of \p S below its root: 12, or what it declares as `lg2_table` (Arm granules).
template <class S>
inline constexpr std::uint64_t lg2_table = [] {
    if constexpr (requires { S::lg2_table; }) {
        return std::uint64_t{S::lg2_table};
    } else {
        return std::uint64_t{12};
    }
}();

/// A stage whose fast lane can also be had without the checks that only a guest's tables need.
template <class S>
concept trustable = stage<S> && requires(S const& s, access a) {
    { s.trusting_lane(a) } -> fast_lane;
};

/// A stage that can also write its entries. `sizes()` has bit n set where pages of 2^n bytes exist. `make_table(o, level)` is the
/// entry of that level for the table at \c o. A page larger than its level's entry spans has the same entry in every slot that it
/// covers.
template <class S>
concept encodable = stage<S> &&
    requires(S const& s, typename S::output o, std::uint64_t lg2, std::uint64_t level, attributes at) {
    { s.make_leaf(o, lg2, at) } -> std::same_as<std::uint64_t>;
    { s.make_table(o, level) } -> std::same_as<std::uint64_t>;
    { s.sizes() } -> std::same_as<std::uint64_t>;
    { s.leaf_level(lg2) } -> std::same_as<std::uint64_t>;
    { s.can_encode(o, at) } -> std::same_as<bool>;
};

} // namespace v0
} // namespace stagewalk
