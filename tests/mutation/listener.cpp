// Belongs to a build of the tests over instrumented headers: puts the mutant in force that the environment names, or writes
// down which places each case reaches, and how long it takes.
#define CATCH_CONFIG_EXTERNAL_INTERFACES // version 2 shows listeners only then
#include "catch.hpp"
#include "mutant.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <iterator>

namespace {

namespace mutation = stagewalk_mutation;

#if STAGEWALK_CATCH_VERSION >= 3
using listener_base = Catch::EventListenerBase;
char const* name_of(Catch::TestCaseStats const& stats) { return stats.testInfo->name.c_str(); }
char const* file_of(Catch::TestCaseStats const& stats) { return stats.testInfo->lineInfo.file; }
#else
using listener_base = Catch::TestEventListenerBase;
char const* name_of(Catch::TestCaseStats const& stats) { return stats.testInfo.name.c_str(); }
char const* file_of(Catch::TestCaseStats const& stats) { return stats.testInfo.lineInfo.file; }
#endif

class listener : public listener_base {
public:
    using listener_base::listener_base;

    void testRunStarting(Catch::TestRunInfo const& info) override {
        listener_base::testRunStarting(info);
        if (char const* const number = std::getenv("STAGEWALK_MUTANT"))
            mutation::active = static_cast<unsigned>(std::strtoul(number, nullptr, 10));
        if (char const* const path = std::getenv("STAGEWALK_REACHED")) out_ = std::fopen(path, "w");
    }
    void testCaseStarting(Catch::TestCaseInfo const& info) override {
        listener_base::testCaseStarting(info);
        if (out_ == nullptr) return;
        for (bool& r : mutation::reached)
            r = false;
        start_ = std::chrono::steady_clock::now();
    }
    void testCaseEnded(Catch::TestCaseStats const& stats) override {
        if (out_ != nullptr) {
            std::chrono::duration<double> const took = std::chrono::steady_clock::now() - start_;
            std::fprintf(out_, "%s\t%s\t%d\t%.6f\t", name_of(stats), file_of(stats), stats.totals.assertions.failed == 0,
                         took.count());
            for (unsigned i = 0; i < std::size(mutation::reached); ++i)
                if (mutation::reached[i]) std::fprintf(out_, "%u ", i);
            std::fprintf(out_, "\n");
            std::fflush(out_);
        }
        listener_base::testCaseEnded(stats);
    }

private:
    std::FILE* out_ = nullptr;
    std::chrono::steady_clock::time_point start_;
};

CATCH_REGISTER_LISTENER(listener)

} // namespace
