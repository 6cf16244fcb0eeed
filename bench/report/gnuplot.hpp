// Runs gnuplot on a script.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

namespace report {

enum class Drawn { yes, no_gnuplot, failed };

/// What gnuplot complains about goes to a file. In a process group of its own, so that Ctrl-C does not spoil a chart.
inline Drawn run_gnuplot(const std::filesystem::path& script, const std::filesystem::path& complaints) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, complaints.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  std::string name = "gnuplot", file = script.string();
  char* const arguments[] = {name.data(), file.data(), nullptr};
  pid_t process = 0;
  const int error = posix_spawnp(&process, "gnuplot", &files, &attributes, arguments, environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return Drawn::no_gnuplot;
  int status = 0;
  while (waitpid(process, &status, 0) < 0)
    if (errno != EINTR) return Drawn::failed;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return Drawn::no_gnuplot;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? Drawn::yes : Drawn::failed;
}

}  // namespace report
