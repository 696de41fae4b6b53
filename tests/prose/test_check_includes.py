#!/usr/bin/env python3
"""scripts/check_includes: what it refuses, on small trees."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_includes"


def check(rules: str, files: dict[str, str], page: bool = True) -> subprocess.CompletedProcess:
    """What the script says of a tree with these files."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in {"scripts/include_rules.txt": rules, **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        if page:
            table = subprocess.run([sys.executable, SCRIPT, "--root", root, "--list"], capture_output=True, text=True)
            (root / "ARCHITECTURE.md").write_text(table.stdout)
        return subprocess.run([sys.executable, SCRIPT, "--root", root], capture_output=True, text=True)


BASE = {"src/base/fail.h": "", "src/mask/mask.h": '#include "base/fail.h"\n'}


class Trees(unittest.TestCase):
    def refused(self, message: str, rules: str, files: dict[str, str], page: bool = True):
        done = check(rules, files, page)
        self.assertEqual(done.returncode, 1)
        self.assertIn(message, done.stderr)

    def test_a_tree_that_keeps_the_rules(self):
        done = check("src/base\nsrc/mask src/base\n", {**BASE, "src/mask/a.cc": '#include "mask/mask.h"\n'})
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_an_include_that_is_not_permitted(self):
        self.refused('src/base/a.cc: includes "mask/mask.h"; src/base may not include src/mask',
                     "src/base\nsrc/mask src/base\n", {**BASE, "src/base/a.cc": '#include "mask/mask.h"\n'})

    def test_the_deepest_folder_counts(self):
        self.refused("src/mask may not include src/mask/deep", "src/base\nsrc/mask src/base\nsrc/mask/deep\n",
                     {**BASE, "src/mask/deep/b.h": "", "src/mask/a.cc": '#include "mask/deep/b.h"\n'})

    def test_a_permission_that_nobody_needs(self):
        self.refused("src/mask -> src/plan: no file needs it", "src/base\nsrc/plan\nsrc/mask src/base src/plan\n",
                     {**BASE, "src/plan/p.h": ""})

    def test_a_folder_that_the_table_lacks(self):
        self.refused("src/mask/mask.h: its folder is not in the table", "src/base\n", BASE)

    def test_a_circle(self):
        self.refused("circle: src/base -> src/mask -> src/base", "src/base src/mask\nsrc/mask src/base\n",
                     {**BASE, "src/base/a.cc": '#include "mask/mask.h"\n'})

    def test_a_page_with_another_table(self):
        self.refused("ARCHITECTURE.md: its table of includes is not that",
                     "src/base\nsrc/mask src/base\n", {**BASE, "ARCHITECTURE.md": "# Nothing\n"}, page=False)


if __name__ == "__main__":
    unittest.main()
