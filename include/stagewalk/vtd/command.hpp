/// \file
/// Invalidation descriptors (VT-d 6.5): encoded, decoded, and turned into what each cache has to drop.
#pragma once

#include "../core/field.hpp"
#include "../core/outcome.hpp"
#include "../core/range.hpp"
#include "../core/size.hpp"
#include "capabilities.hpp"
#include "root_table.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// IQA_REG, offset 090h (VT-d 11.4.9.3).
struct invalidation_queue_address : entry<64, pointer_field<"IQA", 63, 12>, // the queue
                                          field<"DW", 11>,                  // 1: descriptors of 256 bits
                                          field<"QS", 2, 0> // 2^(QS + 8) descriptors of 128 bits, half as many of 256
                                          > {
    using entry::entry;
};

/// The type of a descriptor: bits 11:9 and 3:0 together.
enum class command_type : std::uint8_t {
    context_cache = 1,    ///< Context cache.
    iotlb = 2,            ///< IOTLB and paging-structure caches by domain.
    device_tlb = 3,       ///< A device's TLB.
    interrupt_cache = 4,  ///< Interrupt entry cache.
    wait = 5,             ///< Completion of all earlier ones.
    pasid_iotlb = 6,      ///< IOTLB and paging-structure caches by PASID.
    pasid_cache = 7,      ///< PASID cache.
    pasid_device_tlb = 8, ///< A device's TLB, by PASID.
    page_response = 9,    ///< The answer to a page request.
    host_permission = 10, ///< Host permission table cache.
};

/// Why a descriptor is not carried out; the enumerators are IQERCD_REG.IQEI (VT-d 11.4.9.9).
enum class queue_error : std::uint8_t {
    bad_tail = 1,        ///< The tail lies outside the queue.
    fetch_failed = 2,    ///< The descriptor cannot be read.
    bad_type = 3,        ///< No such type, in this mode.
    reserved_field = 4,  ///< A reserved bit or encoding.
    bad_width = 5,       ///< Descriptors of 128 bits in a mode that wants 256.
    misaligned_tail = 6, ///< The tail points into the middle of a descriptor of 256 bits.
    bad_mode = 7,        ///< RTADDR_REG.TTM is reserved.
};

/// What a unit caches (VT-d 6.2).
enum class cache : std::uint8_t {
    context,          ///< Context entries, by source id.
    pasid,            ///< PASID table entries, by source id and PASID.
    second_iotlb,     ///< Translations by a second stage and of pass-through.
    first_iotlb,      ///< Translations by a first stage and nested ones.
    second_structure, ///< Second-stage paging structures.
    first_structure,  ///< First-stage paging structures.
    interrupt,        ///< Interrupt remapping entries, by index.
    device,           ///< The device's own translations.
    host_permission,  ///< Host permission tables, by their own domain id and address.
};

/// The number of enumerators of `cache`.
inline constexpr std::size_t cache_kinds = 9;

/// What a cached item is tagged with; what its cache does not tag is left zero.
struct cache_tag {
    std::uint16_t source{};               ///< Requester id.
    std::uint16_t domain{};               ///< Domain id.
    std::uint32_t pasid{};                ///< PASID, of requests without PASID RID_PASID.
    range<iova> page{range<iova>::all()}; ///< The addresses that it translates.
    std::uint16_t index{};                ///< Interrupt index.
};

/// Which items of one cache are dropped: all that agree with the invalidation in everything that is named here.
struct cache_scope {
    bool drops{};      ///< Whether anything is dropped at all.
    bool by_source{};  ///< The requester id, save the bits of the mask.
    bool by_domain{};  ///< The domain id.
    bool by_pasid{};   ///< The PASID.
    bool by_address{}; ///< The page overlaps the addresses.
    bool by_index{};   ///< The interrupt index lies in the index range.

    /// Scopes are equal that drop alike.
    friend constexpr bool operator==(cache_scope const&, cache_scope const&) = default;
};

/// What a descriptor makes stale, cache by cache. A cache may always drop more.
struct invalidation {
    cache_scope scope[cache_kinds]{};          ///< By `cache`.
    std::uint16_t source{};                    ///< Requester id.
    std::uint16_t source_mask{};               ///< Bits of the requester id that do not count.
    std::uint16_t domain{};                    ///< Domain id.
    std::uint32_t pasid{};                     ///< PASID.
    range<iova> addresses{range<iova>::all()}; ///< Addresses.
    std::uint32_t first_index{};               ///< The first interrupt index.
    std::uint32_t last_index{};                ///< The last interrupt index.

    /// The scope in cache \p c.
    [[nodiscard]] constexpr cache_scope const& of(cache c) const { return scope[static_cast<std::size_t>(c)]; }
    /// The scope in cache \p c, to be changed.
    [[nodiscard]] constexpr cache_scope& of(cache c) { return scope[static_cast<std::size_t>(c)]; }

    /// Whether an item of cache \p c with tag \p t must be dropped.
    [[nodiscard]] constexpr bool drops(cache c, cache_tag const& t) const {
        cache_scope const& s = of(c);
        return s.drops && (!s.by_source || ((t.source ^ source) & ~source_mask & 0xffff) == 0) &&
               (!s.by_domain || t.domain == domain) && (!s.by_pasid || t.pasid == pasid) &&
               (!s.by_address || t.page.overlaps(addresses)) &&
               (!s.by_index || (first_index <= t.index && t.index <= last_index));
    }
};

namespace detail {

// Addresses from a base and an address mask: 2^AM pages, naturally aligned.
[[nodiscard]] constexpr range<iova> masked_pages(std::uint64_t address, std::uint64_t am) {
    std::uint64_t const within = low_mask(12 + am);
    return range<iova>::between(iova{address & ~within}, iova{address | within});
}

// Addresses of a device-TLB descriptor: with S, the lowest zero bit of ADDR tells the size.
[[nodiscard]] constexpr range<iova> sized_pages(std::uint64_t address, bool sized) {
    return masked_pages(address, sized ? static_cast<std::uint64_t>(std::countr_one(address >> 12)) + 1 : 0);
}

// The domain that DID names: what lies above the width of a domain id does not count in descriptors.
[[nodiscard]] constexpr std::uint16_t domain_of(std::uint64_t did, capabilities const& caps) {
    return static_cast<std::uint16_t>(did & low_mask(caps.domain_id_width()));
}

} // namespace detail

/// Context-cache invalidate descriptor (VT-d 6.5.2.1).
struct context_cache_command : entry<128, field<"TYPE", 3, 0>, // 1
                                     field<"G", 5, 4>,         // 1 all, 2 those of a domain, 3 those of a source
                                     field<"TYPEH", 11, 9>,    // 0
                                     field<"DID", 31, 16>,     // domain
                                     field<"SID", 47, 32>,     // requester
                                     field<"FM", 49, 48>       // which bits of SID do not count: none, 2, 2:1, 2:0
                                     > {
    using entry::entry;
    static constexpr command_type type = command_type::context_cache; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const&) const { return get<"G">() != 0; }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode mode, capabilities const& caps) const {
        constexpr std::uint16_t ignored[]{0, 4, 6, 7};
        bool const has_domain = mode == table_mode::legacy; // scalable context entries name no domain
        invalidation i;
        i.domain = detail::domain_of(get<"DID">(), caps);
        i.source = static_cast<std::uint16_t>(get<"SID">());
        i.source_mask = ignored[get<"FM">()];
        i.of(cache::context) = {.drops = true, .by_source = get<"G">() == 3, .by_domain = get<"G">() >= 2 && has_domain};
        return i;
    }
};

/// IOTLB invalidate descriptor (VT-d 6.5.2.3).
struct iotlb_command : entry<128, field<"TYPE", 3, 0>,      // 2
                             field<"G", 5, 4>,              // 1 all, 2 those of a domain, 3 pages of a domain
                             field<"DW", 6>,                // drain writes
                             field<"DR", 7>,                // drain reads
                             field<"TYPEH", 11, 9>,         // 0
                             field<"DID", 31, 16>,          // domain
                             field<"AM", 69, 64>,           // 2^AM pages
                             field<"IH", 70>,               // no table above the leaves has changed
                             pointer_field<"ADDR", 127, 76> // the first page
                             > {
    using entry::entry;
    static constexpr command_type type = command_type::iotlb; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const& caps) const {
        if (get<"G">() == 3) return caps.cap.get<"PSI">() != 0 && get<"AM">() <= caps.cap.get<"MAMV">();
        return get<"G">() != 0;
    }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const& caps) const {
        bool const pages = get<"G">() == 3;
        cache_scope const domain{.drops = true, .by_domain = get<"G">() >= 2};
        cache_scope page = domain;
        page.by_address = pages;
        invalidation i;
        i.domain = detail::domain_of(get<"DID">(), caps);
        if (pages) i.addresses = detail::masked_pages(get<"ADDR">(), get<"AM">());
        i.of(cache::second_iotlb) = page;
        i.of(cache::first_iotlb) = domain; // a second-stage change may lie under any first-stage address
        i.of(cache::first_structure) = domain;
        if (!pages || get<"IH">() == 0) i.of(cache::second_structure) = page;
        return i;
    }
};

/// Device-TLB invalidate descriptor (VT-d 6.5.2.5).
struct device_tlb_command : entry<128, field<"TYPE", 3, 0>,      // 3
                                  field<"TYPEH", 11, 9>,         // 0
                                  field<"PFSIDL", 15, 12>,       // physical function 3:0; reserved without DIT
                                  field<"MIP", 20, 16>,          // how many of them the device takes at a time
                                  field<"SID", 47, 32>,          // the device
                                  field<"PFSIDH", 63, 52>,       // physical function 15:4; reserved without DIT
                                  field<"S", 64>,                // the lowest zero bit of ADDR tells the size
                                  pointer_field<"ADDR", 127, 76> // the first page
                                  > {
    using entry::entry;
    static constexpr command_type type = command_type::device_tlb; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const& caps) const {
        return caps.has<"DIT">() || (get<"PFSIDL">() == 0 && get<"PFSIDH">() == 0);
    }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const&) const {
        invalidation i;
        i.source = static_cast<std::uint16_t>(get<"SID">());
        i.addresses = detail::sized_pages(get<"ADDR">(), get<"S">() != 0);
        i.of(cache::device) = {.drops = true, .by_source = true, .by_address = true};
        return i;
    }
};

/// Interrupt entry cache invalidate descriptor (VT-d 6.5.2.7).
struct interrupt_cache_command : entry<128, field<"TYPE", 3, 0>, // 4
                                       field<"G", 4>,            // 0 all, 1 a range of indexes
                                       field<"TYPEH", 11, 9>,    // 0
                                       field<"IM", 31, 27>,      // 2^IM indexes
                                       field<"IIDX", 47, 32>     // the first index
                                       > {
    using entry::entry;
    static constexpr command_type type = command_type::interrupt_cache; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const& caps) const {
        return get<"G">() == 0 || get<"IM">() <= caps.ecap.get<"MHMV">();
    }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const&) const {
        invalidation i;
        i.of(cache::interrupt) = {.drops = true, .by_index = get<"G">() != 0};
        if (get<"G">() == 0) return i;
        std::uint64_t const within = low_mask(get<"IM">());
        i.first_index = static_cast<std::uint32_t>(get<"IIDX">() & ~within);
        i.last_index = static_cast<std::uint32_t>(get<"IIDX">() | within);
        return i;
    }
};

/// Invalidation wait descriptor (VT-d 6.5.2.8). With neither IF nor SW it completes all the same.
struct wait_command : entry<128, field<"TYPE", 3, 0>,        // 5
                            field<"IF", 4>,                  // an interrupt on completion
                            field<"SW", 5>,                  // DATA is written to STATUS on completion
                            field<"FN", 6>,                  // later descriptors start after it
                            field<"PD", 7>,                  // page requests are drained; reserved without PDS
                            field<"TYPEH", 11, 9>,           // 0
                            field<"DATA", 63, 32>,           // status data
                            pointer_field<"STATUS", 127, 66> // where it is written
                            > {
    using entry::entry;
    static constexpr command_type type = command_type::wait; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const& caps) const { return caps.has<"PDS">() || get<"PD">() == 0; }
    /// What it makes stale: nothing.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const&) const { return {}; }
};

/// PASID-based IOTLB invalidate descriptor (VT-d 6.5.2.4).
struct pasid_iotlb_command : entry<256, field<"TYPE", 3, 0>,      // 6
                                   field<"G", 5, 4>,              // 2 those of a PASID, 3 pages of a PASID
                                   field<"TYPEH", 11, 9>,         // 0
                                   field<"DID", 31, 16>,          // domain
                                   field<"PASID", 51, 32>,        // PASID
                                   field<"AM", 69, 64>,           // 2^AM pages, whatever MAMV says
                                   field<"IH", 70>,               // no table above the leaves has changed
                                   pointer_field<"ADDR", 127, 76> // the first page
                                   > {
    using entry::entry;
    static constexpr command_type type = command_type::pasid_iotlb; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const&) const { return get<"G">() >= 2; }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const& caps) const {
        bool const pages = get<"G">() == 3;
        cache_scope const scope{.drops = true, .by_domain = true, .by_pasid = true, .by_address = pages};
        invalidation i;
        i.domain = detail::domain_of(get<"DID">(), caps);
        i.pasid = static_cast<std::uint32_t>(get<"PASID">());
        if (pages) i.addresses = detail::masked_pages(get<"ADDR">(), get<"AM">());
        i.of(cache::first_iotlb) = scope;
        if (!pages) i.of(cache::second_iotlb) = scope;
        if (!pages || get<"IH">() == 0) i.of(cache::first_structure) = scope;
        return i;
    }
};

/// PASID-cache invalidate descriptor (VT-d 6.5.2.2).
struct pasid_cache_command : entry<256, field<"TYPE", 3, 0>, // 7
                                   field<"G", 5, 4>,         // 0 those of a domain, 1 a PASID of a domain, 3 all
                                   field<"TYPEH", 11, 9>,    // 0
                                   field<"DID", 31, 16>,     // domain
                                   field<"PASID", 51, 32>    // PASID
                                   > {
    using entry::entry;
    static constexpr command_type type = command_type::pasid_cache; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const&) const { return get<"G">() != 2; }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const& caps) const {
        invalidation i;
        i.domain = detail::domain_of(get<"DID">(), caps);
        i.pasid = static_cast<std::uint32_t>(get<"PASID">());
        i.of(cache::pasid) = {.drops = true, .by_domain = get<"G">() != 3, .by_pasid = get<"G">() == 1};
        return i;
    }
};

/// PASID-based device-TLB invalidate descriptor (VT-d 6.5.2.6).
struct pasid_device_tlb_command : entry<256, field<"TYPE", 3, 0>,      // 8
                                        field<"MIP", 8, 4>,            // how many of them the device takes at a time
                                        field<"TYPEH", 11, 9>,         // 0
                                        field<"PFSIDL", 15, 12>,       // physical function 3:0; reserved without DIT
                                        field<"SID", 31, 16>,          // the device
                                        field<"PASID", 51, 32>,        // PASID
                                        field<"PFSIDH", 63, 52>,       // physical function 15:4; reserved without DIT
                                        field<"GI", 64>,               // every PASID
                                        field<"S", 75>,                // the lowest zero bit of ADDR tells the size
                                        pointer_field<"ADDR", 127, 76> // the first page
                                        > {
    using entry::entry;
    static constexpr command_type type = command_type::pasid_device_tlb; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const& caps) const {
        return caps.has<"DIT">() || (get<"PFSIDL">() == 0 && get<"PFSIDH">() == 0);
    }
    /// What it makes stale.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const&) const {
        invalidation i;
        i.source = static_cast<std::uint16_t>(get<"SID">());
        i.pasid = static_cast<std::uint32_t>(get<"PASID">());
        i.addresses = detail::sized_pages(get<"ADDR">(), get<"S">() != 0);
        i.of(cache::device) = {.drops = true, .by_source = true, .by_pasid = get<"GI">() == 0, .by_address = true};
        return i;
    }
};

/// Page-group response descriptor (VT-d 7.7.1).
struct page_response_command : entry<256, field<"TYPE", 3, 0>, // 9
                                     field<"PP", 4>,           // PASID counts
                                     field<"TYPEH", 11, 9>,    // 0
                                     field<"RC", 15, 12>,      // response code
                                     field<"RID", 31, 16>,     // the device
                                     field<"PASID", 51, 32>,   // PASID
                                     ignored_field<"IGN", 66>, //
                                     field<"PRGI", 75, 67>     // the page group
                                     > {
    using entry::entry;
    static constexpr command_type type = command_type::page_response; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const&) const { return true; }
    /// What it makes stale: nothing.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const&) const { return {}; }
};

/// Host permission table cache invalidate descriptor, in units with HPTS. Its layout is known, the meaning of the encodings of G
/// and IH is not: none is refused, and each makes the whole cache stale, which a cache may always be.
struct host_permission_command : entry<256, field<"TYPE", 3, 0>,      // 10
                                       field<"G", 5, 4>,              // granularity
                                       field<"TYPEH", 11, 9>,         // 0
                                       field<"HPTDID", 31, 16>,       // the tables' domain
                                       field<"AM", 69, 64>,           // 2^AM pages
                                       field<"IH", 71, 70>,           // invalidation hint
                                       pointer_field<"ADDR", 127, 76> // the first page
                                       > {
    using entry::entry;
    static constexpr command_type type = command_type::host_permission; ///< Its type.

    /// Whether its encodings exist; of reserved bits, those that depend on the unit.
    [[nodiscard]] constexpr bool is_valid(capabilities const&) const { return true; }
    /// What it makes stale; domain and addresses are those that it names.
    [[nodiscard]] constexpr invalidation stale(table_mode, capabilities const& caps) const {
        invalidation i;
        i.domain = detail::domain_of(get<"HPTDID">(), caps);
        i.addresses = detail::masked_pages(get<"ADDR">(), get<"AM">());
        i.of(cache::host_permission) = {.drops = true};
        return i;
    }
};

/// One decoded descriptor.
struct command {
    command_type type{};     ///< What it is.
    std::uint64_t word[4]{}; ///< Its words, for the fields of wait and page-response descriptors.
    invalidation stale{};    ///< What it makes stale; nothing for wait and page response.
};

namespace detail {

// Bits that no field names, the words beyond a short descriptor included, are to be zero.
template <class Descriptor>
[[nodiscard]] constexpr outcome<command, queue_error> decode_as(std::uint64_t const (&word)[4], table_mode mode,
                                                                capabilities const& caps) {
    Descriptor d;
    std::uint64_t set = 0;
    for (std::size_t w = 0; w < 4; ++w) {
        if (w < Descriptor::words) d.word[w] = word[w];
        set |= word[w] & (w < Descriptor::words ? Descriptor::reserved(w) : ~std::uint64_t{0});
    }
    if (set != 0 || !d.is_valid(caps)) return failure{queue_error::reserved_field};
    return command{Descriptor::type, {word[0], word[1], word[2], word[3]}, d.stale(mode, caps)};
}

// A descriptor of which only the type is set.
template <class Descriptor>
[[nodiscard]] constexpr Descriptor typed() {
    Descriptor d;
    d.template set<"TYPE">(static_cast<std::uint64_t>(Descriptor::type));
    return d;
}

} // namespace detail

/// Decodes one descriptor.
/// \param word its words in ascending order; the upper two are zero for descriptors of 128 bits.
/// \param queue IQA_REG.
/// \param mode the latched translation table mode.
/// \param caps the unit's capabilities. Without HPTS the descriptor of host permission tables (0ah) is no type.
/// \return the command, or IQEI. An encoding that the manual calls invalid counts as a reserved field.
[[nodiscard]] constexpr outcome<command, queue_error> decode(std::uint64_t const (&word)[4], invalidation_queue_address queue,
                                                             table_mode mode, capabilities const& caps) {
    bool const legacy = mode == table_mode::legacy;
    if (mode == table_mode::reserved) return failure{queue_error::bad_mode};
    if (!legacy && queue.get<"DW">() == 0) return failure{queue_error::bad_width};

    std::uint64_t const type = (word[0] >> 9 & 7) << 4 | (word[0] & 15);
    std::uint64_t const last = legacy ? 5 : caps.has<"HPTS">() ? 10 : 9;
    if (type > last) return failure{queue_error::bad_type};
    switch (static_cast<command_type>(type)) {
    case command_type::context_cache: return detail::decode_as<context_cache_command>(word, mode, caps);
    case command_type::iotlb: return detail::decode_as<iotlb_command>(word, mode, caps);
    case command_type::device_tlb: return detail::decode_as<device_tlb_command>(word, mode, caps);
    case command_type::interrupt_cache: return detail::decode_as<interrupt_cache_command>(word, mode, caps);
    case command_type::wait: return detail::decode_as<wait_command>(word, mode, caps);
    case command_type::pasid_iotlb: return detail::decode_as<pasid_iotlb_command>(word, mode, caps);
    case command_type::pasid_cache: return detail::decode_as<pasid_cache_command>(word, mode, caps);
    case command_type::pasid_device_tlb: return detail::decode_as<pasid_device_tlb_command>(word, mode, caps);
    case command_type::page_response: return detail::decode_as<page_response_command>(word, mode, caps);
    case command_type::host_permission: return detail::decode_as<host_permission_command>(word, mode, caps);
    }
    return failure{queue_error::bad_type};
}

/// What is wrong with tail \p iqt (IQT_REG, a byte offset) of queue \p queue; nothing if there is no value.
/// \return the byte offset of the tail, or IQEI 1 or 6.
[[nodiscard]] constexpr outcome<std::uint64_t, queue_error> judge_tail(invalidation_queue_address queue, std::uint64_t iqt) {
    bool const wide = queue.get<"DW">() != 0;
    std::uint64_t const tail = iqt & bit_mask(18, 4);
    if (wide && (tail & 16) != 0) return failure{queue_error::misaligned_tail};
    std::uint64_t const bytes = std::uint64_t{1} << (queue.get<"QS">() + 12);
    if (tail >= bytes) return failure{queue_error::bad_tail};
    return tail;
}

/// All cached contexts.
[[nodiscard]] constexpr context_cache_command invalidate_contexts() {
    auto d = detail::typed<context_cache_command>();
    d.set<"G">(1);
    return d;
}

/// The contexts of \p domain (in scalable mode: all).
[[nodiscard]] constexpr context_cache_command invalidate_contexts(std::uint16_t domain) {
    context_cache_command d = invalidate_contexts();
    d.set<"G">(2);
    d.set<"DID">(domain);
    return d;
}

/// The contexts of \p source, whose bits under \p function_mask (FM: 0 none, 1 bit 2, 2 bits 2:1, 3 bits 2:0) do not count.
[[nodiscard]] constexpr context_cache_command invalidate_contexts(std::uint16_t domain, std::uint16_t source,
                                                                  std::uint8_t function_mask) {
    context_cache_command d = invalidate_contexts(domain);
    d.set<"G">(3);
    d.set<"SID">(source);
    d.set<"FM">(function_mask);
    return d;
}

/// All cached translations, with outstanding reads and writes drained.
[[nodiscard]] constexpr iotlb_command invalidate_iotlb() {
    auto d = detail::typed<iotlb_command>();
    d.set<"G">(1);
    d.set<"DR">(1);
    d.set<"DW">(1);
    return d;
}

/// The translations of \p domain.
[[nodiscard]] constexpr iotlb_command invalidate_iotlb(std::uint16_t domain) {
    iotlb_command d = invalidate_iotlb();
    d.set<"G">(2);
    d.set<"DID">(domain);
    return d;
}

/// The translations of 2^\p lg2_pages pages of \p domain around \p at.
/// \param domain the domain id.
/// \param at an address anywhere in the range.
/// \param lg2_pages AM.
/// \param leaves_only IH: no table above the leaves has changed.
[[nodiscard]] constexpr iotlb_command invalidate_iotlb(std::uint16_t domain, iova at, std::uint8_t lg2_pages, bool leaves_only) {
    iotlb_command d = invalidate_iotlb(domain);
    d.set<"G">(3);
    d.set<"AM">(lg2_pages);
    d.set<"IH">(leaves_only);
    d.set<"ADDR">(at.value);
    return d;
}

/// The translations of one address space.
[[nodiscard]] constexpr pasid_iotlb_command invalidate_pasid_iotlb(std::uint16_t domain, std::uint32_t pasid) {
    auto d = detail::typed<pasid_iotlb_command>();
    d.set<"G">(2);
    d.set<"DID">(domain);
    d.set<"PASID">(pasid);
    return d;
}

/// The first-stage translations of 2^\p lg2_pages pages of one address space around \p at.
/// \param domain the domain id.
/// \param pasid the PASID, 20 bits.
/// \param at an address anywhere in the range.
/// \param lg2_pages AM.
/// \param leaves_only IH: no table above the leaves has changed.
[[nodiscard]] constexpr pasid_iotlb_command invalidate_pasid_iotlb(std::uint16_t domain, std::uint32_t pasid, iova at,
                                                                   std::uint8_t lg2_pages, bool leaves_only) {
    pasid_iotlb_command d = invalidate_pasid_iotlb(domain, pasid);
    d.set<"G">(3);
    d.set<"AM">(lg2_pages);
    d.set<"IH">(leaves_only);
    d.set<"ADDR">(at.value);
    return d;
}

/// All cached PASID table entries.
[[nodiscard]] constexpr pasid_cache_command invalidate_pasids() {
    auto d = detail::typed<pasid_cache_command>();
    d.set<"G">(3);
    return d;
}

/// The PASID table entries of \p domain.
[[nodiscard]] constexpr pasid_cache_command invalidate_pasids(std::uint16_t domain) {
    pasid_cache_command d = invalidate_pasids();
    d.set<"G">(0);
    d.set<"DID">(domain);
    return d;
}

/// The PASID table entries of \p pasid in \p domain.
[[nodiscard]] constexpr pasid_cache_command invalidate_pasids(std::uint16_t domain, std::uint32_t pasid) {
    pasid_cache_command d = invalidate_pasids(domain);
    d.set<"G">(1);
    d.set<"PASID">(pasid);
    return d;
}

/// Every translation that the device \p source keeps.
/// \param source the device's requester id.
/// \param outstanding how many such invalidations the device takes at a time (MIP).
[[nodiscard]] constexpr device_tlb_command invalidate_device_tlb(std::uint16_t source, std::uint8_t outstanding) {
    auto d = detail::typed<device_tlb_command>();
    d.set<"MIP">(outstanding);
    d.set<"SID">(source);
    d.set<"S">(1);
    d.set<"ADDR">(low_mask(63));
    return d;
}

/// 2^\p lg2_pages pages around \p at that the device \p source keeps.
/// \param source the device's requester id.
/// \param outstanding how many such invalidations the device takes at a time (MIP).
/// \param at an address anywhere in the range.
/// \param lg2_pages how many pages, as a logarithm: 0 to 52.
[[nodiscard]] constexpr device_tlb_command invalidate_device_tlb(std::uint16_t source, std::uint8_t outstanding, iova at,
                                                                 std::uint8_t lg2_pages) {
    device_tlb_command d = invalidate_device_tlb(source, outstanding);
    d.set<"S">(lg2_pages > 0);
    // The size is a zero bit with ones below it.
    std::uint64_t const within = low_mask(12 + lg2_pages);
    std::uint64_t const ones = lg2_pages > 0 ? low_mask(11 + lg2_pages) : 0;
    d.set<"ADDR">((at.value & ~within) | ones);
    return d;
}

/// All cached interrupt remapping entries.
[[nodiscard]] constexpr interrupt_cache_command invalidate_interrupts() { return detail::typed<interrupt_cache_command>(); }

/// The interrupt remapping entries of 2^\p lg2_count indexes around \p index.
[[nodiscard]] constexpr interrupt_cache_command invalidate_interrupts(std::uint16_t index, std::uint8_t lg2_count) {
    interrupt_cache_command d = invalidate_interrupts();
    d.set<"G">(1);
    d.set<"IM">(lg2_count);
    d.set<"IIDX">(index);
    return d;
}

/// Completion: \p data is written to \p status, a multiple of 4, when all earlier descriptors are done.
/// \param status where it is written.
/// \param data what is written.
/// \param fence FN: later descriptors start after it.
[[nodiscard]] constexpr wait_command wait_and_write(std::uint64_t status, std::uint32_t data, bool fence) {
    auto d = detail::typed<wait_command>();
    d.set<"SW">(1);
    d.set<"FN">(fence);
    d.set<"DATA">(data);
    d.set<"STATUS">(status);
    return d;
}
/// Completion by interrupt: ICS.IWC is set when all earlier descriptors are done.
/// \param fence FN: later descriptors start after it.
[[nodiscard]] constexpr wait_command wait_and_interrupt(bool fence) {
    auto d = detail::typed<wait_command>();
    d.set<"IF">(1);
    d.set<"FN">(fence);
    return d;
}
/// A fence and nothing else: later descriptors start when all earlier ones are done.
[[nodiscard]] constexpr wait_command fence() {
    auto d = detail::typed<wait_command>();
    d.set<"FN">(1);
    return d;
}
/// 2^\p lg2_pages pages around \p at of \p pasid that the device \p source keeps.
/// \param source the device's requester id.
/// \param pasid the PASID, 20 bits.
/// \param outstanding how many such invalidations the device takes at a time (MIP).
/// \param at an address anywhere in the range.
/// \param lg2_pages how many pages, as a logarithm: 0 to 52.
[[nodiscard]] constexpr pasid_device_tlb_command invalidate_pasid_device_tlb(std::uint16_t source, std::uint32_t pasid,
                                                                             std::uint8_t outstanding, iova at,
                                                                             std::uint8_t lg2_pages) {
    auto const plain = invalidate_device_tlb(source, outstanding, at, lg2_pages);
    auto d = detail::typed<pasid_device_tlb_command>();
    d.set<"MIP">(outstanding);
    d.set<"SID">(source);
    d.set<"PASID">(pasid);
    d.set<"S">(plain.get<"S">());
    d.set<"ADDR">(plain.get<"ADDR">());
    return d;
}
/// Every translation of \p pasid that the device \p source keeps.
/// \param source the device's requester id.
/// \param pasid the PASID, 20 bits.
/// \param outstanding how many such invalidations the device takes at a time (MIP).
[[nodiscard]] constexpr pasid_device_tlb_command invalidate_pasid_device_tlb(std::uint16_t source, std::uint32_t pasid,
                                                                             std::uint8_t outstanding) {
    auto const plain = invalidate_device_tlb(source, outstanding);
    auto d = invalidate_pasid_device_tlb(source, pasid, outstanding, iova{0}, 0);
    d.set<"S">(plain.get<"S">());
    d.set<"ADDR">(plain.get<"ADDR">());
    return d;
}
/// The answer to page group \p group of the device \p source.
/// \param source the device's requester id.
/// \param group PRGI, 9 bits.
/// \param code RC: 0 success, 1 invalid request, 15 failure.
/// \param pasid the request's PASID, 20 bits; none without one.
/// \param has_pasid PP: whether the request had a PASID.
[[nodiscard]] constexpr page_response_command respond_to_page_group(std::uint16_t source, std::uint16_t group, std::uint8_t code,
                                                                    bool has_pasid, std::uint32_t pasid) {
    auto d = detail::typed<page_response_command>();
    d.set<"PP">(has_pasid);
    d.set<"RC">(code);
    d.set<"RID">(source);
    d.set<"PASID">(has_pasid ? pasid : 0);
    d.set<"PRGI">(group);
    return d;
}
/// Cached host permission entries.
/// \param granularity G, as the manual of the unit encodes it.
/// \param domain HPTDID, the tables' domain id.
/// \param at an address anywhere in the range.
/// \param lg2_pages AM.
/// \param hint IH, as the manual of the unit encodes it.
[[nodiscard]] constexpr host_permission_command invalidate_host_permission(std::uint8_t granularity, std::uint16_t domain,
                                                                           iova at, std::uint8_t lg2_pages, std::uint8_t hint) {
    auto d = detail::typed<host_permission_command>();
    d.set<"G">(granularity);
    d.set<"HPTDID">(domain);
    d.set<"AM">(lg2_pages);
    d.set<"IH">(hint);
    d.set<"ADDR">(at.value);
    return d;
}

} // namespace vtd
} // namespace v0
} // namespace stagewalk
