// Tables made by the compiler: they lie in .rodata, and a mistake in them does not compile.
#include <stagewalk/stagewalk.hpp>

#include <cstdio>

using namespace stagewalk;

namespace {

// A constant cannot take its own address: the linker is to place the tables here.
constexpr pa placed_at{0x10'0000};

constexpr vtd::second_stage<iova, pa> domain() {
    vtd::capability_register cap;
    cap.set<"SAGAW">(2); // 3 levels
    cap.set<"SSLPS">(1); // pages of 2 MiB
    cap.set<"MGAW">(38);
    return {{cap.word[0], 0}, 3, placed_at};
}

// The first GiB, address for address, in 2 MiB pages.
constexpr array<pa, 3 * 512> make_tables() {
    array<pa, 3 * 512> memory{placed_at};
    bump_allocator pool{range{placed_at + 4_KiB, 8_KiB}};
    table tables{domain(), memory, pool};
    static_cast<void>(tables.map({iova{0}, 1_GiB}, pa{0}, read_write));
    return memory;
}

constexpr auto boot_tables = make_tables();

constexpr bool leads_to_itself(iova at) {
    auto memory = boot_tables;
    auto const t = walk(domain(), memory, at, write);
    return t && t->output.value == at.value && t->lg2_size == 21;
}
static_assert(leads_to_itself(iova{0}) && leads_to_itself(iova{1_GiB - 1}) && !leads_to_itself(iova{1_GiB}));

} // namespace

int main() {
    std::printf("%llu bytes of tables, to be placed at %llx\n", static_cast<unsigned long long>(boot_tables.bytes),
                static_cast<unsigned long long>(boot_tables.origin().value));
}
