#include "answer_text.hpp"
#include "bad_input.hpp"
#include "commands.hpp"
#include "number.hpp"
#include "text.hpp"
#include "truth.hpp"
#include "unit.hpp"

#include <algorithm>
#include <vector>

namespace inspect {

namespace {

enum class judged { agrees, disagrees, undecidable };

// What became of a line, and where.
struct verdict {
    judged is{judged::agrees};
    std::uint64_t at{}; // the first address that does not agree
    char const* problem{""};
    answer read;
    answer write;
};

bool leads_to(answer const& a, std::uint64_t output) { return a.is == result::ok && a.address == output; }
bool lacks_permission(answer const& a) { return a.is == result::fault && a.fault.permission; }
bool succeeds(answer const& a) { return a.is == result::ok; }

// Why the answers for one address are not what the line expects; null if they are. `output` is where the line says that
// the address leads, if it says.
char const* disagreement(truth_line const& line, std::uint64_t output, answer const& read, answer const& write) {
    switch (line.expects) {
    case expectation::read_only:
        if (!leads_to(read, output)) return "the read should lead there";
        return lacks_permission(write) ? nullptr : "the write should lack permission";
    case expectation::write: return leads_to(write, output) ? nullptr : "the write should lead there";
    case expectation::read_and_write:
        if (!leads_to(read, output)) return "the read should lead there";
        return leads_to(write, output) ? nullptr : "the write should lead there";
    case expectation::something:
        if (!succeeds(read) && !succeeds(write)) return "the read or the write should succeed";
        if (succeeds(read) && !leads_to(read, output)) return "the read leads elsewhere";
        return succeeds(write) && !leads_to(write, output) ? "the write leads elsewhere" : nullptr;
    case expectation::write_refused:
        if (!succeeds(read)) return "the read should succeed";
        if (line.output && !leads_to(read, output)) return "the read leads elsewhere";
        return lacks_permission(write) ? nullptr : "the write should lack permission";
    case expectation::nothing:
        if (succeeds(read)) return "the read should fail";
        return succeeds(write) ? "the write should fail" : nullptr;
    }
    return nullptr;
}

question question_of(truth_line const& line, std::uint64_t offset, stagewalk::access access) {
    return {line.source, line.pasid.value_or(no_pasid), line.iova + offset, access};
}

// Visits every byte, in steps for which the same entries answer. An end is never computed: it may be 2^64.
verdict judge(unit& u, truth_line const& line) {
    for (std::uint64_t offset = 0;;) {
        stretch const read = u.translate_stretch(question_of(line, offset, stagewalk::read));
        stretch const write = u.translate_stretch(question_of(line, offset, stagewalk::write));
        std::uint64_t const at = line.iova + offset;
        if (read.first.is == result::missing || write.first.is == result::missing)
            return {judged::undecidable, at, "", read.first, write.first};
        if (char const* const problem = disagreement(line, line.output.value_or(0) + offset, read.first, write.first))
            return {judged::disagrees, at, problem, read.first, write.first};
        std::uint64_t const rest = line.last_offset - offset;
        std::uint64_t const step = std::min(read.last, write.last) - at;
        if (step >= rest) return {};
        offset += step + 1;
    }
}

struct disagreeing {
    truth_line const* line;
    verdict what;
};

std::string disagreement_text(unit& u, disagreeing const& d) {
    std::uint64_t const offset = d.what.at - d.line->iova;
    std::string text = '\n' + paint(style::bad, "line " + std::to_string(d.line->number)) + "  " + d.line->text + '\n';
    text += wrapped("at " + hex(d.what.at) + (d.line->output ? ", expected at " + hex(*d.line->output + offset) : std::string{}) +
                        ": " + d.what.problem,
                    2);
    for (stagewalk::access const access : {stagewalk::read, stagewalk::write}) {
        question const q = question_of(*d.line, offset, access);
        text += "  " + question_text(q, u.sources_are_bdfs()) + '\n' + walk_text(u.trace(q), 4);
    }
    return text;
}

json disagreement_json(unit& u, disagreeing const& d) {
    std::uint64_t const offset = d.what.at - d.line->iova;
    json j;
    j["line"] = d.line->number;
    j["text"] = d.line->text;
    j["iova"] = hex_0x(d.what.at);
    j["expected"] = d.line->output ? json(hex_0x(*d.line->output + offset)) : json{};
    j["problem"] = d.what.problem;
    j["read"] = walk_json(u.trace(question_of(*d.line, offset, stagewalk::read)));
    j["write"] = walk_json(u.trace(question_of(*d.line, offset, stagewalk::write)));
    return j;
}

} // namespace

int check(options const& o) {
    capture c{o.input};
    // What the tables say, not what a bus does with special addresses.
    auto const unit = open_unit(c, c.memory, false);
    if (o.truth.empty() && c.folder.empty()) throw bad_input{"--truth is missing: a memory image has no truth.tsv"};
    std::vector<truth_line> const lines = read_truth(o.truth.empty() ? c.path("truth.tsv") : o.truth, unit->largest_source());
    std::uint64_t const shown = std::min<std::uint64_t>(o.limit, lines.size());

    std::size_t agree = 0;
    std::size_t disagree = 0;
    std::size_t undecidable = 0;
    std::vector<disagreeing> first;
    std::vector<disagreeing> lacking;
    {
        progress p{"checking"};
        for (truth_line const& line : lines) {
            p.look(agree + disagree + undecidable, lines.size());
            verdict const v = judge(*unit, line);
            agree += v.is == judged::agrees;
            disagree += v.is == judged::disagrees;
            undecidable += v.is == judged::undecidable;
            if (v.is == judged::disagrees && first.size() < shown) first.push_back({&line, v});
            if (v.is == judged::undecidable && lacking.size() < shown) lacking.push_back({&line, v});
        }
    }

    if (o.json) {
        json j = json_head("check", c);
        j["checked"] = lines.size();
        j["agree"] = agree;
        j["disagree"] = disagree;
        j["undecidable"] = undecidable;
        j["disagreements"] = json::array();
        for (disagreeing const& d : first)
            j["disagreements"].push_back(disagreement_json(*unit, d));
        j["undecided"] = json::array();
        for (disagreeing const& d : lacking) {
            answer const& why = d.what.read.is == result::missing ? d.what.read : d.what.write;
            j["undecided"].push_back(
                {{"line", d.line->number}, {"iova", hex_0x(d.what.at)}, {"missing_page", hex_0x(why.address)}});
        }
        // A truth file need not be UTF-8.
        print(j.dump(1, ' ', false, json::error_handler_t::replace) + '\n');
    } else {
        print(std::to_string(lines.size()) + " checked, " + std::to_string(agree) + " agree, " + std::to_string(disagree) +
              " disagree, " + std::to_string(undecidable) + " undecidable\n");
        for (disagreeing const& d : first)
            print(disagreement_text(*unit, d));
        if (disagree > first.size()) print("\n" + std::to_string(disagree - first.size()) + " more disagree\n");
        if (!lacking.empty()) {
            disagreeing const& d = lacking.front();
            answer const& why = d.what.read.is == result::missing ? d.what.read : d.what.write;
            print("\nundecidable: the capture lacks pages that the walks need, the first is " + hex(why.address) + " (line " +
                  std::to_string(d.line->number) + ")\n");
        }
    }
    finish_output();
    return disagree == 0 && agree > 0 ? 0 : 1;
}

} // namespace inspect
