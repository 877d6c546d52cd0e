/// \file
/// A device behind a unit: `vtd::iommu::translate` from the device's number to an address, and the same by hand.
#pragma once

#include "two_stages.hpp"

#include <type_traits>

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

/// The same in scalable mode: root, context and PASID tables that lead device 00:02.0, by RID_PASID = 0, to the tables of
/// `Tables`: a `process`, a `scalable_domain` or a `unit_guest`.
template <class Tables>
class scalable_bus {
public:
    template <class... Options>
    explicit scalable_bus(std::uint64_t pages, Options const&... options) : tables_{make(pages, options...)} {
        auto memory = bounded<pa>(tables_.ram());
        auto const write_down = [&](pa at, auto const& entry) {
            for (std::uint64_t i = 0; i < entry.words; ++i)
                need(static_cast<bool>(memory.store(at + i * 8, entry.word[i])), "no configuration entry");
        };
        pa const root = tables_.spare(0);
        pa const contexts = tables_.spare(1);
        pa const directory = tables_.spare(2);
        pa const pasids = tables_.spare(3);
        write_down(root, vtd::scalable_root_entry::make(contexts.value, contexts.value));
        write_down(contexts + bus::device * 32, vtd::scalable_context_entry::make(directory.value, 0));
        write_down(directory, vtd::pasid_directory_entry::make(pasids.value));
        write_down(pasids, entry());
        root_ = vtd::root_table_address{root.value};
        root_.set<"TTM">(static_cast<std::uint64_t>(vtd::table_mode::scalable));
    }

    [[nodiscard]] Tables const& tables() const { return tables_; }
    [[nodiscard]] work const& order() const { return tables_.order(); }
    [[nodiscard]] vtd::root_table_address root() const { return root_; }
    /// The PASID table entry.
    [[nodiscard]] vtd::pasid_table_entry entry() const {
        vtd::pasid_table_entry e;
        if constexpr (std::is_same_v<Tables, process>) {
            e = vtd::pasid_table_entry::make_first_stage(tables_.stage().root().value, 4, 1);
        } else if constexpr (std::is_same_v<Tables, scalable_domain>) {
            e = vtd::pasid_table_entry::make_second_stage(tables_.stage().root().value, 4, 1);
            e.set<"SSADE">(tables_.stage().keeps_accessed_dirty());
        } else {
            e = vtd::pasid_table_entry::make_nested(tables_.outer().root().value, 4, tables_.inner().root().value, 4, 1);
        }
        e.set<"PWSNP">(1);
        return e;
    }

private:
    static constexpr std::uint64_t spare_pages = 4;

    template <class... Options>
    static Tables make(std::uint64_t pages, Options const&... options) {
        if constexpr (std::is_same_v<Tables, unit_guest>) {
            return Tables{pages, spare_pages};
        } else {
            return Tables{pages, 12, spare_pages, options...};
        }
    }

    Tables tables_;
    vtd::root_table_address root_;
};

/// `vtd::iommu::translate`, everything on: interrupt ranges, both configuration entries checked in full.
template <class M>
struct unit_translate {
    M memory;
    vtd::iommu<M> unit;
    std::uint16_t device;

    template <class Bus>
    unit_translate(Bus const& b, M const& m)
        : memory{m}, unit{scalable_unit_registers(), b.root(), memory}, device{bus::device} {}
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
        auto const caps = scalable_unit_registers();
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

/// By hand: all 15 words of the four configuration entries are read and checked in full, then comes the chase `Chase`.
template <class M, class Tables, class Chase>
class scalable_unit_chase {
public:
    scalable_unit_chase(scalable_bus<Tables> const& b, M const& m)
        : memory_{m}, root_{b.root().template get<"RTA">()}, device_{bus::device}, chase_{chase_over(b.tables(), m)} {
        auto const caps = scalable_unit_registers();
        auto const entry = b.entry();
        bad_root_ = vtd::scalable_root_entry::reserved(0) | caps.beyond_host();
        for (std::size_t w = 0; w < 4; ++w)
            bad_context_[w] = vtd::scalable_context_entry::reserved_with(w, caps);
        bad_directory_ = vtd::pasid_directory_entry::reserved() | caps.beyond_host();
        for (std::size_t w = 0; w < 8; ++w)
            bad_pasid_[w] = entry.reserved_with(w, caps, vtd::unused_pasid_fields::ignore);
        kind_ = entry.word[0] & (bit_mask(8, 6) | bit_mask(9, 9) | bit_mask(4, 2) | 1);
    }

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] outcome<translation<pa>, fault<vtd::reason>> look_up(iova in, access a) const {
        M const memory = memory_;
        if (in.value >> 20 == 0xfee) [[unlikely]]
            return refused(in);
        pa const root_at{root_ + (device_ >> 8 << 4)};
        auto r0 = memory.load(root_at);
        auto r1 = memory.load(root_at + 8);
        if (!r0 || !r1) [[unlikely]]
            return refused(in);
        std::uint64_t const half = (device_ & 128) != 0 ? *r1 : *r0;
        if ((half & (bad_root_ | 1)) != 1) [[unlikely]]
            return refused(in);
        pa const context_at{(half & ~low_mask(12)) + ((device_ & 127) << 5)};
        std::uint64_t c[4];
        if (!read_entry(memory, context_at, c) || (c[0] & 1) == 0 || has_any(c, bad_context_)) [[unlikely]]
            return refused(in);
        std::uint64_t const pasid = c[1] & low_mask(20);
        // Neither device-TLB nor page requests; the PASID is one that the directory covers.
        if ((c[0] & bit_mask(4, 2) & ~bit_mask(3, 3)) != 0 || pasid >> ((c[0] >> 9 & 7) + 13) != 0) [[unlikely]]
            return refused(in);
        auto d = memory.load(pa{(c[0] & ~low_mask(12)) + (pasid >> 6 << 3)});
        if (!d || (*d & (bad_directory_ | 1)) != 1) [[unlikely]]
            return refused(in);
        std::uint64_t p[8];
        if (!read_entry(memory, pa{(*d & ~low_mask(12)) + ((pasid & 63) << 6)}, p) || has_any(p, bad_pasid_)) [[unlikely]]
            return refused(in);
        // P, the kind, the depths.
        if ((p[0] & (bit_mask(9, 6) | bit_mask(4, 2) | 1)) != kind_ || (p[2] & bit_mask(3, 2)) != 0) [[unlikely]]
            return refused(in);
        auto walked = walk_from(p, in, a);
        if (walked && walked->output.value >> 20 == 0xfee) [[unlikely]]
            return refused(in);
        return walked;
    }

private:
    static Chase chase_over(Tables const& t, M const& m) {
        if constexpr (std::is_same_v<Tables, unit_guest>) {
            return Chase{t, m};
        } else {
            return Chase{t.stage(), m};
        }
    }
    [[nodiscard, gnu::always_inline]] auto walk_from(std::uint64_t const (&p)[8], iova in, access a) const {
        pa const second{p[0] & ~low_mask(12)};
        if constexpr (std::is_same_v<Tables, unit_guest>) {
            return chase_.from(unit_middle{p[2] & ~low_mask(12)}, second, in, a);
        } else if constexpr (std::is_same_v<Tables, process>) {
            return chase_.from(pa{p[2] & ~low_mask(12)}, in, a);
        } else {
            return chase_.from(second, in, a);
        }
    }
    template <std::size_t N>
    [[nodiscard, gnu::always_inline]] static bool read_entry(M const& memory, pa at, std::uint64_t (&words)[N]) {
        for (std::size_t i = 0; i < N; ++i) {
            auto loaded = memory.load(at + i * 8);
            if (!loaded) [[unlikely]]
                return false;
            words[i] = *loaded;
        }
        return true;
    }
    template <std::size_t N>
    [[nodiscard, gnu::always_inline]] static bool has_any(std::uint64_t const (&words)[N], std::uint64_t const (&bad)[N]) {
        std::uint64_t any = 0;
        for (std::size_t i = 0; i < N; ++i)
            any |= words[i] & bad[i];
        return any != 0;
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static failure<fault<vtd::reason>> refused(iova in) {
        return {fault<vtd::reason>{vtd::reason::pasid_entry_invalid, fault_stage::configuration, fault_at::context, 0xff, true,
                                   in.value, 0, 0, 0, 0}};
    }

    M memory_;
    std::uint64_t root_;
    std::uint64_t device_;
    std::uint64_t bad_root_;
    std::uint64_t bad_context_[4];
    std::uint64_t bad_directory_;
    std::uint64_t bad_pasid_[8];
    std::uint64_t kind_;
    Chase chase_;
};

/// The three kinds of tables behind a unit in scalable mode.
template <class M>
using first_unit_chase = scalable_unit_chase<M, process, checked_chase<iova, pa, M, process_format>>;
template <class M>
using second_unit_chase = scalable_unit_chase<M, scalable_domain, checked_chase<iova, pa, M, scalable_format>>;
template <class M>
using nested_unit_chase = scalable_unit_chase<M, unit_guest, unit_nested_chase<M>>;

} // namespace bench
