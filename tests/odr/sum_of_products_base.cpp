#define SUM_OF_PRODUCTS sum_of_products_base
#include "sum_of_products.hpp"
