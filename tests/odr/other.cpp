#include "other.hpp"

#include <all_headers.hpp>

int version_seen_by_other() {
  return HEED_VERSION_MINOR;
}
