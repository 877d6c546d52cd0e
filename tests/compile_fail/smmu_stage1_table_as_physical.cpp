// Nested stage-1 tables lie in the guest's memory: they are not read at their addresses in the host's.
// expect: no matching function for call to .walk
// note: constraints not satisfied|serves
#include <stagewalk/memory/flat.hpp>
#include <stagewalk/smmu/iommu.hpp>

namespace sw = stagewalk;

using guest_stage = sw::smmu::stage1<sw::smmu::granule::k4, sw::iova, sw::intermediate<sw::pa>>;
using host_stage = sw::smmu::stage1<sw::smmu::granule::k4, sw::iova, sw::pa>;

#ifdef STAGEWALK_EXPECT_OK
bool ask(host_stage const& s, sw::flat<sw::pa>& host) { return static_cast<bool>(walk(s, host, sw::iova{0}, sw::read)); }
#else
bool ask(guest_stage const& s, sw::flat<sw::pa>& host) { return static_cast<bool>(walk(s, host, sw::iova{0}, sw::read)); }
#endif
