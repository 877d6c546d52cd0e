// AMD-Vi: every command against populated caches. What must die, says the naive table of what commands drop; what need not die
// survives, save what the caches' comments state.
#include "amdvi_scopes.hpp"
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"

#include <stagewalk/amdvi/caches.hpp>
#include <stagewalk/amdvi/command.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <memory>
#include <vector>

namespace {

namespace sw = stagewalk;
namespace model = amdvi_scopes;

using caches = sw::amdvi::caches<sw::pa, sw::sets<1024>, sw::ways<16>>; // room for all, as few page numbers are alike

// Domains 5 and 45h share a group of 64, the others do not.
constexpr std::uint16_t domains[] = {0, 5, 0x45, 0x105, 0xfffe};
constexpr std::uint32_t pasids[] = {0, 1, 0x1'0001, 0xf'ffff};
constexpr std::uint16_t sources[] = {0, 0xa5, 0xa6, 0x1a5, 0xa500, 0xffff};
struct block {
    std::uint64_t at;
    std::uint64_t lg2;
};
constexpr block blocks[] = {{0, 12},
                            {0x1000, 12},
                            {0x10'0000, 13},
                            {0x60'0000, 21},
                            {0x7f'f000, 12},
                            {0x1'4000'0000, 30},
                            {0x7'2345'6000, 12},
                            {0x7f12'3440'0000, 21},
                            {0x38'0000'0000'0000, 51},
                            {0xffff'8000'0000'0000, 16},
                            {0xffff'ffff'ffff'f000, 12}};

struct cached {
    sw::amdvi::iotlb_tag tag;
    sw::iova at;
    model::item item;
};

// Addresses and sizes of commands: the pages themselves, what lies beside and around them, and everything.
std::vector<std::uint64_t> operands() {
    std::vector<std::uint64_t> all{0x7fff'ffff'ffff'f001, ~std::uint64_t{0} & ~std::uint64_t{0xffe}, 0x000f'ffff'ffff'f001};
    for (block const& b : blocks) {
        for (std::uint64_t const at : {b.at, b.at + sw::low_mask(b.lg2) - 0xfff, b.at + sw::low_mask(b.lg2) + 1, b.at - 0x1000})
            all.push_back(at & ~sw::low_mask(12));
        for (std::uint64_t const lg2 : {std::uint64_t{13}, b.lg2, b.lg2 + 1, std::uint64_t{21}, std::uint64_t{31}})
            if (lg2 > 12) all.push_back((b.at & ~sw::low_mask(lg2)) | (sw::low_mask(lg2 - 1) & ~sw::low_mask(12)) | 1);
    }
    return all;
}

class populated {
public:
    populated() {
        for (std::uint16_t const domain : domains) {
            for (bool const by_guest : {false, true}) {
                for (std::uint32_t const pasid : pasids) {
                    if (!by_guest && pasid != 0) continue;
                    unsigned n = 0;
                    for (block const& b : blocks) {
                        sw::amdvi::iotlb_tag const tag{domain, pasid, by_guest, sw::access{1 + n % 3}, n % 4};
                        all.push_back({tag, sw::iova{b.at}, {0, domain, pasid, b.at, b.at + sw::low_mask(b.lg2)}});
                        lg2.push_back(b.lg2);
                        ++n;
                    }
                }
            }
        }
        fill();
    }
    std::vector<cached> all;

    // Puts in what is missing.
    void fill() {
        for (std::size_t n = 0; n < all.size(); ++n) {
            if (has(all[n])) continue;
            sw::translation<sw::pa> const t{sw::pa{0}, sw::attributes::from_bits(3), lg2[n], sw::passage::walked};
            room->iotlb.insert(room->iotlb.begin(), all[n].at, t, all[n].tag, sw::read, sw::read);
        }
        for (std::uint16_t const source : sources) {
            std::uint64_t word[4]{};
            if (!room->devices.find(source, word)) room->devices.insert(room->devices.begin(), source, word);
        }
    }
    bool has(cached const& c) { return static_cast<bool>(room->iotlb.find(c.at, c.tag, sw::read)); }
    bool has(std::uint16_t source) {
        std::uint64_t word[4]{};
        return room->devices.find(source, word);
    }
    bool is_full() {
        for (cached const& c : all)
            if (!has(c)) return false;
        for (std::uint16_t const source : sources)
            if (!has(source)) return false;
        return true;
    }

    std::uint64_t commands = 0;
    std::uint64_t died = 0;
    std::uint64_t survived = 0;
    std::uint64_t died_with_group = 0; // exception: a whole domain goes with its group

    // One command; whatever went wrong is said by a check. All features are there.
    void execute(model::words const& w) {
        ++commands;
        sw::amdvi::capabilities const caps{0x00c0'0000'0000'0053, 0, 0x0100'0000};
        INFO("command " << std::hex << w.d[0] << " " << w.d[1]);
        auto const decoded = sw::amdvi::decode({w.d[0], w.d[1]}, caps);
        REQUIRE(static_cast<bool>(decoded) != model::is_illegal({0x00c0'0000'0000'0053, 0x0100'0000}, w));
        if (!decoded) return;
        room->drop(decoded->stale);
        bool wrong = false;
        for (cached const& c : all) {
            bool const lives = has(c);
            bool const must_die = model::drops(w, c.tag.by_guest ? model::guest : model::host, c.item);
            bool const in_group = model::opcode(w) == 3 && !model::is_gn(w) && model::lg2_of(w) == 64 &&
                                  c.item.domain % 64 == model::bits(w, 47, 32) % 64;
            if (must_die) {
                ++died;
                wrong = wrong || lives;
            } else if (!lives && in_group) {
                ++died_with_group;
            } else {
                ++survived;
                wrong = wrong || !lives;
            }
        }
        for (std::uint16_t const source : sources) {
            model::item item;
            item.source = source;
            wrong = wrong || has(source) == model::drops(w, model::device_entry, item);
        }
        CHECK_FALSE(wrong);
        fill();
    }

private:
    std::unique_ptr<caches> room = std::make_unique<caches>();
    std::vector<std::uint64_t> lg2;
};

void print(populated const& p) {
    std::printf("%llu commands: %llu entries died, %llu survived, %llu died with their group\n",
                static_cast<unsigned long long>(p.commands), static_cast<unsigned long long>(p.died),
                static_cast<unsigned long long>(p.survived), static_cast<unsigned long long>(p.died_with_group));
}

} // namespace

TEST_CASE("AMD-Vi caches: INVALIDATE_IOMMU_PAGES drops what the manual says", "[amdvi]") {
    populated p;
    REQUIRE(p.is_full());
    for (std::uint16_t const domain : {std::uint16_t{0}, std::uint16_t{5}, std::uint16_t{0x45}, std::uint16_t{6}})
        for (std::uint32_t const pasid : {0u, 0x1'0001u, 2u})
            for (std::uint64_t const operand : operands())
                for (std::uint64_t flags = 0; flags < 8; flags += 2) // PDE and GN
                    p.execute({{0x3000'0000'0000'0000 | std::uint64_t{domain} << 32 | pasid, operand | flags}});
    print(p);
    CHECK(p.died > 1000);
}

TEST_CASE("AMD-Vi caches: PREFETCH_IOMMU_PAGES with Inval drops what the manual says", "[amdvi]") {
    populated p;
    for (std::uint16_t const source : {std::uint16_t{0xa5}, std::uint16_t{1}})
        for (std::uint64_t const pasid : {0u, 0xf'ffffu, 2u})
            for (std::uint64_t const operand : operands())
                for (std::uint64_t const flags : {0x00u, 0x04u, 0x10u, 0x14u})
                    p.execute({{0x6000'0000'0000'0000 | source | 0x0100'0000 | pasid << 32, operand | flags}});
    print(p);
    CHECK(p.died > 1000);
}

TEST_CASE("AMD-Vi caches: the other commands drop what the manual says", "[amdvi]") {
    populated p;
    for (std::uint64_t const source : {0u, 0xa5u, 0xa6u, 0xa500u, 0xffffu, 7u}) {
        p.execute({{0x2000'0000'0000'0000 | source, 0}});
        p.execute({{0x5000'0000'0000'0000 | source, 0}});
        p.execute({{0x7000'0000'0000'0000 | source, 4}});
        for (std::uint64_t const operand : operands())
            for (std::uint64_t const flags : {0x00u, 0x04u, 0x10u, 0x34u})
                p.execute({{0x4000'0000'0000'0000 | source | source << 32, operand | flags}});
    }
    p.execute({{0x1000'0000'0000'1001, 1}});
    p.execute({{0x8000'0000'0000'0000, 0}});
    p.execute({{0x9000'0000'0000'0000, 0}});
    p.execute({{0xa000'0000'0800'0000, 0}});
    print(p);
}

TEST_CASE("AMD-Vi caches: random commands, illegal ones among them, drop what the manual says", "[amdvi]") {
    populated p;
    random_bits random{11};
    auto const some = operands();
    for (std::uint64_t n = sw::test::fewer(20'000, 1'000); n-- > 0;) {
        std::uint64_t const pasid = random.pick(pasids);
        model::words w{{random.below(16) << 60, some[random.below(some.size())] | random.below(8)}};
        switch (model::opcode(w)) {
        case 2:
        case 5: w = {{w.d[0] | random.pick(sources), 0}}; break;
        case 3: w.d[0] |= pasid | std::uint64_t{random.pick(domains)} << 32; break;
        case 6: w = {{w.d[0] | random.pick(sources) | pasid << 32, (w.d[1] & ~std::uint64_t{2}) | 16}}; break;
        case 8: w.d[1] = 0; break;
        default: w.d[0] |= random() >> 4; break;
        }
        if (random.one_in(8)) w.d[random.below(2)] ^= std::uint64_t{1} << random.below(64);
        p.execute(w);
    }
    print(p);
}
