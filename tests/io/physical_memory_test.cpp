#include "io/physical_memory.h"

#include "tests/control_groups.h"

namespace tiller::test {
namespace {

class PhysicalMemory : public ControlGroupFiles {
 protected:
  double memory(const std::string& own) const { return physical_memory(groups(own)); }

  const double machine = physical_memory({"none", "none"});
};

TEST_F(PhysicalMemory, IsTheMachinesWhereNothingLimitsIt) {
  EXPECT_GT(machine, 1e8);
  EXPECT_EQ(memory(""), machine);
  write("memory.max", "max\n");
  EXPECT_EQ(memory("0::/\n"), machine);
  write("memory.max", "999999999999999999\n");
  EXPECT_EQ(memory("0::/\n"), machine);
  EXPECT_LE(physical_memory(), machine);
}

TEST_F(PhysicalMemory, IsTheLeastOfTheGroupsAround) {
  write("memory.max", "max\n");
  write("a/memory.max", "50000000\n");
  write("a/b/memory.max", "70000000\n");
  EXPECT_EQ(memory("0::/a/b\n"), 5e7);
  EXPECT_EQ(memory("0::/\n"), machine);
}

TEST_F(PhysicalMemory, IsFoundInTheFirstVersionsFiles) {
  write("memory/memory.limit_in_bytes", "60000000\n");
  EXPECT_EQ(memory("5:memory:/of/the/host\n4:cpu,cpuacct:/x\n0::/\n"), 6e7);
  write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(memory("5:memory:/\n"), machine);
}

}  // namespace
}  // namespace tiller::test
