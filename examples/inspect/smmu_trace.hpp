/// \file
/// What watches a request on its way through an SMMU.
#pragma once

#include "smmu_configuration_text.hpp"
#include "smmu_entry_text.hpp"
#include "unit.hpp"

#include <stagewalk/smmu/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace inspect {

/// Knows what the walks through stage 2 are for: a request that also uses stage 1 takes one for each of its entries.
class smmu_progress {
public:
    /// \param with_substream whether the request names one.
    smmu_progress(stagewalk::smmu::capabilities const& caps, bool with_substream, stagewalk::access a)
        : caps_{caps}, with_substream_{with_substream}, access_{a} {}

    /// What stage 2 is walked for.
    enum class purpose {
        request, ///< The request itself, which passes stage 1 untranslated.
        context, ///< A context descriptor.
        entry,   ///< The next descriptor of stage 1.
        page,    ///< The page that stage 1 leads to.
        update,  ///< Whether a descriptor of stage 1 may be updated.
    };
    /// What the walk through stage 2 that is going on is for.
    [[nodiscard]] purpose second() const { return now_; }

    void operator()(stagewalk::smmu::stream_table_entry const& e) {
        bool const bypasses = caps_.substream_size() != 0 && e.get<"S1CDMax">() != 0 && !with_substream_ &&
                              e.without_substream() == stagewalk::smmu::default_substream::bypass;
        next_ = e.has_stage1() && !bypasses ? purpose::context : purpose::request;
    }
    void operator()(stagewalk::smmu::context_descriptor const&) { next_ = purpose::entry; }
    void operator()(auto const&) {}

    /// A step of stage 1.
    template <class Stage>
    void first(stagewalk::traced_step<Stage> const& s) {
        bool const leaf = s.judged.is == stagewalk::verdict::leaf;
        update_due_ = s.judged.is != stagewalk::verdict::refused && s.of.marked(s.at, access_, {}, leaf) != s.at.entry;
        next_ = leaf ? purpose::page : purpose::entry;
    }
    /// A step of stage 2.
    template <class Stage>
    void second(stagewalk::traced_step<Stage> const& s) {
        if (s.at.level != s.of.top()) return;
        now_ = next_;
        if (update_due_) now_ = purpose::update;
        update_due_ = false;
        // When a leaf's update is made, it is asked for once more.
        if (now_ == purpose::page) next_ = purpose::update;
    }

private:
    stagewalk::smmu::capabilities const& caps_;
    bool with_substream_;
    stagewalk::access access_;
    purpose next_{purpose::request};
    purpose now_{purpose::request};
    bool update_due_{};
};

/// Decodes every entry that a request meets.
class smmu_entry_decoder {
public:
    smmu_entry_decoder(std::vector<decoded_entry>& out, smmu_registers const& registers, stagewalk::smmu::policy const& rules,
                       question const& q)
        : out_{out}, decode_{registers, rules, q.source}, progress_{registers.caps, q.pasid != no_pasid, q.access} {}

    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const& s) {
        out_.push_back(decode_(s.entry, s.address));
        progress_(s.entry);
    }
    template <class Stage>
    void operator()(stagewalk::traced_step<Stage> const& s) {
        if constexpr (Stage::number == stagewalk::fault_stage::first) {
            out_.push_back(decode_smmu_descriptor(s, "stage 1"));
            progress_.first(s);
        } else {
            constexpr char const* names[] = {"stage 2", "stage 2 of the context descriptor", "stage 2 of the next descriptor",
                                             "stage 2 of the page", "stage 2 of the update"};
            progress_.second(s);
            // An update that is allowed is worth no look.
            if (progress_.second() == smmu_progress::purpose::update && s.judged.is != stagewalk::verdict::refused) return;
            out_.push_back(decode_smmu_descriptor(s, names[static_cast<int>(progress_.second())]));
        }
    }

private:
    std::vector<decoded_entry>& out_;
    smmu_configuration_decoder decode_;
    smmu_progress progress_;
};

/// Remembers for how many addresses the entries that a request met would have been the same.
class smmu_depth_gauge {
public:
    smmu_depth_gauge(stagewalk::smmu::capabilities const& caps, question const& q)
        : progress_{caps, q.pasid != no_pasid, q.access} {}

    /// Whether tables that depend on the address were met.
    [[nodiscard]] bool in_tables() const { return in_tables_; }
    /// The address bits that do not matter.
    [[nodiscard]] std::uint64_t span_mask() const { return span_mask_; }

    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const& s) {
        progress_(s.entry);
    }
    template <class Stage>
    void operator()(stagewalk::traced_step<Stage> const& s) {
        if constexpr (Stage::number == stagewalk::fault_stage::first) {
            progress_.first(s);
            in_tables_ = true;
            span_mask_ = span_of(s);
        } else {
            progress_.second(s);
            switch (progress_.second()) {
            case smmu_progress::purpose::request:
                in_tables_ = true;
                span_mask_ = span_of(s);
                break;
            case smmu_progress::purpose::page: span_mask_ = std::min(span_mask_, span_of(s)); break;
            // Whatever stands before a descriptor of stage 1 stands before all that lie in its page.
            default: break;
            }
        }
    }

private:
    // A table may lie in several pages, each of which may lack or lie elsewhere: if nothing more is met, then all that can be
    // said is about those descriptors that lie in a page of 4 KiB together with the next one.
    template <class Stage>
    static std::uint64_t span_of(stagewalk::traced_step<Stage> const& s) {
        std::uint64_t const whole = Stage::shift(s.at.level);
        if (s.judged.is != stagewalk::verdict::table) return stagewalk::low_mask(whole);
        return stagewalk::low_mask(std::min(whole, Stage::shift(s.judged.value) + 9));
    }

    smmu_progress progress_;
    bool in_tables_{};
    std::uint64_t span_mask_{};
};

} // namespace inspect
