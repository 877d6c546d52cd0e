#include "answer_text.hpp"

#include "number.hpp"
#include "text.hpp"

namespace inspect {

namespace {

std::string value_text(stagewalk::field_view const& f) { return f.name + std::string{"="} + hex(f.value); }

std::string bits_text(stagewalk::field_view const& f) {
    return f.high == f.low ? std::to_string(f.low) : std::to_string(f.high) + ':' + std::to_string(f.low);
}

} // namespace

char const* rights_text(stagewalk::access a) {
    constexpr char const* names[] = {"-", "r", "w", "rw"};
    return names[a.bits & 3];
}

char const* at_text(stagewalk::fault_at at) {
    switch (at) {
    case stagewalk::fault_at::context: return "context";
    case stagewalk::fault_at::table: return "table";
    case stagewalk::fault_at::input: return "input";
    }
    return "-";
}

std::string answer_line(answer const& a) {
    switch (a.is) {
    case result::ok:
        return "ok: " + hex(a.address) + ", rights " + rights_text(a.rights) +
               (a.lg2_size >= 64 ? ", untranslated" : ", page " + page_size_text(a.lg2_size));
    case result::interrupt: return "interrupt request " + hex(a.address);
    case result::missing: return "undecided: the capture lacks page " + hex(a.address);
    case result::fault: break;
    }
    return "fault " + (a.fault.code == 0 ? "without a code" : hex(a.fault.code) + 'h') + ": " + a.fault.meaning +
           (a.fault.stage == stagewalk::fault_stage::configuration
                ? ""
                : ", stage " + std::to_string(static_cast<int>(a.fault.stage))) +
           (a.fault.level ? ", level " + std::to_string(*a.fault.level) : "") + (a.fault.reported ? "" : ", not reported");
}

json answer_json(answer const& a) {
    json j;
    switch (a.is) {
    case result::ok:
        j["result"] = "ok";
        j["address"] = hex_0x(a.address);
        j["rights"] = rights_text(a.rights);
        j["lg2_size"] = a.lg2_size >= 64 ? json{} : json(a.lg2_size);
        break;
    case result::interrupt:
        j["result"] = "interrupt";
        j["address"] = hex_0x(a.address);
        break;
    case result::missing:
        j["result"] = "missing";
        j["page"] = hex_0x(a.address);
        break;
    case result::fault:
        j["result"] = "fault";
        j["code"] = a.fault.code == 0 ? json{} : json(hex_0x(a.fault.code));
        j["name"] = a.fault.name;
        j["meaning"] = a.fault.meaning;
        j["stage"] = static_cast<int>(a.fault.stage);
        j["level"] = a.fault.level ? json(*a.fault.level) : json{};
        j["at"] = at_text(a.fault.at);
        j["entry_address"] = a.fault.entry_address == 0 ? json{} : json(hex_0x(a.fault.entry_address));
        j["ipa"] = a.fault.intermediate == 0 ? json{} : json(hex_0x(a.fault.intermediate));
        j["flags"] = hex_0x(a.fault.flags);
        j["reported"] = a.fault.reported;
        break;
    }
    return j;
}

std::string entry_text(decoded_entry const& e, std::size_t indent) {
    std::string const margin(indent, ' ');
    std::string head = e.what;
    if (e.address != 0) head += " at " + hex(e.address);
    std::string raw;
    // The highest word first, as the manual numbers the bits.
    for (std::size_t i = e.words.size(); i-- > 0;)
        raw += (raw.empty() ? "" : " ") + hex(e.words[i], 16);
    constexpr std::size_t columns = 80;
    std::string text = margin + paint(style::heading, head);
    std::size_t const used = indent + head.size() + 2 + raw.size();
    text += used <= columns ? std::string(2 + columns - used, ' ') + paint(style::faint, raw) + '\n'
                            : '\n' + paint(style::faint, wrapped(raw, indent + 2));

    std::string fields;
    for (stagewalk::field_view const& f : e.fields) {
        // Bits that hardware ignores are worth a word only where software uses them.
        if (f.kind == stagewalk::field_kind::ignored && f.value == 0) continue;
        // Nor is every one of some fifty fields: what is not named is 0.
        if ((e.words.size() > 4 || e.fields.size() > 32) && f.value == 0) continue;
        fields += (fields.empty() ? "" : " ") + value_text(f);
    }
    std::string const deeper(indent + 2, ' ');
    text += wrapped(fields, indent + 2);
    for (std::size_t i = 0; i < e.reserved.size(); ++i)
        if (e.reserved[i] != 0)
            text += deeper +
                    paint(style::bad, "reserved bits set" +
                                          (e.reserved.size() > 1 ? " in word " + std::to_string(i) : std::string{}) + ": " +
                                          hex(e.reserved[i])) +
                    '\n';
    if (!e.verdict.empty()) text += wrapped(e.verdict, indent + 2);
    return text;
}

json entry_json(decoded_entry const& e) {
    json j;
    j["what"] = e.what;
    if (e.address != 0) j["address"] = hex_0x(e.address);
    if (e.level) j["level"] = *e.level;
    j["words"] = json::array();
    for (std::uint64_t const w : e.words)
        j["words"].push_back(hex_0x(w));
    j["fields"] = json::array();
    for (stagewalk::field_view const& f : e.fields)
        j["fields"].push_back({{"name", f.name},
                               {"bits", bits_text(f)},
                               {"ignored", f.kind == stagewalk::field_kind::ignored},
                               {"value", hex_0x(f.value)}});
    j["reserved_bits_set"] = json::array();
    for (std::uint64_t const r : e.reserved)
        j["reserved_bits_set"].push_back(hex_0x(r));
    j["verdict"] = e.verdict;
    return j;
}

std::string walk_text(traced const& t, std::size_t indent) {
    std::string text;
    for (decoded_entry const& e : t.entries)
        text += entry_text(e, indent);
    text += paint(t.result.is == result::ok ? style::good : style::bad, wrapped(answer_line(t.result), indent));
    if (!t.record.words.empty()) text += entry_text(t.record, indent);
    return text;
}

json walk_json(traced const& t) {
    json j;
    j["entries"] = json::array();
    for (decoded_entry const& e : t.entries)
        j["entries"].push_back(entry_json(e));
    j["answer"] = answer_json(t.result);
    j["record"] = t.record.words.empty() ? json{} : entry_json(t.record);
    return j;
}

std::string question_text(question const& q, bool source_is_bdf) {
    constexpr char const* names[] = {"look at", "read of", "write of", "access (read and write) of"};
    std::string text = names[q.access.bits & 3] + std::string{" "} + hex(q.address) + " by ";
    text += source_is_bdf ? bdf_text(q.source) + " (source " + hex(q.source, 4) + ")" : "stream " + hex(q.source);
    if (q.pasid != no_pasid) text += ", PASID " + hex(q.pasid);
    return text;
}

json json_head(char const* command, capture const& c) {
    json j;
    j["schema"] = std::string{"stagewalk-inspect."} + command + "/1";
    j["capture"] = c.name;
    j["format"] = c.format;
    return j;
}

} // namespace inspect
