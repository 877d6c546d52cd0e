#include "amdvi_configuration_text.hpp"
#include "amdvi_fault_text.hpp"
#include "amdvi_gcr3.hpp"
#include "amdvi_leaves.hpp"
#include "amdvi_registers.hpp"
#include "amdvi_trace.hpp"
#include "amdvi_tree.hpp"
#include "architecture.hpp"
#include "bad_input.hpp"
#include "number.hpp"
#include "unit.hpp"

#include <stagewalk/amdvi/event_record.hpp>
#include <stagewalk/amdvi/event_text.hpp>
#include <stagewalk/amdvi/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace inspect {

namespace {

namespace amdvi = stagewalk::amdvi;
using iommu = amdvi::iommu<guest_memory>;

// What is bound, and what is loaded for it, at most: hostile tables describe up to 2^36 PASIDs.
constexpr std::size_t most_bindings = std::size_t{1} << 17;
constexpr std::uint64_t most_binding_loads = std::uint64_t{1} << 24;

std::string levels_text(std::uint64_t n) { return std::to_string(n) + (n == 1 ? " level" : " levels"); }

class amdvi_unit final : public unit {
public:
    amdvi_unit(capture const& c, amdvi_registers const& registers, guest_memory& memory, bool range_rules)
        : memory_{memory}, registers_{registers}, iommu_{registers.caps, registers.control, memory, {{}, false, range_rules}},
          check_{registers.caps, registers.control, iommu_.setup().rules, iommu_.setup().snp} {
        if (registers_.enabled() && !is_device_table_there())
            throw bad_input{c.pages_at() + "the device table at " + hex(registers_.table(0)) + " (" +
                            c.register_name("DEVTAB_BASE") + ") is not among the pages"};
    }

    [[nodiscard]] std::vector<std::pair<std::string, std::string>> facts() const override {
        amdvi::capabilities const& caps = registers_.caps;
        std::string const host =
            caps.host_levels() == 0 ? "no host tables" : "host tables of up to " + levels_text(caps.host_levels());
        std::string const guest = !caps.has<"GTSup">()                          ? ""
                                  : !registers_.control.translates_guests(caps) ? "; guest tables off"
                                  : caps.five_guest_levels()                    ? "; guest tables of 4 or 5 levels"
                                                                                : "; guest tables of 4 levels";
        std::vector<std::pair<std::string, std::string>> all{
            {"unit", std::string{"AMD-Vi"} + (registers_.enabled() ? "" : ", off, requests pass unchanged")},
            {"tables", host + guest}};
        if (registers_.control.translates_guests(caps))
            all.emplace_back("PASIDs", std::to_string(caps.pasid_size()) + (caps.pasid_size() == 1 ? " bit" : " bits") +
                                           ", GCR3 tables of up to " + levels_text(caps.efr.get<"GLXSup">() + 1));
        for (std::uint64_t n = 0; n < registers_.segments(); ++n)
            all.emplace_back(registers_.segments() == 1 ? "devices" : "segment " + std::to_string(n),
                             count_text(registers_.entries(n)) + ", table at " + hex(registers_.table(n)));
        if (auto const excluded = registers_.control.excluded(caps); !excluded.empty())
            all.emplace_back(
                "excluded",
                hex(excluded.first().value) + '-' + hex(excluded.last().value) + " passes unchanged for " +
                    (registers_.control.exclusion_base.get<"Allow">() != 0 ? "every valid device" : "devices with EX"));
        return all;
    }
    [[nodiscard]] std::uint32_t largest_source() const override { return 0xffff; }
    [[nodiscard]] bool sources_are_bdfs() const override { return true; }

    answer translate(question const& q) override {
        memory_.begin_request();
        return answer_of(iommu_.translate(request_of(q)));
    }

    stretch translate_stretch(question const& q) override {
        amdvi_depth_gauge gauge;
        memory_.begin_request();
        answer const a = answer_of(iommu_.translate(request_of(q), gauge));
        std::uint64_t const last = gauge.in_tables() ? q.address | gauge.span_mask() : last_alike(q);
        return {a, last_beside_excluded(q.address, last)};
    }

    traced trace(question const& q) override {
        traced t;
        amdvi_entry_decoder decode{t.entries, registers_, iommu_.setup().rules, q};
        memory_.begin_request();
        amdvi::request const r = request_of(q);
        auto const outcome = iommu_.translate(r, decode);
        t.result = answer_of(outcome);
        if (t.result.is == result::fault && t.result.fault.code != 0) {
            t.record.what = t.result.fault.reported ? "event log entry" : "event log entry (suppressed, not written)";
            decode_fields(to_record(outcome.error(), r), t.record);
        }
        return t;
    }

    binding find(std::uint32_t source, std::uint32_t pasid) override {
        binding b;
        b.source = source;
        b.pasid = pasid;
        b.reach = ~std::uint64_t{0};
        if (!registers_.enabled()) {
            b.is = result::ok;
            b.bypasses = true;
            b.mode = "translation off";
            return b;
        }
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found) {
            b.problem = failed(found.error());
            b.is = b.problem.is;
            if (b.is == result::fault) describe_refusal(found.error(), b);
            return b;
        }
        describe(*found, b);
        return b;
    }

    binding_list bindings(std::optional<std::uint32_t> only) override {
        binding_list list;
        std::uint64_t loads = 0;
        if (!registers_.enabled()) return list;
        for (std::uint64_t n = 0; n < registers_.segments() && list.complete; ++n)
            add_segment(list, loads, n, only);
        return list;
    }

    stagewalk::enumeration enumerate(std::uint32_t source, std::uint32_t pasid, bool merged, std::uint64_t max_loads,
                                     visitors const& visit) override {
        if (!registers_.enabled()) return {};
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found) return {};
        auto const wrong = [&](stagewalk::fault<amdvi::event> const& f) {
            // What cannot be read is shown as a fault; what is lacking is known here.
            if (visit.wrong) visit.wrong({f.input, f.entry, failed(f)});
            memory_.begin_request();
        };
        return amdvi_leaves{iommu_, memory_, *found, max_loads, wrong}.run(merged, visit.mapped);
    }

    stagewalk::enumeration tour(tree_scope const& scope, tree_visitors const& visit) override {
        if (!registers_.enabled()) return {};
        return amdvi_tree{registers_, iommu_, memory_, scope, visit}.run();
    }

private:
    [[nodiscard]] static amdvi::request request_of(question const& q) {
        amdvi::request r;
        r.source = static_cast<std::uint16_t>(q.source);
        r.address = stagewalk::iova{q.address};
        r.access = q.access;
        r.pasid = q.pasid == no_pasid ? amdvi::no_pasid : q.pasid;
        return r;
    }

    template <class Outcome>
    answer answer_of(Outcome const& outcome) const {
        if (!outcome) return failed(outcome.error());
        answer a;
        a.is = outcome->by == stagewalk::passage::interrupt ? result::interrupt : result::ok;
        a.address = outcome->output.value;
        a.rights = outcome->effective.rights();
        a.lg2_size = outcome->lg2_size;
        return a;
    }

    answer failed(stagewalk::fault<amdvi::event> const& f) const {
        answer a;
        if (memory_.lacked()) {
            a.is = result::missing;
            a.address = memory_.lacking();
            return a;
        }
        a.is = result::fault;
        a.fault = {static_cast<std::uint64_t>(f.code),
                   name_of(f.code),
                   meaning_of(f),
                   f.stage,
                   f.level == stagewalk::no_level ? std::optional<int>{} : f.level + 1,
                   f.at,
                   f.reported,
                   f.code == amdvi::event::io_page_fault && (f.detail & amdvi::fault_detail::permission) != 0,
                   f.descriptor,
                   f.intermediate,
                   f.detail};
        return a;
    }

    template <class Stage>
    static std::uint64_t last_admitted(Stage const& s) {
        auto const all = s.admitted();
        std::uint64_t last = 0;
        for (auto const& part : all)
            if (!part.empty()) last = part.last().value;
        return last;
    }

    // The last address that is answered alike, where no entry of a page table was met: one page holds the whole root table, so
    // the answer depends on what the tables admit alone.
    std::uint64_t last_alike(question const& q) {
        constexpr std::uint64_t top = ~std::uint64_t{0};
        if (!registers_.enabled()) return top;
        auto const found = iommu_.find(request_of(q));
        if (!found) return top;
        auto const last = [&](auto const& stage) {
            auto const parts = stage.admitted();
            for (auto const& part : parts) {
                if (part.empty()) continue;
                if (q.address < part.first().value) return part.first().value - 1;
                if (q.address <= part.last().value) return part.last().value;
            }
            return top;
        };
        switch (found->kind) {
        case amdvi::binding_kind::bypass:
        case amdvi::binding_kind::identity: break;
        case amdvi::binding_kind::host: return last(iommu_.host_stage_of(*found));
        case amdvi::binding_kind::guest: return last(iommu_.guest_stage_of(*found));
        case amdvi::binding_kind::nested: return last(iommu_.nested_guest_stage_of(*found));
        }
        return top;
    }
    // And not beyond a border of the exclusion range.
    [[nodiscard]] std::uint64_t last_beside_excluded(std::uint64_t address, std::uint64_t last) const {
        auto const excluded = registers_.control.excluded(registers_.caps);
        if (excluded.empty()) return last;
        if (address < excluded.first().value) return std::min(last, excluded.first().value - 1);
        return address <= excluded.last().value ? std::min(last, excluded.last().value) : last;
    }

    // --- finding what is bound ---------------------------------------------------------------------------------------

    // A table of which only some pages are captured will do: what was left out is told page by page.
    bool is_device_table_there() {
        memory_.begin_request();
        for (std::uint64_t n = 0; n < registers_.segments(); ++n)
            for (std::uint64_t at = 0; at < registers_.entries(n) * sizeof(amdvi::device_table_entry); at += 4096)
                if (memory_.load(stagewalk::ipa{registers_.table(n) + at})) return true;
        return false;
    }

    // The device table entry of `source`; one that is not valid where there is none.
    amdvi::device_table_entry entry_of(std::uint32_t source) {
        amdvi::device_table_entry e;
        std::uint64_t const segment_bits = registers_.control.segment_bits(registers_.caps);
        auto const place = find_device_entry(registers_.control, segment_bits, static_cast<std::uint16_t>(source));
        for (std::uint64_t w = 0; place.exists && w < amdvi::device_table_entry::words; ++w) {
            auto const loaded = memory_.load(stagewalk::ipa{place.address + w * 8});
            if (!loaded) return {};
            e.word[w] = *loaded;
        }
        return e;
    }

    static std::string domain_of(amdvi::device_table_entry const& e) { return "DomainID " + hex(e.get<"DomainID">()); }

    // Of what is not bound, whether that is meant to be so.
    void describe_refusal(stagewalk::fault<amdvi::event> const& f, binding& b) {
        amdvi::device_table_entry const e = entry_of(b.source);
        if (e.get<"V">() == 0) return;
        b.domain = domain_of(e);
        describe_entry(e, b);
        if (f.code != amdvi::event::io_page_fault || e.get<"TV">() != 0) return;
        b.blocked = true;
        b.mode = "blocked (TV=0)";
    }

    void describe(amdvi::binding const& found, binding& b) {
        using dte = amdvi::device_table_entry;
        dte const& e = found.entry;
        std::string const host = "Mode " + std::to_string(e.get<"Mode">());
        std::string const guest = levels_text(found.guest_levels());
        b.is = result::ok;
        if (found.kind != amdvi::binding_kind::bypass) {
            b.domain = domain_of(e);
            describe_entry(e, b);
        }
        switch (found.kind) {
        case amdvi::binding_kind::bypass:
            b.bypasses = true;
            b.mode = "bypass (V=0)";
            return;
        case amdvi::binding_kind::identity:
            b.bypasses = true;
            b.rights = rights_of(e);
            b.mode = "identity";
            if (b.rights == stagewalk::none)
                block(b);
            else if (b.rights != stagewalk::read_write)
                b.mode += b.rights == stagewalk::read ? ", read only" : ", write only";
            return;
        case amdvi::binding_kind::host:
            b.mode = "host, " + host;
            b.root = e.get<"HostPageTableRoot">();
            b.reach = last_admitted(iommu_.host_stage_of(found));
            break;
        case amdvi::binding_kind::guest:
            b.mode = "guest, " + guest;
            b.root = found.guest_root;
            b.reach = last_admitted(iommu_.guest_stage_of(found));
            break;
        case amdvi::binding_kind::nested:
            b.mode = "nested, " + guest + " over " + host;
            b.root = found.guest_root;
            b.second_root = e.get<"HostPageTableRoot">();
            b.reach = last_admitted(iommu_.nested_guest_stage_of(found));
            break;
        }
        // Everything that the answers depend on, but not their tags. PASID 0 has addresses of its own.
        b.settings = hex(e.word[0] & (dte::mask<"HAD">() | dte::mask<"IR">() | dte::mask<"IW">())) + ' ' +
                     hex(e.word[1] & dte::mask<"EX">()) + (found.pasid == 0 ? " 0" : "");
    }
    // An entry that grants nothing: its device is shut out.
    void block(binding& b) {
        auto const excluded = registers_.control.excluded(registers_.caps);
        bool const hidden = !excluded.empty() && excluded.first().value == 0;
        b.problem = translate({b.source, b.pasid, hidden ? excluded.last().value + 1 : 0, stagewalk::read});
        b.is = b.problem.is;
        b.blocked = true;
        b.mode = "blocked (IR=IW=0)";
    }

    // What a valid entry says, whatever becomes of it.
    void describe_entry(amdvi::device_table_entry const& e, binding& b) const {
        auto const add = [&](char const* name, std::string value) { b.details.emplace_back(name, std::move(value)); };
        add("rights", rights_text(rights_of(e)));
        if (e.get<"TV">() != 0 && e.has_host_tables()) {
            constexpr char const* kept[] = {"", ", accessed bits kept", ", HAD 2", ", accessed and dirty bits kept"};
            add("host tables",
                "Mode " + std::to_string(e.get<"Mode">()) + ", at " + hex(e.get<"HostPageTableRoot">()) + kept[e.get<"HAD">()]);
        }
        if (check_.has_guest(e))
            add("guest tables", levels_text(e.get<"GPM">() + 4) + ", GCR3 table of " + levels_text(e.get<"GLX">() + 1) + " at " +
                                    hex(e.gcr3_root()) + "; requests without PASID " +
                                    (e.get<"GIoV">() != 0   ? "use PASID 0"
                                     : e.get<"Mode">() != 0 ? "use host tables alone"
                                                            : "pass unchanged"));
        add("IOTLB", e.get<"I">() != 0 ? "yes, ATS is allowed" : "no");
        if (e.get<"PPR">() != 0) add("page requests", "allowed");
        if (e.get<"SA">() != 0)
            add("page faults", "not logged");
        else if (e.get<"SE">() != 0)
            add("page faults", "one is logged");
        if (e.get<"EX">() != 0) add("exclusion range", "applies");
        add("interrupts", interrupts_of(e));
    }
    static std::string interrupts_of(amdvi::device_table_entry const& e) {
        if (e.get<"IV">() == 0) return "pass unchanged (IV=0)";
        constexpr char const* controls[] = {"aborted", "pass unchanged", "remapped", "IntCtl 3, which is reserved"};
        std::string text = controls[e.get<"IntCtl">()];
        if (e.get<"IntCtl">() == 2)
            text +=
                " by a table of " + count_text(std::uint64_t{1} << e.get<"IntTabLen">()) + " at " + hex(e.get<"IntTabRoot">());
        constexpr std::pair<char const*, bool (*)(amdvi::device_table_entry const&)> passes[] = {
            {"INIT", [](amdvi::device_table_entry const& d) { return d.get<"InitPass">() != 0; }},
            {"ExtINT", [](amdvi::device_table_entry const& d) { return d.get<"EIntPass">() != 0; }},
            {"NMI", [](amdvi::device_table_entry const& d) { return d.get<"NMIPass">() != 0; }},
            {"LINT0", [](amdvi::device_table_entry const& d) { return d.get<"Lint0Pass">() != 0; }},
            {"LINT1", [](amdvi::device_table_entry const& d) { return d.get<"Lint1Pass">() != 0; }},
        };
        for (auto const& [name, does] : passes)
            if (does(e)) text += std::string{", "} + name + " passes";
        return text + (e.get<"IG">() != 0 ? ", unmapped ones without an event" : "");
    }

    static bool may_load(binding_list& list, std::uint64_t& loads, std::uint64_t more) {
        loads += more;
        if (loads > most_binding_loads || list.all.size() > most_bindings) list.complete = false;
        return list.complete;
    }

    void add_segment(binding_list& list, std::uint64_t& loads, std::uint64_t n, std::optional<std::uint32_t> only) {
        std::uint64_t const begin = n * registers_.devices_in_segment();
        for (std::uint64_t i = 0; i < registers_.entries(n); ++i) {
            auto const source = static_cast<std::uint32_t>(begin + i);
            if (only && *only != source) continue;
            if (!may_load(list, loads, amdvi::device_table_entry::words)) return;
            auto const loaded = memory_.load(stagewalk::ipa{registers_.table(n) + i * sizeof(amdvi::device_table_entry)});
            if (!loaded) {
                // Nor are its neighbours there.
                i |= 4096 / sizeof(amdvi::device_table_entry) - 1;
                continue;
            }
            if (amdvi::device_table_entry{*loaded}.get<"V">() == 0) continue;
            list.all.push_back(find(source, no_pasid));
            amdvi::device_table_entry const e = entry_of(source);
            if (e.get<"V">() == 0 || e.get<"TV">() == 0 || !check_.has_guest(e) ||
                check_.translation_error(e) != amdvi::device_entry_error::none)
                continue;
            if (!e.has_host_tables()) {
                add_pasids(list, loads, source, e, memory_, {e.get<"GLX">(), e.gcr3_root(), 0});
                continue;
            }
            stagewalk::no_trace nobody;
            amdvi::nested_walk<guest_memory, stagewalk::no_trace> both{
                iommu_.nested_host_stage_of({amdvi::binding_kind::nested, e, amdvi::no_pasid, 0}), memory_, nobody};
            add_pasids(list, loads, source, e, both.guest_memory(), {e.get<"GLX">(), e.gcr3_root(), 0});
        }
    }

    struct gcr3_place {
        std::uint64_t level; // 0 the last
        std::uint64_t table;
        std::uint64_t first; // PASID
    };

    // Those that have a GCR3 table entry. One that cannot be found stands for all that lie beside it.
    template <class Behind>
    void add_pasids(binding_list& list, std::uint64_t& loads, std::uint32_t source, amdvi::device_table_entry const& e,
                    Behind& behind, gcr3_place const& at) {
        bool const is_behind = is_gcr3_behind(registers_, iommu_.setup().rules, e, at.level);
        // The device's own was there first.
        auto const add = [&](std::uint64_t pasid) {
            if (pasid != 0 || e.get<"GIoV">() == 0) list.all.push_back(find(source, static_cast<std::uint32_t>(pasid)));
        };
        for (std::uint64_t i = 0; i < 512; ++i) {
            std::uint64_t const pasid = at.first | i << 9 * at.level;
            if (!gcr3_covers(e.get<"GLX">(), pasid, registers_.caps)) return;
            if (!may_load(list, loads, is_behind ? 1 + e.get<"Mode">() : 1)) return;
            std::uint64_t word = 0;
            if (!load(is_behind, behind, at.table + i * 8, word)) return add(pasid);
            amdvi::gcr3_table_entry const g{word};
            if (g.get<"V">() == 0) continue;
            if (at.level != 0 && (word & amdvi::gcr3_table_entry::reserved()) == 0)
                add_pasids(list, loads, source, e, behind, {at.level - 1, g.table(), pasid});
            else
                add(pasid);
        }
    }
    template <class Behind>
    bool load(bool is_behind, Behind& behind, std::uint64_t at, std::uint64_t& word) {
        auto const take = [&](auto const& loaded) {
            if (loaded) word = *loaded;
            return static_cast<bool>(loaded);
        };
        return is_behind ? take(behind.load(typename Behind::address{at})) : take(memory_.load(stagewalk::ipa{at}));
    }

    guest_memory& memory_;
    amdvi_registers registers_;
    iommu iommu_;
    amdvi::device_entry_check check_;
};

std::unique_ptr<unit> open_amdvi_unit(capture const& c, guest_memory& memory, bool range_rules) {
    return std::make_unique<amdvi_unit>(c, read_amdvi_registers(c), memory, range_rules);
}

} // namespace

architecture const amdvi_architecture{"AMD-Vi", "amd", amdvi_register_options(), open_amdvi_unit};

} // namespace inspect
