#include "smmu_tree.hpp"

#include "number.hpp"
#include "smmu_configuration_text.hpp"
#include "smmu_entry_text.hpp"

#include <algorithm>
#include <string>
#include <type_traits>
#include <utility>

namespace inspect {

namespace {

namespace smmu = stagewalk::smmu;

// The kinds of tables; page tables have their stage, granule and level in theirs.
constexpr std::uint64_t stream_kind = 0;          // + StreamID bits
constexpr std::uint64_t context_kind = 64;        // + SubstreamID bits
constexpr std::uint64_t context_level1_kind = 96; // + SubstreamID bits, and 32 for large tables below
constexpr std::uint64_t page_kind = 256;

template <class Stage>
constexpr std::uint64_t kind_of(std::uint64_t level) {
    return page_kind + static_cast<std::uint64_t>(Stage::number) * 256 + Stage::lg2_page * 8 + level;
}

// A page of a table that is not there is passed over as a whole.
template <class Entry>
constexpr std::uint64_t entries_in_page = 4096 / sizeof(Entry);

} // namespace

stagewalk::enumeration smmu_tree::run() {
    memory_.begin_request();
    stream_table();
    return done_;
}

// --- the parts of every table ----------------------------------------------------------------------------------------

template <class Entry, class Memory>
smmu_tree::looked smmu_tree::read(Memory& memory, std::uint64_t at, std::uint64_t present, Entry& e) {
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
        if (i == 0 && (e.word[0] & present) == 0) return looked::absent;
    }
    return looked::present;
}

template <class Address>
std::optional<std::uint64_t> smmu_tree::read_address(Address at) {
    if constexpr (std::is_same_v<Address, middle>) {
        if (auto const where = below_->reach(at, stagewalk::read)) return where->value;
    }
    return std::nullopt;
}

bool smmu_tree::show(tree_entry const& t) {
    if (visit_.entry(t)) return true;
    done_.complete = false;
    return false;
}

template <class Entry>
bool smmu_tree::show(place const& p, std::uint64_t at, Entry const& e, std::optional<std::uint64_t> read_at) {
    smmu_configuration_decoder decode{registers_, unit_.rules(), p.source};
    if constexpr (std::is_same_v<Entry, smmu::context_descriptor>) static_cast<void>(decode(stream_, 0));
    tree_entry t;
    t.entry = decode(e, at);
    t.depth = p.depth;
    if (p.source_known) t.source = p.source;
    t.pasid = p.pasid;
    t.read_address = read_at;
    return show(t);
}

std::string smmu_tree::why_lacking() const {
    return memory_.lacked() ? "page " + hex(memory_.lacking()) + " is not captured" : "cannot be read: stage 2 refuses it";
}

// The first of neighbouring pages that are not there stands for all.
bool smmu_tree::show_lacking(place const& p, std::uint64_t at, std::optional<std::uint64_t> first_input) {
    ++done_.faults;
    tree_entry t;
    t.entry.what = "table";
    t.entry.address = at;
    t.entry.verdict = why_lacking();
    if (first_input) t.entry.verdict = "from input " + hex(*first_input) + " on: " + t.entry.verdict;
    t.depth = p.depth;
    if (p.source_known) t.source = p.source;
    t.pasid = p.pasid;
    memory_.begin_request();
    if (std::exchange(lacking_before_, true)) return true;
    return show(t);
}

bool smmu_tree::enter(place const& p, char const* what, std::uint64_t address, std::uint64_t kind, bool whole) const {
    return visit_.table({what, address, p.depth, kind, p.space, whole});
}

// --- configuration tables --------------------------------------------------------------------------------------------

bool smmu_tree::stream_table() {
    std::uint64_t const table = registers_.stream_table();
    std::uint64_t const last_stream = registers_.streams() - 1;
    if (scope_.source && *scope_.source > last_stream) return true;
    std::uint64_t const first = scope_.source.value_or(0);
    std::uint64_t const last = scope_.source.value_or(static_cast<std::uint32_t>(last_stream));
    place p{1, 0, static_cast<std::uint32_t>(first), false, {}};
    if (!registers_.control.two_levels(registers_.caps)) return stream_entries(p, table, first, last);

    std::uint64_t const split = registers_.control.split();
    constexpr std::uint64_t together = entries_in_page<smmu::stream_table_descriptor>;
    for (std::uint64_t i = first >> split; i <= last >> split; ++i) {
        std::uint64_t const at = table + i * sizeof(smmu::stream_table_descriptor);
        std::uint64_t const begin = i << split;
        p.source = static_cast<std::uint32_t>(begin);
        smmu::stream_table_descriptor d;
        switch (read(memory_, at, smmu::stream_table_descriptor::mask<"Span">(), d)) {
        case looked::stopped: return false;
        case looked::absent: continue;
        case looked::lacking:
            if (!show_lacking(p, at)) return false;
            i |= together - 1;
            continue;
        case looked::present: break;
        }
        if (!show(p, at, d)) return false;
        if (!d.is_valid(split)) continue;
        place below = p;
        ++below.depth;
        std::uint64_t const end = std::min(begin + stagewalk::low_mask(d.stream_bits()), last_stream);
        if (std::max(first, begin) > std::min(last, end)) continue;
        if (enter(below, "stream table", d.table(), stream_kind + d.stream_bits(), !scope_.source && !scope_.pasid) &&
            !stream_entries(below, d.table() - begin * sizeof(smmu::stream_table_entry), std::max(first, begin),
                            std::min(last, end)))
            return false;
    }
    return true;
}

// Those of the streams from first to last; `table` is where that of stream 0 would be.
bool smmu_tree::stream_entries(place p, std::uint64_t table, std::uint64_t first, std::uint64_t last) {
    p.source_known = true;
    for (std::uint64_t i = first; i <= last; ++i) {
        p.source = static_cast<std::uint32_t>(i);
        std::uint64_t const at = table + i * sizeof(smmu::stream_table_entry);
        smmu::stream_table_entry e;
        switch (read(memory_, at, smmu::stream_table_entry::mask<"V">(), e)) {
        case looked::stopped: return false;
        case looked::absent: continue;
        case looked::lacking:
            if (!show_lacking(p, at)) return false;
            i |= entries_in_page<smmu::stream_table_entry> - 1;
            continue;
        case looked::present: break;
        }
        if (!show(p, at, e)) return false;
        place below = p;
        ++below.depth;
        if (!stream(below, e)) return false;
    }
    return true;
}

bool smmu_tree::stream(place const& p, smmu::stream_table_entry const& e) {
    smmu::capabilities const& caps = registers_.caps;
    if (check(e, caps, unit_.rules()) != smmu::stream_entry_error::none) return true;
    smmu::binding b;
    b.stream = stream_ = e;
    b.uses_stage1 = e.has_stage1();
    b.uses_stage2 = e.has_stage2();
    b.world = world_of(e, caps, registers_.control);
    if (b.uses_stage1 && !b.uses_stage2 && !contexts(p, b, memory_)) return false;
    if (!b.uses_stage2) return true;

    if (b.uses_stage1) {
        stagewalk::no_trace nobody;
        smmu::stage2_translator<guest_memory, stagewalk::no_trace> const second{b, caps, unit_.rules(), memory_, nobody};
        guest_tables tables{second, memory_, caps, e};
        // The tables of stage 1 lie where this stage 2 puts them, whatever its VMID.
        std::vector<std::uint64_t> key{e.word[2] & ~smmu::stream_table_entry::mask<"S2VMID">(), e.word[3]};
        place above = p;
        above.space = spaces_.try_emplace(std::move(key), spaces_.size() + 1).first->second;
        below_ = &tables;
        bool const on = contexts(above, b, tables);
        below_ = nullptr;
        if (!on) return false;
    }
    return unit_.with_stage2(b, [&](auto const& s) {
        if (!b.is_stage2_swapped()) return page_tables(p, s, memory_);
        stagewalk::byte_swapped<guest_memory> memory{memory_};
        return page_tables(p, s, memory);
    });
}

template <class Memory>
bool smmu_tree::contexts(place const& p, smmu::binding& b, Memory& memory) {
    using level1 = smmu::context_table_descriptor;
    smmu::stream_table_entry const& e = b.stream;
    std::uint64_t const substreams = registers_.caps.substream_size() == 0 ? 0 : e.get<"S1CDMax">();
    std::uint64_t const table = e.get<"S1ContextPtr">();
    if (substreams == 0)
        return !enter(p, "context descriptor", table, context_kind, true) || context_table(p, b, memory, table, 0, 0, false);
    std::uint64_t const first = scope_.pasid.value_or(0);
    std::uint64_t const last = scope_.pasid.value_or(static_cast<std::uint32_t>(stagewalk::low_mask(substreams)));
    if (last > stagewalk::low_mask(substreams)) return true;
    if (e.format() == smmu::context_format::linear) {
        std::uint64_t const aligned = table & ~stagewalk::low_mask(substreams + 6);
        return !enter(p, "context descriptor table", aligned, context_kind + substreams, !scope_.pasid) ||
               context_table(p, b, memory, aligned, first, last, true);
    }
    bool const large = e.format() == smmu::context_format::two_levels_64k;
    std::uint64_t const bits = large ? 10 : 6;
    std::uint64_t const size = substreams > bits + 3 ? substreams - bits + 3 : 6;
    std::uint64_t const aligned = table & ~stagewalk::low_mask(size);
    if (!enter(p, "level-1 context table", aligned, context_level1_kind + substreams + (large ? 32 : 0), !scope_.pasid))
        return true;
    for (std::uint64_t i = first >> bits; i <= last >> bits; ++i) {
        std::uint64_t const at = aligned + i * sizeof(level1);
        place here = p;
        here.pasid = static_cast<std::uint32_t>(i << bits);
        level1 d;
        switch (read(memory, at, level1::mask<"V">(), d)) {
        case looked::stopped: return false;
        case looked::absent: continue;
        case looked::lacking:
            if (!show_lacking(here, at)) return false;
            i |= entries_in_page<level1> - 1;
            continue;
        case looked::present: break;
        }
        if (!show(here, at, d, read_address(typename Memory::address{at}))) return false;
        place below = here;
        ++below.depth;
        std::uint64_t const leaf = d.get<"L2Ptr">() & ~stagewalk::low_mask(bits + 6);
        std::uint64_t const begin = i << bits;
        std::uint64_t const end = std::min(begin | stagewalk::low_mask(bits), last);
        if (enter(below, "context descriptor table", leaf, context_kind + bits, !scope_.pasid) &&
            !context_table(below, b, memory, leaf - begin * sizeof(smmu::context_descriptor), std::max(begin, first), end, true))
            return false;
    }
    return true;
}

// Those of the substreams from first to last; `table` is where that of substream 0 would be.
template <class Memory>
bool smmu_tree::context_table(place p, smmu::binding& b, Memory& memory, std::uint64_t table, std::uint64_t first,
                              std::uint64_t last, bool numbered) {
    for (std::uint64_t i = first; i <= last; ++i) {
        if (numbered) p.pasid = static_cast<std::uint32_t>(i);
        std::uint64_t const at = table + i * sizeof(smmu::context_descriptor);
        b.context = {};
        switch (read(memory, at, smmu::context_descriptor::mask<"V">(), b.context)) {
        case looked::stopped: return false;
        case looked::absent: continue;
        case looked::lacking:
            if (!show_lacking(p, at)) return false;
            i |= entries_in_page<smmu::context_descriptor> - 1;
            continue;
        case looked::present: break;
        }
        if (!show(p, at, b.context, read_address(typename Memory::address{at}))) return false;
        if (check(b.context, b.stream, b.world, registers_.caps, unit_.rules()) != smmu::context_error::none) continue;
        place below = p;
        ++below.depth;
        if (!halves(below, b, memory)) return false;
    }
    return true;
}

template <class Memory>
bool smmu_tree::halves(place const& p, smmu::binding const& b, Memory& memory) {
    for (smmu::half const h : {smmu::half::lower, smmu::half::upper}) {
        if (!has_tables(b.context, h, b.world)) continue;
        bool const on = unit_.template with_stage1<typename Memory::address>(b, h, [&](auto const& s) {
            if (!b.is_stage1_swapped()) return page_tables(p, s, memory);
            stagewalk::byte_swapped<Memory> swapped{memory};
            return page_tables(p, s, swapped);
        });
        if (!on) return false;
    }
    return true;
}

// --- page tables -----------------------------------------------------------------------------------------------------

template <class Stage, class Memory>
bool smmu_tree::page_tables(place const& p, Stage const& s, Memory& memory) {
    using input = typename Stage::input;
    // Stage 2 alone takes the device's own addresses.
    bool const own = std::is_same_v<input, iova> || !stream_.has_stage1();
    auto const asked = own ? stagewalk::range<input>::between(input{scope_.first_input}, input{scope_.last_input})
                           : stagewalk::range<input>::all();
    bool const whole = asked == stagewalk::range<input>::all();
    char const* const what = Stage::number == stagewalk::fault_stage::first ? "stage-1 table" : "stage-2 table";
    // Two halves may share their tables, but not what they stand for.
    bool const upper = s.admitted().begin()->first().value != 0;
    if (!enter(p, what, s.root().value, kind_of<Stage>(s.top()) + (upper ? 4096 : 0), whole)) return true;
    for (auto const& part : s.admitted()) {
        auto const both = part.intersection(asked);
        if (both.empty()) continue;
        if (!page_table(p, s, memory, s.top(), s.root(), both.first().value, both.last().value, {})) return false;
    }
    return true;
}

template <class Stage, class Memory>
bool smmu_tree::page_table(place const& p, Stage const& s, Memory& memory, std::uint64_t level, typename Stage::output table,
                           std::uint64_t from, std::uint64_t to, typename Stage::path path) {
    using input = typename Stage::input;
    constexpr bool first_stage = Stage::number == stagewalk::fault_stage::first;
    std::uint64_t const within = stagewalk::low_mask(Stage::shift(level));
    std::uint64_t const within_page = stagewalk::low_mask(Stage::shift(level) + 9);
    for (std::uint64_t first = from;;) {
        std::uint64_t last = std::min(first | within, to);
        stagewalk::step at{level, (table + s.index(level, input{first}) * 8).value, 0};
        if (done_.loads == scope_.max_loads) {
            done_.complete = false;
            return false;
        }
        ++done_.loads;
        auto const loaded = memory.load(typename Stage::output{at.address});
        if (!loaded) {
            // A table may lie in several pages, of which some are there.
            if (!show_lacking(p, at.address, first)) return false;
            last = std::min(first | within_page, to);
        } else if (lacking_before_ = false; Stage::is_present(*loaded)) {
            at.entry = *loaded;
            auto here = path;
            stagewalk::step denied = stagewalk::no_step;
            auto const judged = s.judge(at, stagewalk::none, here, denied);
            tree_entry t;
            t.entry = decode_smmu_descriptor(stagewalk::traced_step<Stage>{s, at, judged}, first_stage ? "stage 1" : "stage 2");
            t.depth = p.depth;
            t.source = p.source;
            t.pasid = p.pasid;
            t.first_input = first & ~within;
            t.last_input = first | within;
            t.intermediate = !first_stage && stream_.has_stage1();
            t.read_address = read_address(typename Stage::output{at.address});
            if (!show(t)) return false;
            if (judged.is == stagewalk::verdict::table) {
                place below = p;
                ++below.depth;
                bool const whole = (first & within) == 0 && last == (first | within);
                typename Stage::output const next = s.target(at.entry);
                if (enter(below, "table", next.value, kind_of<Stage>(judged.value), whole) &&
                    !page_table(below, s, memory, judged.value, next, first, last, here))
                    return false;
            }
        }
        if (last == to) return true;
        first = last + 1;
    }
}

} // namespace inspect
