"""What the lints share: which files there are, C++ without comments and strings, and how a lint reports."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def project_files():
    """Paths of the project's own files, relative to its root: tracked, or new and not ignored."""
    listing = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"],
                             capture_output=True, check=False)
    if listing.returncode == 0:
        names = [os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]
    else:  # not a git checkout: a copy of the tree
        names = []
        for folder, subfolders, files in os.walk(ROOT):
            subfolders[:] = [s for s in subfolders if s not in (".git", "var", "node_modules") and not s.startswith("build")]
            names += [os.path.relpath(os.path.join(folder, name), ROOT) for name in files]
    return sorted(name for name in set(names) if os.path.isfile(os.path.join(ROOT, name)))


def read_text(name):
    """The file's text, or None where it is binary."""
    with open(os.path.join(ROOT, name), "rb") as file:
        data = file.read()
    if b"\0" in data[:8192]:
        return None
    return data.decode("utf-8", "replace")


_LITERALS = re.compile(r'//[^\n]*|/\*.*?\*/|R"(?P<d>[^()\s\\]{0,16})\(.*?\)(?P=d)"|"(?:\\.|[^"\\\n])*"|'
                       r"(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'", re.S)


def code_only(text):
    """C++ with comments blanked and literals emptied; every line and column stays where it was."""
    def blank(match):
        piece = match.group(0)
        kept = re.sub(r"[^\n]", " ", piece)
        return kept if piece[0] == "/" else '"' + kept[1:-1] + '"'
    return _LITERALS.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def finish(name, faults, good):
    """Prints what was found; the exit status of a lint."""
    for fault in faults:
        print(f"{name}: {fault}", file=sys.stderr)
    print(f"{name}: {len(faults)} fault(s)" if faults else f"{name}: {good}")
    return 1 if faults else 0
