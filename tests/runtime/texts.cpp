// The names and texts of faults, for logs: each code has its own name, and what is no code says so.
#include "catch.hpp"

#include <stagewalk/smmu/event_text.hpp>
#include <stagewalk/vtd/reason_text.hpp>

#include <set>
#include <string>

namespace stagewalk::test {
namespace {

// How many of the first 256 codes have a name; no two have the same, and each that has one has a text.
template <class Code, class Name, class Text>
std::size_t named(Name name, Text text) {
    std::set<std::string> names;
    std::size_t unknown = 0;
    for (unsigned i = 0; i < 256; ++i) {
        auto const code = static_cast<Code>(i);
        std::string const n = name(code);
        CAPTURE(i, n);
        CHECK_FALSE(std::string{text(code)}.empty());
        if (n == "unknown") {
            ++unknown;
        } else {
            CHECK(names.insert(n).second);
        }
    }
    CHECK(names.size() + unknown == 256);
    return names.size();
}

} // namespace

TEST_CASE("texts: each VT-d fault reason has a name of its own, and a text") {
    CHECK(named<vtd::reason>([](vtd::reason r) { return vtd::name(r); }, [](vtd::reason r) { return vtd::text(r); }) > 70);
    CHECK(std::string{vtd::name(vtd::reason::table_reserved)} == "table_reserved");
    CHECK(std::string{vtd::text(static_cast<vtd::reason>(0xff))} == "a fault that this library does not raise");
}

TEST_CASE("texts: each SMMU event and each cause of an illegal entry has a name of its own, and a text") {
    using smmu::name_of;
    using smmu::text_of;
    auto const count = [](auto code) {
        using type = decltype(code);
        return named<type>([](type c) { return name_of(c); }, [](type c) { return text_of(c); });
    };
    CHECK(count(smmu::event::none) == 20);
    CHECK(count(smmu::stream_entry_error::none) > 20);
    CHECK(count(smmu::context_error::none) > 8);
    CHECK(std::string{name_of(smmu::event::f_translation)} == "F_TRANSLATION");
}

} // namespace stagewalk::test
