// VT-d invalidation descriptors: registers, a cached item and descriptors out of bytes; the library against the tables of
// granularities. The input, all little-endian: CAP, ECAP, IQA, IQT (64 bits each), the mode (8), then the item: requester,
// domain (16 each), PASID (32), an address in its page (64), lg2 of the page's size (8), interrupt index (16); then descriptors
// of 32 bytes each.
#include "model/vtd_scopes.hpp"

#include <stagewalk/vtd/command.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

namespace sw = stagewalk;
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

[[noreturn]] void differ(char const* what, vtd_scopes::unit const& u, vtd_scopes::descriptor const& d, wide library, wide model) {
    std::fprintf(stderr, "%s: library %llx, model %llx\n  CAP %llx ECAP %llx TTM %u DW %d\n  %016llx %016llx %016llx %016llx\n",
                 what, library, model, static_cast<wide>(u.cap), static_cast<wide>(u.ecap), u.mode, u.wide,
                 static_cast<wide>(d.word[0]), static_cast<wide>(d.word[1]), static_cast<wide>(d.word[2]),
                 static_cast<wide>(d.word[3]));
    std::abort();
}

// The fields of a descriptor, each put back where the list says: all that was carried out is in them.
template <class Descriptor>
vtd_scopes::descriptor put_back(std::uint64_t const (&word)[4]) {
    Descriptor d;
    for (std::size_t w = 0; w < Descriptor::words; ++w)
        d.word[w] = word[w];
    vtd_scopes::descriptor back;
    d.for_each_field([&](sw::field_view const& f) {
        back.word[f.low / 64] |= f.kind == sw::field_kind::pointer ? f.value : f.value << f.low % 64;
    });
    return back;
}

vtd_scopes::descriptor put_back(sw::vtd::command const& c) {
    using enum sw::vtd::command_type;
    switch (c.type) {
    case context_cache: return put_back<sw::vtd::context_cache_command>(c.word);
    case iotlb: return put_back<sw::vtd::iotlb_command>(c.word);
    case device_tlb: return put_back<sw::vtd::device_tlb_command>(c.word);
    case interrupt_cache: return put_back<sw::vtd::interrupt_cache_command>(c.word);
    case wait: return put_back<sw::vtd::wait_command>(c.word);
    case pasid_iotlb: return put_back<sw::vtd::pasid_iotlb_command>(c.word);
    case pasid_cache: return put_back<sw::vtd::pasid_cache_command>(c.word);
    case pasid_device_tlb: return put_back<sw::vtd::pasid_device_tlb_command>(c.word);
    case page_response: return put_back<sw::vtd::page_response_command>(c.word);
    case host_permission: return put_back<sw::vtd::host_permission_command>(c.word);
    }
    return {};
}

template <class Descriptor>
vtd_scopes::descriptor words_of(Descriptor const& d) {
    vtd_scopes::descriptor w;
    for (std::size_t i = 0; i < Descriptor::words; ++i)
        w.word[i] = d.word[i];
    return w;
}

// The same invalidation by the library's own encoders; the descriptor itself where there is none for it.
vtd_scopes::descriptor encoded_again(vtd_scopes::descriptor const& d) {
    auto const get = [&](unsigned high, unsigned low) { return vtd_scopes::bits(d, high, low); };
    auto const domain = static_cast<std::uint16_t>(get(31, 16));
    auto const pasid = static_cast<std::uint32_t>(get(51, 32));
    auto const am = static_cast<std::uint8_t>(get(69, 64));
    sw::iova const at{get(127, 76) << 12};
    bool const ih = get(70, 70) != 0;
    switch (vtd_scopes::type_of(d) * 4 + get(5, 4)) {
    case 1 * 4 + 1: return words_of(sw::vtd::invalidate_contexts());
    case 1 * 4 + 2: return words_of(sw::vtd::invalidate_contexts(domain));
    case 1 * 4 + 3:
        return words_of(sw::vtd::invalidate_contexts(domain, static_cast<std::uint16_t>(get(47, 32)),
                                                     static_cast<std::uint8_t>(get(49, 48))));
    case 2 * 4 + 1: return words_of(sw::vtd::invalidate_iotlb());
    case 2 * 4 + 2: return words_of(sw::vtd::invalidate_iotlb(domain));
    case 2 * 4 + 3: return words_of(sw::vtd::invalidate_iotlb(domain, at, am, ih));
    case 4 * 4 + 0: return words_of(sw::vtd::invalidate_interrupts());
    case 4 * 4 + 1:
        return words_of(
            sw::vtd::invalidate_interrupts(static_cast<std::uint16_t>(get(47, 32)), static_cast<std::uint8_t>(get(31, 27))));
    case 6 * 4 + 2: return words_of(sw::vtd::invalidate_pasid_iotlb(domain, pasid));
    case 6 * 4 + 3: return words_of(sw::vtd::invalidate_pasid_iotlb(domain, pasid, at, am, ih));
    case 7 * 4 + 0: return words_of(sw::vtd::invalidate_pasids(domain));
    case 7 * 4 + 1: return words_of(sw::vtd::invalidate_pasids(domain, pasid));
    case 7 * 4 + 3: return words_of(sw::vtd::invalidate_pasids());
    case 10 * 4 + 0:
    case 10 * 4 + 1:
    case 10 * 4 + 2:
    case 10 * 4 + 3:
        return words_of(sw::vtd::invalidate_host_permission(static_cast<std::uint8_t>(get(5, 4)), domain, at, am,
                                                            static_cast<std::uint8_t>(get(71, 70))));
    default: return d;
    }
}

void judge_tail(std::uint64_t iqa, std::uint64_t iqt) {
    std::uint64_t const entry = (iqa >> 11 & 1) != 0 ? 32 : 16;
    std::uint64_t const entries = 4096 / 16 * 16 / entry << (iqa & 7);
    std::uint64_t const tail = iqt % 0x80000 / 16 * 16;
    unsigned expected = 0;
    if (tail / entry >= entries) expected = 1;
    if (tail % entry != 0) expected = 6;
    auto const o = sw::vtd::judge_tail(sw::vtd::invalidation_queue_address{iqa}, iqt);
    if ((o ? 0u : static_cast<unsigned>(o.error())) != expected || (o && *o != tail)) {
        std::fprintf(stderr, "IQA %llx IQT %llx\n", static_cast<wide>(iqa), static_cast<wide>(iqt));
        std::abort();
    }
}

} // namespace

int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    input in{data, size};
    vtd_scopes::unit u;
    u.cap = in.number(8);
    u.ecap = in.number(8);
    std::uint64_t const iqa = in.number(8);
    judge_tail(iqa, in.number(8));
    u.mode = static_cast<unsigned>(in.number(1) & 3);
    u.wide = (iqa >> 11 & 1) != 0;
    vtd_scopes::item given;
    given.source = in.number(2);
    given.domain = in.number(2);
    given.pasid = in.number(4) & 0xfffff;
    std::uint64_t const address = in.number(8);
    unsigned const lg2 = 12 + static_cast<unsigned>(in.number(1)) % 53;
    given.index = in.number(2);

    sw::vtd::capabilities const caps{u.cap, u.ecap, 46};
    sw::vtd::invalidation_queue_address const queue{iqa};
    auto const mode = static_cast<sw::vtd::table_mode>(u.mode);
    for (int count = 0; count < 64 && !in.empty(); ++count) {
        vtd_scopes::descriptor d;
        for (auto& w : d.word)
            w = in.number(8);
        auto const o = sw::vtd::decode(d.word, queue, mode, caps);
        unsigned const expected = vtd_scopes::error_of(u, d);
        unsigned const found = o ? 0 : static_cast<unsigned>(o.error());
        if (found != expected) differ("IQEI", u, d, found, expected);
        if (!o) continue;
        if (static_cast<unsigned>(o->type) != vtd_scopes::type_of(d))
            differ("type", u, d, static_cast<wide>(o->type), vtd_scopes::type_of(d));
        auto const back = put_back(*o);
        for (std::size_t w = 0; w < 4; ++w) {
            if (o->word[w] != d.word[w]) differ("word", u, d, o->word[w], d.word[w]);
            if (back.word[w] != d.word[w]) differ("fields", u, d, back.word[w], d.word[w]);
        }
        auto const by_encoder = encoded_again(d);
        auto const again = sw::vtd::decode(by_encoder.word, queue, mode, caps);
        if (!again) differ("IQEI of the encoder", u, by_encoder, static_cast<wide>(again.error()), 0);

        // The item as it was given; with what it can have in common with the descriptor; with all of it, save one bit.
        for (unsigned variant = 0; variant < 32 + 64; ++variant) {
            unsigned const common = variant < 32 ? variant : 31;
            vtd_scopes::item i = given;
            std::uint64_t at = address;
            bool const by_pasid = vtd_scopes::type_of(d) == 8;
            if ((common & 1) != 0) i.source = by_pasid ? vtd_scopes::bits(d, 31, 16) : vtd_scopes::bits(d, 47, 32);
            if ((common & 2) != 0) i.domain = vtd_scopes::bits(d, 31, 16);
            if ((common & 4) != 0) i.pasid = vtd_scopes::bits(d, 51, 32);
            if ((common & 8) != 0) at = d.word[1];
            if ((common & 16) != 0) i.index = vtd_scopes::bits(d, 47, 32);
            if (variant >= 32) {
                std::uint64_t const bit = std::uint64_t{1} << (variant - 32);
                at ^= bit;
                i.source ^= bit & 0xffff;
                i.domain ^= bit >> 16 & 0xffff;
                i.pasid ^= bit >> 32 & 0xfffff;
                i.index ^= bit & 0xffff;
            }
            i.domain &= sw::low_mask(caps.domain_id_width());
            i.first = at & ~sw::low_mask(lg2);
            i.last = at | sw::low_mask(lg2);
            sw::vtd::cache_tag t;
            t.source = static_cast<std::uint16_t>(i.source);
            t.domain = static_cast<std::uint16_t>(i.domain);
            t.pasid = static_cast<std::uint32_t>(i.pasid);
            t.page = sw::range<sw::iova>::between(sw::iova{i.first}, sw::iova{i.last});
            t.index = static_cast<std::uint16_t>(i.index);
            for (unsigned place = 0; place < vtd_scopes::places; ++place) {
                bool const must = vtd_scopes::drops(u, d, static_cast<vtd_scopes::place>(place), i);
                auto const where = static_cast<sw::vtd::cache>(place);
                if (o->stale.drops(where, t) != must) differ("scope", u, d, place, must);
                if (again->stale.drops(where, t) != must) differ("scope of the encoder", u, by_encoder, place, must);
            }
        }
    }
    return 0;
}
