/// \file
/// A device behind a unit: `vtd::iommu::translate` from the device's number to an address, and the same by hand.
#pragma once

#include "second_stage.hpp"

namespace bench {

/// A root table and a context table that lead device 00:02.0 to the tables of a domain.
class bus {
public:
    explicit bus(std::uint64_t pages) : domain_{pages, 12, 2} {
        auto memory = bounded<pa>(domain_.ram());
        pa const root = domain_.spare(0);
        pa const contexts = domain_.spare(1);
        auto const r = vtd::root_entry::make(contexts.value);
        auto const c = vtd::context_entry::make(vtd::translation_type::untranslated_only, domain_.stage().root().value, 4, 1);
        for (std::uint64_t i = 0; i < 2; ++i) {
            need(static_cast<bool>(memory.store(root + i * 8, r.word[i])), "no root entry");
            need(static_cast<bool>(memory.store(contexts + device * 16 + i * 8, c.word[i])), "no context entry");
        }
        root_ = vtd::root_table_address{root.value};
    }

    [[nodiscard]] bench::domain const& domain() const { return domain_; }
    [[nodiscard]] vtd::root_table_address root() const { return root_; }

    static constexpr std::uint16_t device = 0x0010;

private:
    bench::domain domain_;
    vtd::root_table_address root_;
};

/// `vtd::iommu::translate`, everything on: interrupt ranges, both configuration entries checked in full.
template <class M>
struct unit_translate {
    M memory;
    vtd::iommu<M> unit;
    std::uint16_t device;

    unit_translate(bus const& b, M const& m) : memory{m}, unit{unit_registers(), b.root(), memory}, device{bus::device} {}
    unit_translate(unit_translate const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const {
        vtd::request r;
        r.source = device;
        r.address = in;
        r.access = read;
        return use(unit.translate(r));
    }
};

/// By hand: both configuration entries are read and checked in full, then comes the checked chase.
template <class M>
class unit_chase {
public:
    unit_chase(bus const& b, M const& m)
        : memory_{m}, root_{b.root().get<"RTA">()}, device_{bus::device}, chase_{b.domain().stage(), m} {
        auto const caps = unit_registers();
        bad_root_ = vtd::root_entry::reserved(0) | caps.beyond_host();
        bad_context_[0] = vtd::context_entry::reserved(0) | caps.beyond_host();
        bad_context_[1] = vtd::context_entry::reserved(1);
        depths_ = caps.cap.get<"SAGAW">();
    }

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] typename checked_chase<iova, pa, M>::result look_up(iova in, access a) const {
        M const memory = memory_;
        if (in.value >> 20 == 0xfee) [[unlikely]]
            return refused(in);
        pa const root_at{root_ + (device_ >> 8 << 4)};
        auto r0 = memory.load(root_at);
        auto r1 = memory.load(root_at + 8);
        if (!r0 || !r1 || (*r0 & 1) == 0 || ((*r0 & bad_root_) | *r1) != 0) [[unlikely]]
            return refused(in);
        pa const context_at{(*r0 & ~low_mask(12)) + ((device_ & 255) << 4)};
        auto c0 = memory.load(context_at);
        auto c1 = memory.load(context_at + 8);
        if (!c0 || !c1 || (*c0 & 1) == 0 || ((*c0 & bad_context_[0]) | (*c1 & bad_context_[1])) != 0) [[unlikely]]
            return refused(in);
        std::uint64_t const depth = *c1 & 7;
        if ((*c0 >> 2 & 3) != 0 || (depths_ >> depth & 1) == 0 || depth != 2) [[unlikely]]
            return refused(in);
        auto walked = chase_.from(pa{*c0 & ~low_mask(12)}, in, a);
        if (walked && walked->output.value >> 20 == 0xfee) [[unlikely]]
            return refused(in);
        return walked;
    }

private:
    [[nodiscard, gnu::cold, gnu::noinline]] static failure<fault<vtd::reason>> refused(iova in) {
        return {fault<vtd::reason>{vtd::reason::root_not_present, fault_stage::configuration, fault_at::context, 0xff, true,
                                   in.value, 0, 0, 0, 0}};
    }

    M memory_;
    std::uint64_t root_;
    std::uint64_t device_;
    std::uint64_t bad_root_;
    std::uint64_t bad_context_[2];
    std::uint64_t depths_;
    checked_chase<iova, pa, M> chase_;
};

} // namespace bench
