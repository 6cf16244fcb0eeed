// Compiled with -mavx2 -mfma.
#define SUM_OF_PRODUCTS sum_of_products_avx2
#include "sum_of_products.hpp"
