"""A disk that does what it is told to (fail_calls.c)."""

import os
import subprocess

from stage import HERE


class BrokenDisk:
    """Roles whose calls on the data directory fail while `fail()` says so (fail_calls.c)."""

    def __init__(self, stage, below):
        self.control = os.path.join(stage.directory, "disk-fault")
        library = os.path.join(stage.directory, "fail_calls.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, os.path.join(HERE, "fail_calls.c"), "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": library, "FINETUNED_TEST_FAIL_FILE": self.control,
                            "FINETUNED_TEST_FAIL_BELOW": os.path.join(stage.directory, "data", below)}

    def fail(self, word):
        with open(self.control, "w", encoding="utf-8") as file:
            file.write(word)
        os.chmod(self.control, 0o644)

    def mend(self):
        if os.path.exists(self.control):
            os.unlink(self.control)


def half_written(stage):
    return os.listdir(os.path.join(stage.directory, "data", "objects", "tmp"))
