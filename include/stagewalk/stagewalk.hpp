/// \file
/// All of stagewalk.
///
/// \namespace stagewalk
/// The library. Its names live in the inline namespace `v0`, so that two versions in one program stay apart.
///
/// \namespace stagewalk::vtd
/// Intel VT-d: registers, tables, faults and the unit. "VT-d 9.3" is a section of its architecture specification.
///
/// \namespace stagewalk::literals
/// Sizes in bytes: `4_KiB`, `2_MiB`, `1_GiB`, `1_TiB`.
#pragma once

#include "version.hpp"

#include "core/access.hpp"
#include "core/address.hpp"
#include "core/attributes.hpp"
#include "core/fault.hpp"
#include "core/field.hpp"
#include "core/outcome.hpp"
#include "core/range.hpp"
#include "core/size.hpp"
#include "core/translation.hpp"

#include "memory/array.hpp"
#include "memory/callback.hpp"
#include "memory/concept.hpp"
#include "memory/flat.hpp"
#include "memory/recording.hpp"
#include "memory/translated.hpp"
#include "memory/windowed.hpp"
#include "memory/word.hpp"

#include "walk/leaves.hpp"
#include "walk/stage.hpp"
#include "walk/trace.hpp"
#include "walk/trusted.hpp"
#include "walk/walk.hpp"

#include "translate/concept.hpp"
#include "translate/nested.hpp"
#include "translate/single.hpp"

#include "build/allocator.hpp"
#include "build/table.hpp"

#include "vtd/capabilities.hpp"
#include "vtd/context_table.hpp"
#include "vtd/fault_record.hpp"
#include "vtd/interrupt_range.hpp"
#include "vtd/iommu.hpp"
#include "vtd/policy.hpp"
#include "vtd/reason.hpp"
#include "vtd/reason_text.hpp"
#include "vtd/request.hpp"
#include "vtd/root_table.hpp"
#include "vtd/second_stage.hpp"
