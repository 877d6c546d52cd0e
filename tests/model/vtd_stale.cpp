// VT-d: a unit with caches against one without. Page tables, root, context, directory and PASID entries are edited at random,
// and after each edit come the descriptors that the manual demands, no more of them: answers, faults and the bits that walks
// leave in the tables are the same, request by request.
#include "catch.hpp"
#include "host_memory.hpp"
#include "random_bits.hpp"
#include "random_tables.hpp"

#include <stagewalk/stagewalk.hpp>
#include <stagewalk/vtd/caches.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

namespace {

namespace sw = stagewalk;
using random_tables::place;
using random_tables::tables;
using sw::vtd::pasid_table_entry;
using sw::vtd::request_type;
using sw::vtd::table_mode;

// What a configurator writes to.
struct memory : random_tables::memory {
    sw::outcome<bool, error> store(sw::pa at, std::uint64_t value) noexcept {
        auto* const word = find(at);
        if (word == nullptr) return sw::failure{sw::memory_error::outside};
        *word = value;
        return true;
    }
    void publish(sw::pa, std::uint64_t) noexcept {}
};

constexpr std::uint64_t page(std::uint64_t n) { return memory::origin + n * 4096; }

// All that matters to requests, with page-selective invalidation up to 1 GiB; caching mode where it is asked for.
sw::vtd::capabilities caps_of(bool caching) {
    sw::vtd::capability_register cap{std::uint64_t{47} << 16 | std::uint64_t{14} << 8 | std::uint64_t{3} << 34};
    cap.set<"FS1GP">(1);
    cap.set<"FS5LP">(1);
    cap.set<"PSI">(1);
    cap.set<"MAMV">(18);
    cap.set<"ZLR">(1);
    cap.set<"ND">(6);
    cap.set<"CM">(caching);
    sw::vtd::extended_capability_register ecap{};
    ecap.set<"SMTS">(1);
    ecap.set<"FSTS">(1);
    ecap.set<"SSTS">(1);
    ecap.set<"SSADS">(1);
    ecap.set<"NEST">(1);
    ecap.set<"PASID">(1);
    ecap.set<"PSS">(19);
    ecap.set<"EAFS">(1);
    ecap.set<"NWFS">(1);
    ecap.set<"SRS">(1);
    ecap.set<"PRS">(1);
    ecap.set<"RPS">(1);
    ecap.set<"RPRIVS">(1);
    ecap.set<"SMPWCS">(1);
    ecap.set<"MTS">(1);
    ecap.set<"SC">(1);
    ecap.set<"PT">(1);
    ecap.set<"DT">(1);
    return {cap.word[0], ecap.word[0], 46};
}

struct tally {
    std::uint64_t asked = 0;
    std::uint64_t faults = 0;
    std::uint64_t updates = 0;
    std::uint64_t hits = 0;
};

// Tables as the scene edits them: of one stage, with those who use them.
struct edited {
    std::vector<place> places;
    bool is_first = false;
    std::vector<std::uint16_t> domains;
    std::vector<std::uint32_t> pasids;
};

constexpr std::uint16_t sources[] = {0x0008, 0x0010, 0x007f};
constexpr std::uint32_t last_pasid = 6; // PASIDs 1 to 6 are used; devices have RID_PASID 5 or 6

// One scene: tables, two memories, two units, and everything that happens to them.
template <class Caches>
class scene {
public:
    scene(random_bits& random, bool scalable, tally& t)
        : random_{random}, t_{t}, scalable_{scalable}, caps_{caps_of(random.one_in(4))} {
        build();
        b_ = a_;
        good_ = a_.words;
        sw::vtd::root_table_address const root{page(0) | (scalable ? 0x400u : 0u)};
        sw::vtd::settings set;
        set.interrupt_ranges = !random.one_in(8);
        with_.emplace(caps_, root, a_, set, *caches_);
        without_.emplace(caps_, root, b_, set);
        queue_.set<"DW">(scalable || random.one_in(2));
        configure_all();
    }

    void step() {
        if (random_.one_in(24)) {
            edit_table();
        } else if (random_.one_in(60)) {
            edit_configuration();
        } else if (random_.one_in(200)) {
            spurious();
        } else {
            ask();
        }
    }
    void finish() const { REQUIRE(a_.words == b_.words); }

private:
    using first = sw::vtd::first_stage<sw::iova, sw::pa>;
    using guest_first = sw::vtd::first_stage<sw::iova, sw::ipa>;
    template <table_mode Mode>
    using second = sw::vtd::second_stage<sw::iova, sw::pa, Mode>;

    template <class S>
    edited& add(S const& s, std::uint64_t base, std::uint64_t at, std::uint64_t count) {
        edited e;
        tables<S> made{s, random_, a_, base, page(at), count};
        e.places = made.places;
        tables_.push_back(std::move(e));
        return tables_.back();
    }

    void build() {
        tables_.reserve(5);
        if (!scalable_) {
            for (std::uint64_t n = 0; n < 3; ++n) {
                levels_[n] = 3 + random_.below(2);
                second<table_mode::legacy> const s{caps_, levels_[n], sw::pa{page(8 + n * 16)}};
                add(s, page(8 + n * 16), 8 + n * 16, 16).domains = {legacy_domains[n]};
            }
            return;
        }
        using S = second<table_mode::scalable>;
        for (std::uint64_t n = 0; n < 2; ++n)
            levels_[n] = 3 + random_.below(2);
        for (auto& flags : flags_)
            flags = random_();
        // Domain 1 and, in its group of the TLB, domain 65: the same second stage.
        add(S{caps_, levels_[0], sw::pa{page(36)}}, page(36), 36, 8).domains = {1, 65};
        edited& host = add(S{caps_, levels_[1], sw::pa{page(20)}}, page(20), 20, 16);
        host.domains = {2};
        // The first table on the way to address 0 maps the guest's pages.
        std::uint64_t leaves = 0;
        for (place const& p : host.places)
            if (p.in < 0x1000 && p.level == 0) leaves = p.at;
        nests_ = leaves != 0;
        if (nests_) {
            for (std::uint64_t n = 0; n < guest_pages; ++n) {
                *a_.find(sw::pa{leaves + n * 8}) = (page(8) + n * 4096) | 3;
                host.places.push_back({n << 12, leaves + n * 8, 0, false});
            }
            edited& guest = add(guest_first{caps_, 4, sw::ipa{0}}, 0, 8, guest_pages);
            guest.is_first = true;
            guest.domains = {2};
            guest.pasids = {1, 2, 3, 4, 5, 6};
        }
        // Two processes of domain 3: odd PASIDs and even ones.
        for (std::uint64_t n = 0; n < 2; ++n) {
            edited& e = add(first{caps_, 4 + n, sw::pa{page(44 + n * 8)}}, page(44 + n * 8), 44 + n * 8, 8);
            e.is_first = true;
            e.domains = {3};
            e.pasids = n == 0 ? std::vector<std::uint32_t>{1, 3, 5} : std::vector<std::uint32_t>{2, 4, 6};
        }
    }

    // --- invalidation ------------------------------------------------------------------------------------------------

    template <class Descriptor>
    void execute(Descriptor const& d) {
        std::uint64_t word[4]{};
        for (std::size_t w = 0; w < Descriptor::words; ++w)
            word[w] = d.word[w];
        execute_words(word);
    }
    void execute_words(std::uint64_t const (&word)[4]) {
        auto const done = with_->execute(word, queue_);
        REQUIRE(done);
    }
    // Second-stage entries have changed.
    void drop_second(std::uint16_t domain, std::uint64_t at, std::uint64_t lg2, bool leaf) {
        std::uint64_t const choice = random_.below(16);
        if (choice == 0) return execute(sw::vtd::invalidate_iotlb());
        if (choice == 1 || lg2 > 30) return execute(sw::vtd::invalidate_iotlb(domain));
        execute(sw::vtd::invalidate_iotlb(domain, sw::iova{at | (random_() & sw::low_mask(lg2))},
                                          static_cast<std::uint8_t>(lg2 - 12), leaf && random_.one_in(2)));
    }
    void drop_first(std::uint16_t domain, std::uint32_t pasid, std::uint64_t at, std::uint64_t lg2, bool leaf) {
        std::uint64_t const choice = random_.below(16);
        if (choice == 0) return execute(sw::vtd::invalidate_iotlb(domain));
        if (choice == 1) return execute(sw::vtd::invalidate_pasid_iotlb(domain, pasid));
        execute(sw::vtd::invalidate_pasid_iotlb(domain, pasid, sw::iova{at | (random_() & sw::low_mask(lg2))},
                                                static_cast<std::uint8_t>(lg2 - 12), leaf && random_.one_in(2)));
    }
    void spurious() {
        std::uint16_t const domains[] = {0, 1, 2, 3, 65, 66};
        auto const domain = random_.pick(domains);
        auto const pasid = static_cast<std::uint32_t>(random_.below(last_pasid + 1));
        switch (random_.below(scalable_ ? 9 : 5)) {
        case 0: return execute(sw::vtd::invalidate_contexts());
        case 1: return execute(sw::vtd::invalidate_contexts(domain));
        case 2: return execute(sw::vtd::invalidate_contexts(domain, random_.pick(sources), 3));
        case 3: return execute(sw::vtd::invalidate_iotlb(domain));
        case 4: return execute(sw::vtd::fence());
        case 5: return execute(sw::vtd::invalidate_pasids());
        case 6: return execute(sw::vtd::invalidate_pasids(domain));
        case 7: return execute(sw::vtd::invalidate_pasids(domain, pasid));
        default: return execute(sw::vtd::invalidate_pasid_iotlb(domain, pasid));
        }
    }

    // --- edits -------------------------------------------------------------------------------------------------------

    static std::uint64_t lg2_of(place const& p) { return 12 + 9 * p.level; }

    void edit_table() {
        edited& e = tables_[random_.below(tables_.size())];
        place const p = e.places[random_.one_in(2) ? random_.below(e.places.size()) : hot(e.places.size())];
        bool const is_guest_page = nests_ && &e == &tables_[1] && p.level == 0 && p.in >> 12 < guest_pages;
        std::uint64_t word = *a_.find(sw::pa{p.at});
        std::uint64_t const used = e.is_first ? 0x460 : 0x300;
        std::uint64_t const noise = std::uint64_t{1} << random_.below(64) & random_tables::noisy_bits;
        switch (random_.below(12)) {
        case 0:
            // The page moves; tables stay where they are, and so do the guest's own pages.
            if (!p.is_table && !is_guest_page) {
                std::uint64_t const way = sw::bit_mask(20, 12) << 9 * p.level & sw::bit_mask(45, 12);
                word ^= (e.is_first && nests_ && &e == &tables_[2] ? 0x3000 : random_() & way) & ~sw::low_mask(lg2_of(p));
            } else {
                word ^= noise;
            }
            break;
        case 1: word &= ~used; break; // not used since
        case 2: word ^= noise; break;
        case 3: word ^= 3; break;
        default: word = good_[(p.at - memory::origin) / 8] | (random_() & used); break;
        }
        if (is_guest_page) word &= ~std::uint64_t{0x80} | *a_.find(sw::pa{p.at});
        *a_.find(sw::pa{p.at}) = word;
        *b_.find(sw::pa{p.at}) = word;
        for (auto const domain : e.domains) {
            if (!e.is_first) {
                drop_second(domain, p.in & ~sw::low_mask(lg2_of(p)), lg2_of(p), !p.is_table);
            } else {
                for (auto const pasid : e.pasids)
                    drop_first(domain, pasid, p.in & ~sw::low_mask(lg2_of(p)), lg2_of(p), !p.is_table);
            }
        }
    }

    // Writes both memories, and carries out what is owed.
    template <class Write>
    void write(Write const& how) {
        sw::vtd::configurator of_a{caps_, a_};
        sw::vtd::configurator of_b{caps_, b_};
        auto const owed = how(of_a);
        REQUIRE(owed);
        REQUIRE(how(of_b));
        for (std::size_t n = 0; n < owed->count; ++n)
            execute_words(owed->word[n]);
    }
    template <class Entry>
    Entry at(std::uint64_t where) {
        Entry e;
        for (std::size_t w = 0; w < Entry::words; ++w)
            e.word[w] = *a_.find(sw::pa{where + w * 8});
        return e;
    }
    // Takes the entry away, or makes a new one: `key` is what the configurator wants beside it.
    template <class Entry, class... Key>
    void toggle(std::uint64_t where, Entry const& fresh, Key... key) {
        Entry const old = at<Entry>(where);
        if ((old.word[0] & 1) != 0) {
            write([&](auto& c) { return c.clear(sw::pa{where}, old, key...); });
            if (random_.one_in(8)) return;
        }
        write([&](auto& c) { return c.set(sw::pa{where}, fresh, key...); });
    }

    void configure_all() {
        if (scalable_) {
            write([&](auto& c) { return c.set(sw::pa{page(0)}, sw::vtd::scalable_root_entry::make(page(1), page(1))); });
        } else {
            write([&](auto& c) { return c.set(sw::pa{page(0)}, sw::vtd::root_entry::make(page(1))); });
        }
        for (std::size_t d = 0; d < std::size(sources); ++d) {
            toggle_context(d);
            if (!scalable_) continue;
            toggle(page(2 + d), directory(d));
            for (std::uint32_t p = 1; p <= last_pasid; ++p)
                toggle(page(5 + d) + p * 64, entry(p), p);
        }
    }
    void edit_configuration() {
        std::size_t const d = random_.below(std::size(sources));
        std::uint64_t const choice = random_.below(16);
        if (choice == 0) {
            if (!random_.one_in(4)) return;
            if (scalable_) return toggle(page(0), sw::vtd::scalable_root_entry::make(page(1), page(1)));
            return toggle(page(0), sw::vtd::root_entry::make(page(1)));
        }
        if (!scalable_ || choice < 5) return toggle_context(d);
        if (choice == 5) return toggle(page(2 + d), directory(d));
        auto const p = static_cast<std::uint32_t>(1 + random_.below(last_pasid));
        toggle(page(5 + d) + p * 64, entry(p), p);
    }
    void toggle_context(std::size_t d) {
        std::uint16_t const source = sources[d];
        if (!scalable_) {
            std::uint64_t const n = random_.below(3);
            auto const type = static_cast<sw::vtd::translation_type>(random_.below(3));
            sw::vtd::context_entry e = sw::vtd::context_entry::make(type, page(8 + n * 16), levels_[n], legacy_domains[n]);
            e.set<"FPD">(random_.one_in(4));
            if (random_.one_in(40)) e.word[1] |= 0x80; // reserved
            return toggle(page(1) + source * std::uint64_t{16}, e, source);
        }
        sw::vtd::scalable_context_entry e = sw::vtd::scalable_context_entry::make(page(2 + d), random_.below(8));
        e.set<"FPD">(random_.one_in(4));
        e.set<"DTE">(!random_.one_in(8));
        e.set<"PASIDE">(!random_.one_in(16));
        e.set<"PRE">(e.get<"DTE">() & random_.below(2));
        e.set<"RID_PASID">(5 + random_.below(2));
        e.set<"RID_PRIV">(random_.one_in(4));
        if (random_.one_in(40)) e.word[1] |= std::uint64_t{1} << 30; // reserved
        toggle(page(1) + source * std::uint64_t{32}, e, source);
    }
    sw::vtd::pasid_directory_entry directory(std::size_t d) {
        sw::vtd::pasid_directory_entry e{page(5 + d) | 1};
        e.set<"FPD">(random_.one_in(4));
        return e;
    }
    // Who shares a domain and a PASID shares the tables and how they are read; the rest is anybody's own.
    pasid_table_entry entry(std::uint32_t p) {
        pasid_table_entry e;
        std::uint64_t flags = flags_[0];
        switch (random_.below(nests_ ? 9 : 6)) {
        case 0:
        case 1: e = pasid_table_entry::make_second_stage(page(36), levels_[0], random_.one_in(2) ? 1 : 65); break;
        case 2:
            flags = flags_[1];
            e = pasid_table_entry::make_second_stage(page(20), levels_[1], 2);
            break;
        case 3: e = pasid_table_entry::make_pass_through(static_cast<std::uint16_t>(random_.below(4))); break;
        case 4:
        case 5:
            flags = flags_[2];
            e = pasid_table_entry::make_first_stage(page(p % 2 != 0 ? 44 : 52), p % 2 != 0 ? 4 : 5, 3);
            break;
        default:
            flags = flags_[1];
            e = pasid_table_entry::make_nested(0, 4, page(20), levels_[1], 2);
            break;
        }
        e.set<"SSADE">(e.uses_second_stage() ? flags & 1 : 0);
        e.set<"EMTE">(e.uses_second_stage() ? flags >> 1 & 1 : 0);
        e.set<"PWSNP">((flags >> 2 & 7) != 0);
        e.set<"WPE">(flags >> 5 & 1);
        e.set<"EAFE">(flags >> 6 & 1);
        e.set<"SRE">(!random_.one_in(4));
        e.set<"FPD">(random_.one_in(4));
        if (random_.one_in(60)) e.word[0] |= 0x20; // reserved
        return e;
    }

    // --- requests ----------------------------------------------------------------------------------------------------

    // Often the same few.
    std::uint64_t hot(std::uint64_t count) {
        std::uint64_t const few = count < 6 ? count : 6;
        return random_.one_in(3) ? random_.below(count) : random_.below(few);
    }

    // An address that leads somewhere for this device, most of the time.
    std::uint64_t address(std::uint64_t which) {
        edited const& e = tables_[which];
        place const& p = e.places[hot(e.places.size())];
        std::uint64_t at = p.in | random_.below(8) * 0x200;
        if (p.level > 0 && random_.one_in(2)) at |= random_.below(4) << 12;
        if (random_.one_in(64)) at = 0xfee0'0000 | random_.below(0x10'0000);
        if (random_.one_in(64)) at = random_();
        return at & ~std::uint64_t{3};
    }
    // The tables that a device's entry points at now.
    std::uint64_t tables_for(std::uint16_t source, std::uint32_t pasid) {
        std::uint64_t const any = random_.below(tables_.size());
        if (random_.one_in(16)) return any;
        if (!scalable_) {
            sw::vtd::context_entry const c = at<sw::vtd::context_entry>(page(1) + source * std::uint64_t{16});
            return (c.get<"SSPTPTR">() - page(8)) / (16 * 4096) % 3;
        }
        std::size_t d = 0;
        while (d + 1 < std::size(sources) && sources[d] != source)
            ++d;
        if (pasid > last_pasid) pasid = 5;
        pasid_table_entry const e = at<pasid_table_entry>(page(5 + d) + pasid * 64);
        if (e.kind() == sw::vtd::pasid_translation::nested) return nests_ ? 2 : any;
        if (e.kind() == sw::vtd::pasid_translation::second_stage) return e.get<"SSPTPTR">() == page(36) ? 0 : 1;
        return e.kind() == sw::vtd::pasid_translation::first_stage ? tables_.size() - (pasid % 2 != 0 ? 2 : 1) : any;
    }

    // A new request, or one of the last ones, perhaps with another access or beside it.
    sw::vtd::request some_request() {
        if (recent_.empty() || random_.one_in(3)) {
            auto const r = new_request();
            if (recent_.size() < 12) {
                recent_.push_back(r);
            } else {
                recent_[random_.below(12)] = r;
            }
            return r;
        }
        sw::vtd::request r = recent_[random_.below(recent_.size())];
        r.address.value ^= random_.below(64) << 3;
        if (random_.one_in(6)) r.source = random_.pick(sources);
        if (r.type == request_type::untranslated && random_.one_in(4)) r.access = random_.one_in(2) ? sw::read : sw::write;
        if (random_.one_in(32)) r.bytes ^= 4;
        return r;
    }

    sw::vtd::request new_request() {
        sw::vtd::request r;
        r.source = random_.one_in(64) ? std::uint16_t{0x0108} : random_.pick(sources);
        if (scalable_ ? random_.one_in(2) : random_.one_in(64))
            r.pasid = random_.one_in(32) ? 64 + random_.small(10) : 1 + random_.small(4 + random_.small(3));
        std::uint64_t const which = random_.below(32);
        r.type = which < 20   ? request_type::untranslated
                 : which < 28 ? request_type::translation
                 : which < 30 ? request_type::translated
                              : request_type::page;
        r.access = random_.one_in(3) ? sw::write : random_.one_in(4) ? sw::read_write : sw::read;
        if (r.type == request_type::translation) r.access = sw::read;
        if (r.has_pasid() && random_.one_in(4)) r.access = r.access | sw::privileged;
        if (r.has_pasid() && r.access.covers(sw::read) && random_.one_in(32)) r.access = r.access | sw::execute;
        r.no_write = random_.one_in(2);
        if (random_.one_in(12)) r.bytes = 0;
        r.address = sw::iova{address(tables_for(r.source, r.pasid))};
        return r;
    }

    void ask() {
        sw::vtd::request const r = some_request();
        a_.updates.clear();
        b_.updates.clear();
        std::uint64_t const hits_before = caches_->iotlb.counts().of(sw::tlb_count::hits);
        bool const traced = random_.one_in(64);
        auto const look = [](auto const&) {};
        auto const expected = without_->translate(r);
        auto const got = traced ? with_->translate(r, look) : with_->translate(r);
        ++t_.asked;
        t_.faults += !expected;
        t_.updates += !b_.updates.empty();
        t_.hits += caches_->iotlb.counts().of(sw::tlb_count::hits) != hits_before;
        bool const same = static_cast<bool>(got) == static_cast<bool>(expected) &&
                          (got ? *got == *expected : got.error() == expected.error()) && a_.updates == b_.updates;
        if (same) return;
        INFO("request " << t_.asked << " source " << r.source << " address " << std::hex << r.address.value << " pasid "
                        << r.pasid << " access " << r.access.bits << " type " << static_cast<int>(r.type) << " bytes " << r.bytes
                        << " nw " << r.no_write);
        auto const text = [](auto const& o) {
            std::uint64_t const word[] = {o ? o->output.value : static_cast<std::uint64_t>(o.error().code),
                                          o ? o->effective.bits : o.error().descriptor, o ? o->lg2_size : o.error().entry};
            return std::string(o ? "translation " : "fault ") + std::to_string(word[0]) + ' ' + std::to_string(word[1]) + ' ' +
                   std::to_string(word[2]);
        };
        INFO("cached " << text(got) << ", updates " << a_.updates.size() / 2);
        INFO("uncached " << text(expected) << ", updates " << b_.updates.size() / 2);
        FAIL("the cached unit answers otherwise");
    }

    static constexpr std::uint64_t guest_pages = 12;
    static constexpr std::uint16_t legacy_domains[] = {1, 2, 65};

    random_bits& random_;
    tally& t_;
    bool scalable_;
    sw::vtd::capabilities caps_;
    std::uint64_t levels_[3]{};
    std::uint64_t flags_[3]{};
    bool nests_ = false;
    memory a_;
    memory b_;
    std::vector<edited> tables_;
    std::vector<std::uint64_t> good_; // what the tables were built as
    std::vector<sw::vtd::request> recent_;
    std::unique_ptr<Caches> caches_ = std::make_unique<Caches>();
    std::optional<sw::vtd::iommu<memory, Caches>> with_;
    std::optional<sw::vtd::iommu<memory>> without_;
    sw::vtd::invalidation_queue_address queue_{};
};

using counted = sw::vtd::caches<sw::pa, sw::statistics::counting>;
using tiny = sw::vtd::caches<sw::pa, sw::sets<4>, sw::ways<2>, sw::groups<2>, sw::replace::fifo, sw::statistics::counting>;

template <class Caches>
tally run(bool scalable, std::uint64_t scenes, std::uint64_t seed) {
    random_bits random{seed};
    tally t;
    scenes = sw::test::fewer(scenes);
    for (std::uint64_t n = 0; n < scenes; ++n) {
        INFO("scene " << n << " of seed " << seed);
        auto const s = std::make_unique<scene<Caches>>(random, scalable, t);
        for (int step = 0; step < 500; ++step)
            s->step();
        s->finish();
    }
    return t;
}

void check(tally const& t, bool updates) {
    if (!sw::test::all_cases()) return;
    CAPTURE(t.asked, t.faults, t.hits, t.updates);
    CHECK(t.hits > t.asked / 12);
    CHECK(t.faults > t.asked / 20);
    CHECK((t.updates > t.asked / 50) == updates);
}

void run_all(std::uint64_t times) {
    check(run<counted>(false, 200 * times, 71), false);
    check(run<counted>(true, 400 * times, 72), true);
    check(run<tiny>(false, 100 * times, 73), false);
    check(run<tiny>(true, 200 * times, 74), true);
}

} // namespace

TEST_CASE("VT-d caches answer as memory does after the invalidations that the manual demands", "[vtd]") { run_all(1); }

TEST_CASE("VT-d caches answer twenty million requests as memory does", "[vtd][long]") { run_all(48); }
