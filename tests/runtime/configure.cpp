// Writing configuration entries: the order of the stores, and the invalidations that are owed.
#include "scalable_unit.hpp"

#include <stagewalk/vtd/configure.hpp>

#include <cstdint>
#include <string>

namespace stagewalk::test {
namespace {

using words = std::vector<std::uint64_t>;

// Memory that logs every store and publication, and lets hardware look after each store.
struct logging_memory {
    using address = ipa;
    using error = memory_error;

    struct event {
        char what; // s: store, p: publish
        std::uint64_t at;
        std::uint64_t value; // the bytes published
        friend bool operator==(event const&, event const&) = default;
    };

    outcome<std::uint64_t, error> load(ipa a) noexcept { return word[a.value]; }
    outcome<bool, error> compare_exchange(ipa, std::uint64_t&, std::uint64_t) noexcept { return failure{memory_error::outside}; }
    outcome<bool, error> store(ipa a, std::uint64_t value) noexcept {
        if (broken_after == 0) return failure{memory_error::outside};
        --broken_after;
        log.push_back({'s', a.value, value});
        word[a.value] = value;
        if (look) look();
        return true;
    }
    void publish(ipa a, std::uint64_t bytes) noexcept { log.push_back({'p', a.value, bytes}); }

    std::map<std::uint64_t, std::uint64_t> word;
    std::vector<event> log;
    std::function<void()> look{};
    unsigned broken_after{1000};
};

using event = logging_memory::event;

vtd::capabilities caps(bool caching) {
    scalable_unit u;
    u.cap.set<"CM">(caching);
    return u.caps();
}

// The low words of what is owed.
words low_words(vtd::owed_commands const& owed) {
    words w;
    for (std::size_t i = 0; i < owed.count; ++i)
        w.push_back(owed.word[i][0]);
    for (std::size_t i = 0; i < owed.count; ++i)
        CHECK((owed.word[i][1] | owed.word[i][2] | owed.word[i][3]) == 0);
    return w;
}

constexpr std::uint64_t at = 0x2000'0100;

// Written down in full before it is present; the unit never sees a present entry that is not complete.
template <class Entry, class... Who>
void check_comes(Entry const& e, Who... who) {
    for (bool const caching : {false, true}) {
        logging_memory m;
        for (std::size_t w = 0; w < Entry::words; ++w)
            m.word[at + w * 8] = 0xdead'0000 + w * 2; // stale, not present
        m.look = [&] {
            if ((m.word[at] & 1) == 0) return;
            for (std::size_t w = 0; w < Entry::words; ++w)
                CHECK(m.word[at + w * 8] == e.word[w]);
        };
        vtd::configurator c{caps(caching), m};
        REQUIRE(c.set(ipa{at}, e, who...));
        for (std::size_t w = 0; w < Entry::words; ++w)
            CHECK(m.word[at + w * 8] == e.word[w]);
        // P is the last store, after a publication of all the rest, and published itself.
        REQUIRE(m.log.size() >= 4);
        CHECK(m.log.back() == event{'p', at, 8});
        CHECK(m.log[m.log.size() - 2] == event{'s', at, e.word[0]});
        CHECK(m.log[m.log.size() - 3] == event{'p', at, sizeof(e)});
        for (std::size_t i = 0; i + 2 < m.log.size(); ++i)
            if (m.log[i].what == 's' && m.log[i].at == at) CHECK((m.log[i].value & 1) == 0);
        // Each word is stored, as 64 bits that are aligned.
        for (std::size_t w = 0; w < Entry::words; ++w) {
            bool stored = false;
            for (event const& v : m.log)
                stored = stored || (v.what == 's' && v.at == at + w * 8);
            CHECK(stored);
        }
        for (event const& v : m.log)
            CHECK(v.at % 8 == 0);
    }
}

// Loses P before anything else.
template <class Entry, class... Who>
void check_goes(Entry const& e, Who... who) {
    for (bool const caching : {false, true}) {
        logging_memory m;
        for (std::size_t w = 0; w < Entry::words; ++w)
            m.word[at + w * 8] = e.word[w];
        vtd::configurator c{caps(caching), m};
        REQUIRE(c.clear(ipa{at}, e, who...));
        REQUIRE(m.log.size() >= 2);
        CHECK(m.log[0] == event{'s', at, e.word[0] & ~std::uint64_t{1}});
        CHECK(m.log[1] == event{'p', at, 8});
        CHECK((m.word[at] & 1) == 0);
    }
}

vtd::pasid_table_entry const second_entry = vtd::pasid_table_entry::make_second_stage(0x5000'0000, 4, 0x12);
vtd::pasid_table_entry const first_entry = vtd::pasid_table_entry::make_first_stage(0x6000'0000, 4, 0x34);
vtd::pasid_table_entry const nested_entry = vtd::pasid_table_entry::make_nested(0x6000'0000, 4, 0x5000'0000, 4, 0x56);
vtd::pasid_table_entry const through_entry = vtd::pasid_table_entry::make_pass_through(0x78);
vtd::context_entry const legacy_context = vtd::context_entry::make(vtd::translation_type::untranslated_only, 0x3000'0000, 4, 7);
vtd::scalable_context_entry const context = vtd::scalable_context_entry::make(0x4000'0000, 7);

} // namespace

TEST_CASE("configure: an entry that comes is complete before it is present") {
    check_comes(legacy_context, std::uint16_t{0x0219});
    check_comes(context, std::uint16_t{0x0388});
    for (auto const& e : {second_entry, first_entry, nested_entry, through_entry})
        check_comes(e, std::uint32_t{0x12345});
    check_comes(vtd::pasid_directory_entry::make(0x4100'0000));
    check_comes(vtd::root_entry::make(0x2000'0000));
}

TEST_CASE("configure: an entry that goes loses P first") {
    check_goes(legacy_context, std::uint16_t{0x0219});
    check_goes(context, std::uint16_t{0x0388});
    for (auto const& e : {second_entry, first_entry, nested_entry, through_entry})
        check_goes(e, std::uint32_t{0x12345});
    check_goes(vtd::pasid_directory_entry::make(0x4100'0000));
    check_goes(vtd::root_entry::make(0x2000'0000));
}

TEST_CASE("configure: each half of a scalable root entry is one store") {
    logging_memory m;
    vtd::configurator c{caps(false), m};
    auto const e = vtd::scalable_root_entry::make(0x2000'0000, 0x2100'0000);
    REQUIRE(c.set(ipa{at}, e));
    CHECK(m.log == std::vector<event>{{'s', at, 0x2000'0001}, {'s', at + 8, 0x2100'0001}, {'p', at, 16}});
    m.log.clear();
    REQUIRE(c.clear(ipa{at}, e));
    CHECK(m.log == std::vector<event>{{'s', at, 0x2000'0000}, {'s', at + 8, 0x2100'0000}, {'p', at, 16}});
}

TEST_CASE("configure: a unit that does not cache what is absent is owed nothing for an entry that comes") {
    logging_memory m;
    vtd::configurator c{caps(false), m};
    CHECK(c.set(ipa{at}, legacy_context, std::uint16_t{0x0219})->count == 0);
    CHECK(c.set(ipa{at}, context, std::uint16_t{0x0388})->count == 0);
    CHECK(c.set(ipa{at}, second_entry, std::uint32_t{5})->count == 0);
    CHECK(c.set(ipa{at}, first_entry, std::uint32_t{5})->count == 0);
    CHECK(c.set(ipa{at}, vtd::pasid_directory_entry::make(0x1000))->count == 0);
    CHECK(c.set(ipa{at}, vtd::root_entry::make(0x1000))->count == 0);
    CHECK(c.set(ipa{at}, vtd::scalable_root_entry::make(0x1000, 0x2000))->count == 0);
}

TEST_CASE("configure: in caching mode what was absent is tagged with domain 0, translations with their own domain") {
    logging_memory m;
    vtd::configurator c{caps(true), m};
    // Context: device-selective with domain 0, then the IOTLB of the domain.
    CHECK(low_words(*c.set(ipa{at}, legacy_context, std::uint16_t{0x0219})) == words{0x0000'0219'0000'0031, 0x0007'00e2});
    // Scalable: context, then PASID cache, then IOTLB, all of them.
    CHECK(low_words(*c.set(ipa{at}, context, std::uint16_t{0x0388})) == words{0x0000'0388'0000'0031, 0x37, 0xd2});
    // PASID: PASID-in-domain of domain 0, then the translations.
    CHECK(low_words(*c.set(ipa{at}, second_entry, std::uint32_t{0x12345})) == words{0x0001'2345'0000'0017, 0x0012'00e2});
    CHECK(low_words(*c.set(ipa{at}, nested_entry, std::uint32_t{0x12345})) == words{0x0001'2345'0000'0017, 0x0056'00e2});
    CHECK(low_words(*c.set(ipa{at}, first_entry, std::uint32_t{0x12345})) == words{0x0001'2345'0000'0017, 0x0001'2345'0034'0026});
    CHECK(low_words(*c.set(ipa{at}, through_entry, std::uint32_t{0x12345})) ==
          words{0x0001'2345'0000'0017, 0x0001'2345'0078'0026});
    // A directory entry: every PASID.
    CHECK(low_words(*c.set(ipa{at}, vtd::pasid_directory_entry::make(0x1000))) == words{0x37});
    // A root entry: everything.
    CHECK(low_words(*c.set(ipa{at}, vtd::root_entry::make(0x1000))) == words{0x11, 0xd2});
    CHECK(low_words(*c.set(ipa{at}, vtd::scalable_root_entry::make(0x1000, 0x2000))) == words{0x11, 0x37, 0xd2});
}

TEST_CASE("configure: what goes owes the same in either mode: context, PASID cache, IOTLB, in this order") {
    for (bool const caching : {false, true}) {
        logging_memory m;
        vtd::configurator c{caps(caching), m};
        CHECK(low_words(*c.clear(ipa{at}, legacy_context, std::uint16_t{0x0219})) == words{0x0000'0219'0007'0031, 0x0007'00e2});
        CHECK(low_words(*c.clear(ipa{at}, context, std::uint16_t{0x0388})) == words{0x0000'0388'0000'0031, 0x37, 0xd2});
        CHECK(low_words(*c.clear(ipa{at}, second_entry, std::uint32_t{0x12345})) == words{0x0001'2345'0012'0017, 0x0012'00e2});
        CHECK(low_words(*c.clear(ipa{at}, nested_entry, std::uint32_t{0x12345})) == words{0x0001'2345'0056'0017, 0x0056'00e2});
        CHECK(low_words(*c.clear(ipa{at}, first_entry, std::uint32_t{0x12345})) ==
              words{0x0001'2345'0034'0017, 0x0001'2345'0034'0026});
        CHECK(low_words(*c.clear(ipa{at}, through_entry, std::uint32_t{0x12345})) ==
              words{0x0001'2345'0078'0017, 0x0001'2345'0078'0026});
        // What many paths go through: everything behind it.
        CHECK(low_words(*c.clear(ipa{at}, vtd::pasid_directory_entry::make(0x1000))) == words{0x37, 0xd2});
        CHECK(low_words(*c.clear(ipa{at}, vtd::root_entry::make(0x1000))) == words{0x11, 0xd2});
        CHECK(low_words(*c.clear(ipa{at}, vtd::scalable_root_entry::make(0x1000, 0x2000))) == words{0x11, 0x37, 0xd2});
    }
}

TEST_CASE("configure: every descriptor that is owed is one that the unit takes") {
    logging_memory m;
    vtd::configurator c{caps(true), m};
    vtd::invalidation_queue_address const queue{0x8000'0800}; // DW
    auto const accepted = [&](vtd::owed_commands const& owed, vtd::table_mode mode) {
        for (std::size_t i = 0; i < owed.count; ++i) {
            std::uint64_t const d[4]{owed.word[i][0], owed.word[i][1], owed.word[i][2], owed.word[i][3]};
            CHECK(vtd::decode(d, queue, mode, caps(true)));
        }
        CHECK(owed.count > 0);
    };
    accepted(*c.clear(ipa{at}, legacy_context, std::uint16_t{0x0219}), vtd::table_mode::legacy);
    accepted(*c.set(ipa{at}, vtd::root_entry::make(0x1000)), vtd::table_mode::legacy);
    accepted(*c.clear(ipa{at}, context, std::uint16_t{0x0388}), vtd::table_mode::scalable);
    accepted(*c.clear(ipa{at}, second_entry, std::uint32_t{7}), vtd::table_mode::scalable);
    accepted(*c.clear(ipa{at}, first_entry, std::uint32_t{7}), vtd::table_mode::scalable);
    accepted(*c.set(ipa{at}, vtd::pasid_directory_entry::make(0x1000)), vtd::table_mode::scalable);
    accepted(*c.set(ipa{at}, vtd::scalable_root_entry::make(0x1000, 0x2000)), vtd::table_mode::scalable);
}

TEST_CASE("configure: a store that fails is told, and the entry is not present") {
    for (unsigned n = 0; n < 9; ++n) {
        logging_memory m;
        m.broken_after = n;
        vtd::configurator c{caps(true), m};
        CHECK_FALSE(c.set(ipa{at}, nested_entry, std::uint32_t{5}));
        CHECK((m.word[at] & 1) == 0);
    }
    logging_memory m;
    m.broken_after = 0;
    vtd::configurator c{caps(true), m};
    CHECK_FALSE(c.clear(ipa{at}, nested_entry, std::uint32_t{5}));
    CHECK_FALSE(c.set(ipa{at}, vtd::scalable_root_entry::make(0x1000, 0x2000)));
    CHECK_FALSE(c.clear(ipa{at}, vtd::scalable_root_entry::make(0x1000, 0x2000)));
}

} // namespace stagewalk::test
