#!/usr/bin/env python3
"""scripts/check_prose: what it counts, what it leaves out, and that it fails where it must."""

import importlib.util
import subprocess
import sys
import tempfile
import unittest
from importlib.machinery import SourceFileLoader
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_prose"
sys.dont_write_bytecode = True
loader = SourceFileLoader("check_prose", str(SCRIPT))
check_prose = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_prose", loader))
loader.exec_module(check_prose)


def words(markdown: str) -> list[int]:
    return [sentence.words for sentence in found(markdown)]


def found(markdown: str) -> list:
    lines = (check_prose.Line(number, text) for number, text in enumerate(markdown.splitlines(), 1))
    return list(check_prose.sentences(lines))


class Counting(unittest.TestCase):
    def test_a_sentence_ends_with_its_mark(self):
        self.assertEqual(words("One two three. Four five! Six?"), [3, 2, 1])

    def test_a_sentence_may_begin_in_lower_case(self):
        self.assertEqual(words("It runs here. oneDNN runs there."), [3, 3])

    def test_a_sentence_ends_with_its_paragraph_or_item(self):
        self.assertEqual(words("One two:\n\n* three four\n* five\n  six\n1. seven"), [2, 2, 2, 1])

    def test_a_paragraph_goes_over_lines(self):
        self.assertEqual(words("One two\nthree four\nfive. Six"), [5, 1])

    def test_abbreviations_and_numbers_end_nothing(self):
        self.assertEqual(words("Han et al. measured 1.5 times, i.e. more (0.1 ... 0.2) than that."), [12])

    def test_a_mark_inside_brackets_ends_a_sentence(self):
        self.assertEqual(words("One (two three.) Four five."), [3, 2])

    def test_signs_are_no_words(self):
        self.assertEqual(words("one - two + three = four"), [4])

    def test_inline_code_is_one_word(self):
        self.assertEqual(words("Run `lasnet run a.safetensors b.jpg. Now!` here."), [3])

    def test_inline_code_may_go_over_lines(self):
        self.assertEqual([(sentence.line, sentence.words) for sentence in found("Run `a b\nc d` here.\nThen stop.")],
                         [(1, 3), (3, 2)])

    def test_of_a_link_its_text_counts(self):
        self.assertEqual(words("See [the model card](models/README.md#a-b) and [it](x.md)."), [6])

    def test_emphasis_is_not_part_of_words(self):
        self.assertEqual(words("**One two.** _Three_ *four*."), [2, 2])

    def test_quotations_count(self):
        self.assertEqual(words("> One two\n> three."), [3])


class LeftOut(unittest.TestCase):
    def test_code_blocks(self):
        self.assertEqual(words("One.\n\n```sh\nfour five six\n\nseven\n```\n\nTwo three.\n\n    indented code here\n\n    too\n\nFour."),
                         [1, 2, 1])

    def test_code_blocks_inside_items(self):
        self.assertEqual(words("* One two:\n\n      code in an item\n\n  three four five."), [2, 3])

    def test_what_is_indented_inside_an_item_is_text(self):
        self.assertEqual(words("1. One two.\n\n   Three four five."), [2, 3])

    def test_headings_tables_pictures_html(self):
        self.assertEqual(words("# A heading of words\n\n| a | b c |\n|---|---|\n| d e | f |\n\n![a b c](d.png)\n\n"
                               "<!-- a b\nc --> One <br> two."), [2])

    def test_a_paragraph_ends_before_a_table(self):
        self.assertEqual(words("One two:\n| a b | c |\nThree."), [2, 1])

    def test_lists_of_commands(self):
        self.assertEqual(words("* `make build`\n* `make test`, `make fuzz`\n* `make docs` writes pages"), [3])


class Comments(unittest.TestCase):
    def test_only_comments_are_read(self):
        source = 'int a;  // One two.\n/// Three\n/// four five.\nint b = f("// no comment");\n// Six.\n'
        self.assertEqual([(s.line, s.words) for s in check_prose.sentences(check_prose.comment_lines(source))],
                         [(1, 2), (2, 3), (5, 1)])

    def test_comments_of_members_are_apart(self):
        source = "int a;  ///< one two\nint b;  ///< three\n        ///< four\n/// five six seven\nint c;\n"
        self.assertEqual([s.words for s in check_prose.sentences(check_prose.comment_lines(source))], [2, 2, 3])


class Program(unittest.TestCase):
    def run_on(self, text: str, *options: str, name: str = "page.md") -> subprocess.CompletedProcess:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_text(text, encoding="utf-8")
            return subprocess.run([sys.executable, str(SCRIPT), *options, name], cwd=folder, capture_output=True,
                                  text=True, check=False)

    def test_the_limit_itself_is_kept(self):
        self.assertEqual(self.run_on("word " * 35 + "\n\n" + "one.\n\n" * 2).returncode, 0)

    def test_one_word_more_fails_and_is_shown(self):
        outcome = self.run_on("One.\n\nOne. Begin `some code.` " + "word " * 34 + "\n\n" + "one.\n\n" * 3)
        self.assertEqual(outcome.returncode, 1)
        self.assertEqual(outcome.stdout,
                         "page.md:3: 36 words: Begin `some code.` word word word word word word word word ...\n")

    def test_the_mean_fails(self):
        self.assertEqual(self.run_on("word " * 17).returncode, 0)
        outcome = self.run_on("word " * 17 + "\n\n" + "word " * 18)
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("page.md: 17.5 words a sentence on average, at most 17", outcome.stdout)

    def test_limits_can_be_set(self):
        self.assertEqual(self.run_on("One two three.", "--max-sentence", "2").returncode, 1)
        self.assertEqual(self.run_on("One two three.", "--max-mean", "2").returncode, 1)

    def test_comments_of_code_fail_too(self):
        self.assertEqual(self.run_on("// " + "word " * 36 + "\n", name="a.h").returncode, 1)
        self.assertEqual(self.run_on("word " * 36 + "\n", name="a.h").returncode, 0)

    def test_summary(self):
        lines = self.run_on("One two. Three.", "--summary").stdout.splitlines()
        self.assertEqual(lines[1].split(), ["page.md", "2", "1.5", "2"])

    def test_a_missing_file_is_named(self):
        outcome = subprocess.run([sys.executable, str(SCRIPT), "absent.md"], capture_output=True, text=True, check=False)
        self.assertEqual(outcome.returncode, 2)
        self.assertIn("absent.md", outcome.stderr)

    def test_help(self):
        outcome = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=False)
        self.assertEqual(outcome.returncode, 0)
        self.assertIn("--max-sentence", outcome.stdout)


class Files(unittest.TestCase):
    def test_all_of_the_repository_are_found(self):
        names = {str(path.relative_to(SCRIPT.parents[1])) for path in check_prose.markdown_files(SCRIPT.parents[1])}
        self.assertLessEqual({"README.md", "ARCHITECTURE.md", "docs/cuda.md", "bench/peers/README.md"}, names)

    def test_a_tree_without_git_is_searched_outside_build_folders(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a.md", "docs/b.md", "build-asan/c.md", ".hidden/d.md"):
                (Path(folder) / name).parent.mkdir(exist_ok=True)
                (Path(folder) / name).write_text("One.")
            names = [str(path.relative_to(folder)) for path in check_prose.markdown_files(Path(folder))]
        self.assertEqual(names, ["a.md", "docs/b.md"])


if __name__ == "__main__":
    unittest.main()
