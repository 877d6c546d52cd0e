/// \file
/// What the enumeration of two stages needs, of whatever architecture.
#pragma once

#include "unit.hpp"

#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <functional>

namespace inspect {

/// The same memory, and counts what is loaded.
template <class Memory>
struct counting_memory {
    using address = typename Memory::address;
    using error = typename Memory::error;

    Memory* memory;
    std::uint64_t loads{};

    stagewalk::outcome<std::uint64_t, error> load(address a) noexcept {
        ++loads;
        return memory->load(a);
    }
};

/// Gathers neighbouring mappings into one.
class mapping_merger {
public:
    /// \param visit returns false to stop.
    mapping_merger(bool merge, std::function<bool(mapping const&)> const& visit) : merge_{merge}, visit_{visit} {}

    /// The next mapping in ascending order. \return false where the visitor has had enough.
    bool add(mapping const& m) {
        if (!merge_) return visit_(m);
        bool const joins = open_.leaves != 0 && m.first == open_.last + 1 && m.effective == open_.effective &&
                           m.output == open_.output + (open_.last - open_.first) + 1;
        if (!joins) {
            if (!flush()) return false;
            open_ = m;
            return true;
        }
        open_.last = m.last;
        open_.leaves += m.leaves;
        open_.smallest = m.smallest < open_.smallest ? m.smallest : open_.smallest;
        open_.largest = m.largest > open_.largest ? m.largest : open_.largest;
        return true;
    }
    /// What is still open.
    bool flush() {
        bool const go_on = open_.leaves == 0 || visit_(open_);
        open_ = nothing;
        return go_on;
    }

private:
    static constexpr mapping nothing{0, 0, 0, {}, 0, 0, 0};

    bool merge_;
    std::function<bool(mapping const&)> const& visit_;
    mapping open_ = nothing;
};

} // namespace inspect
