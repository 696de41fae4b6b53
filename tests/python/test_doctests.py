"""The examples in the docstrings, and those of docs/python.md."""

import doctest
import inspect
import re

import pytest

import lasnet
from repository import ROOT


def documented_objects():
    yield "lasnet", lasnet
    for name in lasnet.__all__:
        thing = getattr(lasnet, name)
        yield f"lasnet.{name}", thing
        if not inspect.isclass(thing):
            continue
        for member, value in vars(thing).items():
            if not member.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                yield f"lasnet.{name}.{member}", value


OBJECTS = dict(documented_objects())


def run_examples(text, name, names):
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    report = []
    outcome = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert outcome.failed == 0, "".join(report)
    return outcome.attempted


def test_examples(model, session, x, result):
    attempted = 0
    for name, thing in OBJECTS.items():
        names = {"lasnet": lasnet, "model": model, "session": session, "x": x, "result": result}
        attempted += run_examples(inspect.getdoc(thing) or "", name, names)
    assert attempted > 20


@pytest.mark.parametrize("name", [n for n, thing in OBJECTS.items() if inspect.isroutine(thing) or n == "lasnet.Session"])
def test_functions_have_examples(name):
    if name not in ("lasnet.Session.close", "lasnet.Model.save", "lasnet.cuda_devices"):
        assert ">>>" in inspect.getdoc(OBJECTS[name])


@pytest.mark.parametrize("name", OBJECTS)
def test_everything_is_documented(name):
    assert inspect.getdoc(OBJECTS[name])


def test_documentation_runs():
    text = (ROOT / "docs/python.md").read_text()
    names = {}
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
