#include "answer_text.hpp"
#include "commands.hpp"
#include "device_list.hpp"
#include "number.hpp"
#include "text.hpp"
#include "unit.hpp"

namespace inspect {

int walk_one(options const& o) {
    capture c{o.input};
    auto const unit = open_unit(c, c.memory, !o.no_ranges);
    require_source(*unit, o.source.value_or(0));
    question const q{o.source.value_or(0), o.pasid.value_or(no_pasid), o.address,
                     o.read_write ? stagewalk::read_write
                     : o.write    ? stagewalk::write
                                  : stagewalk::read};
    traced const t = unit->trace(q);
    if (o.json) {
        json j = json_head("walk", c);
        j["request"] = {{"source_id", hex_0x(q.source)},
                        {"pasid", q.pasid == no_pasid ? json{} : json(hex_0x(q.pasid))},
                        {"address", hex_0x(q.address)},
                        {"access", rights_text(q.access)}};
        j.update(walk_json(t));
        print(j.dump(1) + '\n');
    } else {
        print(question_text(q, unit->sources_are_bdfs()) + "\n\n" + walk_text(t, 0));
    }
    finish_output();
    return 0;
}

} // namespace inspect
