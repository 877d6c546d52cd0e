#include "architecture.hpp"
#include "bad_input.hpp"

namespace inspect {

std::span<architecture const* const> architectures() {
    static constexpr architecture const* all[] = {&vtd_architecture, &smmu_architecture, &amdvi_architecture};
    return all;
}

architecture const* owner_of(std::string const& key) {
    for (architecture const* const a : architectures())
        for (register_option const& r : a->registers)
            if (r.key == key) return a;
    return nullptr;
}

std::string option_of(std::string const& key) {
    for (architecture const* const a : architectures())
        for (register_option const& r : a->registers)
            if (r.key == key && r.option != nullptr) return r.option;
    std::string name = "--";
    for (char const c : key)
        name += static_cast<char>(c == '_' ? '-' : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    return name;
}

std::unique_ptr<unit> open_unit(capture const& c, guest_memory& memory, bool range_rules) {
    std::string known;
    for (architecture const* const a : architectures()) {
        if (c.format.starts_with(a->format)) return a->open(c, memory, range_rules);
        known += (known.empty() ? "" : ", ") + std::string{a->format} + '*';
    }
    throw bad_input{c.path("meta.json") + ": format \"" + c.format + "\": unknown architecture (known: " + known + ')'};
}

} // namespace inspect
