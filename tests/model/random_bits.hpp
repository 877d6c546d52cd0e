// Pseudo-random numbers that are the same on every machine and in every run (splitmix64).
#pragma once

#include <cstddef>
#include <cstdint>

class random_bits {
public:
    explicit random_bits(std::uint64_t seed) : state_{seed} {}

    std::uint64_t operator()() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        return z ^ z >> 31;
    }
    // 0 to n - 1
    std::uint64_t below(std::uint64_t n) { return (*this)() % n; }
    unsigned small(unsigned n) { return static_cast<unsigned>(below(n)); }
    // true once in n times
    bool one_in(std::uint64_t n) { return below(n) == 0; }
    // a number of 0 to 64 bits, all widths alike
    std::uint64_t any_width() {
        std::uint64_t const width = below(65);
        return width == 0 ? 0 : (*this)() >> (64 - width);
    }
    template <class T, std::size_t N>
    T const& pick(T const (&items)[N]) {
        return items[below(N)];
    }

private:
    std::uint64_t state_;
};
