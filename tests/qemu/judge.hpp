// What the judges share: their command line, random choice, probing DMA, the entries of a walk, known deviations, the summary.
//
// A judge has modes, one for each machine or kind of table. It makes tables, asks the library for its verdict, lets QEMU's
// device do the same access, and compares.
#pragma once

#include "edu.hpp"
#include "machine.hpp"
#include "random_bits.hpp"

#include <stagewalk/walk/trace.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace judge {

// --- known deviations ----------------------------------------------------------------------------------------------------

// Something that QEMU is known to do otherwise than the manual says: an exception by name, counted and printed.
// \tparam Case one access with both outcomes; it has agrees() and text().
template <class Case>
struct deviation {
    char const* name;
    char const* what; // what QEMU does
    bool (*covers)(Case const&);
    version first{};
    version last{std::numeric_limits<unsigned>::max(), 0, 0};
    void (*undo)(Case&){}; // takes this deviation out of the case, which is then compared on; without, all of it is excused
};

// --- one run -------------------------------------------------------------------------------------------------------------

// Thrown where going on makes no sense: too many cases failed.
struct gave_up {};

class session {
public:
    std::uint64_t tables{};    // how many to judge
    std::uint64_t failures{5}; // after so many it gives up
    bool verbose{};            // tell each access
    version release{};         // of the QEMU that is asked
    random_bits random{0};     // begins anew with each table
    std::uint64_t number{};    // of the table, from 0
    std::uint64_t seed{1};     // of the run
    std::uint64_t only{~0ull}; // the one table that is judged; others are passed over

    // Begins the next table: `while (s.next_table()) …`. What is random in it depends on the seed and its number alone.
    bool next_table() {
        number = begun_++;
        if (only != ~0ull) {
            if (number > only) return false;
            number = only;
            begun_ = only + 1;
        } else if (number >= tables) {
            return false;
        }
        ++judged_;
        random = random_bits{random_bits{seed}() ^ random_bits{number}()};
        return true;
    }

    // Counts an access by what the library says of it: `code` is empty where it reaches memory.
    void count(std::string const& code) {
        ++accesses_;
        if (code.empty()) {
            ++reached_;
        } else {
            ++refused_[code];
        }
    }

    // Compares: `c` agrees, or a known deviation covers it, or it has failed.
    template <class Case, std::size_t N>
    void judge(Case const& c, std::array<deviation<Case>, N> const& known) {
        if (verbose) std::printf("table %llu: %s\n", static_cast<unsigned long long>(number), c.text().c_str());
        if (c.agrees()) return;
        Case left = c;
        for (auto const& d : known) {
            if (release < d.first || d.last < release || !d.covers(left)) continue;
            ++deviations_[d.name];
            if (d.undo == nullptr) return;
            d.undo(left);
            if (left.agrees()) return;
        }
        std::printf("FAILED: seed %llu, table %llu (again: --seed %llu --only %llu)\n%s\n", static_cast<unsigned long long>(seed),
                    static_cast<unsigned long long>(number), static_cast<unsigned long long>(seed),
                    static_cast<unsigned long long>(number), c.text().c_str());
        if (++failed_ == failures) throw gave_up{};
    }

    [[nodiscard]] bool has_failed() const { return failed_ != 0; }
    [[nodiscard]] std::string summary() const {
        std::uint64_t refused = 0;
        std::string by_code;
        for (auto const& [code, times] : refused_) {
            refused += times;
            by_code += (by_code.empty() ? "" : ", ") + code + " x" + std::to_string(times);
        }
        std::string text = "judged " + std::to_string(judged_) + " tables, " + std::to_string(accesses_) +
                           " accesses: " + std::to_string(reached_) + " reached, " + std::to_string(refused) + " refused";
        if (!by_code.empty()) text += " (by code: " + by_code + ")";
        std::string by_name;
        for (auto const& [name, times] : deviations_)
            by_name += (by_name.empty() ? "" : ", ") + name + " x" + std::to_string(times);
        return text + ", deviations: " + (by_name.empty() ? "none" : by_name);
    }

private:
    std::uint64_t begun_{};
    std::uint64_t judged_{};
    std::uint64_t accesses_{};
    std::uint64_t reached_{};
    std::uint64_t failed_{};
    std::map<std::string, std::uint64_t> refused_;
    std::map<std::string, std::uint64_t> deviations_;
};

struct mode {
    char const* name;
    std::uint64_t tables;   // by default
    void (*hold)(session&); // throws skipped where the QEMU does not offer what it needs
};

// The main program of a judge. Exit status: 0 agreed, 1 failed, 2 wrong use, 77 skipped.
template <std::size_t N>
int run(int argc, char** argv, mode const (&modes)[N]) {
    session s;
    mode const* chosen = nullptr;
    std::uint64_t tables = 0;
    auto const usage = [&] {
        std::fprintf(stderr,
                     "usage: %s --mode NAME [--tables N] [--seed S] [--only TABLE] [--failures N] [--verbose]\n"
                     "       %s --list-modes\n",
                     argv[0], argv[0]);
        return 2;
    };
    for (int i = 1; i < argc; ++i) {
        std::string const option = argv[i];
        if (option == "--list-modes") {
            for (mode const& m : modes)
                std::printf("%s\n", m.name);
            return 0;
        }
        if (option == "--verbose") {
            s.verbose = true;
            continue;
        }
        if (++i == argc) return usage();
        std::string const value = argv[i];
        if (option == "--mode") {
            for (mode const& m : modes)
                if (value == m.name) chosen = &m;
            if (chosen == nullptr) return usage();
            continue;
        }
        char* end = nullptr;
        std::uint64_t const n = std::strtoull(value.c_str(), &end, 0);
        if (value.empty() || *end != '\0') return usage();
        if (option == "--tables") {
            tables = n;
        } else if (option == "--seed") {
            s.seed = n;
        } else if (option == "--only") {
            s.only = n;
        } else if (option == "--failures") {
            s.failures = n;
        } else {
            return usage();
        }
    }
    if (chosen == nullptr) return usage();
    s.tables = tables != 0 ? tables : chosen->tables;
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    try {
        chosen->hold(s);
    } catch (skipped const& reason) {
        std::printf("skipped: %s\n", reason.why.c_str());
        return 77;
    } catch (broken const& reason) {
        std::printf("FAILED: %s (seed %llu, table %llu)\n", reason.why.c_str(), static_cast<unsigned long long>(s.seed),
                    static_cast<unsigned long long>(s.number));
        return 1;
    } catch (gave_up const&) {
        std::printf("Too many failures.\n");
    }
    std::printf("QEMU %s, %s: %s\n", s.release.text().c_str(), chosen->name, s.summary().c_str());
    return s.has_failed() ? 1 : 0;
}

// --- the entries of a walk -----------------------------------------------------------------------------------------------

// One word of memory that a translation looked at.
struct seen_word {
    std::string table;
    std::uint64_t address;
    std::uint64_t value;

    // Of page tables, not of what leads to them.
    [[nodiscard]] bool is_of_page_tables() const { return table.substr(0, 5) == "level"; }
};

// A tracer for `iommu.translate(request, trace)`: keeps all that was read.
class recorder {
public:
    template <class Entry>
    void operator()(stagewalk::configuration_step<Entry> const& at) {
        for (std::size_t w = 0; w < Entry::words; ++w)
            words.push_back({at.table, at.address + w * 8, at.entry.word[w]});
    }
    template <stagewalk::stage S>
    void operator()(stagewalk::traced_step<S> const& at) {
        words.push_back({"level " + std::to_string(at.at.level), at.at.address, at.at.entry});
    }

    [[nodiscard]] std::string text() const {
        std::string all;
        for (auto const& w : words)
            all += "  " + w.table + " at " + hex(w.address) + ": " + hex(w.value) + "\n";
        return all;
    }

    std::vector<seen_word> words;
};

// --- probing -------------------------------------------------------------------------------------------------------------

// DMA that shows where it went.
class prober {
public:
    // While DMA is not translated: gives the device its words to write.
    // `scratch`: the address of a page of RAM that may be overwritten, as the device sees it, and it is what the processor sees.
    prober(machine& m, edu& device, std::uint64_t scratch) : machine_{&m}, device_{&device} {
        random_bits random{0x7ab1e};
        for (std::uint64_t i = 0; i < edu::buffer_bytes / 8; ++i)
            m.store(scratch + i * 8, word_[i] = random());
        device.read(scratch, 0, edu::buffer_bytes);
    }

    // Eight bytes, or fewer, are written to `iova`. `to`: where the library says that they go, 0 = nowhere.
    // \return whether they are there; false for nowhere.
    bool write(std::uint64_t iova, std::uint64_t to, std::uint64_t bytes = 8) {
        std::uint64_t const i = next_++ % slot;
        written_ = word_[i];
        if (to != 0) machine_->store(to, ~written_);
        device_->write(iova, i * 8, bytes);
        return to != 0 && std::memcmp(machine_->byte(to), &word_[i], bytes) == 0;
    }
    // The word that was written last, to look for it where it must not be.
    [[nodiscard]] std::uint64_t written() const { return written_; }

    // Eight bytes are read from `iova`, and a new word is put to `from`, where the library says that they are; 0 = nowhere.
    // What the device got is known after fetch(), which is itself DMA and may be refused: look at the fault registers first.
    void read(std::uint64_t iova, std::uint64_t from) {
        expected_ = fresh_();
        if (from != 0) machine_->store(from, expected_);
        device_->read(iova, slot * 8, 8);
    }
    // Whether the device got what read() put there. The device writes it to `iova`, which leads to `at`.
    bool fetch(std::uint64_t iova, std::uint64_t at) {
        machine_->store(at, ~expected_);
        device_->write(iova, slot * 8, 8);
        return machine_->load(at) == expected_;
    }

private:
    static constexpr std::uint64_t slot = edu::buffer_bytes / 8 - 1; // for what is read; the words before it are written

    machine* machine_;
    edu* device_;
    std::uint64_t word_[edu::buffer_bytes / 8]{};
    std::uint64_t next_{};
    std::uint64_t written_{};
    std::uint64_t expected_{};
    random_bits fresh_{0xf2e54};
};

// Both directions once, on a machine whose IOMMU lets everything pass: for a judge's first mode.
inline void hold_bypass(session& s, machine& m, edu& device) {
    std::uint64_t const page = m.of().usable + 0x10'0000;
    prober probe{m, device, page};
    struct passed {
        char const* what;
        bool good;
        [[nodiscard]] bool agrees() const { return good; }
        [[nodiscard]] std::string text() const { return what + std::string(good ? " arrived" : " did not arrive"); }
    };
    static constexpr std::array<deviation<passed>, 0> known{};
    while (s.next_table()) {
        std::uint64_t const at = page + 0x1000 + s.random.below(0x10'0000) * 8;
        s.count("");
        s.judge(passed{"a DMA write", probe.write(at, at)}, known);
        s.count("");
        probe.read(at + 0x1000, at + 0x1000);
        s.judge(passed{"a DMA read", probe.fetch(at, at)}, known);
    }
}

} // namespace judge
