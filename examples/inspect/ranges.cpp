#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "mapping_text.hpp"
#include "number.hpp"
#include "text.hpp"

#include <algorithm>

namespace inspect {

namespace {

// The rights that --perm asks for.
stagewalk::access rights_of(std::string const& perm) {
    stagewalk::access a{};
    for (char const c : perm)
        a = a | (c == 'r' ? stagewalk::read : stagewalk::write);
    return a;
}

bool wanted(options const& o, mapping const& m) {
    if (!m.effective.rights().covers(rights_of(o.perm))) return false;
    if (o.has && !(m.first <= *o.has && *o.has <= m.last)) return false;
    if (o.from && (m.last < *o.from || *o.to < m.first)) return false;
    return o.min_size == 0 || m.last - m.first >= o.min_size - 1;
}

json mapping_json(mapping const& m) {
    return {{"first", hex_0x(m.first)},
            {"last", hex_0x(m.last)},
            {"output", hex_0x(m.output)},
            {"rights", rights_text(m.effective.rights())},
            {"attributes", hex_0x(m.effective.format_bits())},
            {"pages", m.leaves},
            {"smallest_lg2", m.smallest},
            {"largest_lg2", m.largest}};
}

// Prints the ranges of all devices as they are found: a hostile table may describe very many.
class lister {
public:
    lister(options const& o, capture const& c, unit& u, std::vector<listed_device> const& list)
        : options_{o}, unit_{u}, list_{list}, same_{first_with_same_tables(list)}, loads_left_{o.max_loads} {
        if (!o.json) return;
        std::string head = json_head("ranges", c).dump();
        head.pop_back();
        print(head + ",\"devices\":[");
    }

    void device(std::size_t i) {
        listed_device const& d = list_[i];
        std::size_t const same = same_[i];
        std::string const separator = i == 0 ? "\n" : ",\n";
        if (options_.json) {
            json head{{"source_id", hex_0x(d.bound.source)}, {"domain", d.bound.domain}, {"mode", binding_text(d.bound)}};
            if (d.bound.pasid != no_pasid) head["pasid"] = hex_0x(d.bound.pasid);
            if (same != i) head["same_tables_as"] = hex_0x(list_[same].bound.source);
            std::string text = head.dump();
            text.pop_back();
            print(separator + text + ",\"ranges\":[");
        } else {
            std::string const name = d.name(unit_) + (d.info != nullptr && !d.info->driver.empty() ? " " + d.info->driver : "");
            std::string const line =
                wrapped(name + (d.bound.domain.empty() ? "" : ", " + d.bound.domain) + ", " + binding_text(d.bound));
            print((i == 0 ? "" : "\n") + paint(style::heading, name) + line.substr(std::min(name.size(), line.size())));
        }
        stagewalk::enumeration done;
        wrong_ = lacking_ = found_ = 0;
        if (d.bound.is != result::ok) {
            // The heading says why.
        } else if (d.bound.bypasses) {
            mapping everything{0, d.bound.reach, 0, d.bound.rights, 1, 64, 64};
            show(everything);
        } else if (same != i) {
            if (!options_.json) print("  the same tables as " + list_[same].name(unit_) + '\n');
        } else {
            done = unit_.enumerate(d.bound.source, d.bound.pasid, true, loads_left_,
                                   {[&](mapping const& m) { return show(m); },
                                    [&](anomaly const& a) { ++(a.why.is == result::missing ? lacking_ : wrong_); }});
            loads_left_ -= std::min(loads_left_, done.loads);
        }
        bool const cut_short = !done.complete && !limit_hit();
        if (options_.json) {
            print(std::string{"],\"complete\":"} + (done.complete ? "true" : "false") + ",\"invalid_entries\":" +
                  std::to_string(wrong_) + ",\"entries_not_captured\":" + std::to_string(lacking_) + '}');
            return;
        }
        if (found_ == 0 && d.bound.is == result::ok && same == i) print("  nothing\n");
        if (wrong_ != 0) print("  " + paint(style::bad, std::to_string(wrong_) + " entries are not valid (see stats)") + '\n');
        if (lacking_ != 0) print("  " + paint(style::bad, std::to_string(lacking_) + " entries are not in the capture") + '\n');
        if (cut_short)
            print("  " +
                  paint(style::bad,
                        "stopped after " + std::to_string(options_.max_loads) + " loads (--max-loads), at " + hex(done.resume)) +
                  '\n');
    }

    void end() {
        if (options_.json)
            print("\n]}\n");
        else if (limit_hit())
            print("\nstopped after " + std::to_string(options_.limit) + " ranges (--limit)\n");
        finish_output();
    }

    [[nodiscard]] bool limit_hit() const { return shown_ >= options_.limit; }

private:
    bool show(mapping const& m) {
        if (!wanted(options_, m)) return true;
        if (limit_hit()) return false;
        ++shown_;
        ++found_;
        if (options_.json) {
            print((found_ == 1 ? "\n " : ",\n ") + mapping_json(m).dump());
        } else {
            print(mapping_text(m));
        }
        return !limit_hit();
    }

    options const& options_;
    unit& unit_;
    std::vector<listed_device> const& list_;
    std::vector<std::size_t> same_;
    std::uint64_t loads_left_;
    std::uint64_t shown_{};
    std::uint64_t found_{};
    std::uint64_t wrong_{};
    std::uint64_t lacking_{};
};

} // namespace

int ranges(options const& o) {
    capture c{o.input};
    auto const unit = open_unit(c, c.memory, true);
    std::vector<listed_device> const list = list_devices(c, *unit, o.source, o.pasid);
    lister all{o, c, *unit, list};
    for (std::size_t i = 0; i < list.size() && !all.limit_hit(); ++i)
        all.device(i);
    all.end();
    return 0;
}

} // namespace inspect
