#include "architecture.hpp"
#include "bad_input.hpp"
#include "number.hpp"
#include "smmu_leaves.hpp"
#include "smmu_registers.hpp"
#include "smmu_trace.hpp"
#include "smmu_tree.hpp"
#include "unit.hpp"

#include <stagewalk/smmu/event_record.hpp>
#include <stagewalk/smmu/event_text.hpp>
#include <stagewalk/smmu/iommu.hpp>
#include <stagewalk/stagewalk.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace inspect {

namespace {

namespace smmu = stagewalk::smmu;
using iommu = smmu::iommu<guest_memory>;
using smmu::half;

// What is bound, and what is loaded for it, at most: hostile tables describe up to 2^32 streams of 2^20 substreams.
constexpr std::size_t most_bindings = std::size_t{1} << 17;
constexpr std::uint64_t most_binding_loads = std::uint64_t{1} << 24;

// A request whose half of the address space is decided by bit 55.
constexpr std::uint64_t half_bits = 55;

std::string bits_text(std::uint64_t bits) { return std::to_string(bits) + " bits"; }

std::string granules_text(smmu::capabilities const& caps) {
    std::string text;
    for (smmu::granule const g : {smmu::granule::k4, smmu::granule::k16, smmu::granule::k64})
        if (caps.supports(g)) text += (text.empty() ? "" : ", ") + page_size_text(lg2_of(g));
    return text;
}

class smmu_unit final : public unit {
public:
    smmu_unit(capture const& c, smmu_registers const& registers, guest_memory& memory)
        : memory_{memory}, registers_{registers}, iommu_{registers.caps, registers.control, memory} {
        memory_.begin_request();
        if (registers_.enabled() && !memory_.load(stagewalk::ipa{registers_.stream_table()}))
            throw bad_input{c.pages_at() + "the stream table at " + hex(registers_.stream_table()) + " (" +
                            c.register_name("STRTAB_BASE") + ") is not among the pages"};
    }

    [[nodiscard]] std::vector<std::pair<std::string, std::string>> facts() const override {
        smmu::capabilities const& caps = iommu_.caps();
        bool const on = registers_.enabled();
        std::string const stages = !caps.has<"S1P">() ? "stage 2" : !caps.has<"S2P">() ? "stage 1" : "stages 1 and 2, nested too";
        std::string const off =
            registers_.control.gbpa.get<"ABORT">() != 0 ? "off, requests are aborted" : "off, requests bypass it";
        std::vector<std::pair<std::string, std::string>> all{
            {"unit", "Arm SMMUv3." + std::to_string(caps.minor_version()) + (on ? "" : ", " + off)},
            {"tables", stages + "; granules " + granules_text(caps)},
            {"addresses", bits_text(caps.output_size()) + " out"}};
        if (on)
            all.emplace_back("streams", bits_text(registers_.control.stream_bits(caps)) + ", " +
                                            (registers_.control.two_levels(caps)
                                                 ? "two levels (" + bits_text(registers_.control.split()) + " in the second)"
                                                 : "linear") +
                                            ", table at " + hex(registers_.stream_table()));
        all.emplace_back("substreams", caps.substream_size() == 0 ? "none" : bits_text(caps.substream_size()));
        return all;
    }
    [[nodiscard]] std::uint32_t largest_source() const override {
        return static_cast<std::uint32_t>(stagewalk::low_mask(iommu_.caps().idr1.get<"SIDSIZE">()));
    }
    [[nodiscard]] bool sources_are_bdfs() const override { return false; }

    answer translate(question const& q) override {
        memory_.begin_request();
        return answer_of(iommu_.translate(request_of(q)));
    }

    stretch translate_stretch(question const& q) override {
        smmu_depth_gauge gauge{iommu_.caps(), q};
        memory_.begin_request();
        answer const a = answer_of(iommu_.translate(request_of(q), gauge));
        if (gauge.in_tables()) return {a, q.address | gauge.span_mask()};
        return {a, last_alike(q, a)};
    }

    traced trace(question const& q) override {
        traced t;
        smmu_entry_decoder decode{t.entries, registers_, iommu_.rules(), q};
        memory_.begin_request();
        smmu::request const r = request_of(q);
        auto const outcome = iommu_.translate(r, decode);
        t.result = answer_of(outcome);
        if (t.result.is == result::fault && t.result.fault.code != 0) {
            t.record.what = t.result.fault.reported ? "event record" : "event record (suppressed, not written)";
            decode_fields(to_record(outcome.error(), r, iommu_.caps()), t.record);
        }
        return t;
    }

    binding find(std::uint32_t source, std::uint32_t pasid) override {
        binding b;
        b.source = source;
        b.pasid = pasid;
        if (!registers_.enabled()) {
            answer const a = translate({source, pasid, 0, stagewalk::read});
            b.is = a.is;
            b.problem = a;
            b.bypasses = true;
            b.mode = "translation off";
            b.reach = stagewalk::low_mask(iommu_.caps().output_size());
            return b;
        }
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found) {
            b.problem = failed(found.error());
            b.is = b.problem.is;
            return b;
        }
        describe(*found, b);
        return b;
    }

    binding_list bindings(std::optional<std::uint32_t> only) override {
        binding_list list;
        if (!registers_.enabled()) return list;
        std::uint64_t const table = registers_.stream_table();
        std::uint64_t const last_stream = registers_.streams() - 1;
        if (only && *only > last_stream) return list;
        std::uint64_t const first = only.value_or(0);
        std::uint64_t const last = only.value_or(static_cast<std::uint32_t>(last_stream));
        std::uint64_t loads = 0;
        if (!registers_.control.two_levels(iommu_.caps())) {
            add_streams(list, loads, table, first, last);
            return list;
        }
        std::uint64_t const split = registers_.control.split();
        for (std::uint64_t i = first >> split; i <= last >> split && list.complete; ++i) {
            std::uint64_t const at = table + i * sizeof(smmu::stream_table_descriptor);
            if (!may_load(list, loads)) break;
            auto const loaded = memory_.load(stagewalk::ipa{at});
            if (!loaded) {
                // Nor are its neighbours there.
                i |= 4096 / sizeof(smmu::stream_table_descriptor) - 1;
                continue;
            }
            smmu::stream_table_descriptor const d{*loaded};
            if (!d.is_valid(split)) continue;
            std::uint64_t const begin = i << split;
            std::uint64_t const end = begin + stagewalk::low_mask(d.stream_bits());
            add_streams(list, loads, d.table() - begin * sizeof(smmu::stream_table_entry), std::max(first, begin),
                        std::min(last, end));
        }
        return list;
    }

    stagewalk::enumeration enumerate(std::uint32_t source, std::uint32_t pasid, bool merged, std::uint64_t max_loads,
                                     visitors const& visit) override {
        if (!registers_.enabled()) return {};
        memory_.begin_request();
        auto const found = iommu_.find(request_of({source, pasid, 0, stagewalk::read}));
        if (!found || !(found->uses_stage1 || found->uses_stage2)) return {};
        auto const wrong = [&](stagewalk::fault<smmu::event> const& f) {
            // What cannot be read is shown as a fault; what is lacking is known here.
            if (visit.wrong) visit.wrong({f.input, f.entry, failed(f)});
            memory_.begin_request();
        };
        return smmu_leaves{iommu_, memory_, *found, max_loads, wrong}.run(merged, visit.mapped);
    }

    stagewalk::enumeration tour(tree_scope const& scope, tree_visitors const& visit) override {
        if (!registers_.enabled()) return {};
        return smmu_tree{registers_, iommu_, memory_, scope, visit}.run();
    }

private:
    [[nodiscard]] static smmu::request request_of(question const& q) {
        smmu::request r;
        r.source = q.source;
        r.address = stagewalk::iova{q.address};
        r.access = q.access;
        r.pasid = q.pasid == no_pasid ? smmu::no_pasid : q.pasid;
        return r;
    }

    template <class Outcome>
    answer answer_of(Outcome const& outcome) const {
        if (!outcome) return failed(outcome.error());
        answer a;
        a.is = result::ok;
        a.address = outcome->output.value;
        a.rights = outcome->effective.rights();
        a.lg2_size = outcome->lg2_size;
        return a;
    }

    answer failed(stagewalk::fault<smmu::event> const& f) const {
        answer a;
        if (memory_.lacked()) {
            a.is = result::missing;
            a.address = memory_.lacking();
            return a;
        }
        a.is = result::fault;
        a.fault = {static_cast<std::uint64_t>(f.code),
                   name_of(f.code),
                   meaning(f),
                   f.stage,
                   f.level == stagewalk::no_level ? std::optional<int>{} : 3 - static_cast<int>(f.level),
                   f.at,
                   f.reported,
                   f.code == smmu::event::f_permission,
                   f.descriptor,
                   f.intermediate,
                   f.detail};
        return a;
    }
    // Of an illegal entry the reason tells more than the event.
    static char const* meaning(stagewalk::fault<smmu::event> const& f) {
        auto const reason = static_cast<std::uint16_t>(f.detail);
        if (f.code == smmu::event::c_bad_ste) return text_of(static_cast<smmu::stream_entry_error>(reason));
        if (f.code == smmu::event::c_bad_cd) return text_of(static_cast<smmu::context_error>(reason));
        return text_of(f.code);
    }

    // The last address that is answered alike, where no entry was met that depends on the address: the answer then depends on the
    // ranges that the tables admit alone.
    std::uint64_t last_alike(question const& q, answer const& a) {
        constexpr std::uint64_t top = ~std::uint64_t{0};
        smmu::capabilities const& caps = iommu_.caps();
        if (!registers_.enabled()) return a.is == result::ok ? stagewalk::low_mask(caps.output_size()) : top;
        auto const found = iommu_.find(request_of(q));
        if (!found) return top;
        if (!found->uses_stage1) {
            bool const alone = found->stream.configuration() == smmu::stream_configuration::bypass;
            std::uint64_t const widest = stagewalk::low_mask(alone ? caps.output_size() : caps.intermediate_size());
            if (q.address > widest) return top;
            if (!found->uses_stage2) return widest;
            return iommu_.with_stage2(*found, [&](auto const& s) {
                return s.admits(typename std::decay_t<decltype(s)>::input{q.address}) ? first_page_of(s, q) : widest;
            });
        }
        half const h = found->world == smmu::stream_world::el2 ? half::lower : smmu::half_of(q.address);
        std::uint64_t const end = q.address | stagewalk::low_mask(half_bits);
        if (!smmu_device_view{*found, caps}.sees(h)) return end;
        return iommu_.with_stage1(*found, h, [&](auto const& s) {
            if (s.admits(stagewalk::iova{q.address})) return first_page_of(s, q);
            // The upper half begins where its tables do.
            std::uint64_t const size = s.admitted().begin()->span();
            return h == half::upper && q.address < end - size ? end - size - 1 : end;
        });
    }
    // The addresses whose descriptors in the top table lie in one page: it cannot be read.
    template <class Stage>
    static std::uint64_t first_page_of(Stage const& s, question const& q) {
        return q.address | stagewalk::low_mask(Stage::shift(s.top()) + 9);
    }

    // --- finding what is bound ---------------------------------------------------------------------------------------

    void describe(smmu::binding const& found, binding& b) const {
        smmu::capabilities const& caps = iommu_.caps();
        smmu::stream_table_entry const& e = found.stream;
        b.is = result::ok;
        constexpr char const* configurations[] = {"000 (abort)",  "000 (abort)",   "000 (abort)",   "000 (abort)",
                                                  "100 (bypass)", "101 (stage 1)", "110 (stage 2)", "111 (nested)"};
        b.details.emplace_back("Config", configurations[e.get<"Config">()]);
        if (e.has_stage1()) describe_substreams(e, b);
        bool const tagged = found.uses_stage2 || (found.uses_stage1 && caps.has<"S2P">());
        std::string const vmid = tagged ? "VMID " + hex(found.vmid()) : "";
        if (found.uses_stage1 && found.world != smmu::stream_world::el2)
            b.domain = vmid + (tagged ? " " : "") + "ASID " + hex(found.asid());
        else if (found.uses_stage2)
            b.domain = vmid;
        if (!found.uses_stage1 && !found.uses_stage2) {
            b.bypasses = true;
            b.mode = e.has_stage1() ? "bypass (S1DSS)" : "bypass";
            b.reach = stagewalk::low_mask(e.has_stage1() ? caps.intermediate_size() : caps.output_size());
            return;
        }
        if (found.uses_stage1) describe_first(found, b);
        if (found.uses_stage2) describe_second(found, b);
    }
    void describe_substreams(smmu::stream_table_entry const& e, binding& b) const {
        if (iommu_.caps().substream_size() == 0 || e.get<"S1CDMax">() == 0) {
            b.details.emplace_back("substreams", "none");
            return;
        }
        constexpr char const* formats[] = {"linear", "two levels of 4K", "two levels of 64K"};
        constexpr char const* rules[] = {"are refused", "bypass stage 1", "use substream 0"};
        b.details.emplace_back("substreams", "2^" + std::to_string(e.get<"S1CDMax">()) + ", " +
                                                 formats[static_cast<int>(e.format())] + "; requests without one " +
                                                 rules[static_cast<int>(e.without_substream())]);
    }
    void describe_first(smmu::binding const& found, binding& b) const {
        smmu::context_descriptor const& c = found.context;
        bool any = false;
        std::string granule_before;
        b.mode = found.uses_stage2 ? "nested" : "stage 1";
        for (half const h : {half::lower, half::upper}) {
            if (!has_tables(c, h, found.world)) continue;
            smmu::table_shape const shape = stage1_shape(c, h, c.granule_of(h), iommu_.caps(), iommu_.rules());
            std::string const granule = page_size_text(lg2_of(c.granule_of(h)));
            b.mode += any ? " + " : h == half::upper ? ", upper " : ", ";
            if (granule != granule_before) b.mode += granule + " ";
            b.mode += std::to_string(shape.input_size);
            granule_before = granule;
            auto const of = iommu_.with_stage1(found, h, [](auto const& s) {
                return std::pair{s.root().value, s.admitted().begin()->last().value};
            });
            if (!any) b.root = of.first;
            b.reach = of.second;
            b.details.emplace_back(h == half::lower ? "lower half" : "upper half",
                                   "granule " + granule + ", " + bits_text(shape.input_size) + " in, " +
                                       bits_text(shape.output_size) + " out, from level " +
                                       std::to_string(3 - static_cast<int>(shape.top)) + ", table at " + hex(of.first) +
                                       (c.ignores_top_byte(h) ? ", top byte ignored" : ""));
            any = true;
        }
        b.mode += any ? (found.uses_stage2 ? "" : " bits") : " without tables";
        constexpr char const* worlds[] = {"EL1", "EL2", "EL2 with E2H"};
        b.details.emplace_back("stream world", worlds[static_cast<int>(found.world)]);
        if (found.world != smmu::stream_world::el2) b.details.emplace_back("ASID", hex(found.asid()));
        if (iommu_.caps().has<"S2P">()) b.details.emplace_back("VMID", hex(found.vmid()));
        if (found.is_stage1_swapped()) b.details.emplace_back("byte order", "stage 1: big-endian");
        // Everything that the answers depend on, but not their tags.
        b.settings = hex(c.word[0] & ~smmu::context_descriptor::mask<"ASID">()) + ' ' + hex(c.word[1]) + ' ' + hex(c.word[2]) +
                     ' ' + hex(c.word[3]) + ' ' + std::to_string(static_cast<int>(found.world));
        add_stream_settings(found, b);
    }
    void describe_second(smmu::binding const& found, binding& b) const {
        smmu::stream_table_entry const& e = found.stream;
        smmu::table_shape const shape = stage2_shape(e, e.stage2_granule(), iommu_.caps(), iommu_.rules());
        std::string const granule = page_size_text(lg2_of(e.stage2_granule()));
        std::string const text = granule + " " + bits_text(shape.input_size);
        auto const of = iommu_.with_stage2(found, [](auto const& s) {
            return std::pair{s.root().value, s.admitted().begin()->last().value};
        });
        if (found.uses_stage1) {
            b.mode += " over " + text;
            b.second_root = of.first;
        } else {
            b.mode = "stage 2, " + text + (e.has_stage1() ? " (S1DSS)" : "");
            b.root = of.first;
            b.reach = of.second;
            b.details.emplace_back("VMID", hex(found.vmid()));
            add_stream_settings(found, b);
        }
        b.details.emplace_back("stage 2", "granule " + granule + ", " + bits_text(shape.input_size) + " in, " +
                                              bits_text(shape.output_size) + " out, from level " +
                                              std::to_string(3 - static_cast<int>(shape.top)) + ", table at " + hex(of.first));
        if (found.is_stage2_swapped()) b.details.emplace_back("byte order of stage 2", "big-endian");
    }
    static void add_stream_settings(smmu::binding const& found, binding& b) {
        using entry = smmu::stream_table_entry;
        entry const& e = found.stream;
        // Word 0 says where context descriptors lie; the memory type counts where stage 2 is on.
        b.settings += ' ' + hex(e.word[1]);
        if (found.uses_stage2) b.settings += ' ' + hex(e.word[2] & ~entry::mask<"S2VMID">()) + ' ' + hex(e.word[3]);
    }

    static bool may_load(binding_list& list, std::uint64_t& loads) {
        if (++loads > most_binding_loads || list.all.size() > most_bindings) list.complete = false;
        return list.complete;
    }

    // Of the streams from first to last those that are not aborted; `table` is where that of stream 0 would be.
    void add_streams(binding_list& list, std::uint64_t& loads, std::uint64_t table, std::uint64_t first, std::uint64_t last) {
        for (std::uint64_t i = first; i <= last; ++i) {
            if (!may_load(list, loads)) return;
            auto const loaded = memory_.load(stagewalk::ipa{table + i * sizeof(smmu::stream_table_entry)});
            if (!loaded) {
                i |= 4096 / sizeof(smmu::stream_table_entry) - 1;
                continue;
            }
            smmu::stream_table_entry const e{*loaded};
            if (e.get<"V">() == 0 || e.configuration() == smmu::stream_configuration::abort) continue;
            auto const source = static_cast<std::uint32_t>(i);
            list.all.push_back(find(source, no_pasid));
            bool const illegal = list.all.back().is == result::fault &&
                                 list.all.back().problem.fault.code == static_cast<std::uint64_t>(smmu::event::c_bad_ste);
            if (!illegal && e.has_stage1() && iommu_.caps().substream_size() != 0) add_substreams(list, loads, source, e);
        }
    }
    // Those that have a context descriptor. One that cannot be found stands for all that lie beside it.
    void add_substreams(binding_list& list, std::uint64_t& loads, std::uint32_t source,
                        smmu::stream_table_entry const& first_word) {
        constexpr std::uint64_t in_page = 4096 / sizeof(smmu::context_descriptor);
        std::uint64_t const bits = first_word.get<"S1CDMax">();
        if (bits == 0 || bits > iommu_.caps().substream_size()) return;
        std::uint64_t const leaf = first_word.format() == smmu::context_format::two_levels_64k ? 1024 : 64;
        for (std::uint64_t pasid = 0; pasid <= stagewalk::low_mask(bits); ++pasid) {
            // Stream table, context table and descriptor.
            loads += 9;
            if (!may_load(list, loads)) return;
            memory_.begin_request();
            auto const found = iommu_.find(request_of({source, static_cast<std::uint32_t>(pasid), 0, stagewalk::read}));
            if (!found) {
                using smmu::event;
                event const code = found.error().code;
                auto const why = static_cast<smmu::context_error>(static_cast<std::uint16_t>(found.error().detail));
                if (code == event::c_bad_substreamid) {
                    pasid |= leaf - 1;
                } else if (code != event::c_bad_cd && code != event::f_stream_disabled) {
                    pasid |= in_page - 1;
                }
                if (code != event::c_bad_cd || why == smmu::context_error::not_valid) continue;
            }
            list.all.push_back(find(source, static_cast<std::uint32_t>(pasid)));
        }
    }

    guest_memory& memory_;
    smmu_registers registers_;
    iommu iommu_;
};

std::unique_ptr<unit> open_smmu_unit(capture const& c, guest_memory& memory, bool) {
    return std::make_unique<smmu_unit>(c, read_smmu_registers(c), memory);
}

} // namespace

// There is no address range that an SMMU treats differently.
architecture const smmu_architecture{"SMMUv3", "smmuv3", smmu_register_options(), open_smmu_unit};

} // namespace inspect
