#include "tools/cpu_quota.h"

#include "tests/control_groups.h"

namespace tiller::test {
namespace {

class CpuQuota : public ControlGroupFiles {
 protected:
  double quota(const std::string& own) const { return cpu_quota(groups(own)); }
};

TEST_F(CpuQuota, OfAContainerIsTheMountedFoldersOwn) {
  write("cpu.max", "150000 100000\n");
  EXPECT_EQ(quota("0::/\n"), 1.5);
}

TEST_F(CpuQuota, IsTheSmallestOfTheGroupsAround) {
  write("cpu.max", "max 100000\n");
  write("a/cpu.max", "200000 100000\n");
  write("a/b/cpu.max", "400000 100000\n");
  EXPECT_EQ(quota("0::/a/b\n"), 2);
  EXPECT_EQ(quota("0::/a\n"), 2);
  EXPECT_EQ(quota("0::/other\n"), 0);
}

TEST_F(CpuQuota, IsFoundInTheFirstVersionsFiles) {
  write("cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
  write("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota("5:memory:/x\n4:cpu,cpuacct:/of/the/host\n0::/\n"), 0.5);
  write("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(quota("4:cpu,cpuacct:/\n"), 0);
}

TEST_F(CpuQuota, IsNoneWhereNothingSaysSo) {
  EXPECT_EQ(quota(""), 0);
  EXPECT_EQ(quota("0::/../../x\n"), 0);
  EXPECT_EQ(quota("nonsense\n"), 0);
  write("cpu.max", "much\n");
  EXPECT_EQ(quota("0::/\n"), 0);
  EXPECT_EQ(cpu_quota({folder / "none", folder / "none"}), 0);
}

}  // namespace
}  // namespace tiller::test
