#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "number.hpp"
#include "text.hpp"
#include "unit.hpp"

#include <set>
#include <tuple>

namespace inspect {

namespace {

// Prints entries as they are found: a hostile table may hold very many.
class tree_printer {
public:
    tree_printer(options const& o, capture const& c) : options_{o} {
        if (!o.json) return;
        std::string head = json_head("tree", c).dump();
        head.pop_back();
        print(head + ",\"entries\":[");
    }

    bool entry(tree_entry const& t) {
        if (entries_ == options_.max_entries) {
            cut_short_ = true;
            return false;
        }
        ++entries_;
        separate();
        options_.json ? print(entry_json_of(t)) : print(entry_text(named(t), indent(t.depth)));
        return true;
    }

    // Whether to enter a table: not below --depth, and not again.
    bool table(tree_table const& t) {
        if (t.depth > options_.depth) return false;
        if (!t.whole) return true;
        if (seen_.emplace(t.kind, t.space, t.address).second) return true;
        ++shared_;
        separate();
        if (options_.json) {
            print(json{{"depth", t.depth}, {"shared_table", hex_0x(t.address)}, {"what", t.what}}.dump());
        } else {
            print(paint(style::faint, wrapped(std::string{t.what} + " at " + hex(t.address) + ": shared, its entries are above",
                                              indent(t.depth))));
        }
        return false;
    }

    void end(stagewalk::enumeration const& done) {
        bool const complete = done.complete && !cut_short_;
        if (options_.json) {
            print(std::string{"\n],\"complete\":"} + (complete ? "true" : "false") +
                  ",\"entries_shown\":" + std::to_string(entries_) + ",\"shared_tables\":" + std::to_string(shared_) +
                  ",\"loads\":" + std::to_string(done.loads) + "}\n");
        } else if (complete) {
            print((entries_ == 0 ? "" : "\n") + count_text(entries_) + " entries, " + count_text(shared_) +
                  " ways to tables that were shown before; " + count_text(done.loads) + " words read\n");
        } else {
            print('\n' +
                  paint(style::bad, cut_short_ ? "stopped after " + std::to_string(entries_) + " entries (--max-entries)"
                                               : "stopped after " + std::to_string(done.loads) + " words (--max-loads)") +
                  '\n');
        }
        finish_output();
    }

private:
    // Deep enough to see, not so deep that nothing fits beside it.
    static std::size_t indent(std::uint64_t depth) { return 2 * (static_cast<std::size_t>(depth) - 1); }

    void separate() {
        if (!options_.json) return;
        print(first_ ? "\n " : ",\n ");
        first_ = false;
    }

    // The entry, and what it stands for.
    static decoded_entry named(tree_entry const& t) {
        decoded_entry e = t.entry;
        if (t.pasid && !t.first_input) e.what += ", PASID " + hex(*t.pasid);
        if (t.first_input)
            e.verdict =
                (t.intermediate ? "intermediate " : "input ") + hex(*t.first_input) + '-' + hex(t.last_input) + ": " + e.verdict;
        if (t.read_address) e.verdict = "(read at " + hex(*t.read_address) + ") " + e.verdict;
        return e;
    }
    static std::string entry_json_of(tree_entry const& t) {
        json j{{"depth", t.depth}};
        if (t.source) j["source_id"] = hex_0x(*t.source);
        if (t.pasid) j["pasid"] = hex_0x(*t.pasid);
        if (t.first_input) {
            j["first_input"] = hex_0x(*t.first_input);
            j["last_input"] = hex_0x(t.last_input);
            j["intermediate"] = t.intermediate;
        }
        if (t.read_address) j["read_address"] = hex_0x(*t.read_address);
        j.update(entry_json(t.entry));
        return j.dump();
    }

    options const& options_;
    std::set<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>> seen_;
    std::uint64_t entries_{};
    std::uint64_t shared_{};
    bool cut_short_{};
    bool first_{true};
};

} // namespace

int tree(options const& o) {
    capture c{o.input};
    auto const unit = open_unit(c, c.memory, false);
    if (o.source) require_source(*unit, *o.source);
    tree_scope const scope{o.source, o.pasid, o.from.value_or(0), o.to.value_or(~std::uint64_t{0}), o.max_loads};
    tree_printer printer{o, c};
    printer.end(unit->tour(
        scope, {[&](tree_entry const& e) { return printer.entry(e); }, [&](tree_table const& t) { return printer.table(t); }}));
    return 0;
}

} // namespace inspect
