// What the report has in common with the other programs of bench.
#pragma once

#include "../support/columns.hpp"
#include "../support/files.hpp"
#include "../support/format.hpp"
#include "../support/interrupt.hpp"
#include "../support/machine.hpp"
#include "../support/progress.hpp"

namespace report {

using namespace bench;

}  // namespace report
