/// \file
/// A device behind an AMD IOMMU: `amdvi::iommu::translate` from the DeviceID to an address, and the same by hand.
#pragma once

#include "amdvi_two_stages.hpp"

#include <type_traits>

namespace bench {

/// A device table that leads one device to the tables of `Tables`: an `amdvi_domain` by its entry alone, an `amdvi_process`
/// through a GCR3 table, or an `amdvi_guest` through a GCR3 table of the guest's.
template <class Tables>
class amdvi_bus {
public:
    static constexpr std::uint16_t device = 16;
    static constexpr std::uint32_t pasid = 3;
    static constexpr bool nests = std::is_same_v<Tables, amdvi_guest>;
    static constexpr bool is_guest = nests || std::is_same_v<Tables, amdvi_process>;

    explicit amdvi_bus(std::uint64_t pages) : tables_{make(pages)} {
        auto const e = entry();
        for (std::uint64_t i = 0; i < e.words; ++i)
            write_down(tables_.spare(0) + device * 32 + i * 8, e.word[i]);
        if constexpr (nests) {
            write_down(Tables::place_of(Tables::guest_spare()) + pasid * 8, to_root(tables_.outer()));
        } else if constexpr (is_guest) {
            write_down(tables_.spare(1) + pasid * 8, to_root(tables_.stage()));
        }
        registers_.main.set<"IommuEn">(1);
        registers_.main.set<"GTEn">(1);
        registers_.main.set<"GCR3TRPMode">(1);
        registers_.table[0].set<"DevTabBase">(tables_.spare(0).value);
    }

    [[nodiscard]] Tables const& tables() const { return tables_; }
    [[nodiscard]] work const& order() const { return tables_.order(); }
    [[nodiscard]] amdvi::control const& registers() const { return registers_; }

    /// The device table entry.
    [[nodiscard]] amdvi::device_table_entry entry() const {
        if constexpr (nests) {
            return amdvi::with_guest(amdvi::make_host_entry(1, 4, tables_.inner().root().value),
                                     {Tables::guest_spare().value, 1, 4, false});
        } else if constexpr (is_guest) {
            return amdvi::with_guest(amdvi::make_identity_entry(1), {tables_.spare(1).value, 1, 4, false});
        } else {
            return amdvi::make_host_entry(1, 4, tables_.stage().root().value);
        }
    }

private:
    static constexpr std::uint64_t spare_pages = 2;

    static Tables make(std::uint64_t pages) {
        if constexpr (nests) {
            return Tables{pages, spare_pages};
        } else if constexpr (is_guest) {
            return Tables{pages, 12, 4, amdvi_of_unit, spare_pages};
        } else {
            return Tables{pages, 12, 4, {}, spare_pages};
        }
    }
    template <class Stage>
    static std::uint64_t to_root(Stage const& s) {
        return amdvi::gcr3_table_entry::make(s.root().value).word[0];
    }
    void write_down(pa at, std::uint64_t word) {
        auto memory = bounded<pa>(tables_.ram());
        need(static_cast<bool>(memory.store(at, word)), "no configuration entry");
    }

    Tables tables_;
    amdvi::control registers_;
};

/// `amdvi::iommu::translate`, everything on.
template <class M>
struct amdvi_translate {
    M memory;
    amdvi::iommu<M> unit;
    std::uint16_t device;
    std::uint32_t pasid;

    template <class Bus>
    amdvi_translate(Bus const& b, M const& m)
        : memory{m}, unit{amdvi_registers(), b.registers(), memory}, device{b.device}, pasid{b.is_guest ? b.pasid
                                                                                                        : amdvi::no_pasid} {}
    amdvi_translate(amdvi_translate const&) = delete;

    [[gnu::always_inline, gnu::flatten]] found operator()(iova in) const {
        amdvi::request r;
        r.source = device;
        r.address = in;
        r.access = read;
        r.pasid = pasid;
        return use(unit.translate(r));
    }
};

/// By hand: the four words of the device table entry, and where there is one the GCR3 entry, are read; of the first two all bits
/// are held against what one kind of device has: depths, rights, no option; nothing but addresses, the DomainID and what faults
/// do differs. Then comes the checked chase.
template <class Tables, class M>
class amdvi_unit_chase {
    using bus = amdvi_bus<Tables>;
    static constexpr bool nests = bus::nests;

    template <class T, bool Nests>
    struct chase_over {
        using type = amdvi_chase_of<T, M>;
    };
    template <class T>
    struct chase_over<T, true> {
        using type = amdvi_nested_chase<M, true>;
    };
    using chase = typename chase_over<Tables, nests>::type;
    using result = outcome<translation<pa>, fault<amdvi::event>>;

public:
    amdvi_unit_chase(bus const& b, M const& m)
        : memory_{m}, table_{b.registers().table[0].template get<"DevTabBase">()}, entries_{b.registers().table[0].entries()},
          device_{bus::device}, pasid_{bus::pasid}, chase_{make(b.tables(), m)} {
        using dte = amdvi::device_table_entry;
        auto const e = b.entry();
        std::uint64_t const may[2] = {dte::mask<"HostPageTableRoot">() | dte::mask<"GCR3 14:12">(),
                                      dte::mask<"DomainID">() | dte::mask<"GCR3 30:15">() | dte::mask<"GCR3 51:31">() |
                                          dte::mask<"SA">() | dte::mask<"SE">() | dte::mask<"Cache">() | dte::mask<"SD">()};
        for (std::size_t w = 0; w < 2; ++w) {
            look_[w] = ~may[w];
            want_[w] = e.word[w] & ~may[w];
        }
    }

    [[gnu::always_inline]] found operator()(iova in) const { return use(look_up(in, read)); }

    [[nodiscard, gnu::always_inline]] result look_up(iova in, access a) const {
        M const memory = memory_;
        if ((!bus::is_guest && in.value >> 20 == 0xfee) || device_ >= entries_) [[unlikely]]
            return refused(in);
        std::uint64_t e[4];
        if (!read_entry(memory, e)) [[unlikely]]
            return refused(in);
        if ((((e[0] & look_[0]) ^ want_[0]) | ((e[1] & look_[1]) ^ want_[1])) != 0) [[unlikely]]
            return refused(in);
        pa const host_root{e[0] & bit_mask(51, 12)};
        if constexpr (!bus::is_guest) {
            return chase_.from(host_root, in, a);
        } else {
            std::uint64_t const gcr3 = (e[0] >> 58 & 7) << 12 | (e[1] >> 16 & 0xffff) << 15 | e[1] >> 43 << 31;
            // Four levels (GPM); one GCR3 table.
            if ((e[2] >> 54 & 3) != 0 || pasid_ >= 512) [[unlikely]]
                return refused(in);
            if constexpr (nests) {
                if (host_root != chase_.host_root()) [[unlikely]]
                    return refused(in);
                return from(chase_.through(), gcr3, in, a);
            } else {
                return from(memory, gcr3, in, a);
            }
        }
    }

private:
    static chase make(Tables const& t, M const& m) {
        if constexpr (nests) {
            return chase{t, m};
        } else {
            return chase{t.stage(), t.options(), m};
        }
    }
    [[nodiscard, gnu::always_inline]] bool read_entry(M const& memory, std::uint64_t (&words)[4]) const {
        pa const at{table_ + device_ * 32};
        for (std::size_t i = 0; i < 4; ++i) {
            auto loaded = memory.load(at + i * 8);
            if (!loaded) [[unlikely]]
                return false;
            words[i] = *loaded;
        }
        return true;
    }
    template <class Behind>
    [[nodiscard, gnu::always_inline]] result from(Behind const& memory, std::uint64_t gcr3, iova in, access a) const {
        using at = typename Behind::address;
        auto g = memory.load(at{gcr3 + pasid_ * 8});
        if (!g || (*g & (amdvi::gcr3_table_entry::reserved() | 1)) != 1) [[unlikely]]
            return refused(in);
        return chase_.from(at{*g & bit_mask(51, 12)}, in, a);
    }
    [[nodiscard, gnu::cold, gnu::noinline]] static failure<fault<amdvi::event>> refused(iova in) {
        return {fault<amdvi::event>{amdvi::event::illegal_dev_table_entry, fault_stage::configuration, fault_at::context, 0xff,
                                    true, in.value, 0, 0, 0, 0}};
    }

    M memory_;
    std::uint64_t table_;
    std::uint64_t entries_;
    std::uint64_t device_;
    std::uint64_t pasid_;
    std::uint64_t look_[2];
    std::uint64_t want_[2];
    chase chase_;
};

} // namespace bench
