// A QEMU of this machine as a test bench: started for one test, spoken to in the qtest protocol, with guest RAM that is mapped
// here too. What it does not offer makes the test skipped; what it does not answer in time makes it fail.
#pragma once

#include <stagewalk/memory/flat.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <compare>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace judge {

// This test cannot be held here: ctest shows it as skipped, with the reason.
struct skipped {
    std::string why;
};

// The test bench itself broke down, which says nothing of the library; a failure all the same.
struct broken {
    std::string why;
};

struct version {
    unsigned major_number{};
    unsigned minor_number{};
    unsigned micro_number{};

    friend constexpr auto operator<=>(version const&, version const&) = default;
    [[nodiscard]] std::string text() const {
        return std::to_string(major_number) + "." + std::to_string(minor_number) + "." + std::to_string(micro_number);
    }
};

inline std::string hex(std::uint64_t value) {
    char digits[16];
    auto const end = std::to_chars(digits, digits + sizeof digits, value, 16).ptr;
    return "0x" + std::string(digits, end);
}

// --- processes ---------------------------------------------------------------------------------------------------------

// A child process with pipes at its standard input and output. It dies with this object, and with this process.
class child {
public:
    child(std::vector<std::string> const& command, bool quiet) {
        int in[2];
        int out[2];
        if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) throw broken{"no pipe"};
        std::vector<char*> argv;
        for (auto const& word : command)
            argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        pid_ = fork();
        if (pid_ < 0) throw broken{"no process"};
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            dup2(in[0], STDIN_FILENO);
            dup2(out[1], STDOUT_FILENO);
            if (quiet) dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
            execv(argv[0], argv.data());
            _exit(127);
        }
        close(in[0]);
        close(out[1]);
        to_ = in[1];
        from_ = out[0];
        fcntl(to_, F_SETFL, O_NONBLOCK);
    }
    child(child const&) = delete;
    child& operator=(child const&) = delete;
    ~child() {
        close(to_);
        close(from_);
        kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
    }

    [[nodiscard]] int to() const { return to_; }
    [[nodiscard]] int from() const { return from_; }

private:
    pid_t pid_{};
    int to_{};
    int from_{};
};

// What a command prints.
inline std::string output_of(std::vector<std::string> const& command) {
    child const run{command, true};
    std::string text;
    char piece[4096];
    for (;;) {
        pollfd ready{run.from(), POLLIN, 0};
        if (poll(&ready, 1, 20'000) <= 0) throw broken{command[0] + " does not answer"};
        ssize_t const got = ::read(run.from(), piece, sizeof piece);
        if (got <= 0) return text;
        text.append(piece, static_cast<std::size_t>(got));
    }
}

// --- the QEMU that is installed ------------------------------------------------------------------------------------------

class emulator {
public:
    // `variable` names an environment variable that overrides the search of PATH for `program`.
    emulator(char const* variable, std::string const& program) : path_{find(variable, program)} {
        std::string const text = output_of({path_, "-version"});
        std::string_view rest = text;
        std::size_t const at = rest.find("version ");
        if (at == std::string_view::npos) throw skipped{path_ + " does not tell its version"};
        rest.remove_prefix(at + 8);
        for (unsigned* part : {&version_.major_number, &version_.minor_number, &version_.micro_number}) {
            auto const end = std::from_chars(rest.data(), rest.data() + rest.size(), *part).ptr;
            rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
            if (rest.empty() || rest.front() != '.') break;
            rest.remove_prefix(1);
        }
        has_qtest_ = offers({"-accel", "help"}, "qtest");
    }

    [[nodiscard]] std::string const& path() const { return path_; }
    [[nodiscard]] version release() const { return version_; }
    // Whether virtual time stands still until it is told to go on.
    [[nodiscard]] bool has_qtest() const { return has_qtest_; }
    // Whether `word` stands alone in what QEMU prints for these options.
    [[nodiscard]] bool offers(std::vector<std::string> options, std::string_view word) const {
        options.insert(options.begin(), path_);
        std::string const text = output_of(options);
        auto const is_part = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        };
        for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
            std::size_t const end = at + word.size();
            if ((at == 0 || !is_part(text[at - 1])) && (end == text.size() || !is_part(text[end]))) return true;
        }
        return false;
    }
    // Whether a device has a property.
    [[nodiscard]] bool has_property(std::string const& device, std::string_view property) const {
        return offers({"-device", device + ",help"}, property);
    }

private:
    static std::string find(char const* variable, std::string const& program) {
        if (char const* const given = std::getenv(variable); given != nullptr && *given != '\0') {
            if (access(given, X_OK) == 0) return given;
            throw skipped{std::string(variable) + " names no program: " + given};
        }
        char const* const path = std::getenv("PATH");
        std::string_view folders = path != nullptr ? path : "/usr/bin:/bin";
        while (!folders.empty()) {
            std::size_t const end = std::min(folders.find(':'), folders.size());
            std::string const candidate = std::string(folders.substr(0, end)) + "/" + program;
            if (access(candidate.c_str(), X_OK) == 0) return candidate;
            folders.remove_prefix(std::min(end + 1, folders.size()));
        }
        throw skipped{"no " + program + " on this machine"};
    }

    std::string path_;
    version version_;
    bool has_qtest_{};
};

// --- guest RAM -----------------------------------------------------------------------------------------------------------

// A file in memory that this process and QEMU share.
class shared_file {
public:
    explicit shared_file(std::uint64_t bytes) : bytes_{bytes}, descriptor_{memfd_create("guest", 0)} {
        if (descriptor_ < 0 || ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) throw broken{"no memory for a guest"};
        void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
        if (mapped == MAP_FAILED) throw broken{"no memory for a guest"};
        base_ = static_cast<unsigned char*>(mapped);
    }
    shared_file(shared_file const&) = delete;
    shared_file& operator=(shared_file const&) = delete;
    ~shared_file() {
        munmap(base_, bytes_);
        close(descriptor_);
    }

    [[nodiscard]] unsigned char* base() const { return base_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    // Its name in a process that inherited it.
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

private:
    std::uint64_t bytes_;
    int descriptor_;
    unsigned char* base_{};
};

// --- a running machine ---------------------------------------------------------------------------------------------------

// What tells the machines apart.
struct board {
    std::vector<std::string> options;  // the machine and its processor
    std::uint64_t ram_origin;          // the physical address of RAM
    std::uint64_t ram_bytes;           // its size
    std::uint64_t usable;              // from here on, up to the end of RAM, is nothing but RAM
    std::uint64_t pci_window;          // where BARs may lie
    std::uint64_t pci_configuration;   // the memory-mapped configuration space, 0 = ports CF8h and CFCh
    std::vector<unsigned char> boot{}; // a program that halts the processor
    std::uint64_t boot_at{};           // where in RAM it lies; 0: it is the firmware
};

// An x86 PC with PCI Express. Its IOMMU is a device.
inline board pc(std::vector<std::string> const& iommu) {
    board b{{"-machine", "q35,memory-backend=ram"}, 0, std::uint64_t{512} << 20, 0x100'0000, 0xe000'0000, 0, {}, 0};
    b.boot.assign(65536, 0xf4);                                       // hlt
    static constexpr unsigned char halt[] = {0xfa, 0xf4, 0xeb, 0xfd}; // cli; hlt; jmp to the hlt
    std::copy(std::begin(halt), std::end(halt), b.boot.end() - 16);
    b.options.insert(b.options.end(), iommu.begin(), iommu.end());
    return b;
}

// An Arm board whose PCI Express devices lie behind an SMMUv3.
inline board arm_virt(std::vector<std::string> const& smmu) {
    board b{{"-machine", "virt,acpi=off,gic-version=3,iommu=smmuv3,memory-backend=ram", "-cpu", "max"},
            0x4000'0000,
            std::uint64_t{512} << 20,
            0x4200'0000,
            0x1000'0000,
            0x40'1000'0000,
            {0x7f, 0x20, 0x03, 0xd5, 0xff, 0xff, 0xff, 0x17}, // wfi; b .-4
            0x4100'0000};
    b.options.insert(b.options.end(), smmu.begin(), smmu.end());
    return b;
}

class machine {
public:
    using clock = std::chrono::steady_clock;

    // `limit`: how long the machine may take for everything, so that ctest never waits for one that hangs.
    machine(emulator const& program, board const& b, std::vector<std::string> const& devices,
            std::chrono::seconds limit = std::chrono::seconds{300})
        : board_{b}, deadline_{clock::now() + limit}, stepped_{program.has_qtest()}, ram_{b.ram_bytes}, boot_{b.boot.size()},
          qemu_{command(program, devices), std::getenv("STAGEWALK_QEMU_MESSAGES") == nullptr} {
        std::signal(SIGPIPE, SIG_IGN);
        (void)read32(0); // it runs, or says so now
    }

    // --- guest RAM ---

    // The memory policy of the guest's RAM.
    [[nodiscard]] stagewalk::flat<stagewalk::pa> memory() const {
        return {ram_.base(), ram_.bytes(), stagewalk::pa{board_.ram_origin}};
    }
    [[nodiscard]] board const& of() const { return board_; }
    // The host's pointer to the byte at physical address `at`, which lies in RAM.
    [[nodiscard]] unsigned char* byte(std::uint64_t at) const { return ram_.base() + (at - board_.ram_origin); }
    // Whether `bytes` bytes from `at` on are RAM.
    [[nodiscard]] bool is_ram(std::uint64_t at, std::uint64_t bytes) const {
        return at >= board_.ram_origin && at - board_.ram_origin <= ram_.bytes() - bytes;
    }
    [[nodiscard]] std::uint64_t load(std::uint64_t at) const {
        std::uint64_t word;
        std::memcpy(&word, byte(at), sizeof word);
        return word;
    }
    void store(std::uint64_t at, std::uint64_t word) const { std::memcpy(byte(at), &word, sizeof word); }
    void clear(std::uint64_t at, std::uint64_t bytes) const { std::memset(byte(at), 0, bytes); }

    // --- registers, one at a time ---

    [[nodiscard]] std::uint32_t read32(std::uint64_t at) { return static_cast<std::uint32_t>(only("readl " + hex(at))); }
    [[nodiscard]] std::uint64_t read64(std::uint64_t at) { return only("readq " + hex(at)); }
    void write32(std::uint64_t at, std::uint32_t value) {
        queue_write32(at, value);
        exchange();
    }
    void write64(std::uint64_t at, std::uint64_t value) {
        queue_write64(at, value);
        exchange();
    }

    // --- registers, many at a time: queue any number of these, then exchange() ---

    // The place of the answer in what exchange() returns.
    std::size_t queue_read32(std::uint64_t at) { return queue("readl " + hex(at)); }
    std::size_t queue_read64(std::uint64_t at) { return queue("readq " + hex(at)); }
    void queue_write32(std::uint64_t at, std::uint32_t value) { queue("writel " + hex(at) + " " + hex(value)); }
    void queue_write64(std::uint64_t at, std::uint64_t value) { queue("writeq " + hex(at) + " " + hex(value)); }
    // Lets virtual time go on, where it does not do so by itself.
    void queue_time(std::uint64_t nanoseconds) {
        if (stepped_) queue("clock_step " + std::to_string(nanoseconds));
    }
    // Whether a queued step of time makes all that is due happen at once.
    [[nodiscard]] bool is_stepped() const { return stepped_; }
    // Sends what is queued and waits for all answers, in the order of the requests; writes answer 0.
    std::vector<std::uint64_t> const& exchange() {
        answers_.clear();
        std::size_t sent = 0;
        while (answers_.size() < queued_) {
            pollfd ready[2] = {{qemu_.from(), POLLIN, 0}, {qemu_.to(), POLLOUT, 0}};
            wait(ready, sent < out_.size() ? 2 : 1);
            if ((ready[1].revents & (POLLOUT | POLLERR)) != 0) {
                ssize_t const done = ::write(qemu_.to(), out_.data() + sent, out_.size() - sent);
                if (done > 0) sent += static_cast<std::size_t>(done);
            }
            if ((ready[0].revents & (POLLIN | POLLHUP)) != 0) take();
        }
        out_.clear();
        queued_ = 0;
        return answers_;
    }

    // --- PCI configuration ---

    void configure(std::uint32_t devfn, std::uint32_t offset, std::uint32_t value) {
        if (board_.pci_configuration != 0) {
            write32(board_.pci_configuration + (devfn << 12) + offset, value);
            return;
        }
        queue("outl 0xcf8 " + hex(0x8000'0000 | devfn << 8 | offset));
        queue("outl 0xcfc " + hex(value));
        exchange();
    }
    [[nodiscard]] std::uint32_t configuration(std::uint32_t devfn, std::uint32_t offset) {
        if (board_.pci_configuration != 0) return read32(board_.pci_configuration + (devfn << 12) + offset);
        queue("outl 0xcf8 " + hex(0x8000'0000 | devfn << 8 | offset));
        return static_cast<std::uint32_t>(only("inl 0xcfc"));
    }

private:
    std::vector<std::string> command(emulator const& program, std::vector<std::string> const& devices) {
        std::vector<std::string> c{program.path()};
        c.insert(c.end(), board_.options.begin(), board_.options.end());
        std::string const bytes = std::to_string(board_.ram_bytes);
        for (std::string const& word :
             {std::string("-object"), "memory-backend-file,id=ram,share=on,size=" + bytes + ",mem-path=" + ram_.path(),
              std::string("-m"), "size=" + std::to_string(board_.ram_bytes >> 20) + "M", std::string("-nodefaults"),
              std::string("-display"), std::string("none"), std::string("-monitor"), std::string("none"), std::string("-serial"),
              std::string("none"), std::string("-qtest"), std::string("stdio"), std::string("-qtest-log"), std::string("none")})
            c.push_back(word);
        if (stepped_) {
            c.insert(c.end(), {"-accel", "qtest"});
        } else {
            // The processor halts at once, and virtual time jumps from timer to timer.
            c.insert(c.end(), {"-accel", "tcg", "-icount", "shift=0,sleep=off"});
        }
        if (board_.boot_at == 0) {
            std::memcpy(boot_.base(), board_.boot.data(), board_.boot.size());
            c.insert(c.end(), {"-bios", boot_.path()});
        } else if (!stepped_) {
            std::memcpy(byte(board_.boot_at), board_.boot.data(), board_.boot.size());
            c.insert(c.end(), {"-device", "loader,addr=" + hex(board_.boot_at) + ",cpu-num=0"});
        }
        c.insert(c.end(), devices.begin(), devices.end());
        return c;
    }

    std::size_t queue(std::string const& line) {
        out_ += line;
        out_ += '\n';
        return queued_++;
    }
    std::uint64_t only(std::string const& line) {
        std::size_t const at = queue(line);
        return exchange()[at];
    }

    void wait(pollfd* ready, nfds_t count) const {
        auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - clock::now()).count();
        if (left <= 0 || poll(ready, count, static_cast<int>(std::min<long long>(left, 30'000))) <= 0)
            throw broken{"QEMU does not answer in time"};
    }

    // Reads what is there, and keeps whole answers.
    void take() {
        char piece[65536];
        ssize_t const got = ::read(qemu_.from(), piece, sizeof piece);
        if (got <= 0) throw broken{"QEMU ended (its messages are shown where STAGEWALK_QEMU_MESSAGES is set)"};
        in_.append(piece, static_cast<std::size_t>(got));
        std::size_t begin = 0;
        for (std::size_t end; (end = in_.find('\n', begin)) != std::string::npos; begin = end + 1)
            read_line(std::string_view{in_}.substr(begin, end - begin));
        in_.erase(0, begin);
    }
    void read_line(std::string_view line) {
        if (line.substr(0, 3) == "IRQ") return; // an interrupt line moved
        if (line.substr(0, 2) != "OK") throw broken{"QEMU answers: " + std::string(line)};
        std::uint64_t value = 0;
        if (line.size() > 5 && line.substr(2, 3) == " 0x") std::from_chars(line.data() + 5, line.data() + line.size(), value, 16);
        answers_.push_back(value);
    }

    board board_;
    clock::time_point deadline_;
    bool stepped_;
    shared_file ram_;
    shared_file boot_;
    child qemu_;
    std::string out_;
    std::string in_;
    std::size_t queued_{};
    std::vector<std::uint64_t> answers_;
};

} // namespace judge
