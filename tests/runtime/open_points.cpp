// Points on which the manual leaves a choice that no policy switches: what is decided, so that it does not change unseen.
#include "sheet_unit.hpp"

#include <cstdint>

namespace stagewalk::test {

TEST_CASE("a root table address above HAW is kept, so the root entry cannot be read there") {
    sheet_unit u;
    u.root_register = 0x8000'0000'1000'0000;
    check_fault(u.translate(), reason::root_unreadable, configuration(0x8000'0000'1000'0020));
}

TEST_CASE("SSIRWE of a unit that lacks it is not looked at") {
    sheet_unit u;
    u.root_register = 0x1000'0080;
    CHECK(u.translate());
}

TEST_CASE("pass-through does not follow the pointer to page tables, but its bits above HAW are reserved all the same") {
    sheet_unit u;
    u.translation(vtd::translation_type::pass_through);
    CHECK(u.translate());
    u.memory[u.context] |= std::uint64_t{1} << 46;
    check_fault(u.translate(), reason::context_reserved, configuration(u.context, u.memory[u.context]));
}

} // namespace stagewalk::test
