/// \file
/// What watches a request on its way through an AMD IOMMU.
#pragma once

#include "amdvi_configuration_text.hpp"
#include "amdvi_entry_text.hpp"
#include "unit.hpp"

#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace inspect {

/// Whether a stage takes a device's addresses, rather than those between two stages.
template <class Stage>
inline constexpr bool takes_iova = std::is_same_v<typename Stage::input, stagewalk::iova>;

/// Knows what the walks through host tables are for: a nested request takes one for each entry of its guest.
class amdvi_progress {
    using device_table_entry = stagewalk::amdvi::device_table_entry;
    using gcr3_table_entry = stagewalk::amdvi::gcr3_table_entry;

public:
    /// What host tables are walked for.
    enum class purpose {
        gcr3,   ///< A GCR3 table entry.
        entry,  ///< The next entry of the guest tables.
        page,   ///< The page that the guest tables lead to.
        update, ///< Whether an entry of the guest tables may be updated.
    };
    /// What the walk through host tables that is going on is for. Of a nested request.
    [[nodiscard]] purpose host() const { return now_; }

    void operator()(device_table_entry const& e) { gcr3_left_ = e.get<"GLX">() + 1; }
    void operator()(gcr3_table_entry const&) {
        if (--gcr3_left_ == 0) next_ = purpose::entry;
    }

    /// A step of guest tables.
    template <class Stage>
    void guest_step(stagewalk::traced_step<Stage> const& s) {
        bool const leaf = s.judged.is == stagewalk::verdict::leaf;
        update_due_ = s.judged.is == stagewalk::verdict::table && s.of.marked(s.at, stagewalk::read, {}, false) != s.at.entry;
        next_ = leaf ? purpose::page : purpose::entry;
    }
    /// A step of host tables.
    template <class Stage>
    void host_step(stagewalk::traced_step<Stage> const& s) {
        if (s.at.level != s.of.top()) return;
        now_ = update_due_ ? purpose::update : next_;
        update_due_ = false;
        // When a leaf's update is made, the tables are asked once more.
        if (now_ == purpose::page) next_ = purpose::update;
    }

private:
    std::uint64_t gcr3_left_{};
    purpose next_{purpose::gcr3};
    purpose now_{purpose::gcr3};
    bool update_due_{};
};

/// Decodes every entry that a request meets.
class amdvi_entry_decoder {
public:
    amdvi_entry_decoder(std::vector<decoded_entry>& out, amdvi_registers const& registers, stagewalk::amdvi::policy const& rules,
                        question const& q)
        : out_{out}, decode_{registers, rules, q.source} {}

    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const& s) {
        out_.push_back(decode_(s.entry, s.address));
        progress_(s.entry);
    }
    template <class Stage>
    void operator()(stagewalk::traced_step<Stage> const& s) {
        using purpose = amdvi_progress::purpose;
        if constexpr (Stage::number == stagewalk::fault_stage::first) {
            out_.push_back(decode_amdvi_entry(s, "guest table"));
            progress_.guest_step(s);
        } else if constexpr (takes_iova<Stage>) {
            out_.push_back(decode_amdvi_entry(s, "host table"));
        } else {
            constexpr char const* names[] = {"host table of the GCR3 entry", "host table of the next entry",
                                             "host table of the page", "host table of the update"};
            progress_.host_step(s);
            // An update that is allowed is worth no look.
            if (progress_.host() == purpose::update && s.judged.is != stagewalk::verdict::refused) return;
            out_.push_back(decode_amdvi_entry(s, names[static_cast<int>(progress_.host())]));
        }
    }

private:
    std::vector<decoded_entry>& out_;
    amdvi_configuration_decoder decode_;
    amdvi_progress progress_;
};

/// Remembers for how many addresses the entries that a request met would have been the same.
class amdvi_depth_gauge {
public:
    /// Whether tables that depend on the address were met.
    [[nodiscard]] bool in_tables() const { return in_tables_; }
    /// The address bits that do not matter, counted upwards from the address that was asked for.
    [[nodiscard]] std::uint64_t span_mask() const { return span_mask_; }

    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const& s) {
        progress_(s.entry);
    }
    template <class Stage>
    void operator()(stagewalk::traced_step<Stage> const& s) {
        if constexpr (Stage::number == stagewalk::fault_stage::first) {
            progress_.guest_step(s);
            in_tables_ = true;
            span_mask_ = span_of(s);
        } else if constexpr (takes_iova<Stage>) {
            in_tables_ = true;
            span_mask_ = span_of(s);
        } else {
            progress_.host_step(s);
            // Whatever stands before an entry of the guest stands before its whole table.
            if (progress_.host() == amdvi_progress::purpose::page) span_mask_ = std::min(span_mask_, span_of(s));
        }
    }

private:
    // A page that is larger than its entry spans has other entries beside this one, which nobody has looked at. An entry that
    // skips levels leads on for its lowest addresses only, and none of those above them is different from the next.
    template <class Stage>
    static std::uint64_t span_of(stagewalk::traced_step<Stage> const& s) {
        bool const leads_on = s.judged.is == stagewalk::verdict::table;
        return stagewalk::low_mask(Stage::shift(leads_on ? s.judged.value + 1 : s.at.level));
    }

    amdvi_progress progress_;
    bool in_tables_{};
    std::uint64_t span_mask_{};
};

} // namespace inspect
