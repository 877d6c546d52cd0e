#include "vtd_tree.hpp"

#include "number.hpp"
#include "vtd_configuration_text.hpp"
#include "vtd_entry_text.hpp"

#include <algorithm>
#include <string>
#include <type_traits>

namespace inspect {

namespace {

namespace vtd = stagewalk::vtd;

// The kinds of tables; page tables have their stage and level in theirs.
constexpr std::uint64_t context_kind = 1;
constexpr std::uint64_t scalable_context_kind = 2;
constexpr std::uint64_t directory_kind = 3; // + PDTS
constexpr std::uint64_t pasid_kind = 16;
constexpr std::uint64_t page_kind = 32;

constexpr bool on_new_page(std::uint64_t at) { return (at & 0xfff) == 0; }

} // namespace

stagewalk::enumeration vtd_tree::run() {
    memory_.begin_request();
    if (registers_.is_legacy() || registers_.is_scalable()) root_table();
    return done_;
}

// --- the parts of every table ----------------------------------------------------------------------------------------

template <class Entry>
vtd_tree::looked vtd_tree::read(std::uint64_t at, Entry& e) {
    for (std::size_t i = 0; i < Entry::words; ++i) {
        if (done_.loads == scope_.max_loads) {
            done_.complete = false;
            return looked::stopped;
        }
        ++done_.loads;
        auto const loaded = memory_.load(ipa{at + i * 8});
        if (!loaded) return looked::lacking;
        e.word[i] = *loaded;
    }
    return looked::present;
}

template <class Entry>
bool vtd_tree::show(place const& p, std::uint64_t at, Entry const& e) {
    tree_entry t;
    t.entry = vtd_configuration_decoder{registers_.caps, p.source}(e, at);
    t.depth = p.depth;
    if (p.source_known) t.source = p.source;
    t.pasid = p.pasid;
    if (visit_.entry(t)) return true;
    done_.complete = false;
    return false;
}

bool vtd_tree::show_lacking(place const& p, std::uint64_t at, std::string const& why) {
    tree_entry t;
    t.entry.what = "table";
    t.entry.address = at;
    t.entry.verdict = why;
    t.depth = p.depth;
    if (p.source_known) t.source = p.source;
    t.pasid = p.pasid;
    ++done_.faults;
    memory_.begin_request();
    if (visit_.entry(t)) return true;
    done_.complete = false;
    return false;
}

bool vtd_tree::enter(place const& p, char const* what, std::uint64_t address, std::uint64_t kind, bool whole) const {
    return visit_.table({what, address, p.depth, kind, p.space, whole});
}

// --- configuration tables --------------------------------------------------------------------------------------------

bool vtd_tree::root_table() {
    std::uint64_t const table = registers_.root.get<"RTA">();
    for (std::uint32_t bus = 0; bus < 256; ++bus) {
        place p{1, 0, bus << 8, false, {}};
        if (!wants_device(p.source, 0xff00)) continue;
        std::uint64_t const at = table + bus * sizeof(vtd::root_entry);
        vtd::scalable_root_entry root;
        looked const how = read(at, root);
        if (how == looked::stopped) return false;
        if (how == looked::lacking) return show_lacking(p, at, "the page is not captured");
        if (registers_.is_legacy()) {
            vtd::root_entry const legacy{root.word[0], root.word[1]};
            if (legacy.get<"P">() == 0) continue;
            if (!show(p, at, legacy)) return false;
            ++p.depth;
            if (enter(p, "context table", legacy.get<"CTP">(), context_kind, !scope_.source) &&
                !legacy_contexts(p, legacy.get<"CTP">()))
                return false;
            continue;
        }
        if (root.get<"LP">() == 0 && root.get<"UP">() == 0) continue;
        if (!show(p, at, root)) return false;
        ++p.depth;
        for (bool const upper : {false, true}) {
            if ((upper ? root.get<"UP">() : root.get<"LP">()) == 0 || !wants_device(upper ? 0x80 : 0, 0x80)) continue;
            std::uint64_t const contexts = upper ? root.get<"UCTP">() : root.get<"LCTP">();
            bool const whole = !scope_.source && !scope_.pasid;
            if (enter(p, "context table", contexts, scalable_context_kind, whole) && !scalable_contexts(p, contexts, upper))
                return false;
        }
    }
    return true;
}

bool vtd_tree::legacy_contexts(place p, std::uint64_t table) {
    std::uint32_t const bus = p.source;
    p.source_known = true;
    for (std::uint32_t devfn = 0; devfn < 256; ++devfn) {
        p.source = bus | devfn;
        if (!wants_device(p.source, 0xff)) continue;
        std::uint64_t const at = table + devfn * sizeof(vtd::context_entry);
        vtd::context_entry context;
        looked const how = read(at, context);
        if (how == looked::stopped) return false;
        if (how == looked::lacking) return show_lacking(p, at, "the page is not captured");
        if (context.get<"P">() == 0) continue;
        if (!show(p, at, context)) return false;
        if (context.type() == vtd::translation_type::pass_through || !registers_.caps.second_stage_levels(context.levels()))
            continue;
        place below = p;
        ++below.depth;
        legacy_stage const stage{
            registers_.caps, context.levels(), ipa{context.get<"SSPTPTR">()}, {rules_, false, true, false, false}};
        if (!page_tables(below, stage, memory_)) return false;
    }
    return true;
}

bool vtd_tree::scalable_contexts(place p, std::uint64_t table, bool upper) {
    std::uint32_t const half = p.source | (upper ? 0x80 : 0);
    p.source_known = true;
    for (std::uint32_t devfn = 0; devfn < 128; ++devfn) {
        p.source = half | devfn;
        if (!wants_device(p.source, 0xff)) continue;
        std::uint64_t const at = table + devfn * sizeof(vtd::scalable_context_entry);
        vtd::scalable_context_entry context;
        looked const how = read(at, context);
        if (how == looked::stopped) return false;
        if (how == looked::lacking) return show_lacking(p, at, "the page is not captured");
        if (context.get<"P">() == 0) continue;
        if (!show(p, at, context)) return false;
        place below = p;
        ++below.depth;
        std::uint64_t const directory = context.get<"PASIDDIRPTR">();
        if (enter(below, "PASID directory", directory, directory_kind + context.get<"PDTS">(), !scope_.pasid) &&
            !pasid_directory(below, context))
            return false;
    }
    return true;
}

bool vtd_tree::pasid_directory(place p, vtd::scalable_context_entry const& context) {
    for (std::uint64_t pasid = 0; pasid <= context.last_pasid(); pasid += 64) {
        if (scope_.pasid && *scope_.pasid / 64 != pasid / 64) continue;
        std::uint64_t const at = context.get<"PASIDDIRPTR">() + pasid / 64 * sizeof(vtd::pasid_directory_entry);
        vtd::pasid_directory_entry directory;
        looked const how = read(at, directory);
        if (how == looked::stopped) return false;
        if (how == looked::lacking) {
            // Once for each page of a large directory.
            if ((pasid == 0 || on_new_page(at) || scope_.pasid) && !show_lacking(p, at, "the page is not captured")) return false;
            continue;
        }
        if (directory.get<"P">() == 0) continue;
        p.pasid = static_cast<std::uint32_t>(pasid);
        if (!show(p, at, directory)) return false;
        place below = p;
        ++below.depth;
        std::uint64_t const table = directory.get<"SMPTBLPTR">();
        if (enter(below, "PASID table", table, pasid_kind, !scope_.pasid) &&
            !pasid_table(below, table, static_cast<std::uint32_t>(pasid)))
            return false;
    }
    return true;
}

bool vtd_tree::pasid_table(place p, std::uint64_t table, std::uint32_t first) {
    for (std::uint32_t i = 0; i < 64; ++i) {
        p.pasid = first + i;
        if (scope_.pasid && *scope_.pasid != *p.pasid) continue;
        std::uint64_t const at = table + i * sizeof(vtd::pasid_table_entry);
        vtd::pasid_table_entry entry;
        looked const how = read(at, entry);
        if (how == looked::stopped) return false;
        if (how == looked::lacking) return show_lacking(p, at, "the page is not captured");
        if (entry.get<"P">() == 0) continue;
        if (!show(p, at, entry)) return false;
        place below = p;
        ++below.depth;
        if (!translation(below, entry)) return false;
    }
    return true;
}

bool vtd_tree::translation(place p, vtd::pasid_table_entry const& e) {
    vtd::capabilities const& caps = registers_.caps;
    bool const snoops = e.get<"PWSNP">() != 0;
    vtd::first_stage_options const first{e.get<"WPE">() != 0, e.get<"EAFE">() != 0, snoops, 64};
    vtd::second_stage_options const second{rules_, e.get<"SSADE">() != 0, snoops, e.get<"EMTE">() != 0,
                                           registers_.root.get<"SSIRWE">() != 0 && caps.has<"SSIRWS">()};
    // A depth that the unit does not have leads nowhere.
    if (e.uses_first_stage() && e.get<"FSPM">() > 1) return true;
    if (e.uses_second_stage() && !caps.second_stage_levels(e.second_stage_levels())) return true;
    switch (e.kind()) {
    case vtd::pasid_translation::first_stage:
        return page_tables(p, process_stage{caps, e.first_stage_levels(), ipa{e.get<"FSPTPTR">()}, first}, memory_);
    case vtd::pasid_translation::second_stage:
        return page_tables(p, scalable_stage{caps, e.second_stage_levels(), ipa{e.get<"SSPTPTR">()}, second}, memory_);
    case vtd::pasid_translation::nested: {
        nested_second_stage const lower{caps, e.second_stage_levels(), ipa{e.get<"SSPTPTR">()}, second};
        nested_first_stage const upper{caps, e.first_stage_levels(), middle{e.get<"FSPTPTR">()}, first};
        stagewalk::translated tables{stagewalk::single{lower, memory_}, memory_,
                                     lower.keeps_accessed_dirty() ? stagewalk::read_write : stagewalk::read};
        // The first stage's tables lie where this second stage puts them.
        place above = p;
        above.space = lower.root().value | 1;
        below_ = &lower;
        bool const on = page_tables(above, upper, tables);
        below_ = nullptr;
        return on && page_tables(p, lower, memory_);
    }
    case vtd::pasid_translation::pass_through: break;
    }
    return true;
}

// --- page tables -----------------------------------------------------------------------------------------------------

template <class Stage, class Memory>
bool vtd_tree::page_tables(place const& p, Stage const& s, Memory& memory) {
    constexpr bool intermediate = !std::is_same_v<typename Stage::input, iova>;
    std::uint64_t const kind = page_kind + static_cast<std::uint64_t>(Stage::number) * 8 + s.top();
    using input = typename Stage::input;
    auto const asked = intermediate ? stagewalk::range<input>::all()
                                    : stagewalk::range<input>::between(input{scope_.first_input}, input{scope_.last_input});
    bool const whole = asked == stagewalk::range<input>::all();
    char const* const what = Stage::number == stagewalk::fault_stage::first ? "first-stage table" : "second-stage table";
    if (!enter(p, what, s.root().value, kind, whole)) return true;
    for (auto const& part : s.admitted()) {
        auto const both = part.intersection(asked);
        if (both.empty()) continue;
        if (!page_table(p, s, memory, s.top(), s.root(), both.first().value, both.last().value, {})) return false;
    }
    return true;
}

template <class Stage, class Memory>
bool vtd_tree::page_table(place const& p, Stage const& s, Memory& memory, std::uint64_t level, typename Stage::output table,
                          std::uint64_t from, std::uint64_t to, typename Stage::path path) {
    using input = typename Stage::input;
    std::uint64_t const within = stagewalk::low_mask(Stage::shift(level));
    for (std::uint64_t first = from;; first = (first | within) + 1) {
        std::uint64_t const last = std::min(first | within, to);
        stagewalk::step at{level, (table + s.index(level, input{first}) * 8).value, 0};
        if (done_.loads == scope_.max_loads) {
            done_.complete = false;
            return false;
        }
        ++done_.loads;
        auto const loaded = memory.load(typename Stage::output{at.address});
        // The whole table lies in one page.
        if (!loaded) {
            bool const lacking = memory_.lacked();
            return show_lacking(p, at.address,
                                lacking ? "page " + hex(memory_.lacking()) + " is not captured"
                                        : "cannot be read: the second stage refuses it");
        }
        at.entry = *loaded;
        if (s.is_present(at.entry)) {
            auto here = path;
            stagewalk::step denied = stagewalk::no_step;
            auto const judged = s.judge(at, stagewalk::none, here, denied);
            tree_entry t;
            t.entry = decode_table_entry(stagewalk::traced_step<Stage>{s, at, judged},
                                         Stage::number == stagewalk::fault_stage::first ? "first stage" : "second stage");
            t.depth = p.depth;
            t.source = p.source;
            t.pasid = p.pasid;
            t.first_input = first & ~within;
            t.last_input = first | within;
            t.intermediate = !std::is_same_v<input, iova>;
            if constexpr (std::is_same_v<typename Stage::output, middle>) {
                if (auto const where = walk(*below_, memory_, middle{at.address}, stagewalk::none))
                    t.read_address = where->output.value;
            }
            if (!visit_.entry(t)) {
                done_.complete = false;
                return false;
            }
            if (judged.is == stagewalk::verdict::table) {
                place below = p;
                ++below.depth;
                bool const whole = (first & within) == 0 && last == (first | within);
                std::uint64_t const kind = page_kind + static_cast<std::uint64_t>(Stage::number) * 8 + judged.value;
                typename Stage::output const next = Stage::target(at.entry);
                if (enter(below, "table", next.value, kind, whole) &&
                    !page_table(below, s, memory, judged.value, next, first, last, here))
                    return false;
            }
        }
        if (last == to) return true;
    }
}

} // namespace inspect
