/// \file
/// Everything that a stream or substream of an SMMU maps: both halves of stage 1, stage 2, or both stages.
#pragma once

#include "guest_memory.hpp"
#include "mapping_merger.hpp"
#include "overloaded.hpp"
#include "unit.hpp"

#include <stagewalk/smmu/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>

namespace inspect {

/// What the stages of a binding grant to data accesses of its device, and which memory it gets: attributes in the unit's own
/// layout, `smmu::to_attributes`, without the right to execute.
class smmu_device_view {
    using attributes = stagewalk::attributes;
    using memory_attributes = stagewalk::smmu::memory_attributes;
    using half = stagewalk::smmu::half;

public:
    smmu_device_view(stagewalk::smmu::binding const& b, stagewalk::smmu::capabilities const& caps) : binding_{b}, caps_{caps} {
        stagewalk::smmu::request read;
        read.access = stagewalk::read;
        stagewalk::access const need = needs(read, b.stream, caps);
        privileged_ = need.covers(stagewalk::privileged);
        fetches_ = need.covers(stagewalk::execute);
    }

    /// The circumstances in which it asks.
    [[nodiscard]] stagewalk::access who() const { return privileged_ ? stagewalk::privileged : stagewalk::none; }
    /// Whether half \p h is there for it.
    [[nodiscard]] bool sees(half h) const {
        if (!has_tables(binding_.context, h, binding_.world)) return false;
        bool const refuses = caps_.has<"E0PD">() && binding_.world != stagewalk::smmu::stream_world::el2 &&
                             binding_.context.refuses_unprivileged(h);
        return privileged_ || !refuses;
    }
    /// What a leaf of stage 1 in half \p h grants.
    [[nodiscard]] attributes first(attributes a, half h) const {
        auto const& c = binding_.context;
        bool const wide = has_wide_tables(c, caps_) && c.granule_of(h) != stagewalk::smmu::granule::k64;
        std::uint64_t const sh = !wide ? a.bits >> 8 & 3 : h == half::lower ? c.get<"SH0">() : c.get<"SH1">();
        std::uint64_t const index = stagewalk::smmu::stage1<stagewalk::smmu::granule::k4>::attribute_index(a);
        return to_attributes(rights(a), stagewalk::smmu::stage1_memory(c.memory_attribute(index), sh));
    }
    /// What a leaf of stage 2 grants to what comes with \p before: all rights there are, and a memory type.
    [[nodiscard]] attributes second(attributes before, attributes a) const {
        auto const& e = binding_.stream;
        std::uint64_t const sh = has_wide_stage2(e, caps_) ? e.get<"S2SH0">() : a.bits >> 8 & 3;
        bool const forces = caps_.has<"FWB">() && e.get<"S2FWB">() != 0;
        std::uint64_t const code = stagewalk::smmu::stage2<stagewalk::smmu::granule::k4>::memory_attribute(a);
        return to_attributes(before.rights() & rights(a), combine(stagewalk::smmu::memory_in(before), code, sh, forces));
    }
    /// What the device comes with where stage 1 is off.
    [[nodiscard]] attributes incoming() const {
        auto const& e = binding_.stream;
        memory_attributes memory;
        if (caps_.has<"ATTR_TYPES_OVR">())
            memory = stagewalk::smmu::overridden(memory, e.get<"MTCFG">() != 0, e.get<"MemAttr">(), e.get<"SHCFG">());
        return to_attributes(stagewalk::read_write, memory);
    }

private:
    // Where reads are instruction fetches, they need the right to execute.
    [[nodiscard]] stagewalk::access rights(attributes a) const {
        stagewalk::access const granted = a.rights();
        if (!fetches_) return granted & stagewalk::read_write;
        return (granted & stagewalk::write) | (granted.covers(stagewalk::execute) ? stagewalk::read : stagewalk::none);
    }

    stagewalk::smmu::binding const& binding_;
    stagewalk::smmu::capabilities const& caps_;
    bool privileged_{};
    bool fetches_{};
};

/// A stage whose leaves tell what a device is granted, instead of what stands in them.
template <class Stage, class Adjust>
struct adjusted_stage : Stage {
    stagewalk::access who;
    Adjust const* adjust;

    adjusted_stage(Stage const& s, stagewalk::access asks, Adjust const& f) : Stage{s}, who{asks}, adjust{&f} {}

    [[nodiscard]] stagewalk::attributes leaf_attributes(std::uint64_t e, std::uint64_t lg2, typename Stage::path const& p,
                                                        stagewalk::access a) const {
        return (*adjust)(Stage::leaf_attributes(e, lg2, p, a | who));
    }
};

/// Enumerates what a binding maps.
class smmu_leaves {
    using unit_type = stagewalk::smmu::iommu<guest_memory>;
    using event = stagewalk::smmu::event;
    using fault = stagewalk::fault<event>;
    using half = stagewalk::smmu::half;
    using middle = stagewalk::intermediate<stagewalk::ipa>;
    using counted = counting_memory<guest_memory>;

public:
    /// \param wrong is called with the fault of an entry that is present and not valid or that cannot be read.
    smmu_leaves(unit_type const& unit, guest_memory& memory, stagewalk::smmu::binding const& b, std::uint64_t max_loads,
                std::function<void(fault const&)> wrong)
        : unit_{unit}, memory_{memory}, binding_{b}, view_{b, unit.caps()}, max_loads_{max_loads}, wrong_{std::move(wrong)} {}

    /// Calls \p mapped with everything, in ascending order.
    [[nodiscard]] stagewalk::enumeration run(bool merged, std::function<bool(mapping const&)> const& mapped) {
        mapping_merger merge{merged, mapped};
        counted all{&memory_};
        if (!binding_.uses_stage1) {
            done_ = second_alone(all, merge);
        } else if (binding_.uses_stage2) {
            nested(all, merge);
        } else {
            for (half const h : {half::lower, half::upper})
                if (done_.complete && view_.sees(h)) add(first_alone(all, merge, h));
        }
        if (!merge.flush()) done_.complete = false;
        done_.loads = all.loads;
        return done_;
    }

private:
    // The part of a page that stage 2 maps.
    struct piece {
        std::uint64_t first;
        std::uint64_t last;
        std::uint64_t output;
        stagewalk::attributes granted;
        std::uint64_t lg2;
    };

    void add(stagewalk::enumeration const& more) {
        done_.leaves += more.leaves;
        done_.tables += more.tables;
        done_.faults += more.faults;
        done_.complete = more.complete;
        done_.resume = more.resume;
    }
    [[nodiscard]] std::uint64_t loads_left(counted const& all) const {
        return max_loads_ > all.loads ? max_loads_ - all.loads : 0;
    }

    // Calls visit(memory) with the memory as the tables have it, in their byte order.
    template <class Memory, class Visit>
    static auto in_order(bool swapped, Memory& memory, Visit visit) {
        if (!swapped) return visit(memory);
        stagewalk::byte_swapped<Memory> other{memory};
        return visit(other);
    }

    template <class Stage, class Memory, class Visitor>
    stagewalk::enumeration leaves_of(Stage const& s, Memory& memory, stagewalk::range<typename Stage::input> where,
                                     Visitor const& visit, std::uint64_t max_loads) const {
        using fault_type = stagewalk::walk_fault<Stage, Memory>;
        return for_each_leaf(s, memory, where, overloaded{visit, [&](fault_type const& f) { wrong_(shown(f)); }}, max_loads);
    }
    // What stage 1 finds at fault, or what stood before its tables.
    static fault shown(fault const& f) { return f; }
    static fault shown(stagewalk::nested_fault<event, fault> const& f) {
        if (f.by == stagewalk::nested_by::outer) return f.outer;
        fault inner = f.inner;
        inner.input = f.outer.input;
        return inner;
    }

    stagewalk::enumeration first_alone(counted& all, mapping_merger& merge, half h) {
        auto const adjust = [&](stagewalk::attributes a) { return view_.first(a, h); };
        return unit_.with_stage1(binding_, h, [&](auto const& s) {
            adjusted_stage stage{s, view_.who(), adjust};
            using stage_type = decltype(stage);
            return in_order(binding_.is_stage1_swapped(), all, [&](auto& memory) {
                return leaves_of(
                    stage, memory, stagewalk::range<stagewalk::iova>::all(),
                    [&](stagewalk::leaf<stage_type> const& l) {
                        return merge.add({l.part.first().value, l.part.last().value, l.first.output.value, l.first.effective, 1,
                                          l.first.lg2_size, l.first.lg2_size});
                    },
                    loads_left(all));
            });
        });
    }

    // What stage 2 maps of `where`.
    template <class Visit>
    stagewalk::enumeration second(counted& all, stagewalk::attributes before, stagewalk::range<middle> where,
                                  Visit const& visit) {
        auto const adjust = [&](stagewalk::attributes a) { return view_.second(before, a); };
        return unit_.with_stage2(binding_, [&](auto const& s) {
            adjusted_stage stage{s, view_.who(), adjust};
            using stage_type = decltype(stage);
            return in_order(binding_.is_stage2_swapped(), all, [&](auto& memory) {
                return leaves_of(
                    stage, memory, where,
                    [&](stagewalk::leaf<stage_type> const& l) {
                        return visit(piece{l.part.first().value, l.part.last().value, l.first.output.value, l.first.effective,
                                           l.first.lg2_size});
                    },
                    loads_left(all));
            });
        });
    }
    stagewalk::enumeration second_alone(counted& all, mapping_merger& merge) {
        return second(all, view_.incoming(), stagewalk::range<middle>::all(), [&](piece const& p) {
            return merge.add({p.first, p.last, p.output, p.granted, 1, p.lg2, p.lg2});
        });
    }

    void nested(counted& all, mapping_merger& merge) {
        stagewalk::no_trace nobody;
        stagewalk::smmu::stage2_translator<counted, stagewalk::no_trace> const behind{binding_, unit_.caps(), unit_.rules(), all,
                                                                                      nobody};
        stagewalk::smmu::guest_tables<counted, stagewalk::no_trace> tables{behind, all, unit_.caps(), binding_.stream};
        // One page of stage 1: the pieces of it that stage 2 maps.
        std::function<bool(piece const&)> const page = [&](piece const& first) {
            auto const where =
                stagewalk::range<middle>::between(middle{first.output}, middle{first.output + (first.last - first.first)});
            auto const outer_wrong = wrong_;
            wrong_ = [&](fault f) {
                f.intermediate = f.input;
                f.input = first.first + (f.input - first.output);
                outer_wrong(f);
            };
            auto const done = second(all, first.granted, where, [&](piece const& p) {
                std::uint64_t const lg2 = std::min(first.lg2, p.lg2);
                std::uint64_t const from = first.first + (p.first - first.output);
                return merge.add({from, from + (p.last - p.first), p.output, p.granted, 1, lg2, lg2});
            });
            wrong_ = outer_wrong;
            return done.complete;
        };
        for (half const h : {half::lower, half::upper})
            if (done_.complete && view_.sees(h)) add(first_of_both(all, tables, h, page));
    }
    template <class Tables>
    stagewalk::enumeration first_of_both(counted& all, Tables& tables, half h, std::function<bool(piece const&)> const& page) {
        auto const adjust = [&](stagewalk::attributes a) { return view_.first(a, h); };
        return unit_.template with_stage1<middle>(binding_, h, [&](auto const& s) {
            adjusted_stage stage{s, view_.who(), adjust};
            using stage_type = decltype(stage);
            return in_order(binding_.is_stage1_swapped(), tables, [&](auto& memory) {
                using fault_type = stagewalk::walk_fault<stage_type, std::remove_reference_t<decltype(memory)>>;
                auto const leaf = [&](stagewalk::leaf<stage_type> const& l) {
                    return page(
                        {l.part.first().value, l.part.last().value, l.first.output.value, l.first.effective, l.first.lg2_size});
                };
                // The loads behind stage 2 count too.
                auto const broken = [&](fault_type const& f) {
                    wrong_(shown(f));
                    return all.loads < max_loads_;
                };
                return for_each_leaf(stage, memory, stagewalk::range<stagewalk::iova>::all(), overloaded{leaf, broken},
                                     loads_left(all));
            });
        });
    }

    unit_type const& unit_;
    guest_memory& memory_;
    stagewalk::smmu::binding const& binding_;
    smmu_device_view view_;
    std::uint64_t max_loads_;
    std::function<void(fault const&)> wrong_;
    stagewalk::enumeration done_;
};

} // namespace inspect
