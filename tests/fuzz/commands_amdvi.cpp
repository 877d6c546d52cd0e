// AMD-Vi commands: registers, a cached item and commands out of bytes; the library against the naive predicates. The input, all
// little-endian: EFR (64 bits), the header of the PCI capability (32), head, tail (32 each) and base (64) of the command buffer,
// then the item: DeviceID, DomainID (16 each), PASID (32), an address in its page (64), lg2 of the page's size (8); then commands
// of 16 bytes each.
#include "model/amdvi_scopes.hpp"

#include <stagewalk/amdvi/command.hpp>
#include <stagewalk/amdvi/ring.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
namespace model = amdvi_scopes;
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
    std::fprintf(stderr, "%s: library %llx, model %llx\n  EFR %llx header %llx\n  %016llx %016llx\n", what, library, expected,
                 static_cast<wide>(u.efr), static_cast<wide>(u.header), static_cast<wide>(w.d[0]), static_cast<wide>(w.d[1]));
    std::abort();
}

// The fields of a command, each put back where the list says: all that was carried out is in them.
template <class Command>
void check_fields(model::unit const& u, model::words const& w) {
    Command const c{w.d[0], w.d[1]};
    model::words back;
    c.for_each_field([&](sw::field_view const& f) {
        back.d[f.low / 64] |= f.kind == sw::field_kind::pointer ? f.value : f.value << f.low % 64;
    });
    for (std::size_t i = 0; i < 2; ++i)
        if (back.d[i] != w.d[i]) differ("fields", u, w, back.d[i], w.d[i]);
}

void check_fields(sw::amdvi::command_type type, model::unit const& u, model::words const& w) {
    using enum sw::amdvi::command_type;
    switch (type) {
    case completion_wait: return check_fields<sw::amdvi::completion_wait_command>(u, w);
    case invalidate_devtab_entry: return check_fields<sw::amdvi::device_entry_command>(u, w);
    case invalidate_iommu_pages: return check_fields<sw::amdvi::pages_command>(u, w);
    case invalidate_iotlb_pages: return check_fields<sw::amdvi::iotlb_command>(u, w);
    case invalidate_interrupt_table: return check_fields<sw::amdvi::interrupt_table_command>(u, w);
    case prefetch_iommu_pages: return check_fields<sw::amdvi::prefetch_command>(u, w);
    case complete_ppr_request: return check_fields<sw::amdvi::page_response_command>(u, w);
    case invalidate_iommu_all: return check_fields<sw::amdvi::everything_command>(u, w);
    case insert_guest_event: return check_fields<sw::amdvi::guest_event_command>(u, w);
    case reset_vmmio: return check_fields<sw::amdvi::guest_reset_command>(u, w);
    }
}

template <class Command>
model::words words_of(Command const& c) {
    return {{c.word[0], c.word[1]}};
}

// The addresses that a command names, by the model.
sw::range<sw::iova> pages_of(model::words const& w) {
    unsigned const lg2 = model::lg2_of(w);
    return sw::range<sw::iova>::between(sw::iova{w.d[1] & ~sw::low_mask(lg2)}, sw::iova{w.d[1] | sw::low_mask(lg2)});
}

// The same command by the library's own encoders; itself where there is none for it.
model::words encoded_again(model::words const& w) {
    auto const get = [&](unsigned high, unsigned low) { return model::bits(w, high, low); };
    auto const source = static_cast<std::uint16_t>(get(15, 0));
    auto const domain = static_cast<std::uint16_t>(get(47, 32));
    auto const count = static_cast<std::uint8_t>(get(31, 24));
    std::uint32_t const pasid = model::is_gn(w) ? static_cast<std::uint32_t>(model::pasid_of(w)) : sw::amdvi::no_pasid;
    switch (model::opcode(w)) {
    case 1: return get(0, 0) != 0 ? words_of(sw::amdvi::wait_and_write(w.d[0], w.d[1], get(2, 2) != 0)) : w;
    case 2: return words_of(sw::amdvi::invalidate_device_entry(source));
    case 3: return words_of(sw::amdvi::invalidate_pages(domain, pasid, pages_of(w), !model::is_pde(w)));
    case 4: return words_of(sw::amdvi::invalidate_device(source, pasid, pages_of(w), count, domain)); // QueueID
    case 5: return words_of(sw::amdvi::invalidate_interrupts(source));
    case 6: return words_of(sw::amdvi::prefetch(source, pasid, pages_of(w), count, get(68, 68) != 0));
    case 7:
        return words_of(sw::amdvi::respond_to_page_group(source, pasid, static_cast<std::uint16_t>(get(104, 96)),
                                                         static_cast<std::uint8_t>(get(111, 108))));
    case 8: return words_of(sw::amdvi::invalidate_all());
    case 9: return words_of(sw::amdvi::insert_guest_event(domain, w.d[0], w.d[1]));
    case 10:
        return words_of(get(27, 27) != 0 ? sw::amdvi::reset_all_guests(get(31, 31) != 0)
                                         : sw::amdvi::reset_guest(source, get(31, 31) != 0));
    default: return w;
    }
}

// A ring is left, whatever its registers hold, and no entry lies outside.
void check_ring(sw::amdvi::ring r) {
    std::uint64_t const base = r.base.get<"Base">();
    std::uint64_t const bytes = r.base.bytes();
    for (std::uint64_t taken = 0; !r.is_empty(); ++taken) {
        if (taken + 1 >= r.base.entries() || r.read_at() - base > bytes - 16 || r.read_at() % 16 != 0) std::abort();
        r.consume();
    }
    if (r.read_at() != r.write_at()) std::abort();
}

// The blocks from the item to the command: one behind the other, each one that a command names, none too many.
void check_blocks(std::uint64_t first, std::uint64_t last) {
    if (last < first) return check_blocks(last, first);
    if (last - first > sw::low_mask(56)) return; // thousands of the largest
    std::uint64_t next = first & ~sw::low_mask(12);
    unsigned count = 0;
    sw::amdvi::for_each_block(sw::range<sw::iova>::between(sw::iova{first}, sw::iova{last}), [&](sw::range<sw::iova> block) {
        if (block.first().value != next || sw::amdvi::pages_of(sw::amdvi::block_around(block)) != block) std::abort();
        next = block.last().value + 1;
        ++count;
    });
    if (next != (last | sw::low_mask(12)) + 1 || count > 2 * 40 + 16) std::abort();
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    input in{data, size};
    model::unit u;
    u.efr = in.number(8);
    u.header = in.number(4);
    std::uint64_t const head = in.number(4);
    std::uint64_t const tail = in.number(4);
    check_ring({sw::amdvi::ring_base_register{in.number(8)}, head, tail});
    model::item given;
    given.source = in.number(2);
    given.domain = in.number(2);
    given.pasid = in.number(4) & 0xfffff;
    std::uint64_t const address = in.number(8);
    unsigned const lg2 = 12 + static_cast<unsigned>(in.number(1)) % 53;

    sw::amdvi::capabilities const caps{u.efr, 0, static_cast<std::uint32_t>(u.header)};
    for (int count = 0; count < 64 && !in.empty(); ++count) {
        model::words w;
        for (auto& d : w.d)
            d = in.number(8);
        check_blocks(address, w.d[1]);
        auto const o = sw::amdvi::decode(w.d, caps);
        bool const is_illegal = model::is_illegal(u, w);
        if (static_cast<bool>(o) == is_illegal) differ("ILLEGAL_COMMAND_ERROR", u, w, !o, is_illegal);
        if (!o) continue;
        std::uint64_t const op = model::opcode(w);
        if (static_cast<std::uint64_t>(o->type) != op) differ("opcode", u, w, static_cast<wide>(o->type), op);
        for (std::size_t i = 0; i < 2; ++i)
            if (o->word[i] != w.d[i]) differ("word", u, w, o->word[i], w.d[i]);
        check_fields(o->type, u, w);
        model::words const by_encoder = encoded_again(w);
        auto const again = sw::amdvi::decode(by_encoder.d, caps);
        if (!again) differ("the encoder's command", u, by_encoder, 1, 0);

        // The item as it was given; with what it can have in common with the command; with all of it, save one bit.
        for (unsigned variant = 0; variant < 16 + 64; ++variant) {
            unsigned const common = variant < 16 ? variant : 15;
            model::item i = given;
            std::uint64_t at = address;
            if ((common & 1) != 0) i.source = model::bits(w, 15, 0);
            if ((common & 2) != 0) i.domain = model::bits(w, 47, 32);
            if ((common & 4) != 0) i.pasid = model::pasid_of(w);
            if ((common & 8) != 0) at = w.d[1];
            if (variant >= 16) {
                std::uint64_t const bit = std::uint64_t{1} << (variant - 16);
                at ^= bit;
                i.source ^= bit & 0xffff;
                i.domain ^= bit >> 16 & 0xffff;
                i.pasid ^= bit >> 32 & 0xfffff;
            }
            i.first = at & ~sw::low_mask(lg2);
            i.last = at | sw::low_mask(lg2);
            sw::amdvi::cache_tag t;
            t.source = static_cast<std::uint16_t>(i.source);
            t.domain = static_cast<std::uint16_t>(i.domain);
            t.pasid = static_cast<std::uint32_t>(i.pasid);
            t.page = sw::range<sw::iova>::between(sw::iova{i.first}, sw::iova{i.last});
            for (unsigned n = 0; n < model::places; ++n) {
                bool const must = model::drops(w, static_cast<model::place>(n), i);
                auto const where = static_cast<sw::amdvi::cache>(n);
                if (o->stale.drops(where, t) != must) differ("scope", u, w, n, must);
                if (again->stale.drops(where, t) != must) differ("scope of the encoder", u, by_encoder, n, must);
            }
        }
    }
    return 0;
}
