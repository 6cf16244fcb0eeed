// Compiled with -mavx2 -mfma.
#define MODEL model_avx2
#include "across_sets.hpp"
