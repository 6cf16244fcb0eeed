#include "across.hpp"

int main() {
  return rows_across(heed::Sequences({2, 3})) == 5 ? 0 : 1;
}
