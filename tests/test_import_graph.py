"""How the package hangs together: imports run one way, and the core never needs the lessons."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in (ROOT / "rmtutorial").rglob("*.py")}
LESSON = {name for name in FILES if name.startswith("rmtutorial.lesson")}


def imported(path):
    """The modules of the package that a file imports, at its top or within a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in FILES else node.module)
    return found & set(FILES)


GRAPH = {name: imported(path) for name, path in FILES.items()}


def test_the_graph_is_read():
    """A reader that finds nothing would pass every test below."""
    assert "rmtutorial.losses" in GRAPH["rmtutorial.training"]
    assert "rmtutorial.lesson.figures" in GRAPH["rmtutorial.lesson.widgets.loss"]
    assert "rmtutorial.training" in GRAPH["rmtutorial.commands.train"]  # imported within a function


def test_imports_have_no_circle():
    """Each module can be read after those that it imports: a topological order exists."""
    order = list(graphlib.TopologicalSorter(GRAPH).static_order())  # CycleError names the circle
    assert len(order) == len(FILES)


@pytest.mark.parametrize("name", sorted(set(FILES) - LESSON))
def test_the_core_never_imports_the_lessons(name):
    """Whoever trains a reward model on Monday needs no widgets."""
    assert not GRAPH[name] & LESSON


def test_nothing_but_the_commands_imports_the_commands():
    """They are the outermost layer: training knows nothing of its options' names."""
    users = {name for name, modules in GRAPH.items() if any("rmtutorial.commands." in m for m in modules)}
    assert all(user.startswith("rmtutorial.commands") for user in users)


def test_the_core_loads_no_drawing_and_no_widget_library():
    """Imported for real: matplotlib and ipywidgets stay outside."""
    code = "import sys, rmtutorial.training, rmtutorial.policy, rmtutorial.classifier, rmtutorial.probe, rmtutorial.grpo; print(sorted({'matplotlib', 'ipywidgets', 'IPython'} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert printed.stdout.strip() == "[]"


def test_a_topic_is_one_file_and_a_missing_one_is_named():
    """`figures.training` is imported when it is first asked for; a topic that is no file is an AttributeError."""
    from rmtutorial.lesson import figures, widgets

    assert figures.training.curves and widgets.training.training_explorer
    with pytest.raises(AttributeError, match="no topic or function 'trainings'"):
        figures.trainings  # noqa: B018
