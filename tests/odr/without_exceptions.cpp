// Compiled with -fno-exceptions -fno-rtti: the text of an error reaches the function that the program defines.
#include <all_headers.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace heed {
void fail_without_exceptions(const char* kind, const char* text) {
  const bool as_expected = std::strcmp(kind, "ShapeError") == 0 && std::strcmp(text, "expected 2, found 3") == 0;
  std::printf("%s: %s\n", kind, text);
  std::exit(as_expected ? 0 : 1);
}
}  // namespace heed

int main() {
  HEED_EXPECTS(heed::ShapeError, std::strlen("abc") == 2, "expected ", 2, ", found ", std::strlen("abc"));
  return 1;  // not reached
}
