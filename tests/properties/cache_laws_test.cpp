// Whatever is done with a cache, what is left of it is what a replay from scratch makes of the rows that are left.
//
// HEED_PROPERTIES=N tries N random programs, and says how far it is; RC_PARAMS="seed=... reproduce=..." is RapidCheck's
// own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "world.hpp"

namespace heed::properties {
namespace {

constexpr int programs_in_ci = 150000;  // as many as run in two minutes

TEST(CacheLaws, HoldForRandomProgramsOverRandomStacks) {
  const char* chosen = std::getenv("HEED_PROPERTIES");
  const int programs = chosen == nullptr ? programs_in_ci : std::atoi(chosen);
  ASSERT_GT(programs, 0) << "HEED_PROPERTIES: expected a number of programs, found " << chosen;
  const std::string params = "max_success=" + std::to_string(programs) + (chosen == nullptr ? " seed=1" : "");
  setenv("RC_PARAMS", params.c_str(), 0);  // unless it is set

  int tried = 0;
  std::size_t steps = 0;
  const bool hold = rc::check("the cache laws", [&](const Program& program) {
    const Models models(program.layers);
    Random random(1, "rows");
    std::vector<World> worlds(1, World(models, program));
    for (const Step& step : program.steps) {
      World& world = worlds[static_cast<std::size_t>(step.world) % worlds.size()];
      if (step.action == Action::fork && worlds.size() < 3)
        worlds.push_back(World(world));
      else
        world.run(step, random);
    }
    for (World& world : worlds) world.verify(random);
    steps += program.steps.size();
    if (++tried % 10000 == 0) std::cerr << tried << " programs, " << steps << " steps" << std::endl;
  });
  EXPECT_TRUE(hold);
  std::cerr << tried << " programs, " << steps << " steps" << std::endl;
}

}  // namespace
}  // namespace heed::properties
