/// \file
/// All of stagewalk.
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
