#define MODEL model_base
#include "across_sets.hpp"
