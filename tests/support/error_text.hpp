// What an error says.
#pragma once

#include <string>

/// The text of the Error that f raises, or "no error".
template <class Error, class F>
std::string error_text(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
