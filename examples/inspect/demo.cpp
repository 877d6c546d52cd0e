#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "fragmented_host.hpp"
#include "mapping_text.hpp"
#include "number.hpp"
#include "text.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace inspect {

namespace {

// What one device may reach, page by page as its tables have it.
struct device_pages {
    std::size_t device; // index into the list
    std::vector<mapping> mappings;
};

constexpr std::uint64_t most_pages = std::uint64_t{1} << 24;
// Pages larger than 2^this bytes are asked for at some addresses only.
constexpr std::uint64_t lg2_whole = 30;
constexpr std::uint64_t lg2_samples = 12;

// From one address to the next that is asked for, all in pages of 4 KiB.
std::uint64_t stride(mapping const& m) {
    bool const whole = m.largest <= lg2_whole || m.largest >= 64;
    return whole ? 4096 : std::max<std::uint64_t>(4096, std::uint64_t{1} << (m.largest - lg2_samples));
}

class tour {
public:
    explicit tour(options const& o)
        : capture_{o.input}, unit_{open_unit(capture_, capture_.memory, false)}, list_{list_devices(capture_, *unit_)},
          host_{capture_} {
        seen_by_host_.place_behind(&host_.view());
        nested_ = open_unit(capture_, seen_by_host_, false);
        for (std::size_t i = 0; i < list_.size(); ++i)
            collect(i, o.max_loads);
    }

    int run() {
        introduce();
        show_devices();
        show_ranges();
        show_host();
        bool const right = translate_everything();
        show_walk();
        sum_up();
        finish_output();
        return right ? 0 : 1;
    }

private:
    void heading(char const* text) { print('\n' + paint(style::heading, text) + "\n\n"); }

    void collect(std::size_t i, std::uint64_t max_loads) {
        binding const& b = list_[i].bound;
        device_pages d{i, {}};
        if (b.is == result::ok && b.bypasses) {
            for (ram_piece const& piece : capture_.ram)
                d.mappings.push_back({piece.first, piece.last, piece.first, b.rights, 1, 64, 64});
        } else if (b.is == result::ok) {
            static_cast<void>(unit_->enumerate(b.source, b.pasid, false, max_loads,
                                               {[&](mapping const& m) {
                                                    d.mappings.push_back(m);
                                                    return true;
                                                },
                                                {}}));
        }
        if (!d.mappings.empty()) pages_.push_back(std::move(d));
    }

    void introduce() {
        print(paint(style::heading, "A device's DMA through two stages of tables") + "\n\n");
        print(padded("capture", 12) + capture_.name + '\n');
        if (!capture_.kernel.empty())
            print(padded("tables by", 12) + "Linux " + capture_.kernel.substr(0, capture_.kernel.find(' ')) + '\n');
        for (auto const& [name, value] : unit_->facts())
            print(padded(name, 12) + value + '\n');
    }

    void show_devices() {
        heading("1  The devices and their domains");
        text_table table{{"device", "driver", "domain", "tables at", "translation", ">pages", ">mapped"}};
        for (std::size_t i = 0; i < list_.size(); ++i) {
            listed_device const& d = list_[i];
            std::uint64_t leaves = 0;
            std::uint64_t bytes = 0;
            for (device_pages const& p : pages_)
                if (p.device == i)
                    for (mapping const& m : p.mappings) {
                        ++leaves;
                        bytes += m.last - m.first + 1;
                    }
            bool const has_tables = d.bound.is == result::ok && !d.bound.bypasses;
            table.add({d.name(*unit_),
                       d.info == nullptr        ? "(unlisted)"
                       : d.info->driver.empty() ? "-"
                                                : d.info->driver,
                       d.bound.domain.empty() ? "-" : d.bound.domain, has_tables ? hex(d.bound.root) : "-", binding_text(d.bound),
                       has_tables ? count_text(leaves) : "-", has_tables && bytes != 0 ? size_text(bytes - 1) : "-"});
        }
        print(table.text());
    }

    [[nodiscard]] bool shares_tables(std::size_t i) const {
        return std::count_if(list_.begin(), list_.end(),
                             [&](listed_device const& d) { return d.bound.same_tables(list_[i].bound); }) > 1;
    }

    // The device whose tables have the most to show: page sizes first, then pages; rather one that has them alone.
    [[nodiscard]] device_pages const* showpiece() const {
        device_pages const* best = nullptr;
        using value_type = std::tuple<int, bool, std::size_t>;
        value_type best_value;
        for (device_pages const& p : pages_) {
            if (list_[p.device].bound.bypasses) continue;
            std::uint64_t sizes = 0;
            for (mapping const& m : p.mappings)
                sizes |= std::uint64_t{1} << m.smallest;
            value_type const value{std::popcount(sizes), !shares_tables(p.device), p.mappings.size()};
            if (best == nullptr || value > best_value) {
                best = &p;
                best_value = value;
            }
        }
        return best;
    }

    void show_ranges() {
        constexpr std::size_t most_lines = 16;
        device_pages const* const p = showpiece();
        if (p == nullptr) return;
        listed_device const& d = list_[p->device];
        heading(("2  What " + d.name(*unit_) + " may reach: IOVA -> guest-physical").c_str());
        std::vector<mapping> runs;
        static_cast<void>(unit_->enumerate(d.bound.source, d.bound.pasid, true, most_pages,
                                           {[&](mapping const& m) {
                                                runs.push_back(m);
                                                return true;
                                            },
                                            {}}));
        ranges_ = runs.size();
        // The ranges of several pages tell the most; those that are shown stay in order.
        std::vector<std::size_t> order(runs.size());
        for (std::size_t i = 0; i < order.size(); ++i)
            order[i] = i;
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
            return runs[a].leaves > runs[b].leaves || (runs[a].leaves == runs[b].leaves && runs[a].largest > runs[b].largest);
        });
        order.resize(std::min(order.size(), most_lines));
        std::sort(order.begin(), order.end());
        for (std::size_t const i : order)
            print(mapping_text(runs[i]));
        if (runs.size() > most_lines)
            print("  and " + count_text(runs.size() - most_lines) + " more; `ranges --source " + hex(d.bound.source, 4) +
                  "` shows all\n");
    }

    void show_host() {
        heading("3  A host's stage 2, written by table.map: guest-physical -> host-physical");
        std::uint64_t n[3]{};
        std::uint64_t bytes = 0;
        for (fragment const& f : host_.layout()) {
            ++n[(f.lg2 - 12) / 9];
            bytes += std::uint64_t{1} << f.lg2;
        }
        print(wrapped(size_text(bytes - 1) + " of guest RAM lie scattered in the host: " + count_text(n[2]) + " x 1G, " +
                          count_text(n[1]) + " x 2M, " + count_text(n[0]) + " x 4K; " + count_text(host_.tables()) +
                          " table pages. Where the guest's first table lies, for example:",
                      2));
        std::uint64_t const first = first_table_page();
        std::size_t shown = 0;
        for (fragment const& f : host_.layout()) {
            if (f.gpa + stagewalk::low_mask(f.lg2) < first || shown == 6) continue;
            ++shown;
            print("  " + hex(f.gpa, 12) + '-' + hex(f.gpa + stagewalk::low_mask(f.lg2), 12) + " -> " + hex(f.hpa, 12) + "  " +
                  page_size_text(f.lg2) + '\n');
        }
    }

    [[nodiscard]] std::uint64_t first_table_page() const {
        std::uint64_t first = ~std::uint64_t{0};
        capture_.memory.pages().for_each([&](std::uint64_t page, std::uint64_t const*) { first = std::min(first, page << 12); });
        return first;
    }

    // Calls visit(question, guest mapping, offset) for every mapped 4 KiB of every device, up to a bound; of very large pages for
    // some.
    template <class Visit>
    void for_each_page(Visit visit) const {
        std::uint64_t n = 0;
        for (device_pages const& p : pages_) {
            binding const& b = list_[p.device].bound;
            for (mapping const& m : p.mappings) {
                stagewalk::access const access =
                    m.effective.rights().covers(stagewalk::read) ? stagewalk::read : stagewalk::write;
                for (std::uint64_t offset = 0; offset <= m.last - m.first; offset += stride(m)) {
                    if (n++ == most_pages) return;
                    visit(question{b.source, b.pasid, m.first + offset, access}, m, offset);
                }
            }
        }
    }

    // Both stages: the guest's, whose tables are read through the host's, then the host's.
    stagewalk::outcome<stagewalk::translation<stagewalk::pa>, host_translator::fault_type> through_host(answer const& a,
                                                                                                        question const& q) const {
        return host_.stage2().translate(stagewalk::ipa{a.address}, q.access);
    }

    [[nodiscard]] bool is_sampled() const {
        return std::any_of(pages_.begin(), pages_.end(), [](device_pages const& p) {
            return std::any_of(p.mappings.begin(), p.mappings.end(), [](mapping const& m) { return stride(m) != 4096; });
        });
    }

    bool translate_everything() {
        heading("4  Every mapped page through both stages");
        std::uint64_t wrong = 0;
        for_each_page([&](question const&, mapping const&, std::uint64_t) { ++total_; });
        {
            progress say{"translating"};
            for_each_page([&](question const& q, mapping const& m, std::uint64_t offset) {
                say.at(right_ + refused_ + wrong, total_);
                // What must come out, from the list that the tables were written from.
                std::uint64_t const gpa = m.output + offset;
                fragment const* const f = host_.find(gpa);
                answer const guest = nested_->translate(q);
                if (guest.is != result::ok || guest.address != gpa) {
                    ++wrong;
                    return;
                }
                auto const both = through_host(guest, q);
                if (f == nullptr) {
                    ++(both ? wrong : refused_);
                } else if (both && both->output.value == f->hpa + (gpa - f->gpa) &&
                           std::min(guest.lg2_size, both->lg2_size) == std::min(m.smallest, f->lg2)) {
                    ++right_;
                } else {
                    ++wrong;
                }
            });
        }
        print(wrapped("The guest's own tables, too, are read through stage 2, each entry at its own address. Every result is "
                      "held against the list from which stage 2 was written, without a look at its tables.",
                      2));
        print("  " + padded(count_text(total_), 12, true) + "  pages of 4K asked for\n");
        if (is_sampled())
            print("  " + padded("", 12) + "  (of each page above " + page_size_text(lg2_whole) + " only " +
                  count_text(std::uint64_t{1} << lg2_samples) + ")\n");
        print("  " + padded(count_text(right_), 12, true) + "  reach the address that they must\n");
        if (refused_ != 0)
            print("  " + padded(count_text(refused_), 12, true) + "  lead outside the guest's RAM and are refused\n");
        print("  " + paint(wrong == 0 ? style::good : style::bad, padded(count_text(wrong), 12, true) + "  wrong") + '\n');
        return wrong == 0;
    }

    // How many entries of the host the walk of `q` reads.
    [[nodiscard]] std::uint64_t host_entries(question const& q) {
        std::uint64_t n = 0;
        for (decoded_entry const& e : unit_->trace(q).entries)
            if (fragment const* const f = host_.find(e.address)) n += 4 - (f->lg2 - 12) / 9;
        return n;
    }

    // A request whose walk is as long as this capture has one: small pages in both stages.
    [[nodiscard]] std::optional<question> longest_walk() {
        std::optional<question> best;
        std::uint64_t most = 0;
        for (device_pages const& p : pages_) {
            binding const& b = list_[p.device].bound;
            for (mapping const& m : p.mappings) {
                fragment const* const f = host_.find(m.output);
                if (m.smallest > 16 || f == nullptr || f->lg2 != 12 || !m.effective.rights().covers(stagewalk::write)) continue;
                question const q{b.source, b.pasid, m.first + 0x40, stagewalk::write};
                if (std::uint64_t const n = host_entries(q); n > most) {
                    most = n;
                    best = q;
                }
            }
        }
        return best;
    }

    void show_walk() {
        std::optional<question> const longest = longest_walk();
        if (!longest) return;
        question const& q = *longest;
        heading(("5  Step by step: " + question_text(q, unit_->sources_are_bdfs())).c_str());
        print(wrapped("Every guest entry has a guest-physical address, which stage 2 translates first (indented).", 2));
        traced const t = unit_->trace(q);
        std::uint64_t of_host = 0;
        for (decoded_entry const& e : t.entries)
            print('\n' + host_walk_text(e.address, stagewalk::read, of_host) + entry_text(e, 2));
        if (t.result.is == result::ok) print('\n' + host_walk_text(t.result.address, q.access, of_host));
        auto const both =
            t.result.is == result::ok ? through_host(t.result, q) : stagewalk::failure{host_translator::fault_type{}};
        if (both)
            print('\n' + wrapped("IOVA " + hex(q.address) + " -> guest-physical " + hex(t.result.address) + " -> host-physical " +
                                     hex(both->output.value) + ": " + std::to_string(t.entries.size()) +
                                     " entries of the guest, " + std::to_string(of_host) + " of the host.",
                                 2));
    }

    std::string host_walk_text(std::uint64_t gpa, stagewalk::access access, std::uint64_t& entries) {
        std::string text = "      guest-physical " + hex(gpa) + '\n';
        for (decoded_entry& e : host_.trace(gpa, access)) {
            ++entries;
            // Its field ADDR says where it leads.
            bool const leads_on = e.verdict.starts_with("leads");
            if (leads_on) e.verdict.clear();
            text += entry_text(e, 6);
        }
        return text;
    }

    // Seconds that one pass over all pages takes; the sum of what comes out keeps the work from being optimised away.
    template <class Work>
    double time(Work work) {
        auto const begin = std::chrono::steady_clock::now();
        std::uint64_t sum = 0;
        for_each_page([&](question const& q, mapping const& m, std::uint64_t offset) { sum += work(q, m, offset); });
        checksum_ ^= sum;
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }

    void sum_up() {
        heading("In short");
        if (total_ == 0) {
            print("  No device of this capture may reach any memory.\n");
            return;
        }
        timing_.emplace("timing");
        double const nothing =
            time([](question const& q, mapping const& m, std::uint64_t offset) { return q.address ^ (m.output + offset); });
        double const both = time([&](question const& q, mapping const&, std::uint64_t) {
            auto const t = through_host(nested_->translate(q), q);
            return t ? t->output.value : 0;
        });
        double const guest_alone =
            time([&](question const& q, mapping const&, std::uint64_t) { return unit_->translate(q).address; });
        double const host_alone = time([&](question const& q, mapping const& m, std::uint64_t offset) {
            auto const t = host_.stage2().translate(stagewalk::ipa{m.output + offset}, q.access);
            return t ? t->output.value : 0;
        });
        timing_.reset();
        double const pages = static_cast<double>(total_);
        auto const nanoseconds = [&](double seconds) { return std::max(0.0, (seconds - nothing) * 1e9 / pages); };
        double const whole = std::max(nanoseconds(both), 0.1);
        double const own = std::min(nanoseconds(guest_alone), whole);
        double const last = std::min(nanoseconds(host_alone), whole - own);
        // What is left is the price of reading the guest's tables through stage 2.
        double const fetch = whole - own - last;

        std::uint64_t domains = 0;
        std::uint64_t with_driver = 0;
        std::vector<std::size_t> const same = first_with_same_tables(list_);
        for (std::size_t i = 0; i < list_.size(); ++i) {
            domains += list_[i].bound.is == result::ok && !list_[i].bound.bypasses && same[i] == i;
            with_driver += list_[i].info != nullptr && !list_[i].info->driver.empty();
        }
        char text[1024];
        std::snprintf(text, sizeof text,
                      "%zu devices (%llu with a driver) use %llu sets of tables; those of section 2 map %llu ranges. "
                      "All in all %s pages were taken through both stages, from the device's number to the host's memory, at "
                      "%.1f million translations a second on one processor: %.0f ns each, without any cache of translations. "
                      "Of these, %.0f %% are the guest's own walk (device tables and page tables), %.0f %% go into finding the "
                      "guest's entries in host memory (a stage-2 walk for each), and %.0f %% into stage 2 for the page itself. "
                      "Most of the time is thus spent on %s.",
                      list_.size(), static_cast<unsigned long long>(with_driver), static_cast<unsigned long long>(domains),
                      static_cast<unsigned long long>(ranges_), count_text(total_).c_str(), 1e3 / whole, whole, 100 * own / whole,
                      100 * fetch / whole, 100 * last / whole,
                      fetch >= own && fetch >= last
                          ? "reading the guest's tables through stage 2: what a cache of translations would save first"
                      : own >= last ? "the guest's tables themselves"
                                    : "stage 2 of the page itself");
        print(wrapped(text, 2));
    }

    capture capture_;
    std::unique_ptr<unit> unit_;
    std::vector<listed_device> list_;
    fragmented_host host_;
    guest_memory seen_by_host_;
    std::unique_ptr<unit> nested_;
    std::vector<device_pages> pages_;
    std::uint64_t ranges_{};
    std::uint64_t total_{};
    std::uint64_t right_{};
    std::uint64_t refused_{};
    std::uint64_t checksum_{};
    std::optional<progress> timing_;
};

} // namespace

int demo(options const& o) { return tour{o}.run(); }

} // namespace inspect
