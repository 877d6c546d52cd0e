#include "architecture.hpp"
#include "bad_input.hpp"
#include "number.hpp"
#include "overloaded.hpp"
#include "unit.hpp"
#include "vtd_configuration_text.hpp"
#include "vtd_entry_text.hpp"
#include "vtd_leaves.hpp"
#include "vtd_registers.hpp"
#include "vtd_tree.hpp"

#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>

namespace inspect {

namespace {

namespace vtd = stagewalk::vtd;
using iommu = vtd::iommu<guest_memory>;

// What is bound, and what is loaded for it, at most: hostile tables describe up to 2^36 PASIDs.
constexpr std::size_t most_bindings = std::size_t{1} << 17;
constexpr std::uint64_t most_binding_loads = std::uint64_t{1} << 24;

// Whether a stage takes a device's addresses, rather than those between two stages.
template <class Stage>
constexpr bool takes_device_addresses = std::is_same_v<typename Stage::input, stagewalk::iova>;

// Decodes every entry that a request meets.
class entry_decoder {
public:
    entry_decoder(std::vector<decoded_entry>& out, vtd::capabilities const& caps, std::uint32_t source)
        : out_{out}, decode_{caps, source} {}

    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const& s) {
        out_.push_back(decode_(s.entry, s.address));
    }
    template <class Stage>
    void operator()(stagewalk::traced_step<Stage> const& s) {
        if constexpr (!takes_device_addresses<Stage>) {
            second_of_nested(s);
        } else if constexpr (Stage::number == stagewalk::fault_stage::first) {
            out_.push_back(decode_table_entry(s, "first stage"));
            bool const leaf = s.judged.is == stagewalk::verdict::leaf;
            update_due_ = !leaf && s.of.may_update() && s.of.marked(s.at, stagewalk::read, {}, false) != s.at.entry;
            next_ = leaf ? purpose::page : purpose::entry;
        } else {
            out_.push_back(decode_table_entry(s, "second stage"));
        }
    }

private:
    // What the second stage of a nested translation is walked for. For an update it is asked once more where a first-stage entry
    // lies: worth a look only if it refuses.
    enum class purpose { entry, page, update };

    template <class Stage>
    void second_of_nested(stagewalk::traced_step<Stage> const& s) {
        constexpr char const* names[] = {"second stage of the next entry", "second stage of the page",
                                         "second stage of the update"};
        if (s.at.level == s.of.top()) {
            now_ = std::exchange(update_due_, false) ? purpose::update : next_;
            if (now_ == purpose::page) next_ = purpose::update;
        }
        if (now_ == purpose::update && s.judged.is != stagewalk::verdict::refused) return;
        out_.push_back(decode_table_entry(s, names[static_cast<int>(now_)]));
    }

    std::vector<decoded_entry>& out_;
    vtd_configuration_decoder decode_;
    bool update_due_{};
    purpose now_{purpose::entry};
    purpose next_{purpose::entry};
};

// Remembers for how many addresses the entries that a request met would have been the same.
struct depth_gauge {
    bool in_tables{};
    bool mapped{};
    std::uint64_t span_mask{};

    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const&) {}
    template <class Stage>
    void operator()(stagewalk::traced_step<Stage> const& s) {
        std::uint64_t const mask = stagewalk::low_mask(Stage::shift(s.at.level));
        if (takes_device_addresses<Stage>) {
            in_tables = true;
            span_mask = mask;
            mapped = s.judged.is == stagewalk::verdict::leaf;
        } else if (mapped) {
            // The second stage of the page itself. Whatever translates a table does so for the whole table.
            span_mask = std::min(span_mask, mask);
        }
    }
};

class vtd_unit final : public unit {
public:
    vtd_unit(capture const& c, vtd_registers const& registers, guest_memory& memory, bool range_rules)
        : memory_{memory}, registers_{registers}, iommu_{registers.caps,
                                                         registers.root,
                                                         memory,
                                                         {registers.enabled, range_rules, {}}} {
        std::uint64_t const root = registers_.root.get<"RTA">();
        memory_.begin_request();
        if ((registers_.is_legacy() || registers_.is_scalable()) && !memory_.load(stagewalk::ipa{root}))
            throw bad_input{c.pages_at() + "the root table at " + hex(root) + " (" + c.register_name("RTADDR") +
                            ") is not among the pages"};
    }

    [[nodiscard]] std::vector<std::pair<std::string, std::string>> facts() const override {
        vtd::capabilities const& caps = iommu_.caps();
        std::string mode = "translation off";
        if (registers_.enabled) {
            switch (registers_.mode()) {
            case vtd::table_mode::legacy: mode = "legacy mode"; break;
            case vtd::table_mode::scalable:
                mode = registers_.is_scalable() ? "scalable mode" : "scalable mode without support for it";
                break;
            case vtd::table_mode::reserved: mode = "a reserved mode"; break;
            case vtd::table_mode::abort: mode = "abort-DMA mode"; break;
            }
        }
        std::vector<std::pair<std::string, std::string>> all{
            {"unit", "Intel VT-d, " + mode},
            {"addresses",
             std::to_string(caps.guest_address_width()) + " bits in, " + std::to_string(caps.host_address_width) + " bits out"}};
        bool const first = registers_.is_scalable() && caps.has<"FSTS">();
        bool const second = !registers_.is_scalable() || caps.has<"SSTS">();
        if (first)
            all.emplace_back(second ? "first stage" : "tables", std::string{second ? "" : "first stage, "} + "levels 4" +
                                                                    (caps.cap.get<"FS5LP">() != 0 ? ", 5" : "") +
                                                                    "; pages 4K, 2M" +
                                                                    (caps.cap.get<"FS1GP">() != 0 ? ", 1G" : ""));
        if (second) {
            std::string levels;
            for (std::uint64_t n = 3; n <= 5; ++n)
                if (caps.second_stage_levels(n)) levels += (levels.empty() ? "" : ", ") + std::to_string(n);
            all.emplace_back(registers_.is_scalable() ? "second stage" : "tables", "levels " + levels + "; pages 4K" +
                                                                                       (caps.second_stage_2m() ? ", 2M" : "") +
                                                                                       (caps.second_stage_1g() ? ", 1G" : ""));
        }
        if (registers_.is_scalable())
            all.emplace_back("PASIDs",
                             caps.has<"PASID">() ? std::to_string(caps.pasid_width()) + " bits" : "none, but that of the device");
        all.emplace_back("root table", hex(registers_.root.get<"RTA">()));
        return all;
    }
    [[nodiscard]] std::uint32_t largest_source() const override { return 0xffff; }
    [[nodiscard]] bool sources_are_bdfs() const override { return true; }

    answer translate(question const& q) override {
        memory_.begin_request();
        return answer_of(iommu_.translate(request_of(q)), q);
    }

    stretch translate_stretch(question const& q) override {
        depth_gauge gauge;
        memory_.begin_request();
        answer const a = answer_of(iommu_.translate(request_of(q), gauge), q);
        if (gauge.in_tables) return {a, q.address | gauge.span_mask};
        return {a, last_alike(q, a)};
    }

    traced trace(question const& q) override {
        traced t;
        entry_decoder decode{t.entries, iommu_.caps(), q.source};
        memory_.begin_request();
        vtd::request const r = request_of(q);
        auto const outcome = iommu_.translate(r, decode);
        t.result = answer_of(outcome, q);
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
        if (!registers_.enabled) {
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
        b.domain = "DID " + hex(found->domain);
        std::string const first = std::to_string(found->first_levels);
        std::string const second = std::to_string(found->second_levels);
        switch (found->kind) {
        case vtd::binding_kind::pass_through:
            b.bypasses = true;
            b.mode = "pass-through";
            b.reach = stagewalk::low_mask(iommu_.caps().host_address_width);
            break;
        case vtd::binding_kind::legacy_second_stage:
            b.mode = "second stage, " + second + " levels";
            b.root = found->second_root;
            b.reach = last_admitted(iommu_.legacy_stage_of(*found));
            break;
        case vtd::binding_kind::second_stage:
            b.mode = "second stage, " + second + " levels";
            b.root = found->second_root;
            b.reach = last_admitted(iommu_.second_stage_of(*found));
            break;
        case vtd::binding_kind::first_stage:
            b.mode = "first stage, " + first + " levels";
            b.root = found->first_root;
            b.reach = last_admitted(iommu_.first_stage_of(*found));
            break;
        case vtd::binding_kind::nested:
            b.mode = "nested, " + first + " over " + second + " levels";
            b.root = found->first_root;
            b.second_root = found->second_root;
            b.reach = last_admitted(iommu_.nested_first_stage_of(*found));
            break;
        }
        return b;
    }

    binding_list bindings(std::optional<std::uint32_t> only) override {
        binding_list list;
        std::uint64_t loads = 0;
        std::uint64_t const root = registers_.root.get<"RTA">();
        for (std::uint32_t bus = 0; bus < 256 && list.complete; ++bus) {
            if (only && *only >> 8 != bus) continue;
            if (registers_.is_legacy()) add_legacy(list, root + bus * sizeof(vtd::root_entry), bus, only);
            if (registers_.is_scalable()) add_scalable(list, loads, root + bus * sizeof(vtd::scalable_root_entry), bus, only);
        }
        return list;
    }

    stagewalk::enumeration enumerate(std::uint32_t source, std::uint32_t pasid, bool merged, std::uint64_t max_loads,
                                     visitors const& visit) override {
        if (!registers_.enabled) return {};
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found) return {};
        switch (found->kind) {
        case vtd::binding_kind::pass_through: break;
        case vtd::binding_kind::legacy_second_stage:
            return enumerate_one(iommu_.legacy_stage_of(*found), *found, merged, max_loads, visit);
        case vtd::binding_kind::second_stage:
            return enumerate_one(iommu_.second_stage_of(*found), *found, merged, max_loads, visit);
        case vtd::binding_kind::first_stage:
            return enumerate_one(iommu_.first_stage_of(*found), *found, merged, max_loads, visit);
        case vtd::binding_kind::nested: {
            mapping_merger merge{merged, visit.mapped};
            return enumerate_nested(
                iommu_.nested_first_stage_of(*found), iommu_.nested_second_stage_of(*found), memory_, max_loads,
                [&](stagewalk::attributes a) { return as_device_sees(a, *found); }, merge,
                [&](stagewalk::fault<vtd::reason> const& f) { show_wrong(f, visit); });
        }
        }
        return {};
    }

    stagewalk::enumeration tour(tree_scope const& scope, tree_visitors const& visit) override {
        if (!registers_.enabled) return {};
        return vtd_tree{registers_, iommu_.setup().rules, memory_, scope, visit}.run();
    }

private:
    [[nodiscard]] vtd::request request_of(question const& q) const {
        vtd::request r;
        r.source = static_cast<std::uint16_t>(q.source);
        r.address = stagewalk::iova{q.address};
        r.access = q.access;
        r.pasid = q.pasid == no_pasid ? vtd::no_pasid : q.pasid;
        // A question has no length. A write to the interrupt range is taken for one of the aligned 32 bits around its address,
        // which is what raises an interrupt.
        constexpr auto interrupts = vtd::interrupt_range<stagewalk::iova>;
        if (iommu_.setup().interrupt_ranges && registers_.enabled && !r.has_pasid() && r.access == stagewalk::write &&
            interrupts.contains(r.address))
            r.address.value &= ~std::uint64_t{3};
        return r;
    }

    template <class Outcome>
    answer answer_of(Outcome const& outcome, question const& q) const {
        if (!outcome) return failed(outcome.error());
        answer a;
        a.is = outcome->by == stagewalk::passage::interrupt ? result::interrupt : result::ok;
        a.address = a.is == result::interrupt ? q.address : outcome->output.value;
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
                   f.level == stagewalk::no_level ? std::optional<int>{} : f.level + 1,
                   f.at,
                   f.reported,
                   lacks_permission(f.code),
                   f.descriptor,
                   f.intermediate,
                   f.detail};
        return a;
    }

    static bool lacks_permission(vtd::reason r) {
        switch (r) {
        case vtd::reason::write_denied:
        case vtd::reason::read_denied:
        case vtd::reason::scalable_write_denied:
        case vtd::reason::scalable_read_denied:
        case vtd::reason::user_denied: return true;
        default: return false;
        }
    }

    template <class Stage>
    static std::uint64_t last_admitted(Stage const& s) {
        auto const parts = s.admitted();
        return (parts.end() - 1)->last().value;
    }

    // The last address that is answered alike, where no entry of a device's table was met: the answer then depends on the
    // address by its width alone.
    std::uint64_t last_alike(question const& q, answer const& a) {
        constexpr std::uint64_t top = ~std::uint64_t{0};
        if (!registers_.enabled) return top;
        if (a.is == result::ok) return stagewalk::low_mask(iommu_.caps().host_address_width);
        auto const found = iommu_.find(request_of(q));
        if (!found) return top;
        // What a first stage admits has a gap in the middle.
        auto const last = [&](auto const& stage) {
            auto const parts = stage.admitted();
            auto const* const lower = parts.begin();
            auto const* const upper = parts.end() - 1;
            if (q.address <= lower->last().value) return lower->last().value;
            return q.address < upper->first().value ? upper->first().value - 1 : top;
        };
        if (found->kind == vtd::binding_kind::first_stage) return last(iommu_.first_stage_of(*found));
        if (found->kind == vtd::binding_kind::nested) return last(iommu_.nested_first_stage_of(*found));
        return top;
    }

    // --- finding what is bound ---------------------------------------------------------------------------------------

    // The word at `at`; 0, which is never present, where the capture lacks it.
    std::uint64_t word(std::uint64_t at) {
        auto const loaded = memory_.load(stagewalk::ipa{at});
        return loaded ? *loaded : 0;
    }

    void add_legacy(binding_list& list, std::uint64_t root_at, std::uint32_t bus, std::optional<std::uint32_t> only) {
        vtd::root_entry const root{word(root_at)};
        if (root.get<"P">() == 0) return;
        for (std::uint32_t devfn = 0; devfn < 256; ++devfn) {
            if (only && (*only & 0xff) != devfn) continue;
            vtd::context_entry const context{word(root.get<"CTP">() + devfn * sizeof(vtd::context_entry))};
            if (context.get<"P">() != 0) list.all.push_back(find(bus << 8 | devfn, no_pasid));
        }
    }

    void add_scalable(binding_list& list, std::uint64_t& loads, std::uint64_t root_at, std::uint32_t bus,
                      std::optional<std::uint32_t> only) {
        vtd::scalable_root_entry const root{word(root_at), word(root_at + 8)};
        for (std::uint32_t devfn = 0; devfn < 256 && list.complete; ++devfn) {
            if (only && (*only & 0xff) != devfn) continue;
            bool const upper = devfn >= 128;
            if ((upper ? root.get<"UP">() : root.get<"LP">()) == 0) continue;
            std::uint64_t const contexts = upper ? root.get<"UCTP">() : root.get<"LCTP">();
            std::uint64_t const at = contexts + (devfn & 127) * sizeof(vtd::scalable_context_entry);
            vtd::scalable_context_entry const context{word(at), word(at + 8)};
            if (context.get<"P">() != 0) add_pasids(list, loads, context, bus << 8 | devfn);
        }
    }

    void add_pasids(binding_list& list, std::uint64_t& loads, vtd::scalable_context_entry const& context, std::uint32_t source) {
        list.all.push_back(find(source, no_pasid));
        for (std::uint64_t pasid = 0; pasid <= context.last_pasid(); pasid += 64) {
            if (++loads > most_binding_loads || list.all.size() > most_bindings) {
                list.complete = false;
                return;
            }
            vtd::pasid_directory_entry const directory{word(context.get<"PASIDDIRPTR">() + pasid / 64 * sizeof(std::uint64_t))};
            if (directory.get<"P">() == 0) continue;
            loads += 64;
            for (std::uint64_t i = 0; i < 64; ++i) {
                vtd::pasid_table_entry const entry{word(directory.get<"SMPTBLPTR">() + i * sizeof(vtd::pasid_table_entry))};
                // The device's own was there first.
                if (entry.get<"P">() != 0 && pasid + i != context.get<"RID_PASID">())
                    list.all.push_back(find(source, static_cast<std::uint32_t>(pasid + i)));
            }
        }
    }

    // --- what is mapped ------------------------------------------------------------------------------------------------

    // What the tables grant to unprivileged requests, as the device of `b` has it.
    static stagewalk::attributes as_device_sees(stagewalk::attributes a, vtd::binding const& b) {
        bool const has_first = b.kind == vtd::binding_kind::first_stage || b.kind == vtd::binding_kind::nested;
        if (!has_first) return a;
        std::uint64_t rights = a.rights().bits;
        if (b.privileged) {
            rights |= b.write_protect ? 0 : stagewalk::write.bits;
        } else if ((a.format_bits() & iommu::process_stage::privileged_only) != 0) {
            rights = 0;
        }
        return stagewalk::attributes::from_bits(rights | a.format_bits());
    }

    void show_wrong(stagewalk::fault<vtd::reason> const& f, visitors const& visit) {
        // What cannot be read is shown as a fault; what is lacking is known here.
        if (visit.wrong) visit.wrong({f.input, f.entry, failed(f)});
        memory_.begin_request();
    }

    template <class Stage>
    stagewalk::enumeration enumerate_one(Stage const& s, vtd::binding const& b, bool merged, std::uint64_t max_loads,
                                         visitors const& visit) {
        auto const everything = stagewalk::range<stagewalk::iova>::all();
        auto const wrong = [&](stagewalk::fault<vtd::reason> const& f) { show_wrong(f, visit); };
        if (merged) {
            return for_each_run(s, memory_, everything,
                                overloaded{[&](stagewalk::run<Stage> const& r) {
                                               return visit.mapped({r.part.first().value, r.part.last().value, r.output.value,
                                                                    as_device_sees(r.effective, b), r.leaves, r.smallest,
                                                                    r.largest});
                                           },
                                           wrong},
                                max_loads);
        }
        return for_each_leaf(s, memory_, everything,
                             overloaded{[&](stagewalk::leaf<Stage> const& l) {
                                            return visit.mapped({l.part.first().value, l.part.last().value, l.first.output.value,
                                                                 as_device_sees(l.first.effective, b), 1, l.first.lg2_size,
                                                                 l.first.lg2_size});
                                        },
                                        wrong},
                             max_loads);
    }

    guest_memory& memory_;
    vtd_registers registers_;
    iommu iommu_;
};

constexpr register_option vtd_register_options[] = {
    {"RTADDR", "RTADDR_REG, the root table with its mode", true, {}, "--vtd-root"},
    {"CAP", "CAP_REG", true},
    {"ECAP", "ECAP_REG", true},
    {"VER", "VER_REG (default 10)"},
    {"GSTS", "GSTS_REG (default c0000000: translation is on)", false, 0xc000'0000},
};

std::unique_ptr<unit> open_vtd_unit(capture const& c, guest_memory& memory, bool range_rules) {
    return std::make_unique<vtd_unit>(c, read_vtd_registers(c), memory, range_rules);
}

} // namespace

architecture const vtd_architecture{"VT-d", "vtd", vtd_register_options, open_vtd_unit};

} // namespace inspect
