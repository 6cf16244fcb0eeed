#pragma once

#include "model_errors.hpp"

ModelErrors inlined_errors();
