#include "amdvi_tree.hpp"

#include "amdvi_configuration_text.hpp"
#include "amdvi_entry_text.hpp"
#include "amdvi_gcr3.hpp"
#include "number.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace inspect {

namespace {

namespace amdvi = stagewalk::amdvi;

// The kinds of tables; page tables have their stage and level in theirs.
constexpr std::uint64_t gcr3_kind = 8; // + level
constexpr std::uint64_t page_kind = 32;

template <class Stage>
constexpr std::uint64_t kind_of(std::uint64_t level) {
    return page_kind + static_cast<std::uint64_t>(Stage::number) * 8 + level;
}

// A page of a table that is not there is passed over as a whole.
template <class Entry>
constexpr std::uint64_t entries_in_page = 4096 / sizeof(Entry);

// The input addresses that entry `at`, which leads to a table, does so for, from `first` on; those above lie in what it skips.
template <class Stage>
std::uint64_t last_behind(Stage const& s, std::uint64_t level, std::uint64_t next, std::uint64_t first) {
    return (first | stagewalk::low_mask(Stage::shift(level))) & ~stagewalk::skipped_bits(s, level, next);
}

} // namespace

stagewalk::enumeration amdvi_tree::run() {
    memory_.begin_request();
    for (std::uint64_t n = 0; n < registers_.segments(); ++n)
        if (!segment(n)) break;
    return done_;
}

// --- the parts of every table ----------------------------------------------------------------------------------------

template <class Entry, class Memory>
amdvi_tree::looked amdvi_tree::read(Memory& memory, std::uint64_t at, Entry& e) {
    for (std::size_t i = 0; i < Entry::words; ++i) {
        if (done_.loads == scope_.max_loads) {
            done_.complete = false;
            return looked::stopped;
        }
        ++done_.loads;
        auto const loaded = memory.load(typename Memory::address{at + i * 8});
        if (!loaded) return looked::lacking;
        lacking_before_ = false;
        e.word[i] = *loaded;
        if (i == 0 && (e.word[0] & 1) == 0) return looked::absent;
    }
    return looked::present;
}

template <class Address>
std::optional<std::uint64_t> amdvi_tree::read_address(Address at) {
    if constexpr (std::is_same_v<Address, middle>) {
        if (auto const where = walk(below_->without_device_rights(), memory_, at, stagewalk::read)) return where->output.value;
    }
    return std::nullopt;
}

bool amdvi_tree::show(tree_entry const& t) {
    if (visit_.entry(t)) return true;
    done_.complete = false;
    return false;
}

bool amdvi_tree::show(place const& p, decoded_entry const& e, std::optional<std::uint64_t> read_at) {
    tree_entry t;
    t.entry = e;
    t.depth = p.depth;
    if (p.source_known) t.source = p.source;
    t.pasid = p.pasid;
    t.read_address = read_at;
    return show(t);
}

std::string amdvi_tree::why_lacking() const {
    return memory_.lacked() ? "page " + hex(memory_.lacking()) + " is not captured" : "cannot be read: host tables refuse it";
}

// The first of neighbouring pages that are not there stands for all.
bool amdvi_tree::show_lacking(place const& p, std::uint64_t at, std::optional<std::uint64_t> first_input) {
    ++done_.faults;
    decoded_entry e;
    e.what = "table";
    e.address = at;
    e.verdict = why_lacking();
    if (first_input) e.verdict = "from input " + hex(*first_input) + " on: " + e.verdict;
    memory_.begin_request();
    if (std::exchange(lacking_before_, true)) return true;
    return show(p, e);
}

bool amdvi_tree::enter(place const& p, char const* what, std::uint64_t address, std::uint64_t kind, bool whole) const {
    return visit_.table({what, address, p.depth, kind, p.space, whole});
}

// --- configuration tables --------------------------------------------------------------------------------------------

bool amdvi_tree::segment(std::uint64_t n) {
    std::uint64_t const begin = n * registers_.devices_in_segment();
    std::uint64_t const table = registers_.table(n);
    place p{1, 0, 0, true, {}};
    for (std::uint64_t i = 0; i < registers_.entries(n); ++i) {
        p.source = static_cast<std::uint32_t>(begin + i);
        if (scope_.source && *scope_.source != p.source) continue;
        std::uint64_t const at = table + i * sizeof(device_table_entry);
        device_table_entry e;
        switch (read(memory_, at, e)) {
        case looked::stopped: return false;
        case looked::absent: continue;
        case looked::lacking:
            if (!show_lacking(p, at)) return false;
            i |= entries_in_page<device_table_entry> - 1;
            continue;
        case looked::present: break;
        }
        if (!show(p, amdvi_configuration_decoder{registers_, unit_.setup().rules, p.source}(e, at))) return false;
        place below = p;
        ++below.depth;
        if (!device(below, e)) return false;
    }
    return true;
}

bool amdvi_tree::device(place const& p, device_table_entry const& e) {
    if (check_.translation_error(e) != amdvi::device_entry_error::none || e.get<"TV">() == 0) return true;
    bool const has_guest = check_.has_guest(e);
    amdvi::binding const b{has_guest ? amdvi::binding_kind::nested : amdvi::binding_kind::host, e, amdvi::no_pasid, 0};
    if (has_guest && !e.has_host_tables()) return gcr3_table(p, e, memory_, e.get<"GLX">(), e.gcr3_root(), 0);
    if (!e.has_host_tables()) return true;
    if (!has_guest) return page_tables(p, unit_.host_stage_of(b), memory_);

    stagewalk::no_trace nobody;
    nested_host_stage const host = unit_.nested_host_stage_of(b);
    nested_walk both{host, memory_, nobody};
    // The guest's tables lie where these host tables put them. Mode is not 0.
    place above = p;
    above.space = host.root().value | (host.top() + 1);
    below_ = &host;
    bool const on = gcr3_table(above, e, both.guest_memory(), e.get<"GLX">(), e.gcr3_root(), 0);
    below_ = nullptr;
    return on && page_tables(p, host, memory_);
}

template <class Behind>
bool amdvi_tree::gcr3_table(place p, device_table_entry const& e, Behind& behind, std::uint64_t level, std::uint64_t table,
                            std::uint64_t first) {
    if (scope_.pasid && !amdvi::gcr3_covers(e.get<"GLX">(), *scope_.pasid, registers_.caps)) return true;
    bool const is_behind = is_gcr3_behind(registers_, unit_.setup().rules, e, level);
    place here = p;
    if (!is_behind) here.space = 0;
    if (!enter(here, "GCR3 table", table, gcr3_kind + level, !scope_.pasid)) return true;
    return is_behind ? gcr3_entries(p, e, behind, behind, level, table, first)
                     : gcr3_entries(p, e, behind, memory_, level, table, first);
}

// Those of a table of GCR3 entries, the first of which is for PASIDs from `first` on.
template <class Behind, class Memory>
bool amdvi_tree::gcr3_entries(place p, device_table_entry const& e, Behind& behind, Memory& memory, std::uint64_t level,
                              std::uint64_t table, std::uint64_t first) {
    for (std::uint64_t i = 0; i < 512; ++i) {
        std::uint64_t const pasid = first | i << 9 * level;
        if (!amdvi::gcr3_covers(e.get<"GLX">(), pasid, registers_.caps)) break;
        if (scope_.pasid && amdvi::gcr3_index(level, *scope_.pasid) != i) continue;
        p.pasid = static_cast<std::uint32_t>(pasid);
        std::uint64_t const at = table + i * 8;
        amdvi::gcr3_table_entry g;
        switch (read(memory, at, g)) {
        case looked::stopped: return false;
        case looked::absent: continue;
        case looked::lacking: return show_lacking(p, at); // a table is one page
        case looked::present: break;
        }
        if (!show(p, amdvi_configuration_decoder::of_level(g, at, level), read_address(typename Memory::address{at})))
            return false;
        if ((g.word[0] & amdvi::gcr3_table_entry::reserved()) != 0) continue;
        place below = p;
        ++below.depth;
        if (level != 0) {
            if (!gcr3_table(below, e, behind, level - 1, g.table(), pasid)) return false;
            continue;
        }
        amdvi::binding const b{amdvi::binding_kind::nested, e, *p.pasid, g.table()};
        bool on = true;
        if constexpr (std::is_same_v<Behind, guest_memory>) {
            on = page_tables(below, unit_.guest_stage_of(b), memory_);
        } else {
            on = page_tables(below, unit_.nested_guest_stage_of(b), behind);
        }
        if (!on) return false;
    }
    return true;
}

// --- page tables -----------------------------------------------------------------------------------------------------

template <class Stage, class Memory>
bool amdvi_tree::page_tables(place const& p, Stage const& s, Memory& memory) {
    using input = typename Stage::input;
    constexpr bool intermediate = !std::is_same_v<input, stagewalk::iova>;
    constexpr bool guest = Stage::number == stagewalk::fault_stage::first;
    auto const asked = intermediate ? stagewalk::range<input>::all()
                                    : stagewalk::range<input>::between(input{scope_.first_input}, input{scope_.last_input});
    bool const whole = asked == stagewalk::range<input>::all();
    // The addresses of PASID 0 have no sign: the same root table stands for others then.
    std::uint64_t const unsigned_kind = guest && p.pasid == 0u ? 1024 : 0;
    if (!enter(p, guest ? "guest table" : "host table", s.root().value, kind_of<Stage>(s.top()) + unsigned_kind, whole))
        return true;
    for (auto const& part : s.admitted()) {
        auto const both = part.intersection(asked);
        if (both.empty()) continue;
        if (!page_table(p, s, memory, s.top(), s.root(), both.first().value, both.last().value, {})) return false;
    }
    return true;
}

template <class Stage, class Memory>
bool amdvi_tree::page_table(place const& p, Stage const& s, Memory& memory, std::uint64_t level, typename Stage::output table,
                            std::uint64_t from, std::uint64_t to, typename Stage::path path) {
    using input = typename Stage::input;
    constexpr bool guest = Stage::number == stagewalk::fault_stage::first;
    std::uint64_t const within = stagewalk::low_mask(Stage::shift(level));
    for (std::uint64_t first = from;;) {
        std::uint64_t const last = std::min(first | within, to);
        stagewalk::step at{level, (table + s.index(level, input{first}) * 8).value, 0};
        if (done_.loads == scope_.max_loads) {
            done_.complete = false;
            return false;
        }
        ++done_.loads;
        auto const loaded = memory.load(typename Stage::output{at.address});
        // The whole table lies in one page.
        if (!loaded) return show_lacking(p, at.address, first);
        lacking_before_ = false;
        at.entry = *loaded;
        if (s.is_present(at.entry)) {
            auto here = path;
            stagewalk::step denied = stagewalk::no_step;
            auto const judged = s.judge(at, stagewalk::none, here, denied);
            tree_entry t;
            t.entry = decode_amdvi_entry(stagewalk::traced_step<Stage>{s, at, judged}, guest ? "guest table" : "host table");
            t.depth = p.depth;
            t.source = p.source;
            t.pasid = p.pasid;
            t.first_input = first & ~within;
            t.last_input = first | within;
            t.intermediate = !std::is_same_v<input, stagewalk::iova>;
            t.read_address = read_address(typename Stage::output{at.address});
            if (!show(t)) return false;
            if (judged.is == stagewalk::verdict::table) {
                std::uint64_t const behind = last_behind(s, level, judged.value, first & ~within);
                place below = p;
                ++below.depth;
                bool const whole = (first & within) == 0 && last >= behind;
                typename Stage::output const next = s.target(at.entry);
                if (first <= behind && enter(below, "table", next.value, kind_of<Stage>(judged.value), whole) &&
                    !page_table(below, s, memory, judged.value, next, first, std::min(last, behind), here))
                    return false;
            }
        }
        if (last == to) return true;
        first = last + 1;
    }
}

} // namespace inspect
