// A program whose translation units all include every header: nothing is defined twice.
#include <all_headers.hpp>

#include "other.hpp"

int main() {
  const bool agree = version_seen_by_other() == HEED_VERSION_MINOR && version_seen_behind_macros() == HEED_VERSION_MINOR;
  return agree ? 0 : 1;
}
