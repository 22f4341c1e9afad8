#include "io/local_processes.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace tiller {
namespace {

class LocalProcesses : public testing::Test {
 protected:
  LocalProcesses() { clear(); }
  ~LocalProcesses() override { clear(); }
  static void clear() {
    for (const char* name : {"LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS",
                             "SLURM_STEP_TASKS_PER_NODE"})
      ::unsetenv(name);
  }
  static int with(const char* name, const char* value) {
    ::setenv(name, value, 1);
    const int found = local_processes();
    ::unsetenv(name);
    return found;
  }
};

TEST_F(LocalProcesses, AreWhatALauncherSays) {
  EXPECT_EQ(local_processes(), 1);
  EXPECT_EQ(with("LOCAL_WORLD_SIZE", "8"), 8);
  EXPECT_EQ(with("OMPI_COMM_WORLD_LOCAL_SIZE", "3"), 3);
  EXPECT_EQ(with("MPI_LOCALNRANKS", "2"), 2);
}

TEST_F(LocalProcesses, AreSlurmsMostOnAMachine) {
  EXPECT_EQ(with("SLURM_STEP_TASKS_PER_NODE", "4"), 4);
  EXPECT_EQ(with("SLURM_STEP_TASKS_PER_NODE", "4(x2),3"), 4);
  EXPECT_EQ(with("SLURM_STEP_TASKS_PER_NODE", "2,16(x9)"), 16);
}

TEST_F(LocalProcesses, AreOneWhereItMakesNoSense) {
  for (const char* text : {"", "many", "-3", "0", ",", "99999999999999999999,"}) {
    EXPECT_GE(with("LOCAL_WORLD_SIZE", text), 1) << text;
    EXPECT_LE(with("LOCAL_WORLD_SIZE", text), 1 << 20) << text;
  }
}

/// torchrun inside of a Slurm job.
TEST_F(LocalProcesses, AreTheInnerLaunchers) {
  ::setenv("SLURM_STEP_TASKS_PER_NODE", "1", 1);
  EXPECT_EQ(with("LOCAL_WORLD_SIZE", "8"), 8);
}

}  // namespace
}  // namespace tiller
