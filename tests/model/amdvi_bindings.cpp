// AMD-Vi: what find() says against what translate() does. A binding's stages, walked by hand for what the request needs, give
// what the unit gives, on random tables and on tables that were made hostile.
#include "amdvi_arena.hpp"
#include "amdvi_compare.hpp"
#include "catch.hpp"

#include <stagewalk/translate/nested.hpp>
#include <stagewalk/translate/single.hpp>

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>

namespace {

namespace sw = stagewalk;
using namespace amdvi_arena;
using namespace amdvi_compare;
using sw::amdvi::binding_kind;

constexpr char const* names[] = {"bypass", "identity", "host", "guest", "nested"};

// The fault of whichever of the two is to blame.
template <class Fault>
auto blamed(Fault const& f) {
    return f.by == sw::nested_by::outer ? fault_type{f.outer} : fault_type{f.inner};
}
template <class Code>
fault_type blamed(sw::fault<Code> const& f) {
    return f;
}

// What a walk by hand and the unit have in common: the flags of the request, and whether it is logged, are the unit's to add.
bool same_fault(fault_type const& by_hand, fault_type const& unit) {
    using namespace sw::amdvi::fault_detail;
    bool const flags =
        unit.code != sw::amdvi::event::io_page_fault || ((by_hand.detail ^ unit.detail) & (present | permission | reserved)) == 0;
    return by_hand.code == unit.code && by_hand.stage == unit.stage && by_hand.level == unit.level &&
           by_hand.entry == unit.entry && flags;
}

struct counted {
    std::uint64_t walked = 0;
    std::uint64_t refused = 0;
};

class check {
public:
    std::map<std::string, counted> reached;
    std::string problem;

    template <class Memory>
    void one(unit const& u, ask const& q, Memory& memory) {
        sw::amdvi::iommu const hardware{capabilities_of(u), control_of(u), memory, settings_of(u)};
        auto const r = request_of(q);
        auto const found = hardware.find(r);
        auto const answer = hardware.translate(r);
        bool const asks = r.type == sw::amdvi::request_type::translation;
        bool const is_refused = !answer && answer.error().code == sw::amdvi::event::invalid_device_request;
        // A device without IOTLB must not ask, whatever it is bound to.
        if (is_elsewhere(u, q) || (asks && is_refused && (answer.error().detail >> 57 & 7) == 1)) return;
        if (!found) {
            // What prevents a binding refuses every request, with the same fault.
            ++reached["no binding"].refused;
            if (answer || !(answer.error() == found.error())) fail("no binding", u, q, found, answer);
            return;
        }
        auto const& b = *found;
        if (b.kind == binding_kind::bypass) {
            ++reached["bypass"].walked;
            if (!answer || answer->by != sw::passage::bypassed) fail("bypass", u, q, found, answer);
            return;
        }
        sw::access need = r.access & sw::read_write;
        if (r.access.covers(sw::execute)) need = need | sw::read;
        if (asks) need = need | sw::read | sw::inquiring;
        bool const is_user = !(hardware.caps().template has<"USSup">() && r.access.covers(sw::privileged));
        sw::access const of_guest = need | (r.access & sw::execute) | (is_user ? sw::none : sw::privileged);
        switch (b.kind) {
        case binding_kind::bypass: break;
        case binding_kind::identity: {
            sw::access const granted{b.entry.template get<"IR">() | b.entry.template get<"IW">() << 1};
            bool const passes = asks || granted.covers(need);
            ++(passes ? reached["identity"].walked : reached["identity"].refused);
            if (static_cast<bool>(answer) != passes || (answer && answer->effective.rights() != granted) ||
                b.pasid != sw::amdvi::no_pasid)
                fail("identity", u, q, found, answer);
            break;
        }
        case binding_kind::host: expect(sw::single{hardware.host_stage_of(b), memory}.translate(r.address, need)); break;
        case binding_kind::guest: expect(sw::single{hardware.guest_stage_of(b), memory}.translate(r.address, of_guest)); break;
        case binding_kind::nested: {
            auto const host = hardware.nested_host_stage_of(b);
            auto const guest = hardware.nested_guest_stage_of(b);
            // Two stages without more know neither whose the device's rights are, nor what executing and asking are to the host.
            sw::access const granted{b.entry.template get<"IR">() | b.entry.template get<"IW">() << 1};
            if (of_guest == need && !asks && granted == sw::read_write) {
                expect(sw::nested{guest, host, memory}.translate(r.address, need));
                compare(found, answer, u, q, 3);
            }
            sw::no_trace trace;
            sw::amdvi::nested_updates owed;
            sw::amdvi::nested_walk<Memory, sw::no_trace> both{host, memory, trace};
            expect(both.translate(guest, r.address, of_guest, owed));
            if (fault_type why; ok_ && both.settle_both(owed, of_guest, why) != sw::settled::done) {
                ok_ = false;
                fault_ = both.located(why);
            }
            break;
        }
        }
        if (b.kind != binding_kind::identity) compare(found, answer, u, q, ~std::uint64_t{0});
    }

private:
    // What find() does not look at: requests that reach no table.
    static bool is_elsewhere(unit const& u, ask const& q) {
        if ((u.control & 1) == 0 || q.kind == amdvi_model::translated) return true;
        if (q.has_pasid) return false;
        if (u.interrupt_range && q.address >= 0xfee0'0000 && q.address <= 0xfeef'ffff) return true;
        if (u.ht_reserved && q.address >= 0xfd'0000'0000 && q.address <= 0xff'ffff'ffff) return true;
        std::uint64_t const first = u.exclusion_base & 0x000f'ffff'ffff'f000;
        std::uint64_t const last = (u.exclusion_limit & 0x000f'ffff'ffff'f000) | 0xfff;
        return (u.exclusion_base & 1) != 0 && q.address >= first && q.address <= last;
    }

    template <class Outcome>
    void expect(Outcome const& o) {
        ok_ = static_cast<bool>(o);
        if (o) {
            output_ = o->output.value;
            attributes_ = o->effective.bits;
            lg2_ = o->lg2_size;
        } else {
            fault_ = blamed(o.error());
        }
    }

    // The walk by hand and the unit; of the attributes those that the mask names.
    template <class Found, class Answer>
    void compare(Found const& found, Answer const& answer, unit const& u, ask const& q, std::uint64_t mask) {
        char const* const name = names[static_cast<unsigned>(found->kind)];
        counted& n = reached[name];
        ++(ok_ ? n.walked : n.refused);
        bool const alike = ok_ ? answer && answer->output.value == output_ && answer->lg2_size == lg2_ &&
                                     ((answer->effective.bits ^ attributes_) & mask) == 0
                               : !answer && same_fault(fault_, answer.error());
        if (alike) return;
        fail(name, u, q, found, answer,
             ok_ ? print("by hand ok %llx attributes %llx lg2 %llu\n", static_cast<wide>(output_), static_cast<wide>(attributes_),
                         static_cast<wide>(lg2_))
                 : "by hand " + text_of(fault_) + "\n");
    }

    template <class Found, class Answer>
    void fail(char const* what, unit const& u, ask const& q, Found const& found, Answer const& answer, std::string by_hand = "") {
        if (!problem.empty()) return;
        problem = std::string{what} + "\n  translate: " + (answer ? text_of(*answer) : text_of(answer.error())) +
                  "\n  find: " + (found ? "found" : text_of(found.error())) + "\n  " + by_hand + text_of(u, q);
    }

    bool ok_{};
    std::uint64_t output_{};
    std::uint64_t attributes_{};
    std::uint64_t lg2_{};
    fault_type fault_{};
};

} // namespace

TEST_CASE("AMD-Vi: the stages of what find() finds, walked by hand, give what translate() gives", "[amdvi]") {
    random_bits random{0xa312};
    static arena memory;
    static builder b;
    check c;
    std::uint64_t done = 0;
    while (done < sw::test::fewer(300'000)) {
        b.build(random, memory, plan{});
        for (unsigned round = 0; round < 6; ++round) {
            b.next_round(random, memory);
            auto load = [](sw::pa at) -> sw::outcome<std::uint64_t, int> {
                std::uint64_t value = 0;
                if (!memory.read(at.value, value)) return sw::failure{1};
                return value;
            };
            auto loader = sw::make_callback<sw::pa>(load);
            for (unsigned n = 0; n < 8; ++n, ++done) {
                ask const q = b.next_ask(random);
                c.one(b.u, q, loader);
                if (!c.problem.empty()) FAIL("case " << done << ": " << c.problem);
            }
        }
    }
    for (auto const& [name, n] : c.reached)
        std::printf("%-12s %8llu walked, %8llu refused\n", name.c_str(), static_cast<wide>(n.walked),
                    static_cast<wide>(n.refused));
    if (!sw::test::all_cases()) return;
    for (char const* const name : {"identity", "host", "guest", "nested"}) {
        INFO(name);
        CHECK(c.reached[name].walked > 1000);
        CHECK(c.reached[name].refused > 500);
    }
    CHECK(c.reached["bypass"].walked > 1000);
    CHECK(c.reached["no binding"].refused > 1000);
}
