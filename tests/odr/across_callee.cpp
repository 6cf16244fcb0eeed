#include "across.hpp"

heed::Index rows_across(const heed::Sequences& sequences) {
  return sequences.rows();
}
