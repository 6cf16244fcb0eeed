// Ctrl-C asks a program to stop after the step at hand. A second one ends it at once.
#pragma once

#include <csignal>

namespace bench {

inline volatile std::sig_atomic_t interrupt_signal = 0;

inline bool interrupted() {
  return interrupt_signal != 0;
}

inline void stop_on_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int signal) { interrupt_signal = signal; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

}  // namespace bench
