// An AMD IOMMU with caches: what is answered without a look at memory, what must not be, and what each command drops.
#include "amdvi_unit.hpp"
#include "catch.hpp"

#include <stagewalk/amdvi/caches.hpp>
#include <stagewalk/amdvi/configure.hpp>
#include <stagewalk/memory/callback.hpp>

#include <cstdint>
#include <memory>

namespace {

using namespace stagewalk;
using namespace stagewalk::test;
using amdvi::command_error;
using amdvi::no_pasid;
using amdvi::request;
using amdvi::request_type;

using kept = amdvi::caches<pa, statistics::counting>;

// A unit, the same unit with caches, and a way to count what it reads.
struct cached_unit : amdvi_unit {
    std::unique_ptr<kept> caches = std::make_unique<kept>();

    explicit cached_unit(amdvi_kind k = amdvi_kind::host) : amdvi_unit{k} { write_entry(); }

    auto with_caches() { return amdvi::iommu{caps(), registers, memory, amdvi::settings{rules, snp, interrupt_range}, *caches}; }
    auto ask_cached(request const& r) {
        memory.forget();
        return with_caches().translate(r);
    }
    // Without a look at memory; the answer is the one that memory gives.
    bool hits(request const& r) {
        auto const got = ask_cached(r);
        bool const read_nothing = memory.trail.empty() && memory.attempts == 0;
        auto const expected = unit().translate(r);
        bool const same = got ? expected && *got == *expected : !expected && got.error() == expected.error();
        CHECK(same);
        return read_nothing;
    }
    // What is read for it.
    std::size_t loads(request const& r) {
        static_cast<void>(ask_cached(r));
        return memory.trail.size();
    }
    template <class Command>
    void execute(Command const& c) {
        REQUIRE(with_caches().execute({c.word[0], c.word[1]}));
    }
    std::uint64_t count(tlb_count what) const { return caches->iotlb.counts().of(what); }
    // A device table entry, as dte but for what the caller changed; without a command.
    static constexpr std::uint64_t other_at = dte_at + 32; // of DeviceID A6h
};

request from(request r, std::uint16_t source) {
    r.source = source;
    return r;
}
request accessing(request r, stagewalk::access a) {
    r.access = a;
    return r;
}

constexpr auto page_at(std::uint64_t at) { return range<iova>::between(iova{at & ~std::uint64_t{0xfff}}, iova{at | 0xfff}); }

} // namespace

TEST_CASE("AMD-Vi caches: the second request reads neither tables nor the device table") {
    for (auto const kind : {amdvi_kind::host, amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        CHECK_FALSE(u.hits(u.ask()));
        CHECK(u.hits(u.ask()));
        CHECK(u.hits(u.ask_at(u.at() ^ 0x123)));
        CHECK(u.ask_cached(u.ask())->output.value == u.to());
    }
    cached_unit u{amdvi_kind::identity};
    CHECK(u.loads(u.ask()) == 4);
    CHECK(u.hits(u.ask()));
}

TEST_CASE("AMD-Vi caches: a unit without them decodes commands and does no more") {
    amdvi_unit u;
    u.write_entry();
    auto const unit = u.unit();
    CHECK(unit.translate(u.ask()));
    auto const c = amdvi::invalidate_domain(0x11);
    auto const done = unit.execute({c.word[0], c.word[1]});
    REQUIRE(done);
    CHECK(done->type == amdvi::command_type::invalidate_iommu_pages);
    CHECK(done->word[0] == c.word[0]);
    CHECK(done->stale.domain == 0x11);
    u.memory.forget();
    CHECK(unit.translate(u.ask()));
    CHECK(u.memory.trail.size() == 7);
}

TEST_CASE("AMD-Vi caches: a command that is illegal drops nothing") {
    cached_unit u;
    CHECK_FALSE(u.hits(u.ask()));
    std::uint64_t const wrong[][2]{{0, 0}, {0xf000'0000'0000'0000, 0}, {0x8000'0000'0000'0001, 0}, {0x3000'0011'0000'0000, 8}};
    for (auto const& w : wrong)
        CHECK_FALSE(u.with_caches().execute(w));
    CHECK(u.with_caches().execute({0, 0}).error() == command_error::opcode);
    CHECK(u.hits(u.ask()));
    // Without IASup there is no INVALIDATE_IOMMU_ALL.
    u.efr.set<"IASup">(0);
    auto const all = amdvi::invalidate_all();
    CHECK(u.with_caches().execute({all.word[0], all.word[1]}).error() == command_error::no_feature);
    CHECK(u.hits(u.ask()));
}

TEST_CASE("AMD-Vi caches: commands that drop nothing drop nothing") {
    cached_unit u;
    CHECK_FALSE(u.hits(u.ask()));
    u.execute(amdvi::wait_and_write(0x1000, 1, true));
    u.execute(amdvi::invalidate_interrupts(u.device));
    u.execute(amdvi::invalidate_device(u.device, no_pasid, range<iova>::all(), 1, u.device));
    u.execute(amdvi::prefetch(u.device, no_pasid, page_at(u.at()), 1, false));
    u.execute(amdvi::respond_to_page_group(u.device, no_pasid, 1, 0));
    u.execute(amdvi::insert_guest_event(1, 0, 0));
    u.execute(amdvi::reset_all_guests(true));
    CHECK(u.hits(u.ask()));
}

TEST_CASE("AMD-Vi caches: translated requests pass, and none is answered by what was cached") {
    cached_unit u;
    CHECK_FALSE(u.hits(u.ask()));
    CHECK(u.hits(u.ask()));
    auto const passed = u.ask_cached(u.typed(request_type::translated));
    CHECK(amdvi_passes(passed, u.ask()));
    // Nor does it leave something for others.
    cached_unit fresh;
    CHECK(amdvi_passes(fresh.ask_cached(fresh.typed(request_type::translated)), fresh.ask()));
    CHECK(fresh.count(tlb_count::fills) == 0);
    CHECK(fresh.ask_cached(fresh.ask())->output.value == fresh.to());
}

TEST_CASE("AMD-Vi caches: translation requests and others have entries of their own") {
    for (auto const kind : {amdvi_kind::host, amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        CHECK_FALSE(u.hits(u.ask()));
        CHECK_FALSE(u.hits(u.ats()));
        CHECK(u.hits(u.ask()));
        CHECK(u.hits(u.ats()));
    }
    // What is not granted is no fault, and not cached.
    cached_unit u;
    u.memory[u.h1] &= ~one_bit(62);
    CHECK_FALSE(u.hits(u.ats(read_write)));
    CHECK_FALSE(u.hits(u.ats(read_write)));
    CHECK_FALSE(u.hits(accessing(u.ask(), stagewalk::write)));
    u.memory[u.h1] = 0;
    u.execute(amdvi::invalidate_pages(0x11, no_pasid, page_at(u.at()), true));
    CHECK_FALSE(u.hits(u.ats()));
    CHECK_FALSE(u.hits(u.ats()));
}

TEST_CASE("AMD-Vi caches: a device without IOTLB is refused, whatever was cached for its domain") {
    cached_unit u;
    CHECK_FALSE(u.hits(u.ats()));
    CHECK(u.hits(u.ats()));
    u.dte.set<"I">(0);
    u.write_entry(u.other_at);
    auto const other = from(u.ats(), u.device + 1);
    CHECK(amdvi_type(u.ask_cached(other)) == static_cast<unsigned>(amdvi::invalid_request::no_iotlb));
    CHECK(amdvi_type(u.ask_cached(other)) == static_cast<unsigned>(amdvi::invalid_request::no_iotlb));
    CHECK(u.hits(u.ats()));
}

TEST_CASE("AMD-Vi caches: interrupts are no memory, even inside a page that was cached") {
    cached_unit u;
    u.memory[0x100'0018] = 0x6000'0040'0000'0001; // 1 GiB from C000_0000h on, as one page
    CHECK_FALSE(u.hits(u.ask_at(0xc000'0000)));
    CHECK(u.hits(u.ask_at(0xfedf'ffff)));
    CHECK(u.hits(u.ask_at(0xfef0'0000)));
    CHECK(u.ask_cached(u.ask_at(0xfee0'0000, stagewalk::write))->by == passage::interrupt);
    CHECK(amdvi_type(u.ask_cached(u.ask_at(0xfeef'ffff))) == static_cast<unsigned>(amdvi::invalid_request::interrupt_range));
    CHECK(u.hits(u.ask_at(0xfee0'0000, stagewalk::write))); // nothing is read for it, and that is not the cache's doing
}

TEST_CASE("AMD-Vi caches: the exclusion range counts for each device, with what was cached and without") {
    cached_unit u;
    u.registers.exclusion_base.word[0] = 0x7'2345'6000 | 1;
    u.registers.exclusion_limit.word[0] = 0x7'2345'6000;
    CHECK_FALSE(u.hits(u.ask()));
    CHECK(u.hits(u.ask()));
    u.dte.set<"EX">(1);
    u.write_entry(u.other_at);
    auto const other = from(u.ask(), u.device + 1);
    CHECK(amdvi_passes(u.ask_cached(other), other));
    CHECK(u.hits(other));
    CHECK(amdvi_passes(u.ask_cached(other), other));
    CHECK(u.ask_cached(u.ask())->output.value == u.to());
    CHECK(u.hits(u.ask()));
}

TEST_CASE("AMD-Vi caches: devices of one domain share translations, with rights of their own") {
    cached_unit u;
    CHECK_FALSE(u.hits(u.ask(read_write)));
    u.write_entry(u.other_at);
    auto const twin = from(u.ask(), u.device + 1);
    CHECK(u.loads(twin) == 4); // its device table entry
    CHECK(u.hits(twin));

    u.dte.set<"IW">(0);
    u.write_entry(u.other_at);
    u.execute(amdvi::invalidate_device_entry(u.device + 1));
    CHECK_FALSE(u.hits(twin));
    CHECK(u.hits(twin));
    CHECK_FALSE(u.hits(accessing(twin, stagewalk::write)));
    CHECK(amdvi_event(u.ask_cached(accessing(twin, stagewalk::write))) == amdvi::event::io_page_fault);
    CHECK(u.hits(u.ask(stagewalk::write)));

    u.dte.set<"IR">(0);
    u.write_entry(u.other_at);
    u.execute(amdvi::invalidate_device_entry(u.device + 1));
    CHECK_FALSE(u.ask_cached(twin));
    CHECK_FALSE(u.ask_cached(accessing(twin, stagewalk::write)));
    CHECK(u.hits(u.ask(read_write)));
}

TEST_CASE("AMD-Vi caches: the rights of a device also count over guest tables") {
    for (auto const kind : {amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        CHECK_FALSE(u.hits(u.ask(read_write)));
        CHECK(u.hits(u.ask(stagewalk::write)));
        u.dte.set<"IW">(0);
        u.write_entry(u.other_at);
        auto const other = from(u.ask(), u.device + 1);
        CHECK_FALSE(u.ask_cached(accessing(other, stagewalk::write)));
        CHECK_FALSE(u.ask_cached(accessing(other, stagewalk::write)));
        CHECK(u.ask_cached(other));
        CHECK(u.hits(other));
        CHECK(u.hits(u.ask(stagewalk::write)));
    }
}

TEST_CASE("AMD-Vi caches: the first write after a read sets the dirty bit") {
    for (auto const kind : {amdvi_kind::host, amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        if (u.has_host()) u.dte.set<"HAD">(3);
        u.write_entry();
        if (u.has_guest()) u.entry(5) &= ~one_bit(6);
        CHECK_FALSE(u.hits(u.ask()));
        CHECK(u.hits(u.ask()));
        CHECK(u.ask_cached(u.ask(stagewalk::write)));
        CHECK_FALSE(u.memory.updates.empty());
        CHECK(u.ask_cached(u.ask(stagewalk::write)));
        CHECK(u.memory.updates.empty());
        CHECK(u.hits(u.ask(stagewalk::write)));
        CHECK(u.hits(u.ask(read_write)));
        auto const expected = u.unit().translate(u.ask(stagewalk::write));
        REQUIRE(expected);
        // Nothing is left to be set.
        u.memory.forget();
        CHECK(u.unit().translate(u.ask(read_write)));
        CHECK(u.memory.updates.empty());
    }
}

TEST_CASE("AMD-Vi caches: a translation request that will not write is told of writing as soon as the page is dirty") {
    for (auto const kind : {amdvi_kind::host, amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        if (u.has_host()) u.dte.set<"HAD">(3);
        u.write_entry();
        if (u.has_guest()) u.entry(5) &= ~one_bit(6);
        for (unsigned turn = 0; turn < 3; ++turn) {
            auto const before = u.ask_cached(u.ats(stagewalk::read));
            REQUIRE(before);
            auto const expected = u.unit().translate(u.ats(stagewalk::read));
            REQUIRE(expected);
            CHECK(*before == *expected);
            if (turn == 1) CHECK(u.ask_cached(u.ask(stagewalk::write)));
        }
    }
}

TEST_CASE("AMD-Vi caches: no fault is cached") {
    for (auto const kind : {amdvi_kind::host, amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        std::uint64_t& leaf = u.has_guest() ? u.entry(5) : u.memory[u.h1];
        std::uint64_t const good = leaf;
        leaf = good & ~one_bit(0);
        CHECK_FALSE(u.ask_cached(u.ask()));
        CHECK_FALSE(u.ask_cached(u.ask()));
        leaf = good; // what is present now was not: nothing is owed, as NpCache is 0
        CHECK(u.ask_cached(u.ask()));
    }
    cached_unit u;
    u.dte.set<"V">(0);
    u.write_entry();
    CHECK(amdvi_passes(u.ask_cached(u.ask()), u.ask()));
    CHECK(u.loads(u.ask()) != 0); // nor is that an entry is not valid
    u.dte.set<"V">(1);
    u.dte.set<"Mode">(7);
    u.write_entry();
    CHECK(u.ask_cached(u.ask()).error().code == amdvi::event::illegal_dev_table_entry);
    u.dte.set<"Mode">(3);
    u.write_entry();
    CHECK(u.ask_cached(u.ask()));
}

TEST_CASE("AMD-Vi caches: an entry that translates nothing refuses from the cache as from memory") {
    cached_unit u;
    u.dte.set<"TV">(0);
    u.write_entry();
    CHECK_FALSE(u.hits(u.ask()));
    CHECK(u.hits(u.ask())); // the fault too is what memory would give
    u.dte.set<"TV">(1);
    u.write_entry();
    CHECK_FALSE(u.ask_cached(u.ask())); // until software says so
    u.execute(amdvi::invalidate_device_entry(u.device));
    CHECK(u.ask_cached(u.ask()));
}

TEST_CASE("AMD-Vi caches: who traces sees memory, and leaves nothing behind") {
    cached_unit u;
    CHECK_FALSE(u.hits(u.ask()));
    CHECK(u.hits(u.ask()));
    unsigned steps = 0;
    u.memory.forget();
    CHECK(u.with_caches().translate(u.ask(), [&](auto const&) { ++steps; }));
    CHECK(steps == 4);
    CHECK(u.memory.trail.size() == 7);
    u.memory[u.h1] ^= 0x1000;
    CHECK(u.with_caches().translate(u.ask(), [](auto const&) {})->output.value == (u.to() ^ 0x1000));
    CHECK(u.ask_cached(u.ask())->output.value == u.to());

    cached_unit fresh;
    CHECK(fresh.with_caches().translate(fresh.ask(), [](auto const&) {}));
    CHECK(fresh.count(tlb_count::fills) == 0);
    CHECK(fresh.loads(fresh.ask()) == 7);
}

TEST_CASE("AMD-Vi caches: translate_and hands over what translate says, and counts as an access") {
    amdvi_unit u;
    u.write_entry();
    amdvi::caches<pa, guard::seqlock> room;
    amdvi::iommu const unit{u.caps(), u.registers, u.memory, amdvi::settings{}, room};
    for (unsigned turn = 0; turn < 2; ++turn)
        CHECK(unit.translate_and(u.ask(), [](auto const& o) { return o ? o->output.value : 0; }) == u.to());
    auto const all = amdvi::invalidate_all();
    CHECK(unit.execute({all.word[0], all.word[1]})); // nobody is inside any more
    CHECK_FALSE(unit.translate_and(u.ask_at(0), [](auto const& o) { return static_cast<bool>(o); }));
    CHECK(u.unit().translate_and(u.ask(), [](auto const& o) { return o->output.value; }) == u.to());
}

TEST_CASE("AMD-Vi caches: a walk that an invalidation overtakes leaves nothing") {
    // The dirty bit's update is where another thread's command comes in between.
    for (bool const of_domain : {true, false}) {
        cached_unit u;
        u.dte.set<"HAD">(3);
        u.write_entry();
        auto const unit = u.with_caches();
        bool once = true;
        u.memory.meddle = [&](std::uint64_t) {
            if (!once) return;
            once = false;
            auto const pages =
                of_domain ? amdvi::invalidate_domain(0x11) : amdvi::invalidate_pages(0x11, no_pasid, page_at(u.at()), true);
            CHECK(unit.execute({pages.word[0], pages.word[1]}));
        };
        CHECK(unit.translate(u.ask(stagewalk::write)));
        CHECK_FALSE(once);
        u.memory.meddle = {};
        CHECK(u.count(tlb_count::dropped_fills) == 1);
        CHECK(u.loads(u.ask(stagewalk::write)) == 3); // the device table entry is not concerned
        CHECK(u.hits(u.ask(stagewalk::write)));
    }
}

TEST_CASE("AMD-Vi caches: a device table entry that is dropped while it is read is not kept") {
    // Memory that lets another command in before each load.
    amdvi_unit u;
    u.write_entry();
    amdvi::caches<pa> room;
    unsigned loads = 0;
    unsigned when = 2;
    auto const drop = [&] {
        auto const c = amdvi::invalidate_device_entry(amdvi_unit::device);
        room.drop(amdvi::decode({c.word[0], c.word[1]}, u.caps())->stale);
    };
    auto const memory_load = [&](pa at) {
        if (++loads == when) drop();
        return u.memory.load(at);
    };
    auto memory = make_callback<pa>(memory_load);
    amdvi::iommu const unit{u.caps(), u.registers, memory, amdvi::settings{}, room};
    CHECK(unit.translate(u.ask()));
    CHECK(loads == 7);
    CHECK(unit.translate(u.ask()));
    CHECK(loads == 11); // the entry once more; translations are not concerned
    CHECK(unit.translate(u.ask()));
    CHECK(loads == 11);
}

TEST_CASE("AMD-Vi caches: a device that moves to another domain takes nothing along") {
    cached_unit u;
    auto const other = from(u.ask(), u.device + 1);
    u.write_entry(u.other_at);
    CHECK_FALSE(u.hits(u.ask()));
    CHECK_FALSE(u.hits(other));
    // Tables of its own: the common ones but for the leaf, and domain 12h.
    auto const old = u.dte;
    u.memory[0x200'00e0] = 0x6000'0000'0200'1401;
    u.memory[0x200'18d0] = 0x6000'0000'0200'2201;
    u.memory[0x200'22b0] = 0x6000'0000'1111'1001;
    auto const move = [&](amdvi::device_table_entry from_entry, std::uint16_t domain, std::uint64_t root) {
        u.dte = amdvi::make_host_entry(domain, 3, root);
        u.write_entry();
        auto const owed = amdvi::owed_after(from_entry, u.dte, u.device, {}, u.caps());
        for (std::size_t n = 0; n < owed.count; ++n)
            REQUIRE(u.with_caches().execute({owed.word[n][0], owed.word[n][1]}));
    };
    move(old, 0x12, 0x200'0000);
    CHECK(u.ask_cached(u.ask())->output.value == 0x1111'1789);
    CHECK(u.hits(u.ask()));
    CHECK(u.ask_cached(other)->output.value == 0x9abc'd789);
    CHECK(u.hits(other));
    // To the first domain again, whose tables have changed meanwhile; and the second domain gets other tables.
    u.memory[u.h1] ^= 0x1000;
    u.execute(amdvi::invalidate_pages(0x11, no_pasid, page_at(u.at()), true));
    move(u.dte, 0x11, 0x100'0000);
    CHECK(u.ask_cached(u.ask())->output.value == 0x9abc'c789);
    CHECK(u.ask_cached(other)->output.value == 0x9abc'c789);
    u.memory[0x200'22b0] = 0x6000'0000'2222'2001;
    move(u.dte, 0x12, 0x200'0000);
    CHECK(u.ask_cached(u.ask())->output.value == 0x2222'2789);
    CHECK(u.ask_cached(other)->output.value == 0x9abc'c789); // its domain was dropped too
    CHECK(u.hits(other));
}

TEST_CASE("AMD-Vi caches: PASIDs of one domain are kept apart, and dropped one by one") {
    for (auto const kind : {amdvi_kind::guest, amdvi_kind::nested}) {
        cached_unit u{kind};
        u.by_default();
        u.write_entry();
        auto const untagged = u.untagged(u.at());
        auto zero = u.ask();
        zero.pasid = 0;
        CHECK_FALSE(u.hits(u.ask()));
        CHECK_FALSE(u.hits(untagged));
        CHECK(u.hits(zero)); // the same space
        u.execute(amdvi::invalidate_pasid(0x11, u.pasid));
        CHECK(u.hits(untagged));
        CHECK_FALSE(u.hits(u.ask()));
        u.execute(amdvi::invalidate_pages(0x11, 0, page_at(u.at()), true));
        CHECK(u.hits(u.ask()));
        CHECK_FALSE(u.hits(untagged));
        // Without GN all guest translations of the domain go, whatever the address.
        u.execute(amdvi::invalidate_pages(0x11, no_pasid, page_at(0x5000), true));
        CHECK_FALSE(u.hits(u.ask()));
        CHECK_FALSE(u.hits(untagged));
        u.execute(amdvi::invalidate_domain(0x12));
        CHECK(u.hits(u.ask()));
    }
}
