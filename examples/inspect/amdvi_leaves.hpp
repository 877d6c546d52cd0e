/// \file
/// Everything that a device of an AMD IOMMU reaches: through host tables, guest tables, or both.
#pragma once

#include "guest_memory.hpp"
#include "mapping_merger.hpp"
#include "overloaded.hpp"
#include "unit.hpp"

#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

namespace inspect {

/// Makes one mapping of the entries that stand for the same page: one that is larger than an entry of its level spans has an
/// entry in each slot that it covers.
class slot_merger {
public:
    /// \param out gets whole pages.
    explicit slot_merger(mapping_merger& out) : out_{out} {}

    /// The next mapping in ascending order, of one entry. \return false where the visitor has had enough.
    bool add(mapping const& m) {
        bool const joins = open_.leaves != 0 && m.first == open_.last + 1 && m.smallest == open_.smallest &&
                           (m.first ^ open_.first) <= stagewalk::low_mask(m.smallest) && m.effective == open_.effective &&
                           m.output == open_.output + (open_.last - open_.first) + 1;
        if (joins) {
            open_.last = m.last;
            return true;
        }
        if (!flush()) return false;
        open_ = m;
        return true;
    }
    /// What is still open.
    bool flush() {
        mapping const whole = std::exchange(open_, nothing);
        return whole.leaves == 0 || out_.add(whole);
    }

private:
    static constexpr mapping nothing{0, 0, 0, {}, 0, 0, 0};

    mapping_merger& out_;
    mapping open_ = nothing;
};

/// Enumerates what a binding maps.
class amdvi_leaves {
    using unit_type = stagewalk::amdvi::iommu<guest_memory>;
    using event = stagewalk::amdvi::event;
    using fault = stagewalk::fault<event>;
    using attributes = stagewalk::attributes;
    using middle = stagewalk::intermediate<stagewalk::ipa>;
    using counted = counting_memory<guest_memory>;
    using nested_walk = stagewalk::amdvi::nested_walk<counted, stagewalk::no_trace>;
    using nested_guest = unit_type::nested_guest_stage;

public:
    /// \param wrong is called with the fault of an entry that is present and not valid or that cannot be read.
    amdvi_leaves(unit_type const& unit, guest_memory& memory, stagewalk::amdvi::binding const& b, std::uint64_t max_loads,
                 std::function<void(fault const&)> wrong)
        : unit_{unit}, binding_{b}, all_{&memory}, max_loads_{max_loads}, wrong_{std::move(wrong)} {}

    /// Calls \p mapped with everything, in ascending order; what a device lacks the right to is without that right.
    [[nodiscard]] stagewalk::enumeration run(bool merged, std::function<bool(mapping const&)> const& mapped) {
        using stagewalk::amdvi::binding_kind;
        mapping_merger merge{merged, mapped};
        slot_merger slots{merge};
        stagewalk::enumeration done;
        switch (binding_.kind) {
        case binding_kind::bypass:
        case binding_kind::identity: return done;
        case binding_kind::host: done = alone(unit_.host_stage_of(binding_), slots); break;
        case binding_kind::guest: done = alone(unit_.guest_stage_of(binding_), slots); break;
        case binding_kind::nested: done = nested(slots); break;
        }
        if (!slots.flush() || !merge.flush()) done.complete = false;
        done.loads = all_.loads;
        return done;
    }

private:
    [[nodiscard]] std::uint64_t loads_left() const { return max_loads_ > all_.loads ? max_loads_ - all_.loads : 0; }

    // What a leaf grants to a user's data accesses. Host tables know no users.
    template <class Stage>
    static attributes as_user_sees(attributes a) {
        bool const closed =
            Stage::number == stagewalk::fault_stage::first && (a.format_bits() & nested_guest::privileged_only) != 0;
        std::uint64_t const rights = closed ? 0 : (a.rights() & stagewalk::read_write).bits;
        return attributes::from_bits(rights | a.format_bits());
    }

    template <class Stage>
    stagewalk::enumeration alone(Stage const& s, slot_merger& slots) {
        auto const leaf = [&](stagewalk::leaf<Stage> const& l) {
            return slots.add({l.part.first().value, l.part.last().value, l.first.output.value,
                              as_user_sees<Stage>(l.first.effective), 1, l.first.lg2_size, l.first.lg2_size});
        };
        auto const broken = [&](fault const& f) { wrong_(f); };
        return for_each_leaf(s, all_, stagewalk::range<stagewalk::iova>::all(), overloaded{leaf, broken}, max_loads_);
    }

    stagewalk::enumeration nested(slot_merger& slots) {
        using nested_host = unit_type::nested_host_stage;
        stagewalk::no_trace nobody;
        nested_host const host = unit_.nested_host_stage_of(binding_);
        nested_walk both{host, all_, nobody};
        // One page of the guest: the pieces of it that the host tables map.
        auto const page = [&](stagewalk::leaf<nested_guest> const& g) {
            std::uint64_t const input = g.part.first().value;
            std::uint64_t const base = g.first.output.value;
            auto const where = stagewalk::range<middle>::between(middle{base}, middle{base + g.part.span()});
            attributes const mine = as_user_sees<nested_guest>(g.first.effective);
            auto const piece = [&](stagewalk::leaf<nested_host> const& l) {
                std::uint64_t const lg2 = std::min(g.first.lg2_size, l.first.lg2_size);
                std::uint64_t const from = input + (l.part.first().value - base);
                std::uint64_t const rights = mine.rights().bits & l.first.effective.rights().bits;
                return slots.add({from, from + l.part.span(), l.first.output.value,
                                  attributes::from_bits(rights | mine.format_bits() | l.first.effective.format_bits()), 1, lg2,
                                  lg2});
            };
            auto const broken = [&](fault f) {
                f.intermediate = f.input;
                f.input = input + (f.input - base);
                wrong_(f);
            };
            return for_each_leaf(host, all_, where, overloaded{piece, broken}, loads_left()).complete;
        };
        // What the guest's tables have at fault, or what stood before them. The loads behind host tables count too.
        auto const broken = [&](stagewalk::walk_fault<nested_guest, nested_walk::tables> const& f) {
            fault told = both.report({f.by, f.outer, stagewalk::outer_fault(f.inner)}, stagewalk::none);
            told.input = f.outer.input;
            wrong_(told);
            return all_.loads < max_loads_;
        };
        return for_each_leaf(unit_.nested_guest_stage_of(binding_), both.guest_memory(), stagewalk::range<stagewalk::iova>::all(),
                             overloaded{page, broken}, max_loads_);
    }

    unit_type const& unit_;
    stagewalk::amdvi::binding const& binding_;
    counted all_;
    std::uint64_t max_loads_;
    std::function<void(fault const&)> wrong_;
};

} // namespace inspect
