// Runs a fuzz harness without libFuzzer: replay SEED_FOLDER|FILE... [-n COUNT]
// The files, the files with single bytes changed, then COUNT pseudo-random inputs: the same ones in every
// run.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

using bytes = std::vector<std::uint8_t>;

class generator { // xorshift64*
public:
    std::uint64_t operator()() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1Du;
    }

private:
    std::uint64_t state_ = 0x9E3779B97F4A7C15u;
};

void run(bytes const& input) { LLVMFuzzerTestOneInput(input.data(), input.size()); }

bytes contents(std::filesystem::path const& path) {
    std::ifstream file{path, std::ios::binary};
    return {std::istreambuf_iterator<char>{file}, std::istreambuf_iterator<char>{}};
}

} // namespace

int main(int count, char** words) {
    std::uint64_t random_inputs = 20000;
    std::vector<std::filesystem::path> files;
    for (int i = 1; i < count; ++i) {
        std::string_view const word = words[i];
        if (word == "-n" && i + 1 < count) {
            std::string_view const number = words[++i];
            auto const [end, problem] = std::from_chars(number.data(), number.data() + number.size(), random_inputs);
            if (problem != std::errc{} || end != number.data() + number.size()) {
                std::fprintf(stderr, "replay: -n needs a number\n");
                return 2;
            }
        } else if (std::filesystem::is_directory(word)) {
            for (auto const& entry : std::filesystem::recursive_directory_iterator{word})
                if (entry.is_regular_file()) files.push_back(entry.path());
        } else if (std::filesystem::is_regular_file(word)) {
            files.emplace_back(word);
        } else {
            std::printf("no seeds in %s\n", words[i]);
        }
    }
    std::sort(files.begin(), files.end());

    generator next;
    std::uint64_t mutated = 0;
    run({});
    for (auto const& path : files) {
        bytes input = contents(path);
        run(input);
        for (int i = 0; i < 200 && !input.empty(); ++i, ++mutated) {
            std::uint64_t const r = next();
            auto& byte = input[(r >> 8) % input.size()];
            auto const before = byte;
            byte = static_cast<std::uint8_t>(r);
            run(input);
            if (r >> 63) // half of the changes stay, so that changes add up
                byte = before;
        }
    }
    for (std::uint64_t i = 0; i < random_inputs; ++i) {
        bytes input(next() % (i % 16 == 0 ? 4096 : 256));
        for (auto& byte : input)
            byte = static_cast<std::uint8_t>(next() >> 56);
        run(input);
    }
    std::printf("%zu seeds, %llu changed, %llu random inputs\n", files.size(), static_cast<unsigned long long>(mutated),
                static_cast<unsigned long long>(random_inputs));
}
