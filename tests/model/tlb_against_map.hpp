// A TLB against a list of what ought to be in it: every answer, all that is kept after each step, and what was counted. Driven by
// numbers, from random_bits or from a fuzzer's bytes.
#pragma once

#include <stagewalk/core/address.hpp>
#include <stagewalk/tlb/tlb.hpp>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

namespace tlb_against_map {

namespace sw = stagewalk;

// A domain, and whose address space in it.
struct owner {
    std::uint16_t domain = 0;
    std::uint32_t pasid = 0;
    [[nodiscard]] constexpr std::uint64_t word() const noexcept { return domain | std::uint64_t{pasid} << 16; }
};

inline std::uint64_t mixed(std::uint64_t a, std::uint64_t b) {
    std::uint64_t z = (a ^ b * 0x9e3779b97f4a7c15) + 0x632be59bd9b4e019;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

// \tparam Cache a tlb<owner, iova, pa, ...> that counts, for one thread.
template <class Cache>
class judge {
public:
    explicit judge(Cache& cache) : cache_{&cache} {}

    // One step. `below(n)` is the next number, less than n. What is wrong, or a null pointer.
    template <class Below>
    char const* step(Below&& below) {
        switch (below(16)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4: {
            if (kept_.empty() || below(4) == 0) {
                owner const whose = some_owner(below);
                std::uint64_t const in = some_address(below);
                return look_up(whose, in, some_access(below));
            }
            entry const e = some_entry(below);
            std::uint64_t const in = e.page | (mixed(below(16), 0) & sw::low_mask(e.lg2));
            std::uint64_t const rights = below(8);
            return look_up(owner_of(e), in, sw::access{(rights & below(8)) | e.circumstances << 3});
        }
        case 5:
        case 6:
        case 7:
        case 8: return fill(begin(some_owner(below)), below);
        case 9: tickets_[below(4)] = begin(some_owner(below)); return nullptr;
        case 10: {
            pending const p = tickets_[below(4)];
            return p.taken ? fill(p, below) : nullptr;
        }
        case 11:
        case 12: return drop_page(below);
        case 13: return drop_range(below);
        case 14: return drop_domain(some_owner(below), below(24) == 0 ? 4090 + below(12) : 1 + below(3));
        default:
            if (below(8) == 0) return drop_all(below(8) == 0 ? 4090 + below(12) : 1);
            return drop_masked(below);
        }
    }

    // How many entries came and went by which way: a test that reaches nothing proves nothing.
    struct tally {
        std::uint64_t hits = 0, uncovered = 0, misses = 0, fills = 0, dropped = 0, evicted = 0, killed = 0, shared_fate = 0;
    };
    [[nodiscard]] tally const& reached() const { return reached_; }
    [[nodiscard]] std::size_t kept() const { return kept_.size(); }

private:
    struct entry {
        std::uint64_t word, page, lg2, circumstances, output, attributes, rights;
        auto operator<=>(entry const&) const = default;
        [[nodiscard]] std::uint64_t last() const { return page | sw::low_mask(lg2); }
    };
    struct pending {
        bool taken = false;
        sw::fill_ticket ticket;
        owner whose;
        std::uint64_t changes = 0;
    };

    template <class Below>
    static owner some_owner(Below& below) {
        constexpr std::uint16_t domains[] = {0, 1, 2, 3, 64, 65, 0x0101, 0xffff};
        constexpr std::uint32_t pasids[] = {0, 0, 1, 0xffffffff};
        std::uint16_t const domain = domains[below(8)];
        return {domain, pasids[below(4)]};
    }
    template <class Below>
    entry some_entry(Below& below) const {
        return kept_[below(kept_.size())];
    }
    static owner owner_of(entry const& e) {
        return {static_cast<std::uint16_t>(e.word), static_cast<std::uint32_t>(e.word >> 16)};
    }
    template <class Below>
    static std::uint64_t some_address(Below& below) {
        constexpr std::uint64_t bases[] = {0, 0, 0x40000000, 0x7fffffe00000, 0x8000000000000000, 0xffffffffffc00000};
        constexpr unsigned shifts[] = {12, 12, 16, 21};
        std::uint64_t const base = bases[below(6)];
        unsigned const shift = shifts[below(4)];
        std::uint64_t const within = below(2) == 0 ? 0 : below(0x1000);
        std::uint64_t const page = below(8) << shift;
        return base + page + within;
    }
    template <class Below>
    static sw::access some_access(Below& below) {
        std::uint64_t const rights = below(8);
        constexpr std::uint64_t circumstances[] = {0, 0, 0, 0, 8, 16, 32, 56};
        return {rights | circumstances[below(8)]};
    }
    template <class Below>
    static std::uint64_t some_size(Below& below) {
        constexpr std::uint64_t sizes[] = {12, 12, 12, 12, 13, 14, 16, 16, 19, 21, 21, 25, 30, 34, 51, 63};
        return sizes[below(16)];
    }

    pending begin(owner whose) { return {true, cache_->begin(), whose, changes_}; }

    // A hit is of the smallest page that has an entry, and covers the access.
    char const* look_up(owner whose, std::uint64_t in, sw::access a) {
        entry const* expected = nullptr;
        for (entry const& e : kept_)
            if (e.word == whose.word() && e.circumstances == a.bits >> 3 && e.page <= in && in <= e.last() &&
                (expected == nullptr || e.lg2 < expected->lg2))
                expected = &e;
        auto const found = cache_->find(sw::iova{in}, whose, a);
        if (expected == nullptr) {
            ++reached_.misses;
            if (found) return "an answer out of nothing";
            return found.error() == sw::tlb_miss::absent ? nullptr : "uncovered, and there is no entry";
        }
        if ((a.bits & 7 & ~expected->rights) != 0) {
            ++reached_.uncovered;
            if (found) return "an answer to an access that the entry does not cover";
            return found.error() == sw::tlb_miss::uncovered ? nullptr : "absent, and there is an entry";
        }
        ++reached_.hits;
        if (!found) return "an entry was not found";
        sw::translation<sw::pa> const right{sw::pa{expected->output | (in & sw::low_mask(expected->lg2))},
                                            sw::attributes::from_bits(expected->attributes), expected->lg2, sw::passage::walked};
        return *found == right ? nullptr : "another answer";
    }

    template <class Below>
    char const* fill(pending p, Below& below) {
        std::uint64_t in = some_address(below);
        std::uint64_t lg2 = some_size(below);
        sw::access a = some_access(below);
        if (!kept_.empty() && below(3) == 0) { // the same once more, or nearly
            entry const e = some_entry(below);
            in = e.page;
            lg2 = e.lg2;
            a.bits = e.circumstances << 3;
            if (below(4) != 0) p.whose = owner_of(e);
        }
        std::uint64_t const offset = sw::low_mask(lg2);
        entry e{p.whose.word(), in & ~offset, lg2, a.bits >> 3, 0, 0, 0};
        std::uint64_t const what = mixed(mixed(e.word, e.page | lg2), e.circumstances << 2 | below(3));
        e.output = mixed(what, 1) & sw::low_mask(52) & ~offset;
        e.attributes = what | 7;
        e.rights = below(8);
        sw::translation<sw::pa> t{sw::pa{e.output | (in & offset)}, sw::attributes::from_bits(e.attributes), lg2,
                                  sw::passage::walked};
        // What is no page must not come in.
        std::uint64_t const odd = below(64);
        if (odd == 0) t.lg2_size = 64;
        if (odd == 1) t.lg2_size = below(12);
        if (odd == 2) t.by = sw::passage::bypassed;
        if (odd == 3) t.by = sw::passage::interrupt;
        cache_->insert(p.ticket, sw::iova{in}, t, p.whose, a, sw::access{e.rights});
        if (odd < 4) return agree({}, 0);
        if (p.changes != changes_) {
            ++reached_.dropped;
            return agree({}, 0);
        }
        ++reached_.fills;
        std::uint64_t evictions = 1;
        for (auto k = kept_.begin(); k != kept_.end(); ++k) {
            if (std::tie(k->word, k->page, k->lg2, k->circumstances) != std::tie(e.word, e.page, e.lg2, e.circumstances))
                continue;
            if (k->attributes == e.attributes) e.rights |= k->rights;
            kept_.erase(k);
            evictions = 0;
            break;
        }
        kept_.push_back(e);
        if (kept_.size() <= Cache::way_count) evictions = 0;
        char const* const wrong = agree({}, evictions);
        if (wrong != nullptr) return wrong;
        return std::find(kept_.begin(), kept_.end(), e) != kept_.end() ? nullptr : "the new entry is missing";
    }

    template <class Below>
    char const* drop_page(Below& below) {
        owner const whose = some_owner(below);
        std::uint64_t const lg2 = some_size(below);
        std::uint64_t const page = some_address(below) & ~sw::low_mask(lg2);
        return drop(sw::range<sw::iova>::between(sw::iova{page}, sw::iova{page | sw::low_mask(lg2)}), whose, mask_all);
    }
    template <class Below>
    char const* drop_range(Below& below) {
        owner const whose = some_owner(below);
        std::uint64_t first = some_address(below);
        std::uint64_t last = below(4) == 0 ? ~std::uint64_t{0} : some_address(below);
        if (below(8) != 0 && last < first) std::swap(first, last); // the wrong way round: no range
        return drop(sw::range<sw::iova>::between(sw::iova{first}, sw::iova{last}), whose, mask_all);
    }
    template <class Below>
    char const* drop_masked(Below& below) {
        constexpr std::uint64_t masks[] = {mask_all, 0xffff,           0, 0xffffffff0000, 0xff, 0xffff00000000ffff,
                                           0x1ffff,  ~std::uint64_t{0}};
        owner const whose = some_owner(below);
        std::uint64_t const which = masks[below(8)];
        std::uint64_t const first = some_address(below);
        auto const pages =
            below(2) == 0 ? sw::range<sw::iova>::all() : sw::range{sw::iova{first}, std::uint64_t{0x1000} << below(12)};
        return drop(pages, whose, which);
    }
    char const* drop(sw::range<sw::iova> pages, owner whose, std::uint64_t which) {
        cache_->invalidate(pages, whose, which);
        if (!pages.valid()) pages = sw::range<sw::iova>::all(); // a range beyond the last address means everything
        if (pages.empty()) return agree({}, 0);
        ++changes_;
        which &= mask_all;
        kill([&](entry const& e) {
            return ((e.word ^ whose.word()) & which) == 0 && pages.first().value <= e.last() && e.page <= pages.last().value;
        });
        // Whole domains, without an address, take along who shares their group.
        bool const by_group = pages == sw::range<sw::iova>::all() && which == 0xffff;
        return by_group ? agree(whose, 0) : agree({}, 0);
    }
    char const* drop_domain(owner whose, std::uint64_t times) {
        for (std::uint64_t i = 0; i < times; ++i)
            cache_->invalidate_domain(whose);
        changes_ += times;
        kill([&](entry const& e) { return (e.word & 0xffff) == whose.domain; });
        return agree(whose, 0);
    }
    char const* drop_all(std::uint64_t times) {
        for (std::uint64_t i = 0; i < times; ++i)
            cache_->invalidate_all();
        changes_ += times;
        kill([](entry const&) { return true; });
        return agree({}, 0);
    }
    template <class Predicate>
    void kill(Predicate dies) {
        reached_.killed += std::erase_if(kept_, dies);
    }

    struct nobody {};
    struct fate {
        bool is_shared = false;
        std::uint64_t group = 0;
        constexpr fate(nobody = {}) {}
        constexpr fate(owner o) : is_shared{true}, group{o.domain & (Cache::group_count - 1)} {}
    };
    // What is kept is what ought to be kept, but for so many evictions, and for entries of that group.
    char const* agree(fate shared, std::uint64_t evictions) {
        std::vector<entry> there;
        cache_->for_each([&](std::uint64_t word, sw::range<sw::iova> pages, sw::translation<sw::pa> const& t, sw::access rights) {
            there.push_back({word, pages.first().value, t.lg2_size, 0, t.output.value, t.effective.bits, rights.bits});
        });
        std::size_t matched = 0;
        std::vector<entry> still;
        for (entry const& e : kept_) {
            entry shown = e;
            shown.circumstances = 0; // the attributes tell them apart
            if (std::find(there.begin(), there.end(), shown) != there.end()) {
                ++matched;
                still.push_back(e);
            } else if (shared.is_shared && (e.word & (Cache::group_count - 1)) == shared.group) {
                ++reached_.shared_fate;
            } else if (evictions > 0) {
                --evictions;
                ++reached_.evicted;
            } else {
                return "an entry was lost";
            }
        }
        if (matched != there.size()) return "an entry that ought to be gone, or never came in";
        kept_ = still;
        auto const& counts = cache_->counts();
        using count = sw::tlb_count;
        if (counts.of(count::hits) != reached_.hits || counts.of(count::misses) != reached_.misses ||
            counts.of(count::uncovered) != reached_.uncovered)
            return "look-ups counted wrongly";
        if (counts.of(count::fills) != reached_.fills || counts.of(count::dropped_fills) != reached_.dropped ||
            counts.of(count::evictions) != reached_.evicted)
            return "fills counted wrongly";
        return counts.of(count::invalidations) == changes_ ? nullptr : "invalidations counted wrongly";
    }

    static constexpr std::uint64_t mask_all = 0xffffffffffff;

    Cache* cache_;
    std::vector<entry> kept_;
    pending tickets_[4];
    std::uint64_t changes_ = 0;
    tally reached_;
};

} // namespace tlb_against_map
