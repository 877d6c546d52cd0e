// The test bench itself: on each machine, while its IOMMU is off, DMA reaches memory in both directions.
#include "judge.hpp"

namespace {

using namespace judge;

void hold(session& s, emulator const& qemu, board const& b) {
    s.release = qemu.release();
    machine m{qemu, b, edu::option(4)};
    edu device{m, 4};
    hold_bypass(s, m, device);
}

void vtd(session& s) { hold(s, {"STAGEWALK_QEMU_X86", "qemu-system-x86_64"}, pc({"-device", "intel-iommu"})); }
void amdvi(session& s) { hold(s, {"STAGEWALK_QEMU_X86", "qemu-system-x86_64"}, pc({"-device", "amd-iommu"})); }
void smmu(session& s) { hold(s, {"STAGEWALK_QEMU_ARM", "qemu-system-aarch64"}, arm_virt({})); }

constexpr mode modes[] = {{"vtd", 20, vtd}, {"smmu", 20, smmu}, {"amdvi", 20, amdvi}};

} // namespace

int main(int argc, char** argv) { return run(argc, argv, modes); }
