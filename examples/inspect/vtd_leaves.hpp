/// \file
/// Everything that a VT-d binding maps, one stage or two.
#pragma once

#include "mapping_merger.hpp"
#include "overloaded.hpp"
#include "unit.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>

namespace inspect {

/// Everything that a first stage maps behind a second one. What the second stage does not map is left out.
/// \param adjust turns the attributes of a first-stage page into those that the device has.
/// \param wrong is called with the fault of an entry that is present and not valid or that cannot be read.
template <class First, class Second, class Memory, class Adjust, class Wrong>
stagewalk::enumeration enumerate_nested(First const& first, Second const& second, Memory& memory, std::uint64_t max_loads,
                                        Adjust adjust, mapping_merger& merged, Wrong wrong) {
    namespace vtd = stagewalk::vtd;
    using counted = counting_memory<Memory>;
    using middle = typename Second::input;
    using second_view = stagewalk::single<Second, counted>;
    using first_memory = stagewalk::translated<second_view, counted, stagewalk::access>;
    using first_fault = stagewalk::walk_fault<First, first_memory>;
    using second_fault = stagewalk::fault<vtd::reason>;

    counted all{&memory};
    // Reading a first-stage table counts as writing where the second stage keeps A and D.
    first_memory tables{second_view{second, all}, all, second.keeps_accessed_dirty() ? stagewalk::read_write : stagewalk::read};

    // One page of the first stage: the pieces of it that the second stage maps.
    auto const pieces = [&](stagewalk::leaf<First> const& page) {
        std::uint64_t const input = page.part.first().value;
        std::uint64_t const base = page.first.output.value;
        auto const where = stagewalk::range<middle>::between(middle{base}, middle{base + page.part.span()});
        stagewalk::attributes const mine = adjust(page.first.effective);
        auto const piece = [&](stagewalk::leaf<Second> const& l) {
            std::uint64_t const size = page.first.lg2_size < l.first.lg2_size ? page.first.lg2_size : l.first.lg2_size;
            std::uint64_t const from = input + (l.part.first().value - base);
            std::uint64_t const rights = mine.rights().bits & l.first.effective.rights().bits;
            std::uint64_t const snooped = l.first.effective.bits & vtd::second_stage_page::mask<"SNP">();
            return merged.add({from, from + l.part.span(), l.first.output.value,
                               stagewalk::attributes::from_bits(rights | mine.format_bits() | snooped), 1, size, size});
        };
        auto const visit = overloaded{piece, [&](second_fault f) {
                                          f.intermediate = f.input;
                                          f.input = input + (f.input - base);
                                          wrong(f);
                                      }};
        std::uint64_t const left = max_loads > all.loads ? max_loads - all.loads : 0;
        return for_each_leaf(second, all, where, visit, left).complete;
    };
    auto const broken = [&](first_fault const& f) {
        wrong(vtd::report_nested({f.by, f.outer, stagewalk::outer_fault(f.inner)}));
        return all.loads < max_loads;
    };
    stagewalk::enumeration done =
        for_each_leaf(first, tables, stagewalk::range<typename First::input>::all(), overloaded{pieces, broken}, max_loads);
    if (!merged.flush()) done.complete = false;
    done.loads = all.loads;
    return done;
}

} // namespace inspect
