# Answers as Eigen 5 does (SameMajorVersion), which refuses every request for a version 3.
set(PACKAGE_VERSION 5.0.1)
set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(NOT PACKAGE_FIND_VERSION OR PACKAGE_FIND_VERSION_MAJOR EQUAL 5)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
