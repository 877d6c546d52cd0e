#include "elf_core.hpp"

#include "bad_input.hpp"
#include "number.hpp"

#include <cstring>

#include <elf.h>

namespace inspect {

namespace {

class reader {
public:
    reader(std::string const& path, std::string_view file) : path_{path}, file_{file} {}

    [[noreturn]] void fail(std::string const& what) const { throw bad_input{path_ + ": " + what}; }

    // A structure at `offset`; `what` names it.
    template <class T>
    [[nodiscard]] T at(std::uint64_t offset, std::string const& what) const {
        T out;
        std::memcpy(&out, range(offset, sizeof out, what).data(), sizeof out);
        return out;
    }
    [[nodiscard]] std::string_view range(std::uint64_t offset, std::uint64_t size, std::string const& what) const {
        if (offset > file_.size() || size > file_.size() - offset)
            fail("is truncated: " + what + " lies beyond the end of the file (" + std::to_string(file_.size()) + " bytes)");
        return file_.substr(offset, size);
    }

    // Says what else it is, if it is no ELF file that can be read.
    void require_elf64() const {
        if (file_.starts_with("KDUMP   ") || file_.starts_with("makedumpfile"))
            fail("is a kdump-compressed dump, not an ELF core: write it with dump-guest-memory without -z, -l and -s");
        if (file_.starts_with("PAGEDU64") || file_.starts_with("PAGEDUMP"))
            fail("is a Windows dump, not an ELF core: write it with dump-guest-memory without -w");
        if (file_.starts_with("LibvirtQemudSave") || file_.starts_with("QEVM"))
            fail("is a saved machine, not an ELF core: write it with dump-guest-memory (virsh dump --memory-only)");
        if (!file_.starts_with(ELFMAG)) fail("is not an ELF file; a raw image is given with --ram");
        if (file_.size() < EI_NIDENT) fail("is truncated: the ELF header lies beyond the end of the file");
        if (file_[EI_CLASS] != ELFCLASS64) fail("is not a 64-bit ELF file");
        if (file_[EI_DATA] != ELFDATA2LSB) fail("is not a little-endian ELF file");
    }

private:
    std::string const& path_;
    std::string_view file_;
};

} // namespace

std::vector<core_piece> read_elf_core(std::string const& path, std::string_view file) {
    reader const in{path, file};
    in.require_elf64();
    auto const header = in.at<Elf64_Ehdr>(0, "the ELF header");
    if (header.e_type != ET_CORE) in.fail("is an ELF file, but not a core");
    if (header.e_phentsize != sizeof(Elf64_Phdr)) in.fail("has program headers of an unknown size");
    std::uint64_t count = header.e_phnum;
    // More segments than fit 16 bits: the number is in the first section header.
    if (count == PN_XNUM) count = in.at<Elf64_Shdr>(header.e_shoff, "the first section header").sh_info;
    static_cast<void>(in.range(header.e_phoff, count * sizeof(Elf64_Phdr), "the table of program headers"));

    std::vector<core_piece> pieces;
    for (std::uint64_t i = 0; i < count; ++i) {
        std::string const name = "segment " + std::to_string(i);
        auto const segment = in.at<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr), name);
        // What is in memory but not in the file was left out on purpose.
        if (segment.p_type != PT_LOAD || segment.p_filesz == 0) continue;
        if (segment.p_paddr + (segment.p_filesz - 1) < segment.p_paddr) in.fail(name + " passes 2^64");
        pieces.push_back({segment.p_paddr, in.range(segment.p_offset, segment.p_filesz, name)});
    }
    if (pieces.empty()) in.fail("holds no memory: it has no loaded segment");
    return pieces;
}

} // namespace inspect
