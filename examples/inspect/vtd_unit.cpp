#include "bad_input.hpp"
#include "number.hpp"
#include "unit.hpp"
#include "vtd_second_stage_text.hpp"

#include <stagewalk/stagewalk.hpp>

#include <string>
#include <type_traits>

namespace inspect {

namespace {

namespace vtd = stagewalk::vtd;

// Global status register GSTS (VT-d 11.4.4.2), as far as it steers translation.
struct global_status : stagewalk::entry<64, stagewalk::field<"TES", 31>, stagewalk::field<"RTPS", 30>> {
    using entry::entry;
};

using iommu = vtd::iommu<guest_memory>;
using stage = iommu::stage_type;
using root_step = vtd::configuration_step<vtd::root_entry>;
using context_step = vtd::configuration_step<vtd::context_entry>;
using table_step = stagewalk::traced_step<stage>;

struct configuration {
    vtd::capabilities caps;
    vtd::root_table_address root;
    bool enabled;
};

char const* explain(vtd::capability_error e) {
    switch (e) {
    case vtd::capability_error::none: break;
    case vtd::capability_error::no_table_levels: return "SAGAW names no supported table depth";
    case vtd::capability_error::reserved_table_levels: return "SAGAW has a reserved bit set";
    case vtd::capability_error::large_pages: return "SSLPS is none of 0, 1, 3";
    case vtd::capability_error::domain_width: return "ND is 7, which is reserved";
    case vtd::capability_error::host_address_width: return "MGAW is below 32 bits";
    }
    return "makes no sense";
}

template <class... F>
struct overloaded : F... {
    using F::operator()...;
};
template <class... F>
overloaded(F...) -> overloaded<F...>;

// Reads the registers and refuses what no unit can show.
configuration read_registers(capture const& c) {
    auto const contradiction = [&](std::string const& what) {
        return bad_input{c.path("meta.json") + ": the registers contradict each other: " + what};
    };
    std::uint64_t const cap = c.reg("CAP");
    std::uint64_t const ecap = c.reg("ECAP");
    global_status const status{c.reg("GSTS")};
    vtd::root_table_address const root{c.reg("RTADDR")};

    // The width that the capture states is the host's, and no register: it is judged by itself.
    if (auto const wrong = vtd::capabilities{cap, ecap}.contradiction(); wrong != vtd::capability_error::none)
        throw bad_input{c.path("meta.json") + ": registers.CAP: " + explain(wrong)};
    if (c.haw && (*c.haw < 32 || *c.haw > 52))
        throw bad_input{c.path("meta.json") + ": haw is " + std::to_string(*c.haw) + ", not within 32 to 52"};

    bool const enabled = status.get<"TES">() != 0;
    if (enabled && status.get<"RTPS">() == 0) throw contradiction("GSTS.TES is set without GSTS.RTPS");
    vtd::capabilities const caps{cap, ecap, c.haw.value_or(0)};
    if (!enabled) return {caps, root, false};

    auto const mode = static_cast<vtd::table_mode>(root.get<"TTM">());
    bool const says_legacy = c.format.find("legacy") != std::string::npos;
    bool const says_scalable = c.format.find("scalable") != std::string::npos || c.format.find("-sm") != std::string::npos;
    if (says_legacy && mode == vtd::table_mode::scalable)
        throw contradiction("RTADDR.TTM selects scalable mode, but format is \"" + c.format + "\"");
    if (says_scalable && mode == vtd::table_mode::legacy)
        throw contradiction("RTADDR.TTM selects legacy mode, but format is \"" + c.format + "\"");
    if (mode == vtd::table_mode::scalable && caps.ecap.get<"SMTS">() != 0)
        throw bad_input{c.path("meta.json") + ": format \"" + c.format + "\": VT-d scalable mode is not supported yet"};
    return {caps, root, true};
}

// Decodes every entry that a request meets.
struct entry_decoder {
    std::vector<decoded_entry>& out;
    vtd::capabilities const& caps;
    std::uint32_t source;

    void operator()(root_step const& s) const {
        decoded_entry& e = add(s, "root entry, bus " + hex(source >> 8, 2));
        e.reserved = {s.entry.word[0] & (vtd::root_entry::reserved(0) | caps.beyond_host()), s.entry.word[1]};
        if (s.entry.get<"P">() == 0) {
            e.verdict = "not present";
        } else {
            e.verdict = "leads to the context table at " + hex(s.entry.get<"CTP">());
        }
    }
    void operator()(context_step const& s) const {
        decoded_entry& e = add(s, "context entry, device " + hex(source >> 3 & 31, 2) + " function " + hex(source & 7));
        e.reserved = {s.entry.word[0] & (vtd::context_entry::reserved(0) | caps.beyond_host()),
                      s.entry.word[1] & vtd::context_entry::reserved(1)};
        if (s.entry.get<"P">() == 0) {
            e.verdict = "not present";
        } else if (s.entry.type() == vtd::translation_type::pass_through) {
            e.verdict = "pass-through, domain " + hex(s.entry.get<"DID">());
        } else {
            e.verdict = "domain " + hex(s.entry.get<"DID">()) + ", leads to the table at " + hex(s.entry.get<"SSPTPTR">());
        }
    }
    void operator()(table_step const& s) const { out.push_back(decode_second_stage(s, "second stage")); }

private:
    template <class Step>
    decoded_entry& add(Step const& s, std::string what) const {
        decoded_entry& e = out.emplace_back();
        e.what = std::move(what);
        e.address = s.address;
        decode_fields(s.entry, e);
        return e;
    }
};

// Remembers the deepest table that a request came to.
struct depth_gauge {
    bool in_tables{};
    std::uint64_t span_mask{};

    void operator()(root_step const&) {}
    void operator()(context_step const&) {}
    void operator()(table_step const& s) {
        in_tables = true;
        span_mask = stagewalk::low_mask(stage::shift(s.at.level));
    }
};

class vtd_unit final : public unit {
public:
    vtd_unit(capture const& c, configuration const& config, guest_memory& memory, bool range_rules)
        : memory_{memory}, root_{config.root}, enabled_{config.enabled}, iommu_{config.caps,
                                                                                config.root,
                                                                                memory,
                                                                                {config.enabled, range_rules, {}}} {
        auto const mode = static_cast<vtd::table_mode>(root_.get<"TTM">());
        bool const needs_root = enabled_ && mode == vtd::table_mode::legacy;
        memory_.begin_request();
        if (needs_root && !memory_.load(stagewalk::ipa{root_.get<"RTA">()}))
            throw bad_input{c.path("pages.idx") + ": the root table at " + hex(root_.get<"RTA">()) +
                            " (registers.RTADDR) is not among the pages"};
    }

    [[nodiscard]] std::vector<std::pair<std::string, std::string>> facts() const override {
        constexpr char const* modes[] = {"legacy mode", "scalable mode without support for it", "a reserved mode",
                                         "abort-DMA mode"};
        vtd::capabilities const& caps = iommu_.caps();
        std::string levels;
        for (std::uint64_t n = 3; n <= 5; ++n)
            if (caps.second_stage_levels(n)) levels += (levels.empty() ? "" : ", ") + std::to_string(n);
        std::string const sizes =
            std::string{"4K"} + (caps.second_stage_2m() ? ", 2M" : "") + (caps.second_stage_1g() ? ", 1G" : "");
        return {{"unit", std::string{"Intel VT-d, "} + (enabled_ ? modes[root_.get<"TTM">()] : "translation off")},
                {"addresses", std::to_string(caps.guest_address_width()) + " bits in, " +
                                  std::to_string(caps.host_address_width) + " bits out"},
                {"tables", "levels " + levels + "; pages " + sizes},
                {"root table", hex(root_.get<"RTA">())}};
    }
    [[nodiscard]] std::uint32_t largest_source() const override { return 0xffff; }
    [[nodiscard]] bool sources_are_bdfs() const override { return true; }

    answer translate(question const& q) override {
        memory_.begin_request();
        return answer_of(iommu_.translate(request_of(q)));
    }

    stretch translate_stretch(question const& q) override {
        depth_gauge gauge;
        memory_.begin_request();
        answer const a = answer_of(iommu_.translate(request_of(q), gauge));
        if (gauge.in_tables) return {a, q.address | gauge.span_mask};
        // Outside tables an answer depends on the address by its width alone.
        if (a.is == result::ok && enabled_) return {a, stagewalk::low_mask(iommu_.caps().host_address_width)};
        return {a, ~std::uint64_t{0}};
    }

    traced trace(question const& q) override {
        traced t;
        entry_decoder decode{t.entries, iommu_.caps(), q.source};
        memory_.begin_request();
        vtd::request const r = request_of(q);
        auto const outcome = iommu_.translate(r, decode);
        t.result = answer_of(outcome);
        if (t.result.is == result::fault && t.result.fault.code != 0) {
            t.record.what = t.result.fault.reported ? "fault record" : "fault record (suppressed, not written)";
            decode_fields(to_record(iommu_.caps(), outcome.error(), r), t.record);
        }
        return t;
    }

    binding find(std::uint32_t source, std::uint32_t pasid) override {
        binding b;
        b.source = source;
        b.pasid = pasid;
        if (!enabled_) {
            b.is = result::ok;
            b.bypasses = true;
            b.mode = "translation off";
            b.reach = ~std::uint64_t{0};
            return b;
        }
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found) {
            b.problem = failed(found.error());
            b.is = b.problem.is;
            return b;
        }
        b.is = result::ok;
        b.bypasses = found->bypasses;
        b.domain = "DID " + hex(found->domain());
        b.mode = b.bypasses ? "pass-through" : "second stage, " + std::to_string(found->stage.top() + 1) + " levels";
        b.root = found->stage.root().value;
        b.reach =
            b.bypasses ? stagewalk::low_mask(iommu_.caps().host_address_width) : found->stage.admitted().begin()->last().value;
        return b;
    }

    std::vector<binding> bindings() override {
        std::vector<binding> all;
        if (!enabled_ || static_cast<vtd::table_mode>(root_.get<"TTM">()) != vtd::table_mode::legacy) return all;
        for (std::uint32_t bus = 0; bus < 256; ++bus) {
            auto const root = memory_.load(stagewalk::ipa{root_.get<"RTA">() + bus * sizeof(vtd::root_entry)});
            if (!root || vtd::root_entry{*root}.get<"P">() == 0) continue;
            std::uint64_t const contexts = vtd::root_entry{*root}.get<"CTP">();
            for (std::uint32_t devfn = 0; devfn < 256; ++devfn) {
                auto const context = memory_.load(stagewalk::ipa{contexts + devfn * sizeof(vtd::context_entry)});
                if (context && vtd::context_entry{*context}.get<"P">() != 0) all.push_back(find(bus << 8 | devfn, no_pasid));
            }
        }
        return all;
    }

    stagewalk::enumeration enumerate(std::uint32_t source, std::uint32_t pasid, bool merged, std::uint64_t max_loads,
                                     visitors const& visit) override {
        if (!enabled_) return {};
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found || found->bypasses) return {};
        auto const everything = stagewalk::range<stagewalk::iova>::all();
        // What cannot be read is shown as a fault; what is lacking is known here.
        auto const wrong = [&](stagewalk::fault<vtd::reason> const& f) {
            if (visit.wrong) visit.wrong({f.input, f.entry, failed(f)});
            memory_.begin_request();
        };
        if (merged) {
            return for_each_run(found->stage, memory_, everything,
                                overloaded{[&](stagewalk::run<stage> const& r) {
                                               return visit.mapped({r.part.first().value, r.part.last().value, r.output.value,
                                                                    r.effective, r.leaves, r.smallest, r.largest});
                                           },
                                           wrong},
                                max_loads);
        }
        return for_each_leaf(found->stage, memory_, everything,
                             overloaded{[&](stagewalk::leaf<stage> const& l) {
                                            return visit.mapped({l.part.first().value, l.part.last().value, l.first.output.value,
                                                                 l.first.effective, 1, l.first.lg2_size, l.first.lg2_size});
                                        },
                                        wrong},
                             max_loads);
    }

private:
    static vtd::request request_of(question const& q) {
        vtd::request r;
        r.source = static_cast<std::uint16_t>(q.source);
        r.address = stagewalk::iova{q.address};
        r.access = q.access;
        r.pasid = q.pasid == no_pasid ? vtd::no_pasid : q.pasid;
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

    answer failed(stagewalk::fault<vtd::reason> const& f) const {
        answer a;
        if (memory_.lacked()) {
            a.is = result::missing;
            a.address = memory_.lacking();
            return a;
        }
        a.is = result::fault;
        a.fault = {static_cast<std::uint64_t>(f.code),
                   vtd::name(f.code),
                   vtd::text(f.code),
                   f.stage,
                   f.level == stagewalk::no_level ? -1 : f.level + 1,
                   f.at,
                   f.reported,
                   f.code == vtd::reason::write_denied || f.code == vtd::reason::read_denied,
                   f.descriptor,
                   f.intermediate,
                   f.detail};
        return a;
    }

    guest_memory& memory_;
    vtd::root_table_address root_;
    bool enabled_;
    iommu iommu_;
};

} // namespace

std::unique_ptr<unit> open_vtd_unit(capture const& c, guest_memory& memory, bool range_rules) {
    return std::make_unique<vtd_unit>(c, read_registers(c), memory, range_rules);
}

} // namespace inspect
