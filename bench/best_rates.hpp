// What this machine does at best on one thread: what the rates of benchmarks are shown as fractions of.
#pragma once

#include "limits/machine_rates.hpp"

namespace heed::bench {

/// Work a second, 0 if there is nothing to do it. All rates are measured when one is first asked for, in about a second.
double best_rate(limits::Rate rate);

/// The nearest level of memory of which so many bytes take at most half; else DRAM.
limits::Rate level_of(double bytes);

}  // namespace heed::bench
