#include "architecture.hpp"
#include "bad_input.hpp"
#include "capture.hpp"
#include "elf_core.hpp"
#include "number.hpp"

#include <string>

namespace inspect {

// The parts of class capture for memory that comes without registers.

void capture::read_options(input_options const& in) {
    // Which architecture it is shows in the registers that are given.
    architecture const* chosen = nullptr;
    for (auto const& [key, value] : in.registers) {
        architecture const* const owner = owner_of(key);
        if (chosen != nullptr && owner != chosen)
            throw bad_input{option_of(key) + " is a register of " + owner->name + ", others are of " + chosen->name};
        chosen = owner;
    }
    if (chosen == nullptr)
        throw bad_input{"the registers of the IOMMU are missing: a memory image does not hold them (see --help)"};
    for (register_option const& r : chosen->registers)
        if (r.required && !in.registers.contains(r.key))
            throw bad_input{option_of(r.key) + " is missing: a memory image does not hold the registers of the IOMMU"};
    format = chosen->format;
    std::string const file = in.name();
    name = file.substr(file.find_last_of('/') + 1);
    haw = in.haw;
    for (register_option const& r : chosen->registers)
        if (r.otherwise) registers_[r.key] = {hex(*r.otherwise), true};
    for (auto const& [key, value] : in.registers)
        registers_[key] = {hex(value), true};
}

void capture::read_core(std::string const& file) {
    pages_from_ = file;
    files_.emplace_back(file);
    for (core_piece const& piece : read_elf_core(file, files_.back().bytes()))
        add_piece(piece.address, piece.bytes);
    // Where the system knew a page by several addresses it is there several times.
    memory.sort_pieces();
}

void capture::read_images(input_options const& in) {
    std::vector<image_place> places = in.places;
    if (places.empty() && in.images.size() == 1) places.emplace_back();
    if (places.size() != in.images.size())
        throw bad_input{"--base: each --ram needs one; there are " + std::to_string(in.images.size()) + " and " +
                        std::to_string(places.size())};
    for (std::size_t i = 0; i < places.size(); ++i) {
        std::string const& file = in.images[i];
        image_place const& place = places[i];
        pages_from_ += (i == 0 ? "" : ", ") + file;
        files_.emplace_back(file);
        std::string_view const whole = files_.back().bytes();
        if (place.offset >= whole.size() || (place.size && *place.size > whole.size() - place.offset))
            throw bad_input{file + ": is truncated: --base asks for more than its " + std::to_string(whole.size()) + " bytes"};
        std::string_view const bytes = whole.substr(place.offset, place.size.value_or(whole.size()));
        if (bytes.empty() || bytes.size() % 4096 != 0)
            throw bad_input{file + ": is truncated: " + std::to_string(bytes.size()) +
                            " bytes are no whole number of 4096-byte pages"};
        if (place.base % 4096 != 0) throw bad_input{"--base: " + hex(place.base) + " is not aligned to 4096 bytes"};
        if (place.base + (bytes.size() - 1) < place.base) throw bad_input{file + ": --base and the size pass 2^64"};
        add_piece(place.base, bytes);
    }
    if (!memory.sort_pieces()) throw bad_input{"--ram: the images overlap"};
}

void capture::add_piece(std::uint64_t address, std::string_view bytes) {
    ram.push_back({address, address + (bytes.size() - 1)});
    memory.add(address, bytes);
}

} // namespace inspect
