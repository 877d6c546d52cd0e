/// \file
/// One opened IOMMU, whatever its architecture: what the tool's commands ask of it.
#pragma once

#include "capture.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace inspect {

/// Stands in `question::pasid` for a request without PASID.
inline constexpr std::uint32_t no_pasid = ~std::uint32_t{0};

/// A plain request: untranslated, unprivileged, data.
struct question {
    std::uint32_t source{};                    ///< Requester id or StreamID.
    std::uint32_t pasid{no_pasid};             ///< PASID or SubstreamID, or no_pasid.
    std::uint64_t address{};                   ///< The address on the bus.
    stagewalk::access access{stagewalk::read}; ///< read, write, or read_write for an access that needs both.
};

/// A fault in the manual's words and numbers.
struct fault_text {
    std::uint64_t code{};                                                ///< The manual's number, 0 for a silent abort.
    char const* name{""};                                                ///< For machines: `write_denied`.
    char const* meaning{""};                                             ///< For people, one line.
    stagewalk::fault_stage stage{stagewalk::fault_stage::configuration}; ///< Who found it.
    std::optional<int> level;                                            ///< In the manual's numbering; none outside tables.
    stagewalk::fault_at at{stagewalk::fault_at::context};                ///< What was being done.
    bool reported{true};                                                 ///< Whether the manual lets it be recorded.
    bool permission{};                                                   ///< A right is missing, in the manual's terms.
    std::uint64_t entry_address{};                                       ///< The entry to blame; 0 without one.
    std::uint64_t intermediate{};                                        ///< The IPA that stage 2 refused; else 0.
    std::uint64_t flags{};                                               ///< The architecture's own flags; else 0.
};

/// What became of a request.
enum class result {
    ok,        ///< Translated, or passed untranslated.
    fault,     ///< Refused.
    interrupt, ///< An interrupt request, no memory access.
    missing,   ///< The capture lacks a page that the answer depends on.
};

/// The answer to a question.
struct answer {
    result is{result::fault};
    std::uint64_t address{};    ///< ok: the output. interrupt: the address. missing: the page that is lacking.
    stagewalk::access rights{}; ///< ok: what all levels and stages grant.
    std::uint64_t lg2_size{};   ///< ok: the smallest page; 64 where nothing was translated.
    fault_text fault{};         ///< fault: which.
};

/// An answer that holds for more than one address.
struct stretch {
    answer first{};       ///< The answer for the address that was asked for.
    std::uint64_t last{}; ///< The last address that the same entries answer; outputs advance with the address.
};

/// An entry, decoded from the library's own field list.
struct decoded_entry {
    std::string what;                          ///< "root entry, bus 00".
    std::uint64_t address{};                   ///< Where it was read.
    std::optional<int> level;                  ///< In the manual's numbering; none outside tables.
    std::vector<std::uint64_t> words;          ///< The raw words.
    std::vector<stagewalk::field_view> fields; ///< Every field.
    std::vector<std::uint64_t> reserved;       ///< The reserved bits that are set, word by word.
    std::string verdict;                       ///< "leads to the table at 1000".
};

/// A walk, step by step.
struct traced {
    std::vector<decoded_entry> entries; ///< In the order in which they were read.
    answer result;                      ///< How it ended.
    decoded_entry record;               ///< fault: the record as the manual lays it out; no words where there is none.
};

/// What a device is bound to.
struct binding {
    std::uint32_t source{};
    std::uint32_t pasid{no_pasid};
    result is{result::fault};                        ///< ok: bound. Else why not.
    bool bypasses{};                                 ///< Bound without tables: addresses pass unchanged.
    bool blocked{};                                  ///< Not bound, and meant to be so: nothing passes. `mode` says why.
    stagewalk::access rights{stagewalk::read_write}; ///< If it bypasses: what passes.
    std::string domain;                              ///< The domain's id, in the manual's name for it: "DID 6".
    std::string mode;                                ///< "second stage, 4 levels".
    std::uint64_t root{};                            ///< The top table; meaningless if it bypasses.
    std::uint64_t second_root{}; ///< The top table of the stage below, where both are the device's own; else 0.
    std::uint64_t reach{};       ///< The highest input address that is admitted.
    std::string settings;        ///< Not for people: two with the same roots and settings translate alike.
    answer problem;              ///< Not bound: why.
    std::vector<std::pair<std::string, std::string>> details; ///< What else there is to know: name, value.

    /// Whether both translate through the same tables.
    [[nodiscard]] bool same_tables(binding const& other) const {
        return is == result::ok && other.is == result::ok && !bypasses && !other.bypasses && root == other.root &&
               second_root == other.second_root && mode == other.mode && settings == other.settings;
    }
};

/// Everything that the tables bind.
struct binding_list {
    std::vector<binding> all; ///< In ascending order; those of a device without PASID first.
    bool complete{true};      ///< Hostile tables may bind more than anybody wants to see.
};

/// Neighbouring pages that lead to neighbouring outputs with equal attributes; one page where nothing was merged.
struct mapping {
    std::uint64_t first{}; ///< The input addresses, both ends inclusive.
    std::uint64_t last{};
    std::uint64_t output{}; ///< Where the first leads.
    stagewalk::attributes effective{};
    std::uint64_t leaves{1};
    std::uint64_t smallest{}; ///< The lg2 sizes of the pages.
    std::uint64_t largest{};
};

/// An entry that is present and not valid, or that the capture lacks.
struct anomaly {
    std::uint64_t input{}; ///< The input address on whose way it lies.
    std::uint64_t entry{}; ///< The value that was judged.
    answer why;            ///< fault or missing.
};

/// Who is called during an enumeration. A mapping's visitor returns false to stop.
struct visitors {
    std::function<bool(mapping const&)> mapped;
    std::function<void(anomaly const&)> wrong;
};

/// An entry that a tour of all tables came to.
struct tree_entry {
    decoded_entry entry;                       ///< Where nothing could be read: only `address` and `verdict`.
    std::uint64_t depth{};                     ///< 1 for the first.
    std::optional<std::uint32_t> source;       ///< Whose it is, once that is known.
    std::optional<std::uint32_t> pasid;        ///< For which PASID, once that is known.
    std::optional<std::uint64_t> first_input;  ///< Page tables: the input addresses that it stands for,
    std::uint64_t last_input{};                ///< both ends inclusive.
    bool intermediate{};                       ///< Those addresses are the output of a stage above.
    std::optional<std::uint64_t> read_address; ///< Where it was read, if another stage translates its own address.
};

/// A table that an entry leads to. Two with equal \c identity hold the same entries with the same meaning.
struct tree_table {
    char const* what{""};    ///< "context table".
    std::uint64_t address{}; ///< Where it lies.
    std::uint64_t depth{};   ///< That of its entries.
    std::uint64_t kind{};    ///< Tells formats and levels apart.
    std::uint64_t space{};   ///< Tells the address spaces of the tables apart.
    bool whole{};            ///< Nothing of it is left out.
};

/// Who is called on a tour of all tables.
struct tree_visitors {
    std::function<bool(tree_entry const&)> entry; ///< Returns false to stop.
    std::function<bool(tree_table const&)> table; ///< Returns whether to enter it.
};

/// What a tour of all tables is to see.
struct tree_scope {
    std::optional<std::uint32_t> source;         ///< Only what this one uses.
    std::optional<std::uint32_t> pasid;          ///< Only what belongs to this PASID.
    std::uint64_t first_input{};                 ///< Page tables: only these input addresses,
    std::uint64_t last_input{~std::uint64_t{0}}; ///< both ends inclusive.
    std::uint64_t max_loads{};                   ///< The bound on loads.
};

/// An opened IOMMU over a guest's memory. Never writes to it.
class unit {
public:
    virtual ~unit() = default;

    /// The architecture and its mode, for people, and what else there is to know: name, value.
    [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> facts() const = 0;
    /// The largest source id that there can be.
    [[nodiscard]] virtual std::uint32_t largest_source() const = 0;
    /// Whether source ids are PCI requester ids, as the architecture has it.
    [[nodiscard]] virtual bool sources_are_bdfs() const = 0;

    /// Translates one request.
    virtual answer translate(question const& q) = 0;
    /// The same, and how far the answer reaches. Address-range rules must be off.
    virtual stretch translate_stretch(question const& q) = 0;
    /// The same, entry by entry.
    virtual traced trace(question const& q) = 0;

    /// What \p source is bound to.
    virtual binding find(std::uint32_t source, std::uint32_t pasid) = 0;
    /// Everything that the tables bind, or only for one source.
    virtual binding_list bindings(std::optional<std::uint32_t> only) = 0;
    /// Everything that the tables of \p source map, page by page or merged; nothing if it bypasses them.
    /// Address-range rules do not apply. At most \p max_loads loads.
    virtual stagewalk::enumeration enumerate(std::uint32_t source, std::uint32_t pasid, bool merged, std::uint64_t max_loads,
                                             visitors const& visit) = 0;
    /// A tour of all tables from the top, depth first; absent entries are passed over. Whether page tables are entered through
    /// entries that are not valid is up to the walk: they are shown and lead nowhere.
    virtual stagewalk::enumeration tour(tree_scope const& scope, tree_visitors const& visit) = 0;
};

/// Opens the IOMMU that \p c holds, as its `format` says. The capture must outlive the unit.
/// \param memory the guest's memory: the capture's own, or the same behind a stage 2.
/// \param range_rules whether addresses of interrupts and the like are special.
/// \throw bad_input if the architecture is unknown or the registers contradict each other.
[[nodiscard]] std::unique_ptr<unit> open_unit(capture const& c, guest_memory& memory, bool range_rules);

} // namespace inspect
