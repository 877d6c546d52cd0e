// SMMU commands: registers, a cached item and commands out of bytes; the library against the naive predicates. The input, all
// little-endian: IDR0, IDR3, IDR5, CR0 (32 bits each), then the item: StreamID, SubstreamID (32 each), VMID, ASID (16 each), an
// address in its page (64), lg2 of the page's size, of what a directory entry covers (8 each), then world (2 bits), global (1),
// without SubstreamID (1), level (2); then commands of 16 bytes each.
#include "model/smmu_scopes.hpp"

#include <stagewalk/smmu/command.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
namespace model = smmu_scopes;
using wide = unsigned long long;

class input {
public:
    input(std::uint8_t const* data, std::size_t size) : at_{data}, left_{size} {}

    [[nodiscard]] bool empty() const { return left_ == 0; }
    // The next bytes as a number; what is not there is zero.
    std::uint64_t number(std::size_t bytes) {
        std::uint64_t n = 0;
        for (std::size_t i = 0; i < bytes && left_ > 0; ++i, ++at_, --left_)
            n |= std::uint64_t{*at_} << (8 * i);
        return n;
    }

private:
    std::uint8_t const* at_;
    std::size_t left_;
};

[[noreturn]] void differ(char const* what, model::unit const& u, model::words const& w, wide library, wide expected) {
    std::fprintf(stderr, "%s: library %llx, model %llx\n  IDR0 %llx IDR3 %llx IDR5 %llx CR0 %llx\n  %016llx %016llx\n", what,
                 library, expected, static_cast<wide>(u.idr0), static_cast<wide>(u.idr3), static_cast<wide>(u.idr5),
                 static_cast<wide>(u.cr0), static_cast<wide>(w.d[0]), static_cast<wide>(w.d[1]));
    std::abort();
}

sw::smmu::capabilities caps_of(model::unit const& u) {
    auto const low = [](std::uint64_t r) { return static_cast<std::uint32_t>(r); };
    return {low(u.idr0), low(u.idr1), low(u.idr3), low(u.idr5), 2};
}

// Each field put back where the list says: all but the reserved bits.
template <class Command>
void check_fields(model::unit const& u, model::words const& w) {
    Command const c{w.d[0], w.d[1]};
    model::words back;
    c.for_each_field([&](sw::field_view const& f) {
        back.d[f.low / 64] |= f.kind == sw::field_kind::pointer ? f.value : f.value << f.low % 64;
    });
    for (std::size_t i = 0; i < 2; ++i)
        if (back.d[i] != (w.d[i] & ~Command::reserved(i))) differ("fields", u, w, back.d[i], w.d[i]);
}

void check_fields(sw::smmu::command_type type, model::unit const& u, model::words const& w) {
    using enum sw::smmu::command_type;
    switch (type) {
    case atc_inv: return check_fields<sw::smmu::device_command>(u, w);
    case pri_resp: return check_fields<sw::smmu::page_response_command>(u, w);
    case resume:
    case stall_term: return check_fields<sw::smmu::stall_command>(u, w);
    case sync: return check_fields<sw::smmu::sync_command>(u, w);
    default:
        if (static_cast<unsigned>(type) < 0x10) return check_fields<sw::smmu::configuration_command>(u, w);
        return check_fields<sw::smmu::tlb_command>(u, w);
    }
}

template <class Command>
model::words words_of(Command const& c) {
    return {{c.word[0], c.word[1]}};
}

// The same command by the library's own encoders; itself where there is none for it.
model::words encoded_again(model::words const& w, bool ranged) {
    auto const get = [&](unsigned high, unsigned low) { return model::bits(w, high, low); };
    auto const source = static_cast<std::uint32_t>(get(63, 32));
    auto const named = static_cast<std::uint32_t>(get(31, 12));
    std::uint32_t const pasid = get(11, 11) != 0 ? named : sw::smmu::no_pasid;
    auto const vmid = static_cast<std::uint16_t>(get(47, 32));
    auto const asid = static_cast<std::uint16_t>(get(63, 48));
    auto const tag = static_cast<std::uint16_t>(get(79, 64));
    bool const leaf = get(64, 64) != 0;
    sw::iova const at{get(127, 76) << 12};
    using enum sw::smmu::stream_world;
    switch (get(7, 0)) {
    case 0x03: return words_of(sw::smmu::invalidate_stream(source, leaf));
    case 0x04: return words_of(sw::smmu::invalidate_streams(source, get(68, 64) + 1));
    case 0x05: return words_of(sw::smmu::invalidate_context(source, named, leaf));
    case 0x06: return words_of(sw::smmu::invalidate_contexts(source));
    case 0x10: return words_of(sw::smmu::invalidate_stage1(el1, vmid));
    case 0x11: return words_of(sw::smmu::invalidate_asid(el1, vmid, asid));
    case 0x12: return ranged ? w : words_of(sw::smmu::invalidate_address(el1, vmid, asid, at, leaf));
    case 0x20: return words_of(sw::smmu::invalidate_asid(el2, vmid, asid));
    case 0x21: return words_of(sw::smmu::invalidate_asid(el2_e2h, vmid, asid));
    case 0x22: return ranged ? w : words_of(sw::smmu::invalidate_address(el2_e2h, vmid, asid, at, leaf));
    case 0x28: return words_of(sw::smmu::invalidate_vmid(vmid));
    case 0x2a: return ranged ? w : words_of(sw::smmu::invalidate_intermediate(vmid, at.value, leaf));
    case 0x40:
        // Of every SubstreamID there is no encoder.
        if (get(9, 9) != 0) return w;
        return words_of(sw::smmu::invalidate_device(source, pasid, at, get(69, 64)));
    case 0x41:
        return words_of(sw::smmu::respond_to_page_group(source, pasid, static_cast<std::uint16_t>(get(72, 64)),
                                                        static_cast<std::uint8_t>(get(77, 76))));
    case 0x44:
        return words_of(get(12, 12) != 0 ? sw::smmu::retry(source, tag) : sw::smmu::terminate(source, tag, get(13, 13) != 0));
    case 0x45: return words_of(sw::smmu::terminate_all(source));
    default: return w;
    }
}

// A list of as many pages as the command's bits say, of its granule: legal commands, one behind the other, no page too many.
void check_list(model::unit const& u, model::words const& w) {
    sw::smmu::granule const sizes[] = {sw::smmu::granule::k4, sw::smmu::granule::k4, sw::smmu::granule::k16,
                                       sw::smmu::granule::k64};
    auto const g = sizes[model::bits(w, 75, 74)];
    std::uint64_t const lg2 = sw::smmu::lg2_of(g);
    std::uint64_t const pages = (w.d[1] >> 20 ^ w.d[0] >> 12) & 0xf'ffff'ffff;
    sw::smmu::tlb_command one{w.d[0], w.d[1]};
    one.set<"ADDR">(one.get<"ADDR">() & 0x00ff'ffff'ffff'ffff & ~sw::low_mask(lg2));
    std::uint64_t left = pages;
    std::uint64_t next = one.get<"ADDR">();
    sw::smmu::for_each_range(one, pages, g, model::bits(w, 73, 72), [&](sw::smmu::tlb_command const& c) {
        model::words const made = words_of(c);
        if (model::is_illegal(u, made)) differ("illegal list", u, made, 0, 1);
        bool const single = model::bits(made, 75, 74) == 0;
        std::uint64_t const count = single ? 1 : (model::bits(made, 16, 12) + 1) << model::bits(made, 25, 20);
        if (count > left || model::bits(made, 127, 76) << 12 != next) differ("list", u, made, count, left);
        left -= count;
        next += count << lg2;
    });
    if (left != 0) differ("list too short", u, w, pages, left);
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    input in{data, size};
    model::unit u;
    u.idr0 = in.number(4);
    u.idr3 = in.number(4);
    u.idr5 = in.number(4);
    u.cr0 = in.number(4);
    model::item given;
    given.source = in.number(4);
    given.pasid = in.number(4) & 0xfffff;
    given.vmid = in.number(2);
    given.asid = in.number(2);
    std::uint64_t const address = in.number(8);
    unsigned const lg2 = 12 + static_cast<unsigned>(in.number(1)) % 53;
    std::uint64_t const covered = sw::low_mask(in.number(1) % 21);
    auto const flags = static_cast<unsigned>(in.number(1));
    given.world = static_cast<model::world_of>((flags & 3) % 3);
    given.global = (flags >> 2 & 1) != 0;
    if ((flags >> 3 & 1) != 0) given.pasid = model::no_substream;
    given.level = flags >> 4 & 3;

    sw::smmu::capabilities const caps = caps_of(u);
    sw::smmu::control const registers{0, 0, static_cast<std::uint32_t>(u.cr0)};
    for (int count = 0; count < 64 && !in.empty(); ++count) {
        model::words w;
        for (auto& d : w.d)
            d = in.number(8);
        auto const o = sw::smmu::decode(w.d, caps, registers);
        bool const is_illegal = model::is_illegal(u, w);
        if (static_cast<bool>(o) == is_illegal) differ("CERROR_ILL", u, w, !o, is_illegal);
        if (!o) {
            if (o.error() != sw::smmu::command_error::illegal) differ("CERROR", u, w, static_cast<wide>(o.error()), 1);
            continue;
        }
        std::uint64_t const op = model::bits(w, 7, 0);
        if (static_cast<std::uint64_t>(o->type) != op) differ("opcode", u, w, static_cast<wide>(o->type), op);
        for (std::size_t i = 0; i < 2; ++i)
            if (o->word[i] != w.d[i]) differ("word", u, w, o->word[i], w.d[i]);
        check_fields(o->type, u, w);
        if (op == 0x12 || op == 0x13 || op == 0x22 || op == 0x23 || op == 0x2a) check_list(u, w);
        model::words const by_encoder = encoded_again(w, model::is_range(u, w));
        auto const again = sw::smmu::decode(by_encoder.d, caps, registers);
        if (!again) differ("CERROR of the encoder", u, by_encoder, 1, 0);

        // The item as it was given; with what it can have in common with the command; with all of it, save one bit.
        for (unsigned variant = 0; variant < 32 + 64; ++variant) {
            unsigned const common = variant < 32 ? variant : 31;
            model::item i = given;
            std::uint64_t at = address;
            if ((common & 1) != 0) i.source = model::bits(w, 63, 32);
            if ((common & 2) != 0 && i.pasid != model::no_substream) i.pasid = model::bits(w, 31, 12);
            if ((common & 4) != 0) i.vmid = model::bits(w, 47, 32);
            if ((common & 8) != 0) at = w.d[1];
            if ((common & 16) != 0) i.asid = model::bits(w, 63, 48);
            if (variant >= 32) {
                std::uint64_t const bit = std::uint64_t{1} << (variant - 32);
                at ^= bit;
                i.source ^= bit & 0xffffffff;
                if (i.pasid != model::no_substream) i.pasid ^= bit >> 12 & 0xfffff;
                i.vmid ^= bit >> 32 & 0xffff;
                i.asid ^= bit >> 48;
            }
            i.first = at & ~sw::low_mask(lg2);
            i.last = at | sw::low_mask(lg2);
            sw::smmu::cache_tag t;
            t.source = static_cast<std::uint32_t>(i.source);
            t.pasid = static_cast<std::uint32_t>(i.pasid);
            t.world = static_cast<sw::smmu::stream_world>(i.world);
            t.vmid = static_cast<std::uint16_t>(i.vmid);
            t.asid = static_cast<std::uint16_t>(i.asid);
            t.global = i.global;
            t.addresses = sw::range<sw::iova>::between(sw::iova{i.first}, sw::iova{i.last});
            t.level = i.level;
            for (unsigned n = 0; n < model::places; ++n) {
                auto const place = static_cast<model::place>(n);
                bool const directory = place == model::stream_directory || place == model::context_directory;
                i.covered = directory ? covered : 0;
                t.covered = static_cast<std::uint32_t>(i.covered);
                // Only translations of devices are without a SubstreamID.
                if (place != model::device && i.pasid == model::no_substream) continue;
                bool const must = model::drops(u, w, place, i);
                auto const where = static_cast<sw::smmu::cache>(n);
                if (o->stale.drops(where, t) != must) differ("scope", u, w, n, must);
                if (again->stale.drops(where, t) != must) differ("scope of the encoder", u, by_encoder, n, must);
            }
        }
    }
    return 0;
}
