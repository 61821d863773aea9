#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <unistd.h>

#include "base/errors.h"
#include "tests/unit/trainer_collective/group_checks.h"
#include "trainer/collective/processes.h"

// What processes_test begins as a further rank: RANK and what it is to do.
int main(int, char** arguments) {
  using namespace finetuned::collective;
  const std::string deed = arguments[2];
  try {
    return take_part(std::atoi(arguments[1]), std::chrono::seconds(60), [&](Collective& group) {
      if (deed == "check") {
        // First: of what fails behind its last meeting rank 0 does not hear.
        hold(fcntl(kLeftOpen, F_GETFD) == -1, "a rank has no descriptors but its own");
        check_group(group);
        check_lonely_part(group);
      }
      if (deed == "interrupted") {
        raise(SIGINT);
        raise(SIGTERM);
        check_gather(group);
      }
      if (deed == "hang")
        for (;;) pause();
      if (deed == "hear") {
        while (!group.stop_asked()) usleep(1000);
        check_gather(group);
      }
      if (deed == "die") raise(SIGKILL);
      if (deed == "throw") throw std::runtime_error("the disk is gone");
      if (deed == "refuse") throw finetuned::base::UsageError("give less");
    });
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 3;
  }
}
