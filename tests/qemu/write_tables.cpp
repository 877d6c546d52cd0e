// Writes the tables of an IOMMU for capture_test.py, with the encoders of the library, as JSON lines on standard output:
//   {"register":"RTADDR","value":"0x..."}                       what the unit is to be told
//   {"page":"0x...","bytes":"..."}                              a page of tables; without bytes it is all zero
//   {"source":"0x20","pasid":null,"iova":"0x...","output":"0x...","lg2_size":21,"rights":"rw"}   what a page maps
// Usage: write_tables KIND ADDRESS [REGISTER=HEX...]: the tables begin at ADDRESS, the registers are the unit's capabilities.
#include <stagewalk/stagewalk.hpp>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace stagewalk;
using wide = unsigned long long;

[[noreturn]] void fail(char const* what) {
    std::fprintf(stderr, "write_tables: %s\n", what);
    std::exit(2);
}

// Memory for tables. It remembers which of it is used.
// What is stored at an address of `Address` lies `to_host` higher in the machine.
template <class Address>
class image {
public:
    using address = Address;

    image(std::uint64_t origin, std::uint64_t to_host)
        : words_(bytes / 8), pool_{range{Address{origin}, bytes}}, origin_{origin}, to_host_{to_host}, memory{words_.data(),
                                                                                                              bytes,
                                                                                                              Address{origin}} {}

    // The allocator of page tables.
    outcome<Address, out_of_tables> take(std::uint64_t lg2) noexcept {
        auto const got = pool_.take(lg2);
        if (got) use(got->value, std::uint64_t{1} << lg2);
        return got;
    }
    void give(Address, std::uint64_t) noexcept { fail("a table came back: a page could not be mapped"); }

    // A cleared table aligned to its own size, of which `used` bytes count (0: all).
    std::uint64_t make(std::uint64_t lg2, std::uint64_t used = 0) {
        auto const got = pool_.take(lg2);
        if (!got) fail("out of memory for tables");
        use(got->value, used == 0 ? std::uint64_t{1} << lg2 : used);
        return got->value;
    }
    template <class Entry>
    void put(std::uint64_t at, Entry const& e) {
        for (std::size_t w = 0; w < Entry::words; ++w)
            if (!memory.store(Address{at + w * 8}, e.word[w])) fail("an entry lies outside the tables");
    }
    [[nodiscard]] std::uint64_t host(std::uint64_t at) const { return at + to_host_; }

    void print() const {
        for (std::uint64_t const page : used_) {
            std::printf("{\"page\":\"0x%llx\"", static_cast<wide>(page + to_host_));
            bool any = false;
            for (std::size_t i = 0; i < 512; ++i)
                any |= words_[(page - origin_) / 8 + i] != 0;
            if (any) std::printf(",\"bytes\":\"");
            for (std::size_t i = 0; any && i < 4096; ++i)
                std::printf("%02llx", static_cast<wide>(words_[(page - origin_) / 8 + i / 8] >> i % 8 * 8 & 0xff));
            std::printf(any ? "\"}\n" : "}\n");
        }
    }
    [[nodiscard]] range<Address> all() const { return {Address{origin_}, bytes}; }

private:
    static constexpr std::uint64_t bytes = 8_MiB;

    void use(std::uint64_t first, std::uint64_t size) {
        for (std::uint64_t page = first & ~std::uint64_t{0xfff}; page < first + size; page += 4096)
            used_.insert(page);
    }

    std::vector<std::uint64_t> words_;
    bump_allocator<Address> pool_;
    std::set<std::uint64_t> used_;
    std::uint64_t origin_;
    std::uint64_t to_host_;

public:
    flat<Address> memory;
};

using host_image = image<pa>;
using guest_image = image<ipa>;

struct page {
    std::uint64_t input;
    std::uint64_t output;
    std::uint64_t lg2;
    access granted;
};

// Two pages of each size, each in a TiB of its own, and three small neighbours that do not lead to neighbours. `salt` tells
// devices apart.
std::vector<page> some_pages(std::uint64_t sizes, std::uint64_t salt) {
    constexpr std::uint64_t largest = 36;
    std::vector<page> pages;
    std::uint64_t smallest = 0;
    for (std::uint64_t lg2 = 12; lg2 <= largest; ++lg2) {
        if ((sizes >> lg2 & 1) == 0) continue;
        if (smallest == 0) smallest = lg2;
        for (access const granted : {read, read_write}) {
            std::uint64_t const n = pages.size() + 1;
            pages.push_back({(n << 40) + ((5 + salt) << lg2), (n << 37) + ((2 * n + salt) << lg2), lg2, granted});
        }
    }
    for (std::uint64_t i = 0; i < 3; ++i)
        pages.push_back({i << smallest, (7 - 2 * i + salt) << smallest, smallest, read_write});
    return pages;
}

template <class Stage, class Image>
void map(Stage const& s, Image& tables, page const& p, std::uint64_t format_bits) {
    table t{s, tables.memory, tables};
    auto const with = attributes::from_bits(p.granted.bits | format_bits);
    auto const done = t.map({typename Stage::input{p.input}, std::uint64_t{1} << p.lg2}, typename Stage::output{p.output}, with);
    if (!done) fail("a page cannot be mapped");
}

constexpr std::uint32_t no_pasid = ~std::uint32_t{0};

void print(std::uint32_t source, std::uint32_t pasid, page const& p) {
    char text[16] = "null";
    if (pasid != no_pasid) std::snprintf(text, sizeof text, "\"0x%x\"", pasid);
    std::printf(
        "{\"source\":\"0x%x\",\"pasid\":%s,\"iova\":\"0x%llx\",\"output\":\"0x%llx\",\"lg2_size\":%u,\"rights\":\"%s\"}\n",
        source, text, static_cast<wide>(p.input), static_cast<wide>(p.output), static_cast<unsigned>(p.lg2),
        p.granted.covers(write) ? "rw" : "r");
}

// Maps pages of all sizes, for one device or several.
template <class Stage, class Image>
void fill(Stage const& s, Image& tables, std::uint64_t salt, std::vector<std::uint32_t> const& sources,
          std::uint32_t pasid = no_pasid, std::uint64_t format_bits = 0) {
    for (page const& p : some_pages(s.sizes(), salt)) {
        map(s, tables, p, format_bits);
        for (std::uint32_t const source : sources)
            print(source, pasid, p);
    }
}

// The same behind a second stage: its pages lead to the guest's tables and pages.
template <class First, class Second>
void fill_nested(First const& first, guest_image& guest, Second const& second, host_image& host, std::uint32_t source,
                 std::uint32_t pasid, std::uint64_t first_bits = 0, std::uint64_t second_bits = 0) {
    constexpr std::uint64_t further = std::uint64_t{1} << 40; // from the guest's page to the host's
    for (page const& p : some_pages(first.sizes(), 0)) {
        map(first, guest, p, first_bits);
        map(second, host, {p.output, p.output + further, p.lg2, read_write}, second_bits);
        print(source, pasid, {p.input, p.output + further, p.lg2, p.granted});
    }
    // The guest's tables lie behind two small pages, and behind pages as large as they can be.
    std::uint64_t const first_page = guest.all().first().value;
    std::uint64_t const small = first_page + 0x2000;
    for (std::uint64_t at = first_page; at < small; at += 4096)
        map(second, host, {at, guest.host(at), 12, read_write}, second_bits);
    table rest{second, host.memory, host};
    auto const done = rest.map(range<ipa>::between(ipa{small}, guest.all().last()), pa{guest.host(small)},
                               attributes::from_bits(read_write.bits | second_bits));
    if (!done) fail("the guest's tables cannot be mapped");
    guest.print();
}

std::map<std::string, std::uint64_t, std::less<>> registers;

std::uint64_t reg(char const* name) {
    auto const found = registers.find(name);
    if (found == registers.end()) fail("a register is missing");
    return found->second;
}
std::uint32_t reg32(char const* name) { return static_cast<std::uint32_t>(reg(name)); }
void print_register(char const* name, std::uint64_t value) {
    std::printf("{\"register\":\"%s\",\"value\":\"0x%llx\"}\n", name, static_cast<wide>(value));
}

// Sources: 20 and 28 share their tables, 300 has its own, and is on another bus. 30 bypasses.
constexpr std::uint32_t shared_a = 0x20;
constexpr std::uint32_t shared_b = 0x28;
constexpr std::uint32_t bypasses = 0x30;
constexpr std::uint32_t alone = 0x300;

// The guest's tables of a nested translation: for the guest at 1 GiB, for the host behind the host's own.
constexpr std::uint64_t guest_at = 0x4000'0000;
constexpr std::uint64_t guest_above_host = 0x80'0000;

void vtd_legacy(std::uint64_t at) {
    vtd::capabilities const caps{reg("CAP"), reg("ECAP")};
    if (caps.contradiction() != vtd::capability_error::none) fail("the capabilities contradict each other");
    host_image host{at, 0};
    std::uint64_t const root = host.make(12);
    std::uint64_t const contexts[2]{host.make(12), host.make(12)};
    host.put(root, vtd::root_entry::make(contexts[0]));
    host.put(root + 3 * sizeof(vtd::root_entry), vtd::root_entry::make(contexts[1]));
    auto const bind = [&](std::uint32_t source, vtd::context_entry const& e) {
        host.put(contexts[source >> 8 != 0] + (source & 0xff) * sizeof(e), e);
    };
    using vtd::translation_type;
    using stage = vtd::second_stage<iova, pa>;
    stage const first{caps, 4, pa{host.make(12)}};
    stage const second{caps, 3, pa{host.make(12)}};
    bind(shared_a, vtd::context_entry::make(translation_type::untranslated_only, first.root().value, 4, 1));
    bind(shared_b, vtd::context_entry::make(translation_type::untranslated_only, first.root().value, 4, 1));
    bind(bypasses, vtd::context_entry::make(translation_type::pass_through, 0, 4, 2));
    bind(alone, vtd::context_entry::make(translation_type::untranslated_only, second.root().value, 3, 3));
    fill(first, host, 0, {shared_a, shared_b});
    // Three levels reach no TiB.
    page const low{0x12'3456'7000, 0x8'9abc'd000, 12, read_write};
    map(second, host, low, 0);
    print(alone, no_pasid, low);
    host.print();
    print_register("RTADDR", root);
}

void vtd_scalable(std::uint64_t at, vtd::pasid_translation kind) {
    vtd::capabilities const caps{reg("CAP"), reg("ECAP")};
    if (caps.contradiction() != vtd::capability_error::none) fail("the capabilities contradict each other");
    using second_stage = vtd::second_stage<iova, pa, vtd::table_mode::scalable>;
    host_image host{at, 0};
    std::uint64_t const root = host.make(12);
    std::uint64_t const contexts[2]{host.make(12), host.make(12)};
    vtd::scalable_root_entry low;
    low.set<"LCTP">(contexts[0]);
    low.set<"LP">(1);
    host.put(root, low);
    vtd::scalable_root_entry high;
    high.set<"LCTP">(contexts[1]);
    high.set<"LP">(1);
    host.put(root + 3 * sizeof(high), high);
    auto const bind = [&](std::uint32_t source, vtd::pasid_table_entry e) {
        // Without it, tables whose accessed bits are still to be set are refused.
        e.set<"PWSNP">(caps.has<"SMPWCS">());
        std::uint64_t const directory = host.make(12, 128 * 8);
        std::uint64_t const pasids = host.make(12);
        host.put(contexts[source >> 8 != 0] + (source & 0x7f) * sizeof(vtd::scalable_context_entry),
                 vtd::scalable_context_entry::make(directory, 0));
        host.put(directory, vtd::pasid_directory_entry::make(pasids));
        host.put(pasids, e);
    };
    bind(bypasses, vtd::pasid_table_entry::make_pass_through(2));
    switch (kind) {
    case vtd::pasid_translation::second_stage: {
        second_stage const shared{caps, 4, pa{host.make(12)}};
        second_stage const own{caps, 4, pa{host.make(12)}};
        bind(shared_a, vtd::pasid_table_entry::make_second_stage(shared.root().value, 4, 1));
        bind(shared_b, vtd::pasid_table_entry::make_second_stage(shared.root().value, 4, 1));
        bind(alone, vtd::pasid_table_entry::make_second_stage(own.root().value, 4, 3));
        fill(shared, host, 0, {shared_a, shared_b});
        fill(own, host, 1, {alone});
        break;
    }
    case vtd::pasid_translation::first_stage: {
        vtd::first_stage<iova, pa> const own{caps, 4, pa{host.make(12)}};
        bind(alone, vtd::pasid_table_entry::make_first_stage(own.root().value, 4, 3));
        fill(own, host, 1, {alone});
        break;
    }
    case vtd::pasid_translation::nested: {
        guest_image guest{guest_at, at + guest_above_host - guest_at};
        vtd::first_stage<iova, ipa> const first{caps, 4, ipa{guest.make(12)}};
        vtd::second_stage<ipa, pa, vtd::table_mode::scalable> const second{caps, 4, pa{host.make(12)}};
        bind(alone, vtd::pasid_table_entry::make_nested(first.root().value, 4, second.root().value, 4, 3));
        fill_nested(first, guest, second, host, alone, no_pasid);
        break;
    }
    case vtd::pasid_translation::pass_through: break;
    }
    host.print();
    print_register("RTADDR", root | 1u << 10);
}

constexpr std::uint64_t normal_memory = 15; // MemAttr of stage 2: write-back
constexpr std::uint64_t inner_shareable = 3;
constexpr std::uint64_t streams_per_table = 8; // SPLIT
constexpr std::uint64_t stream_bits = 16;

class smmu_tables {
public:
    explicit smmu_tables(std::uint64_t at)
        : caps{reg32("IDR0"), reg32("IDR1"), reg32("IDR3"), reg32("IDR5"), reg32("AIDR")}, host{at, 0} {
        if (caps.contradiction() != smmu::capability_error::none) fail("the capabilities contradict each other");
        level1_ = host.make(stream_bits - streams_per_table + 3);
        for (std::uint64_t const begin : {std::uint64_t{0}, std::uint64_t{alone}}) {
            std::uint64_t const streams = host.make(streams_per_table + 6);
            streams_[begin] = streams;
            host.put(level1_ + (begin >> streams_per_table) * 8, smmu::stream_table_descriptor::make(streams, streams_per_table));
        }
    }
    void bind(std::uint32_t source, smmu::stream_table_entry const& e) {
        host.put(streams_.at(source >> 8 << 8) + (source & 0xff) * sizeof(e), e);
    }
    // Stage 1 with one context descriptor, which lies in `where`; the tables of 48 bits, too.
    template <smmu::granule G, class Image>
    auto stage1(Image& where, std::uint64_t& context) {
        using stage = smmu::stage1<G, iova, typename Image::address>;
        std::uint64_t const size = 48;
        smmu::table_shape shape;
        shape.top = smmu::stage1_top(G, size);
        shape.input_size = size;
        shape.output_size = caps.output_size() < 48 ? caps.output_size() : 48;
        shape.root = where.make(smmu::lg2_of(G), std::uint64_t{8} << (size - stage::shift(shape.top)));
        context = where.make(6);
        where.put(context, smmu::context_descriptor::make(shape.root, size, G, caps.output_size(), 1));
        return stage{shape};
    }
    // Stage 2 of 44 bits, and the entry that has it under `e`.
    template <smmu::granule G>
    auto stage2(smmu::stream_table_entry& e) {
        using stage = smmu::stage2<G, ipa, pa>;
        std::uint64_t const size = caps.intermediate_size() < 44 ? caps.intermediate_size() : 44;
        smmu::table_shape shape;
        shape.top = smmu::lowest_stage2_top(caps, G, size, false);
        shape.input_size = size;
        shape.output_size = caps.output_size() < 48 ? caps.output_size() : 48;
        std::uint64_t const lg2_root = size - stage::shift(shape.top) + 3;
        shape.root = host.make(lg2_root < smmu::lg2_of(G) ? smmu::lg2_of(G) : lg2_root, std::uint64_t{1} << lg2_root);
        e = smmu::with_stage2(e, caps, shape.root, size, G, 1);
        return stage{shape};
    }
    void print() {
        host.print();
        print_register("STRTAB_BASE", level1_);
        print_register("STRTAB_BASE_CFG", 1u << 16 | streams_per_table << 6 | stream_bits);
    }

    smmu::capabilities caps;
    host_image host;

private:
    std::uint64_t level1_{};
    std::map<std::uint64_t, std::uint64_t> streams_;
};

constexpr std::uint64_t memory_bits1() { return smmu::stage1<smmu::granule::k4>::memory(1, inner_shareable).bits; }
constexpr std::uint64_t memory_bits2() { return smmu::stage2<smmu::granule::k4>::memory(normal_memory, inner_shareable).bits; }

// Every granule, one or two devices for each.
void smmu_stage1(std::uint64_t at) {
    using smmu::granule;
    smmu_tables tables{at};
    std::uint64_t context = 0;
    auto const small = tables.stage1<granule::k4>(tables.host, context);
    tables.bind(shared_a, smmu::stream_table_entry::make_stage1(context));
    tables.bind(shared_b, smmu::stream_table_entry::make_stage1(context));
    tables.bind(bypasses, smmu::stream_table_entry::make_bypass());
    fill(small, tables.host, 0, {shared_a, shared_b}, no_pasid, memory_bits1());
    if (tables.caps.has<"GRAN64K">()) {
        auto const large = tables.stage1<granule::k64>(tables.host, context);
        tables.bind(alone, smmu::stream_table_entry::make_stage1(context));
        fill(large, tables.host, 1, {alone}, no_pasid, memory_bits1());
    }
    if (tables.caps.has<"GRAN16K">()) {
        auto const middle = tables.stage1<granule::k16>(tables.host, context);
        tables.bind(alone + 1, smmu::stream_table_entry::make_stage1(context));
        fill(middle, tables.host, 2, {alone + 1}, no_pasid, memory_bits1());
    }
    tables.print();
}

void smmu_stage2(std::uint64_t at) {
    smmu_tables tables{at};
    auto e = smmu::stream_table_entry::make_bypass();
    auto const s = tables.stage2<smmu::granule::k4>(e);
    tables.bind(alone, e);
    page const pages[]{{0x12'3456'7000, 0x8'9abc'd000, 12, read_write}, {0x20'0000, 0x60'0000, 21, read}};
    for (page const& p : pages) {
        map(s, tables.host, p, memory_bits2());
        print(alone, no_pasid, p);
    }
    tables.print();
}

void smmu_nested(std::uint64_t at) {
    smmu_tables tables{at};
    guest_image guest{guest_at, at + guest_above_host - guest_at};
    std::uint64_t context = 0;
    auto const first = tables.stage1<smmu::granule::k4>(guest, context);
    auto e = smmu::stream_table_entry::make_stage1(context);
    auto const second = tables.stage2<smmu::granule::k4>(e);
    tables.bind(alone, e);
    fill_nested(first, guest, second, tables.host, alone, no_pasid, memory_bits1(), memory_bits2());
    tables.print();
}

enum class amd_kind { host, guest, nested };

void amd(std::uint64_t at, amd_kind kind) {
    host_image host{at, 0};
    std::uint64_t const devices = host.make(15); // 1024 entries
    auto const bind = [&](std::uint32_t source, amdvi::device_table_entry const& e) {
        host.put(devices + source * sizeof(e), e);
    };
    std::uint64_t control = 1;
    constexpr std::uint32_t pasid = 5;
    using host_table = amdvi::host_table<ipa, pa>;
    switch (kind) {
    case amd_kind::host: {
        amdvi::host_table<iova, pa> const shared{4, pa{host.make(12)}};
        amdvi::host_table<iova, pa> const own{6, pa{host.make(12)}};
        bind(shared_a, amdvi::make_host_entry(1, 4, shared.root().value));
        bind(shared_b, amdvi::make_host_entry(1, 4, shared.root().value));
        bind(bypasses, amdvi::make_identity_entry(2));
        bind(alone, amdvi::make_host_entry(3, 6, own.root().value));
        bind(alone + 1, amdvi::make_blocked_entry(4));
        fill(shared, host, 0, {shared_a, shared_b});
        fill(own, host, 1, {alone});
        break;
    }
    case amd_kind::guest: {
        control |= 1u << 16; // GTEn
        std::uint64_t const gcr3 = host.make(12);
        amdvi::guest_table<iova, pa> const own{4, pa{host.make(12)}};
        host.put(gcr3 + pasid * 8, amdvi::gcr3_table_entry::make(own.root().value));
        bind(alone, amdvi::with_guest(amdvi::make_identity_entry(3), {gcr3}));
        fill(own, host, 1, {alone}, pasid);
        break;
    }
    case amd_kind::nested: {
        control |= 1u << 16;
        guest_image guest{guest_at, at + guest_above_host - guest_at};
        std::uint64_t const gcr3[]{host.make(12), guest.make(12)};
        amdvi::guest_table<iova, ipa> const first{4, ipa{guest.make(12)}};
        host_table const second{5, pa{host.make(12)}};
        host.put(gcr3[0], amdvi::gcr3_table_entry::make(gcr3[1]));
        guest.put(gcr3[1] + pasid * 8, amdvi::gcr3_table_entry::make(first.root().value));
        bind(alone, amdvi::with_guest(amdvi::make_host_entry(3, 5, second.root().value), {gcr3[0], 2}));
        fill_nested(first, guest, second, host, alone, pasid);
        break;
    }
    }
    host.print();
    print_register("DEVTAB_BASE", devices | 7);
    print_register("CONTROL", control);
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) fail("usage: write_tables KIND ADDRESS [REGISTER=HEX...]");
    std::string_view const kind = argv[1];
    std::uint64_t const at = std::strtoull(argv[2], nullptr, 16);
    for (int i = 3; i < argc; ++i) {
        std::string_view const text = argv[i];
        std::size_t const equals = text.find('=');
        if (equals == std::string_view::npos) fail("a register is REGISTER=HEX");
        registers[std::string{text.substr(0, equals)}] = std::strtoull(argv[i] + equals + 1, nullptr, 16);
    }
    if (kind == "vtd-legacy") {
        vtd_legacy(at);
    } else if (kind == "vtd-second") {
        vtd_scalable(at, vtd::pasid_translation::second_stage);
    } else if (kind == "vtd-first") {
        vtd_scalable(at, vtd::pasid_translation::first_stage);
    } else if (kind == "vtd-nested") {
        vtd_scalable(at, vtd::pasid_translation::nested);
    } else if (kind == "smmu-stage1") {
        smmu_stage1(at);
    } else if (kind == "smmu-stage2") {
        smmu_stage2(at);
    } else if (kind == "smmu-nested") {
        smmu_nested(at);
    } else if (kind == "amd-host") {
        amd(at, amd_kind::host);
    } else if (kind == "amd-guest") {
        amd(at, amd_kind::guest);
    } else if (kind == "amd-nested") {
        amd(at, amd_kind::nested);
    } else {
        fail("KIND is unknown");
    }
    return std::fflush(stdout) == 0 ? 0 : 2;
}
