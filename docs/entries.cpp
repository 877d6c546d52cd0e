// Prints a Markdown page of every hardware structure of the library: its bits, from the library's own field lists.
// Reserved bits are computed as the complement, just as the walk checks them.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <stagewalk/vtd/capabilities.hpp>
#include <stagewalk/vtd/context_table.hpp>
#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/root_table.hpp>
#include <stagewalk/vtd/second_stage.hpp>

namespace {

using namespace stagewalk;

struct row {
    unsigned high;
    unsigned low;
    std::string name;
    char const* kind;
};

char const* kind_of(field_view const& f) {
    switch (f.kind) {
    case field_kind::pointer: return "address, in place";
    case field_kind::ignored: return "ignored";
    case field_kind::number: break;
    }
    return f.high == f.low ? "flag" : "number";
}

// The fields and the runs of reserved bits between them, highest bit first.
template <class Entry>
std::vector<row> rows_of() {
    std::vector<row> rows;
    Entry{}.for_each_field([&](field_view const& f) { rows.push_back({f.high, f.low, f.name, kind_of(f)}); });
    for (unsigned bit = 0; bit < Entry::bits;) {
        auto const reserved = [](unsigned b) { return (Entry::reserved(b / 64) >> b % 64 & 1) != 0; };
        unsigned const low = bit++;
        if (!reserved(low)) continue;
        while (bit < Entry::bits && bit % 64 != 0 && reserved(bit))
            ++bit;
        rows.push_back({bit - 1, low, "", "reserved"});
    }
    std::sort(rows.begin(), rows.end(), [](row const& a, row const& b) { return a.high > b.high; });
    return rows;
}

std::string bits_of(unsigned high, unsigned low) {
    return high == low ? std::to_string(high) : std::to_string(high) + ":" + std::to_string(low);
}

// 32 bits a line, highest first; a field that crosses a line is shown in two parts.
void print_diagram(std::vector<row> const& rows, unsigned bits) {
    std::puts("<table>");
    for (unsigned top = bits; top > 0; top -= 32) {
        std::fputs("<tr>", stdout);
        for (auto const& r : rows) {
            unsigned const high = std::min(r.high, top - 1);
            unsigned const low = std::max(r.low, top - 32);
            if (r.high < top - 32 || r.low >= top) continue;
            std::printf("<td colspan=\"%u\" align=\"center\"><small>%s</small><br>%s</td>", high - low + 1,
                        bits_of(high, low).c_str(), r.name.empty() ? "&ndash;" : r.name.c_str());
        }
        std::puts("</tr>");
    }
    std::puts("</table>\n");
}

template <class Entry>
void print(char const* type, char const* title, char const* note = "") {
    auto const rows = rows_of<Entry>();
    std::printf("## %s\n\n`%s`, %u bits.%s%s\n\n", title, type, Entry::bits, *note == 0 ? "" : " ", note);
    print_diagram(rows, Entry::bits);
    std::puts("| Bits | Name | Kind |\n|---:|---|---|");
    for (auto const& r : rows)
        std::printf("| %s | %s | %s |\n", bits_of(r.high, r.low).c_str(), r.name.empty() ? "&ndash;" : r.name.c_str(), r.kind);
    std::puts("");
}

} // namespace

int main() {
    std::puts(
        "# Entries and registers, bit by bit\n\n"
        "This page is printed by `docs/entries.cpp` from the library's own field lists, the same lists that decode, encode and\n"
        "check. Bit numbers are the manual's. *Reserved* is what no field names: in a structure in memory it must be zero.\n"
        "*Ignored* bits are never checked. What is reserved only on some hosts or units is named below the title.\n\n"
        "# VT-d registers\n");
    print<vtd::capability_register>("vtd::capability_register", "CAP_REG");
    print<vtd::extended_capability_register>("vtd::extended_capability_register", "ECAP_REG");
    print<vtd::root_table_address>("vtd::root_table_address", "RTADDR_REG");
    print<vtd::fault_record>("vtd::fault_record", "FRCD_REG", "The unit writes it, software reads it.");

    std::puts("# VT-d tables of legacy mode\n");
    print<vtd::root_entry>("vtd::root_entry", "Root entry", "Bits 63:HAW are reserved too.");
    print<vtd::context_entry>("vtd::context_entry", "Context entry",
                              "Bits 63:HAW are reserved too, and the bits of DID beyond the width that CAP.ND gives.");

    std::puts("# VT-d second-stage tables\n");
    print<vtd::second_stage_upper_entry>("vtd::second_stage_upper_entry", "PML5E and PML4E", "Bits 51:HAW are reserved too.");
    print<vtd::second_stage_table_entry>("vtd::second_stage_table_entry", "PDPE and PDE that lead to a table",
                                         "Bits 51:HAW are reserved too, and PS where CAP.SSLPS lacks the page size.");
    print<vtd::second_stage_large_page<30>>("vtd::second_stage_large_page<30>", "PDPE that maps 1 GiB",
                                            "Bits 51:HAW are reserved too, and SNP where ECAP.SC = 0.");
    print<vtd::second_stage_large_page<21>>("vtd::second_stage_large_page<21>", "PDE that maps 2 MiB",
                                            "Bits 51:HAW are reserved too, and SNP where ECAP.SC = 0.");
    print<vtd::second_stage_page>("vtd::second_stage_page", "PTE that maps 4 KiB",
                                  "Bits 51:HAW are reserved too, and SNP where ECAP.SC = 0.");
}
