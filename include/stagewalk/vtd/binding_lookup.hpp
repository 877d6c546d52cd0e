/// \file
/// From a device and its PASID to what they are bound to: root, context and PASID tables (VT-d 3.4 and chapter 9).
#pragma once

#include "../memory/concept.hpp"
#include "../tlb/entry_cache.hpp"
#include "../walk/trace.hpp"
#include "../walk/walk.hpp"
#include "binding.hpp"
#include "capabilities.hpp"
#include "context_table.hpp"
#include "pasid_table.hpp"
#include "policy.hpp"
#include "reason.hpp"
#include "request.hpp"
#include "root_table.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

namespace stagewalk {
inline namespace v0 {
namespace vtd {

/// Why a device has no binding, and the entry to blame.
struct binding_refusal {
    reason code{reason::none};  ///< The reason; `none` where nothing is refused.
    bool quiet{};               ///< FPD was set on the path.
    std::uint64_t descriptor{}; ///< The address of the entry to blame, or 0.
    std::uint64_t entry{};      ///< Its first word; 0 where it could not be read.

    /// Whether anything is refused.
    [[nodiscard]] constexpr explicit operator bool() const { return code != reason::none; }
};

/// What the entries say in legacy mode, as they were read: checked, not taken apart.
struct legacy_finding {
    context_entry context{}; ///< The context entry.

    /// Whether qualified faults are not recorded.
    [[nodiscard]] constexpr bool quiet() const { return context.get<"FPD">() != 0; }
    /// The binding that it stands for.
    [[nodiscard]] constexpr binding to_binding() const {
        binding b;
        b.kind =
            context.type() == translation_type::pass_through ? binding_kind::pass_through : binding_kind::legacy_second_stage;
        b.quiet = quiet();
        b.domain = static_cast<std::uint16_t>(context.get<"DID">());
        b.second_root = context.get<"SSPTPTR">();
        b.second_levels = context.levels();
        return b;
    }
};

/// What the entries say in scalable mode, as they were read: checked, not taken apart. A request uses few of the many fields.
struct scalable_finding {
    static constexpr std::size_t entry_words = 3; ///< The words of a PASID table entry that say something.

    std::uint64_t context{};            ///< The first word of the context entry.
    std::uint64_t directory{};          ///< The PASID directory entry.
    std::uint64_t entry[entry_words]{}; ///< Those words; the others must be 0.
    std::uint64_t pasid{};              ///< The PASID used: the request's own or RID_PASID.
    std::uint64_t privileged{};         ///< The request's privilege, 0 or 1: its own or RID_PRIV.
    bool has_entry{};                   ///< Whether the PASID was looked up: a translated request's is not.

    /// The PASID table entry, without the words that only have to be zero.
    [[nodiscard]] constexpr pasid_table_entry pasid_entry() const { return pasid_table_entry{entry[0], entry[1], entry[2]}; }
    /// Whether qualified faults are not recorded: one FPD on the path is enough.
    [[nodiscard]] constexpr bool quiet() const {
        return ((context | directory | entry[0]) & pasid_table_entry::mask<"FPD">()) != 0;
    }
    /// The binding that it stands for.
    [[nodiscard]] constexpr binding to_binding() const {
        binding b;
        b.scalable = true;
        b.quiet = quiet();
        b.privileged = privileged != 0;
        b.pasid = static_cast<std::uint32_t>(pasid);
        if (!has_entry) return b;
        pasid_table_entry const p = pasid_entry();
        switch (p.kind()) {
        case pasid_translation::first_stage: b.kind = binding_kind::first_stage; break;
        case pasid_translation::second_stage: b.kind = binding_kind::second_stage; break;
        case pasid_translation::nested: b.kind = binding_kind::nested; break;
        case pasid_translation::pass_through: b.kind = binding_kind::pass_through; break;
        }
        b.domain = static_cast<std::uint16_t>(p.get<"DID">());
        b.first_root = p.get<"FSPTPTR">();
        b.first_levels = p.first_stage_levels();
        b.second_root = p.get<"SSPTPTR">();
        b.second_levels = p.second_stage_levels();
        b.write_protect = p.get<"WPE">() != 0;
        b.extended_accessed = p.get<"EAFE">() != 0;
        b.accessed_dirty = p.get<"SSADE">() != 0;
        b.walks_snoop = p.get<"PWSNP">() != 0;
        b.pages_snoop = p.get<"PGSNP">() != 0;
        b.cache_disable = p.get<"CD">() != 0;
        b.memory_types = p.get<"EMTE">() != 0;
        b.pat = static_cast<std::uint32_t>(p.get<"PAT">());
        return b;
    }
};

/// Looks up what a device is bound to. It judges every bit of every entry that it reads, and reads each word once.
///
/// In scalable mode each entry is first held against masks that are made once: what is reserved, what the unit lacks, and what
/// is uncommon. Only an entry or a request that does not pass is judged in the manual's order, out of line.
///
/// With caches, entries that let a request pass are kept; what refuses one is read anew. A request that is traced sees memory
/// alone.
/// \tparam M the memory that holds the tables.
/// \tparam Caches `vtd::caches`, or none.
template <memory M, class Caches = no_caches>
class binding_lookup {
public:
    /// \param caps the unit's capabilities, without host permission tables: they are not walked.
    /// \param root RTADDR_REG as GCMD.SRTP latched it.
    /// \param m the memory, alive as long as this object.
    /// \param rules the open points.
    /// \param kept the caches, alive as long as this object; or null.
    constexpr binding_lookup(capabilities const& caps, root_table_address root, M& m, policy const& rules, Caches* kept = nullptr)
        : caps_{caps}, root_{root}, memory_{&m}, caches_{kept}, rules_{rules}, mode_fault_{judge_mode(caps_, root)},
          beyond_host_{caps_.beyond_host()}, bad_root_{root_entry::reserved(0) | beyond_host_},
          bad_context_{context_entry::reserved(0) | beyond_host_,
                       context_entry::reserved(1) | (context_entry::mask<"DID">() & ~(low_mask(caps_.domain_id_width()) << 8))},
          bad_half_{scalable_root_entry::reserved(0) | beyond_host_}, bad_other_half_{rules.root == root_halves::both ? bad_half_
                                                                                                                      : 0},
          bad_directory_{pasid_directory_entry::reserved() | beyond_host_} {
        for (std::size_t w = 0; w < 2; ++w)
            bad_scalable_context_[w] = scalable_context_entry::reserved_with(w, caps_);
        plain_context_[0] = bad_scalable_context_[0] | scalable_context_entry::mask<"P">() |
                            scalable_context_entry::mask<"PRE">() | scalable_context_entry::mask<"EPTR">();
        plain_context_[1] = bad_scalable_context_[1] | (scalable_context_entry::mask<"RID_PASID">() & ~smallest_directory);
        for (std::uint64_t kind = 0; kind < 8; ++kind)
            prepare(kind);
    }

    /// The capabilities.
    [[nodiscard]] constexpr capabilities const& caps() const { return caps_; }
    /// The register that points to the root table.
    [[nodiscard]] constexpr root_table_address root() const { return root_; }
    /// The memory.
    [[nodiscard]] constexpr M& memory_of_tables() const { return *memory_; }
    /// The mode that the register names.
    [[nodiscard]] constexpr table_mode mode() const { return static_cast<table_mode>(root_.get<"TTM">()); }
    /// The address bits that the host does not have.
    [[nodiscard]] constexpr std::uint64_t beyond_host() const { return beyond_host_; }

    /// The mode against the request (RTA.1 to RTA.5).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_mode(request const& r) const {
        if (mode_fault_ != reason::none) return mode_fault_;
        if (mode() == table_mode::legacy && r.type == request_type::page) return reason::page_request_in_legacy_mode;
        if (mode() == table_mode::legacy && r.has_pasid()) return reason::pasid_in_legacy_mode;
        if (is_execute(r) && r.type != request_type::page && caps_.major_version() >= 8) return reason::execute_unsupported;
        return reason::none;
    }

    /// Legacy mode: root and context entry of the device of \p r.
    /// \param r the request.
    /// \param found receives what they say.
    /// \param trace is called with each entry.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr binding_refusal find_legacy(request const& r, legacy_finding& found,
                                                                            Trace& trace) const noexcept {
        fill_ticket ticket;
        if constexpr (is_caching<Trace>) {
            if (caches_->contexts.find(r.source, found.context.word) && judge_context(found.context, r) == reason::none)
                return {};
            ticket = caches_->contexts.begin();
        }

        // Root entry: it has no fault-processing-disable bit.
        std::uint64_t const bus = r.source >> 8;
        std::uint64_t const root_at = root_.get<"RTA">() + bus * sizeof(root_entry);
        root_entry root;
        if (!load(root_.get<"RTA">(), bus, root)) [[unlikely]]
            return {reason::root_unreadable, false, root_at, 0};
        trace(configuration_step<root_entry>{"root", root_at, root});
        if (root.get<"P">() == 0) [[unlikely]]
            return {reason::root_not_present, false, root_at, root.word[0]};
        if (((root.word[0] & bad_root_) | root.word[1]) != 0) [[unlikely]]
            return {reason::root_reserved, false, root_at, root.word[0]};

        // Context entry: its fault-processing-disable bit counts even where the entry is not present.
        std::uint64_t const function = r.source & 0xff;
        std::uint64_t const context_at = root.get<"CTP">() + function * sizeof(context_entry);
        if (!load(root.get<"CTP">(), function, found.context)) [[unlikely]]
            return {reason::context_unreadable, false, context_at, 0};
        trace(configuration_step<context_entry>{"context", context_at, found.context});
        if (reason const bad = judge_context(found.context, r); bad != reason::none) [[unlikely]]
            return {bad, found.quiet(), context_at, found.context.word[0]};
        if constexpr (is_caching<Trace>) caches_->contexts.insert(ticket, r.source, found.context.word);
        return {};
    }

    /// Scalable mode: root, context, PASID directory and PASID table entry of the device and the PASID of \p r.
    /// \param r the request.
    /// \param found receives what they say.
    /// \param trace is called with each entry.
    template <class Trace>
    [[nodiscard, gnu::always_inline]] constexpr binding_refusal find_scalable(request const& r, scalable_finding& found,
                                                                              Trace& trace) const noexcept {
        fill_ticket context_ticket;
        fill_ticket pasid_ticket;
        if constexpr (is_caching<Trace>) {
            if (recall(r, found)) return {};
            found = {};
            context_ticket = caches_->contexts.begin();
            pasid_ticket = caches_->pasids.begin();
        }

        // Scalable root entry, one half of it.
        std::uint64_t const bus = r.source >> 8;
        std::uint64_t const root_at = root_.get<"RTA">() + bus * sizeof(scalable_root_entry);
        scalable_root_entry root;
        if (!load(root_.get<"RTA">(), bus, root)) [[unlikely]]
            return {reason::scalable_root_unreadable, false, root_at, 0};
        trace(configuration_step<scalable_root_entry>{"root", root_at, root});
        bool const upper = (r.source & 0x80) != 0;
        std::uint64_t const half = upper ? root.word[1] : root.word[0];
        std::uint64_t const other = upper ? root.word[0] : root.word[1];
        if (reason const bad = judge_halves(half, other); bad != reason::none) [[unlikely]]
            return {bad, false, root_at + (upper ? 8 : 0), half};

        // Scalable context entry.
        std::uint64_t const contexts = half & scalable_root_entry::mask<"LCTP">();
        std::uint64_t const function = r.source & 0x7f;
        std::uint64_t const context_at = contexts + function * sizeof(scalable_context_entry);
        scalable_context_entry context;
        if (!load(contexts, function, context)) [[unlikely]]
            return {reason::scalable_context_unreadable, false, context_at, 0};
        trace(configuration_step<scalable_context_entry>{"context", context_at, context});
        found.context = context.word[0];
        std::uint64_t const rest = context.word[2] | context.word[3];
        if (!is_plain(context, rest) || r.type != request_type::untranslated || r.has_pasid()) [[unlikely]] {
            if (reason const bad = judge_context(context.word[0], context.word[1], rest, r); bad != reason::none)
                return {bad, found.quiet(), context_at, context.word[0]};
        }
        found.pasid = r.has_pasid() ? r.pasid : context.get<"RID_PASID">();
        found.privileged = r.has_pasid() ? r.access.covers(privileged) : context.get<"RID_PRIV">();
        if constexpr (is_caching<Trace>) caches_->contexts.insert(context_ticket, r.source, {context.word[0], context.word[1]});
        // A translated request has been translated: its PASID is not looked up.
        if (r.type == request_type::translated) return {};

        // PASID directory entry.
        std::uint64_t const directory_at = context.get<"PASIDDIRPTR">() + (found.pasid >> 6) * sizeof(pasid_directory_entry);
        pasid_directory_entry directory;
        if (!load(context.get<"PASIDDIRPTR">(), found.pasid >> 6, directory)) [[unlikely]]
            return {reason::pasid_directory_unreadable, found.quiet(), directory_at, 0};
        trace(configuration_step<pasid_directory_entry>{"PASID directory", directory_at, directory});
        found.directory = directory.word[0];
        if (directory.get<"P">() == 0) [[unlikely]]
            return {reason::pasid_directory_not_present, found.quiet(), directory_at, directory.word[0]};
        if ((directory.word[0] & bad_directory_) != 0) [[unlikely]]
            return {reason::pasid_directory_reserved, found.quiet(), directory_at, directory.word[0]};

        // PASID table entry.
        std::uint64_t const pasid_at = directory.get<"SMPTBLPTR">() + (found.pasid & 0x3f) * sizeof(pasid_table_entry);
        pasid_table_entry pasid;
        if (!load(directory.get<"SMPTBLPTR">(), found.pasid & 0x3f, pasid)) [[unlikely]]
            return {reason::pasid_entry_unreadable, found.quiet(), pasid_at, 0};
        trace(configuration_step<pasid_table_entry>{"PASID table", pasid_at, pasid});
        found.has_entry = true;
        found.entry[0] = pasid.word[0];
        found.entry[1] = pasid.word[1];
        found.entry[2] = pasid.word[2];
        std::uint64_t const unused = pasid.word[3] | pasid.word[4] | pasid.word[5] | pasid.word[6] | pasid.word[7];
        if (!is_plain(pasid, unused) || found.privileged != 0 || is_execute(r)) [[unlikely]] {
            if (reason const bad = judge_pasid(pasid.word[0], pasid.word[1], pasid.word[2], unused, found.privileged, r);
                bad != reason::none)
                return {bad, found.quiet(), pasid_at, pasid.word[0]};
        }
        if constexpr (is_caching<Trace>) {
            caches_->pasids.insert(pasid_ticket, Caches::key_of(r.source, found.pasid),
                                   {found.directory, found.entry[0], found.entry[1], found.entry[2]});
        }
        return {};
    }

    /// min(MGAW, AGAW) in bits of second-stage tables of \p levels levels.
    [[nodiscard]] constexpr std::uint64_t second_stage_width(std::uint64_t levels) const {
        std::uint64_t const width = 12 + 9 * levels;
        return width < caps_.guest_address_width() ? width : caps_.guest_address_width();
    }

private:
    template <class Trace>
    static constexpr bool is_caching =
        std::conjunction_v<std::is_same<std::remove_cvref_t<Trace>, no_trace>, std::bool_constant<Caches::exist>>;

    // What the caches know, if they know all and nothing of it refuses the request.
    [[nodiscard, gnu::always_inline]] constexpr bool recall(request const& r, scalable_finding& found) const noexcept {
        scalable_context_entry context;
        std::uint64_t first[2]{};
        if (!caches_->contexts.find(r.source, first)) return false;
        context.word[0] = first[0];
        context.word[1] = first[1];
        found.context = first[0];
        if (!is_plain(context, 0) || r.type != request_type::untranslated || r.has_pasid()) [[unlikely]] {
            if (judge_context(first[0], first[1], 0, r) != reason::none) return false;
        }
        found.pasid = r.has_pasid() ? r.pasid : context.get<"RID_PASID">();
        found.privileged = r.has_pasid() ? r.access.covers(privileged) : context.get<"RID_PRIV">();
        if (r.type == request_type::translated) return true;
        std::uint64_t second[4]{};
        if (!caches_->pasids.find(Caches::key_of(r.source, found.pasid), second)) return false;
        found.directory = second[0];
        pasid_table_entry const pasid{second[1], second[2], second[3]};
        for (std::size_t w = 0; w < scalable_finding::entry_words; ++w)
            found.entry[w] = second[w + 1];
        found.has_entry = true;
        if (!is_plain(pasid, 0) || found.privileged != 0 || is_execute(r)) [[unlikely]]
            return judge_pasid(second[1], second[2], second[3], 0, found.privileged, r) == reason::none;
        return true;
    }

    // The PASIDs that every directory covers, whatever PDTS is.
    static constexpr std::uint64_t smallest_directory = scalable_context_entry{}.last_pasid();

    // What a plain PASID table entry of one PGTT is held against.
    struct plain_pasid {
        std::uint64_t mask{};   // of the first word: P, and what is reserved or not supported
        std::uint64_t want{};   // what that is to be
        std::uint64_t second{}; // the bits of the second word that are to be 0
        std::uint64_t third{};  // those of the third word
    };

    // --- the modes ---------------------------------------------------------------------------------------------------

    // RTADDR_REG against the capabilities, once for all requests (RTA.1, RTA.4).
    [[nodiscard]] static constexpr reason judge_mode(capabilities const& caps, root_table_address root) {
        switch (static_cast<table_mode>(root.get<"TTM">())) {
        case table_mode::legacy:
            return root.get<"SSIRWE">() != 0 && caps.has<"SSIRWS">() ? reason::root_pointer_invalid : reason::none;
        case table_mode::scalable: return caps.has<"SMTS">() ? reason::none : reason::root_pointer_invalid;
        case table_mode::abort: return caps.has<"ADMS">() ? reason::dma_aborted : reason::root_pointer_invalid;
        case table_mode::reserved: break;
        }
        return reason::root_pointer_invalid;
    }

    // An execute request carries a PASID.
    [[nodiscard]] static constexpr bool is_execute(request const& r) { return r.has_pasid() && r.access.covers(execute); }

    // --- legacy mode -------------------------------------------------------------------------------------------------

    // The context entry in the manual's order (LCT.2 to LCT.5).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_context(context_entry const& c, request const& r) const {
        if (c.get<"P">() == 0) return reason::context_not_present;
        if (((c.word[0] & bad_context_[0]) | (c.word[1] & bad_context_[1])) != 0) return reason::context_reserved;
        bool const device_tlb = c.type() == translation_type::device_tlb;
        bool const through = c.type() == translation_type::pass_through;
        if (c.type() == translation_type::reserved || (device_tlb && !caps_.has<"DT">()) || (through && !caps_.has<"PT">()))
            return reason::context_invalid;
        if (r.type != request_type::untranslated && !device_tlb) return reason::request_blocked;
        if (!caps_.second_stage_levels(c.levels())) return reason::context_invalid;
        if (through && rules_.pass_through == pass_through_width::largest && c.levels() != caps_.deepest_second_stage())
            return reason::address_beyond_width;
        return reason::none;
    }

    // --- scalable mode -----------------------------------------------------------------------------------------------

    // The half of the root entry that the request uses, and by policy the other one (SRT.2, SRT.3).
    [[nodiscard, gnu::always_inline]] constexpr reason judge_halves(std::uint64_t used, std::uint64_t other) const {
        constexpr std::uint64_t present = scalable_root_entry::mask<"LP">();
        if ((used & present) == 0) return reason::scalable_root_not_present;
        if ((used & bad_half_) != 0) return reason::scalable_root_reserved;
        if ((other & bad_other_half_) != 0 && (other & present) != 0) return reason::scalable_root_reserved;
        return reason::none;
    }

    // Whether judge_context() has nothing to say of the entry itself, seen at a glance.
    [[nodiscard, gnu::always_inline]] constexpr bool is_plain(scalable_context_entry const& c, std::uint64_t rest) const {
        constexpr std::uint64_t present = scalable_context_entry::mask<"P">();
        return (((c.word[0] ^ present) & plain_context_[0]) | (c.word[1] & plain_context_[1]) | rest) == 0;
    }

    // The scalable context entry in the manual's order (SCT.2 to SCT.10). It takes words, not the entry: that would live in
    // memory on the plain path too.
    [[nodiscard, gnu::noinline]] constexpr reason judge_context(std::uint64_t first, std::uint64_t second, std::uint64_t rest,
                                                                request const& r) const {
        scalable_context_entry const c{first, second};
        if (c.get<"P">() == 0) return reason::scalable_context_not_present;
        if (((first & bad_scalable_context_[0]) | (second & bad_scalable_context_[1]) | rest) != 0)
            return reason::scalable_context_reserved;
        bool const device_tlb = c.get<"DTE">() != 0;
        if ((!device_tlb && c.get<"PRE">() != 0) || c.get<"RID_PASID">() > c.last_pasid() ||
            (c.get<"EPTR">() != 0 && c.get<"PASIDE">() == 0))
            return reason::scalable_context_invalid;
        bool const page_request = r.type == request_type::page;
        if (!device_tlb && (r.type == request_type::translation || r.type == request_type::translated))
            return reason::device_tlb_disabled;
        if (r.has_pasid()) {
            // A translated request may carry a PASID where EPTR says so, whatever PASIDE is.
            if (c.get<"PASIDE">() == 0 && r.type != request_type::translated) return reason::pasid_disabled;
            if (r.pasid > low_mask(caps_.pasid_width())) return reason::pasid_beyond_unit;
            if (r.pasid > c.last_pasid()) return reason::pasid_beyond_directory;
        }
        if (page_request && c.get<"PRE">() == 0) return reason::page_requests_disabled;
        if (r.has_pasid() && r.pasid == c.get<"RID_PASID">()) return reason::pasid_is_rid_pasid;
        if (r.has_pasid() && r.type == request_type::translated && caps_.has<"PTRS">() && c.get<"EPTR">() == 0)
            return reason::translated_pasid_disabled;
        return reason::none;
    }

    // What entries of PGTT = \p kind are held against.
    constexpr void prepare(std::uint64_t kind) {
        pasid_table_entry e;
        e.set<"PGTT">(kind);
        for (std::size_t w = 0; w < scalable_finding::entry_words; ++w)
            bad_pasid_[kind][w] = e.reserved_with(w, caps_, rules_.unused);
        has_kind_[kind] = supports(e.kind());

        plain_pasid& plain = plain_pasid_[kind];
        plain.mask = bad_pasid_[kind][0] | pasid_table_entry::mask<"P">();
        plain.want = has_kind_[kind] ? pasid_table_entry::mask<"P">() : ~plain.mask;
        plain.second = bad_pasid_[kind][1];
        plain.third = bad_pasid_[kind][2];
        if (!has_kind_[kind]) return;
        if (e.uses_first_stage()) plain.third |= bit_mask(3, caps_.cap.get<"FS5LP">() != 0 ? 3 : 2);
        for (std::uint64_t aw = 8; aw-- > 0;) {
            e.set<"AW">(aw);
            if (e.uses_second_stage() && !caps_.second_stage_levels(e.second_stage_levels())) continue;
            plain_depths_ |= std::uint64_t{1} << depth_of(e.word[0]);
            // A root within the reach of the shallowest tables is within that of all.
            if (e.kind() == pasid_translation::nested)
                plain.third |= pasid_table_entry::mask<"FSPTPTR">() & ~low_mask(second_stage_width(e.second_stage_levels()));
        }
    }

    // AW, a reserved bit, and the low bits of PGTT: those tell the supported kinds apart.
    [[nodiscard, gnu::always_inline]] static constexpr std::uint64_t depth_of(std::uint64_t word) { return word >> 2 & 63; }

    // Whether judge_pasid() has nothing to say of the entry itself, seen at a glance. The words from the fourth on are reserved
    // as a whole: the host permission tables, which would be there, are not walked.
    [[nodiscard, gnu::always_inline]] constexpr bool is_plain(pasid_table_entry const& p, std::uint64_t unused) const {
        plain_pasid const& plain = plain_pasid_[p.get<"PGTT">()];
        std::uint64_t const bad =
            ((p.word[0] & plain.mask) ^ plain.want) | (p.word[1] & plain.second) | (p.word[2] & plain.third);
        return (bad | unused) == 0 && (plain_depths_ >> depth_of(p.word[0]) & 1) != 0;
    }

    // The PASID table entry in the manual's order (SPT.2 to SPT.6).
    [[nodiscard, gnu::noinline]] constexpr reason judge_pasid(std::uint64_t first, std::uint64_t second, std::uint64_t third,
                                                              std::uint64_t unused, std::uint64_t as_privileged,
                                                              request const& r) const {
        pasid_table_entry const p{first, second, third};
        if (p.get<"P">() == 0) return reason::pasid_entry_not_present;
        std::uint64_t const(&bad)[scalable_finding::entry_words] = bad_pasid_[p.get<"PGTT">()];
        if (((first & bad[0]) | (second & bad[1]) | (third & bad[2]) | unused) != 0) return reason::pasid_entry_reserved;
        if (!has_kind_[p.get<"PGTT">()]) return reason::pasid_entry_invalid;
        if (p.uses_second_stage() && !caps_.second_stage_levels(p.second_stage_levels())) return reason::pasid_entry_invalid;
        if (p.uses_first_stage() && (p.get<"FSPM">() > 1 || (p.get<"FSPM">() == 1 && caps_.cap.get<"FS5LP">() == 0)))
            return reason::pasid_entry_invalid;
        if (p.kind() == pasid_translation::nested && p.get<"FSPTPTR">() > low_mask(second_stage_width(p.second_stage_levels())))
            return reason::pasid_entry_invalid;
        if (r.type == request_type::page) return reason::none;
        if (is_execute(r) && !caps_.has<"ERS">()) return reason::execute_disabled;
        if (as_privileged != 0 && p.get<"SRE">() == 0) return reason::supervisor_disabled;
        return reason::none;
    }

    [[nodiscard]] constexpr bool supports(pasid_translation kind) const {
        switch (kind) {
        case pasid_translation::first_stage: return caps_.has<"FSTS">();
        case pasid_translation::second_stage: return caps_.has<"SSTS">();
        case pasid_translation::nested: return caps_.has<"NEST">();
        case pasid_translation::pass_through: return caps_.has<"PT">();
        }
        return false;
    }

    // --- small things ------------------------------------------------------------------------------------------------

    // Reads entry \p index of \p table once, word by word. No entry crosses a page.
    template <class Entry>
    [[nodiscard, gnu::always_inline]] constexpr bool load(std::uint64_t table, std::uint64_t index, Entry& e) const noexcept {
        return load(table, index, e, std::make_index_sequence<Entry::words>{});
    }
    // Without a loop: g++ 12 unrolls one too late to keep the words in registers.
    template <class Entry, std::size_t... Word>
    [[nodiscard, gnu::always_inline]] constexpr bool load(std::uint64_t table, std::uint64_t index, Entry& e,
                                                          std::index_sequence<Word...>) const noexcept {
        stagewalk::detail::fast_memory<M> memory = *memory_;
        return (load_word(memory, table, index * Entry::words + Word, e.word[Word]) && ...);
    }
    template <class Memory>
    [[nodiscard, gnu::always_inline]] static constexpr bool load_word(Memory& memory, std::uint64_t table, std::uint64_t index,
                                                                      std::uint64_t& word) noexcept {
        auto loaded = stagewalk::detail::load_entry(memory, typename M::address{table}, index);
        if (!loaded) [[unlikely]]
            return false;
        word = *loaded;
        return true;
    }

    capabilities caps_;
    root_table_address root_;
    M* memory_;
    [[no_unique_address]] stagewalk::detail::caches_of<Caches> caches_;
    policy rules_;
    reason mode_fault_;                       // what every request gets, if the mode is none that the unit has
    std::uint64_t beyond_host_;               // the address bits that the host does not have
    std::uint64_t bad_root_;                  // the reserved bits of a legacy root entry's low word
    std::uint64_t bad_context_[2];            // those of a legacy context entry
    std::uint64_t bad_half_;                  // those of the used half of a scalable root entry
    std::uint64_t bad_other_half_;            // those of the other half, by policy
    std::uint64_t bad_directory_;             // those of a PASID directory entry
    std::uint64_t bad_scalable_context_[2]{}; // those of a scalable context entry, whose rest is reserved
    std::uint64_t plain_context_[2]{};        // what a plain one's first words are held against
    plain_pasid plain_pasid_[8]{};            // what a plain PASID table entry is, by PGTT
    std::uint64_t plain_depths_{};            // by depth_of(): whether the unit has these tables
    std::uint64_t bad_pasid_[8][scalable_finding::entry_words]{}; // the reserved bits of such an entry, by PGTT
    bool has_kind_[8]{};                                          // which PGTT the unit supports
};

} // namespace vtd
} // namespace v0
} // namespace stagewalk
