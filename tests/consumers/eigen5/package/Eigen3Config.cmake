# Stands for an installed Eigen 5: its target, with the headers that EIGEN_INCLUDE names.
string(REPLACE "|" ";" directories "${EIGEN_INCLUDE}")
add_library(Eigen3::Eigen INTERFACE IMPORTED)
target_include_directories(Eigen3::Eigen INTERFACE ${directories})
