// One line that says how far a program is. On a terminal it is rewritten in place, elsewhere a few lines are printed.
#pragma once

#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "format.hpp"

namespace bench {

/// How long the rest will take: work in units of the slowest guess, corrected by what the work done so far took.
class Clock {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  void expect(double total) { expected_ = total, begun_ = seconds(); }
  void done(double expected) { done_ += expected; }
  double left() const {
    const double taken = seconds() - begun_;
    const double slower = done_ > expected_ / 50 ? taken / done_ : 1;
    return (expected_ - done_) * slower;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  double expected_ = 0;
  double done_ = 0;
  double begun_ = 0;
};

class Progress {
 public:
  explicit Progress(const Clock& clock) : clock_(clock) {}

  /// Now and then, as often as it can be read.
  void show(const std::string& what) {
    const double now = clock_.seconds();
    if (now - last_ < (terminal_ ? 0.2 : 10)) return;
    last_ = now;
    print(what);
  }
  void print(const std::string& what) {
    const std::string line = what + "  " + minutes(clock_.left()) + " left";
    std::fprintf(stderr, terminal_ ? "\r%s\033[K" : "%s\n", line.c_str());
    std::fflush(stderr);
    open_ = terminal_;
  }
  /// A line that stays.
  void say(const std::string& line) {
    std::fprintf(stderr, open_ ? "\r%s\033[K\n" : "%s\n", line.c_str());
    open_ = false;
  }

 private:
  const Clock& clock_;
  bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool open_ = false;
  double last_ = -1e9;
};

}  // namespace bench
