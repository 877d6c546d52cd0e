// A boot table that the compiler builds: it lies in .rodata and no code runs to make it.
#include <stagewalk/build/table.hpp>
#include <stagewalk/memory/array.hpp>
#include <stagewalk/vtd/second_stage.hpp>
#include <stagewalk/walk/walk.hpp>

namespace sw = stagewalk;
using namespace sw::literals;

// Not a constant expression, so a refusal cannot go unnoticed; never defined.
void the_boot_table_does_not_fit();

namespace {

// The linker is told to place the object here.
constexpr sw::pa load_address{0x10'0000};
// MGAW 48, four levels, 2 MiB pages.
constexpr sw::vtd::capabilities caps{0x4'0000'0000 | 47u << 16 | 0x400, 0, 46};
using domain = sw::vtd::second_stage<sw::ipa, sw::pa>;
using image = sw::array<sw::pa, 512 * 6>;

consteval image make() {
    image m{load_address};
    sw::bump_allocator<sw::pa> pool{sw::range<sw::pa>{load_address + 4096, image::bytes - 4096}};
    sw::table t{domain{caps, 4, load_address}, m, pool};
    if (!t.map(sw::range{sw::ipa{0}, 4_GiB}, sw::pa{0}, sw::read_write)) the_boot_table_does_not_fit();
    return m;
}

} // namespace

extern image const boot_table;
constexpr image boot_table = make();

static_assert(walk(domain{caps, 4, load_address}, boot_table, sw::ipa{0xdead'beef}, sw::write)->output == sw::pa{0xdead'beef});
