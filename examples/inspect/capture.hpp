/// \file
/// The registers of an IOMMU and the memory that holds its tables: a capture folder, or a memory image with the registers given.
#pragma once

#include "guest_memory.hpp"
#include "input_options.hpp"
#include "mapped_file.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace inspect {

/// A device as the captured system saw it.
struct device_info {
    std::uint32_t source{};  ///< Requester id or StreamID.
    std::string bdf;         ///< Bus, device, function.
    std::string driver;      ///< Empty without one.
    std::string group;       ///< IOMMU group; may be empty.
    std::string domain_type; ///< What the kernel calls the group's domain type; may be empty.
};

/// Some of the guest's RAM, both ends inclusive.
struct ram_piece {
    std::uint64_t first{};
    std::uint64_t last{};
};

/// Everything that a capture says. Not movable: the memory is referred to.
class capture {
public:
    /// Reads what \p in names. \throw bad_input whatever is wrong, before anything is printed.
    explicit capture(input_options const& in);
    capture(capture const&) = delete;
    capture& operator=(capture const&) = delete;

    std::string folder;               ///< As given; empty for a memory image.
    std::string name;                 ///< What the capture calls itself.
    std::string format;               ///< The architecture: `vtd*`, `smmuv3`, `amd*`.
    std::string kernel;               ///< Whose tables these are; may be empty.
    std::vector<device_info> devices; ///< The devices that the kernel saw.
    std::vector<ram_piece> ram;       ///< The guest's RAM; may be empty.
    std::optional<std::uint64_t> haw; ///< The host address width, if the capture states one.
    guest_memory memory;              ///< The pages.

    /// The register called \p key. \throw bad_input if it is missing or no number.
    [[nodiscard]] std::uint64_t reg(std::string const& key) const;

    /// Whether there is a register called \p key.
    [[nodiscard]] bool has_reg(std::string const& key) const;
    /// What the register called \p key is called where it was given: "registers.CAP".
    [[nodiscard]] std::string register_name(std::string const& key) const;
    /// Where the registers were given, to begin a complaint with: "DIR/meta.json: ".
    [[nodiscard]] std::string registers_at() const;
    /// Where the pages were given, to begin a complaint with: "DIR/pages.idx: ".
    [[nodiscard]] std::string pages_at() const;

    /// What this capture knows of \p source; null if nothing.
    [[nodiscard]] device_info const* device(std::uint32_t source) const;

    /// The path of a file in the folder.
    [[nodiscard]] std::string path(char const* file) const;

private:
    struct reg_text {
        std::string text;
        bool is_text; // not: the JSON has some other type there
    };

    void read_meta();
    void read_pages();
    void read_options(input_options const& in);
    void read_core(std::string const& file);
    void read_images(input_options const& in);
    void add_piece(std::uint64_t address, std::string_view bytes);

    std::map<std::string, reg_text> registers_;
    std::vector<std::uint64_t> words_;
    std::vector<mapped_file> files_;
    std::string pages_from_; // the names of the files
};

/// The whole of a file. \throw bad_input if it cannot be read.
[[nodiscard]] std::string read_file(std::string const& path);

} // namespace inspect
