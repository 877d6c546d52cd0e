// Prints a Markdown page of every hardware structure of the library: its bits, from the library's own field lists.
// Reserved bits are computed as the complement, just as the walk checks them.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include <stagewalk/smmu/capabilities.hpp>
#include <stagewalk/smmu/context_descriptor.hpp>
#include <stagewalk/smmu/control.hpp>
#include <stagewalk/smmu/stage1.hpp>
#include <stagewalk/smmu/stage2.hpp>
#include <stagewalk/smmu/stream_table.hpp>
#include <stagewalk/vtd/capabilities.hpp>
#include <stagewalk/vtd/command.hpp>
#include <stagewalk/vtd/context_table.hpp>
#include <stagewalk/vtd/fault_record.hpp>
#include <stagewalk/vtd/first_stage.hpp>
#include <stagewalk/vtd/interrupt.hpp>
#include <stagewalk/vtd/pasid_table.hpp>
#include <stagewalk/vtd/register_invalidation.hpp>
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
    for (unsigned bit = 0; bit < Entry::words * 64;) {
        auto const reserved = [](unsigned b) { return (Entry::reserved(b / 64) >> b % 64 & 1) != 0; };
        unsigned const low = bit++;
        if (!reserved(low)) continue;
        while (bit < Entry::words * 64 && bit % 64 != 0 && reserved(bit))
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
    std::printf("## %s\n\n`%s`, %zu bits.%s%s\n\n", title, type, Entry::words * 64, *note == 0 ? "" : " ", note);
    print_diagram(rows, static_cast<unsigned>(Entry::words * 64));
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
    print<vtd::context_command_register>("vtd::context_command_register", "CCMD_REG");
    print<vtd::invalidate_address_register>("vtd::invalidate_address_register", "IVA_REG");
    print<vtd::iotlb_register>("vtd::iotlb_register", "IOTLB_REG");
    print<vtd::invalidation_queue_address>("vtd::invalidation_queue_address", "IQA_REG");
    print<vtd::interrupt_table_address>("vtd::interrupt_table_address", "IRTA_REG");
    print<vtd::fault_record>("vtd::fault_record", "FRCD_REG", "The unit writes it, software reads it.");

    std::puts("# VT-d tables of legacy mode\n");
    print<vtd::root_entry>("vtd::root_entry", "Root entry", "Bits 63:HAW are reserved too.");
    print<vtd::context_entry>("vtd::context_entry", "Context entry",
                              "Bits 63:HAW are reserved too, and the bits of DID beyond the width that CAP.ND gives.");

    std::puts("# VT-d tables of scalable mode\n");
    print<vtd::scalable_root_entry>("vtd::scalable_root_entry", "Scalable root entry",
                                    "Bits 63:HAW of each half are reserved too. Only the half in use is checked.");
    print<vtd::scalable_context_entry>("vtd::scalable_context_entry", "Scalable context entry",
                                       "Bits 63:HAW are reserved too, and DTE without DT, PASIDE without PASID, PRE without PRS, "
                                       "HPTE always, EPTR without PTRS, RID_PASID without RPS, RID_PRIV without RPRIVS.");
    print<vtd::pasid_directory_entry>("vtd::pasid_directory_entry", "PASID directory entry", "Bits 63:HAW are reserved too.");
    print<vtd::pasid_table_entry>(
        "vtd::pasid_table_entry", "PASID table entry",
        "Bits HAW and above of a pointer that is used are reserved too, the bits of DID beyond the width "
        "that CAP.ND gives, the HPT fields always, and each field whose capability is missing.");

    std::puts("# VT-d first-stage tables\n");
    print<vtd::first_stage_upper_entry>("vtd::first_stage_upper_entry", "PML5E and PML4E",
                                        "Bits 51:HAW are reserved too. EA is ignored without EAFE.");
    print<vtd::first_stage_table_entry>("vtd::first_stage_table_entry", "PDPE and PDE that lead to a table",
                                        "Bits 51:HAW are reserved too, and PS of a PDPE without CAP.FS1GP.");
    print<vtd::first_stage_large_page<30>>("vtd::first_stage_large_page<30>", "PDPE that maps 1 GiB",
                                           "Bits 51:HAW are reserved too.");
    print<vtd::first_stage_large_page<21>>("vtd::first_stage_large_page<21>", "PDE that maps 2 MiB",
                                           "Bits 51:HAW are reserved too.");
    print<vtd::first_stage_page>("vtd::first_stage_page", "PTE that maps 4 KiB", "Bits 51:HAW are reserved too.");

    std::puts(
        "# VT-d second-stage tables\n\nA and D count in scalable mode with SSADE, EMT and IPAT with EMTE; else they are ignored. "
        "With SSIRWE bits 61 and 62 grant reading and writing, and bits 1:0 are ignored.\n");
    print<vtd::second_stage_upper_entry>("vtd::second_stage_upper_entry", "PML5E and PML4E", "Bits 51:HAW are reserved too.");
    print<vtd::second_stage_table_entry>("vtd::second_stage_table_entry", "PDPE and PDE that lead to a table",
                                         "Bits 51:HAW are reserved too, and PS where CAP.SSLPS lacks the page size.");
    print<vtd::second_stage_large_page<30>>("vtd::second_stage_large_page<30>", "PDPE that maps 1 GiB",
                                            "Bits 51:HAW are reserved too, and SNP where ECAP.SC = 0.");
    print<vtd::second_stage_large_page<21>>("vtd::second_stage_large_page<21>", "PDE that maps 2 MiB",
                                            "Bits 51:HAW are reserved too, and SNP where ECAP.SC = 0.");
    print<vtd::second_stage_page>("vtd::second_stage_page", "PTE that maps 4 KiB",
                                  "Bits 51:HAW are reserved too, and SNP where ECAP.SC = 0.");

    std::puts("# VT-d interrupt remapping\n");
    print<vtd::interrupt_address>("vtd::interrupt_address", "Address of an interrupt request");
    print<vtd::remapped_interrupt_entry>("vtd::remapped_interrupt_entry", "Interrupt remapping entry, remapped (IM = 0)",
                                         "Without EIME bits 63:48 and 39:32 are reserved too, and DLM 3 and 6 always.");
    print<vtd::posted_interrupt_entry>(
        "vtd::posted_interrupt_entry", "Interrupt remapping entry, posted (IM = 1)",
        "Descriptor address bits at HAW and above are reserved too. Without CAP.PI there is none.");
    print<vtd::posted_descriptor>("vtd::posted_descriptor", "Posted-interrupt descriptor");

    std::puts(
        "# VT-d invalidation descriptors\n\nThe type is TYPEH and TYPE together. Descriptors of 128 bits in a queue of 256 are "
        "followed by zeros.\n");
    print<vtd::context_cache_command>("vtd::context_cache_command", "1, context cache");
    print<vtd::iotlb_command>("vtd::iotlb_command", "2, IOTLB");
    print<vtd::device_tlb_command>("vtd::device_tlb_command", "3, device TLB");
    print<vtd::interrupt_cache_command>("vtd::interrupt_cache_command", "4, interrupt entry cache");
    print<vtd::wait_command>("vtd::wait_command", "5, wait");
    print<vtd::pasid_iotlb_command>("vtd::pasid_iotlb_command", "6, PASID IOTLB");
    print<vtd::pasid_cache_command>("vtd::pasid_cache_command", "7, PASID cache");
    print<vtd::pasid_device_tlb_command>("vtd::pasid_device_tlb_command", "8, PASID device TLB");
    print<vtd::page_response_command>("vtd::page_response_command", "9, page-group response");
    print<vtd::host_permission_command>("vtd::host_permission_command", "10, host permission table cache",
                                        "There is none without HPTS.");

    std::puts("# SMMU registers\n\nArm's RES0 bits are *reserved* in the diagrams: software writes 0, hardware does not look. "
              "Registers of "
              "32 bits have bits 31:0.\n");
    print<smmu::identification_register_0>("smmu::identification_register_0", "SMMU_IDR0");
    print<smmu::identification_register_1>("smmu::identification_register_1", "SMMU_IDR1");
    print<smmu::identification_register_3>("smmu::identification_register_3", "SMMU_IDR3");
    print<smmu::identification_register_5>("smmu::identification_register_5", "SMMU_IDR5");
    print<smmu::architecture_register>("smmu::architecture_register", "SMMU_AIDR");
    print<smmu::control_register_0>("smmu::control_register_0", "SMMU_CR0");
    print<smmu::control_register_2>("smmu::control_register_2", "SMMU_CR2");
    print<smmu::global_bypass_register>("smmu::global_bypass_register", "SMMU_GBPA");
    print<smmu::stream_table_base_register>("smmu::stream_table_base_register", "SMMU_STRTAB_BASE");
    print<smmu::stream_table_configuration_register>("smmu::stream_table_configuration_register", "SMMU_STRTAB_BASE_CFG");

    std::puts("# SMMU stream table and context descriptors\n");
    print<smmu::stream_table_descriptor>("smmu::stream_table_descriptor", "Level-1 stream table descriptor");
    print<smmu::stream_table_entry>("smmu::stream_table_entry", "Stream table entry (STE)",
                                    "What makes one illegal is listed at `smmu::stream_entry_error`.");
    print<smmu::context_table_descriptor>("smmu::context_table_descriptor", "Level-1 context descriptor");
    print<smmu::context_descriptor>("smmu::context_descriptor", "Context descriptor (CD)",
                                    "What makes one illegal is listed at `smmu::context_error`.");

    std::puts(
        "# VMSAv8-64 tables\n\nThe address begins at the granule or at the size of a block; bits below are ignored. With 52-bit "
        "addresses bits 15:12 (64 KiB) or 9:8 (4 KiB and 16 KiB) are its upper bits, else bits 49:48 are ignored. An address "
        "too wide is F_ADDR_SIZE.\n");
    print<smmu::stage1_table_descriptor>("smmu::stage1_table_descriptor", "Stage-1 table descriptor");
    print<smmu::stage1_leaf_descriptor>("smmu::stage1_leaf_descriptor", "Stage-1 page or block descriptor");
    print<smmu::stage2_table_descriptor>("smmu::stage2_table_descriptor", "Stage-2 table descriptor");
    print<smmu::stage2_leaf_descriptor>("smmu::stage2_leaf_descriptor", "Stage-2 page or block descriptor");
}
