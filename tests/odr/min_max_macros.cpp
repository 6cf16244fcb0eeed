// As windows.h does: heed's own code survives the macros. The standard library and Eigen, which here do not, come before
// them.
#include <bits/stdc++.h>  // all of it, in the standard library of GCC

#if __has_include(<Eigen/ThreadPool>)
#include <Eigen/ThreadPool>
#else
#include <unsupported/Eigen/CXX11/ThreadPool>
#endif

#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))

#include <all_headers.hpp>

#include "other.hpp"

int version_seen_behind_macros() {
  return HEED_VERSION_MINOR;
}
