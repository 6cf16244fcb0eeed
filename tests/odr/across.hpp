// A function whose caller and callee may be compiled for different instruction sets. Its name says which heed it speaks.
#pragma once

#include <heed/core/sequences.hpp>

heed::Index rows_across(const heed::Sequences& sequences);
