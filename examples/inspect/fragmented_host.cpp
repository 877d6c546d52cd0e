#include "fragmented_host.hpp"

#include "bad_input.hpp"
#include "number.hpp"
#include "vtd_entry_text.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace inspect {

namespace {

namespace vtd = stagewalk::vtd;
using namespace stagewalk::literals;

constexpr std::uint64_t largest_ram = 64_GiB;

// Where things lie in host memory: tables below all frames, frames of one size together, in shuffled order.
constexpr std::uint64_t tables_at = 256_MiB;
constexpr std::uint64_t frames_4k_at = 8_GiB;
constexpr std::uint64_t frames_2m_at = 128_GiB;
constexpr std::uint64_t frames_1g_at = 512_GiB;

// A host whose second stage has 4 levels and all page sizes.
vtd::capabilities host_capabilities() {
    vtd::capability_register cap;
    cap.set<"SAGAW">(4);
    cap.set<"SSLPS">(3);
    cap.set<"MGAW">(47);
    return {cap.word[0], 0};
}

// The same numbers on every machine (splitmix64).
struct repeatable_numbers {
    std::uint64_t state{};

    std::uint64_t operator()() {
        std::uint64_t z = state += 0x9e37'79b9'7f4a'7c15;
        z = (z ^ z >> 30) * 0xbf58'476d'1ce4'e5b9;
        z = (z ^ z >> 27) * 0x94d0'49bb'1331'11eb;
        return z ^ z >> 31;
    }
};

} // namespace

fragmented_host::fragmented_host(capture const& c) : memory_{host_window{&pages_}}, allocator_{{}} {
    if (c.ram.empty()) throw bad_input{c.path("meta.json") + ": guest_ram is missing"};
    std::uint64_t bytes = 0;
    for (ram_piece const& piece : c.ram) {
        if (piece.last - piece.first >= largest_ram || piece.last >> 47 != 0 ||
            (bytes += piece.last - piece.first + 1) > largest_ram)
            throw bad_input{c.path("meta.json") + ": guest_ram: more than 64 GiB, or beyond 2^47, is too much for this tour"};
    }
    scatter(c.ram);
    write_tables();
    move_pages(c);
}

void fragmented_host::scatter(std::vector<ram_piece> const& ram) {
    repeatable_numbers random;
    std::vector<ram_piece> ascending = ram;
    std::sort(ascending.begin(), ascending.end(), [](ram_piece const& a, ram_piece const& b) { return a.first < b.first; });
    for (ram_piece const& piece : ascending) {
        for (std::uint64_t gpa = piece.first; gpa <= piece.last;) {
            auto const fits = [&](std::uint64_t lg2) {
                return stagewalk::is_aligned(gpa, lg2) && piece.last - gpa >= stagewalk::low_mask(lg2);
            };
            // Every fourth GiB in one piece; of the rest two thirds in 2 MiB pages, one third in 4 KiB pages.
            if (fits(30) && (gpa >> 30) % 4 == 1) {
                layout_.push_back({gpa, 0, 30});
            } else if (fits(21) && random() % 3 != 0) {
                layout_.push_back({gpa, 0, 21});
            } else {
                std::uint64_t const last = std::min(gpa | stagewalk::low_mask(21), piece.last);
                for (; last - gpa > stagewalk::low_mask(12); gpa += 4_KiB)
                    layout_.push_back({gpa, 0, 12});
                layout_.push_back({gpa, 0, 12});
            }
            gpa += std::uint64_t{1} << layout_.back().lg2;
        }
    }
    // Deal out the frames of each size in shuffled order.
    for (auto const& [lg2, base] : {std::pair{12u, frames_4k_at}, std::pair{21u, frames_2m_at}, std::pair{30u, frames_1g_at}}) {
        std::vector<fragment*> same_size;
        for (fragment& f : layout_)
            if (f.lg2 == lg2) same_size.push_back(&f);
        for (std::size_t i = same_size.size(); i > 1; --i)
            std::swap(same_size[i - 1], same_size[random() % i]);
        for (std::size_t i = 0; i < same_size.size(); ++i)
            same_size[i]->hpa = base + (std::uint64_t{i} << lg2);
    }
}

void fragmented_host::write_tables() {
    // At most a table for each 2 MiB block in small pages, one for each GiB, and the two above.
    std::uint64_t most = 2;
    std::uint64_t block = ~std::uint64_t{0};
    std::uint64_t gib = ~std::uint64_t{0};
    for (fragment const& f : layout_) {
        if (f.lg2 == 12) most += std::exchange(block, f.gpa >> 21) != f.gpa >> 21;
        most += 2 * (std::exchange(gib, f.gpa >> 30) != f.gpa >> 30);
    }
    table_words_.assign(most * 512, 0);
    for (std::uint64_t i = 0; i < most; ++i)
        pages_.insert((tables_at >> 12) + i, table_words_.data() + i * 512);

    stagewalk::pa const root{tables_at};
    host_stage const stage{host_capabilities(), 4, root};
    allocator_ = stagewalk::bump_allocator{stagewalk::range{root + 4_KiB, (most - 1) * 4_KiB}};
    stagewalk::table tables{stage, memory_, allocator_};
    for (fragment const& f : layout_) {
        auto const mapped =
            tables.map({stagewalk::ipa{f.gpa}, std::uint64_t{1} << f.lg2}, stagewalk::pa{f.hpa}, stagewalk::read_write);
        if (!mapped) throw std::logic_error{"the host's stage 2 cannot map " + hex(f.gpa)};
    }
    stage2_.emplace(stage, memory_);
    view_.emplace(*stage2_, memory_);
}

void fragmented_host::move_pages(capture const& c) {
    c.memory.pages().for_each([&](std::uint64_t page, std::uint64_t* words) {
        // A table that the guest placed outside its RAM is not there for its host either.
        if (fragment const* const f = find(page << 12)) pages_.insert((f->hpa + ((page << 12) - f->gpa)) >> 12, words);
    });
}

fragment const* fragmented_host::find(std::uint64_t gpa) const {
    auto const after =
        std::upper_bound(layout_.begin(), layout_.end(), gpa, [](std::uint64_t a, fragment const& f) { return a < f.gpa; });
    if (after == layout_.begin()) return nullptr;
    fragment const& f = *(after - 1);
    return gpa - f.gpa <= stagewalk::low_mask(f.lg2) ? &f : nullptr;
}

std::vector<decoded_entry> fragmented_host::trace(std::uint64_t gpa, stagewalk::access access) {
    std::vector<decoded_entry> entries;
    auto const decode = [&](stagewalk::traced_step<host_stage> const& s) {
        entries.push_back(decode_table_entry(s, "host stage 2"));
    };
    // How it ends is the verdict of the last entry.
    static_cast<void>(walk(stage2_->of(), memory_, stagewalk::ipa{gpa}, access, decode));
    return entries;
}

} // namespace inspect
