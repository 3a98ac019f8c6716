"""The launcher `env`, run against an environment that is only stamped as ready: nothing is built or downloaded."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "env"


@dataclass(frozen=True)
class Clone:
    """A clone of the project with an environment of its own."""

    project: Path
    folder: Path

    def start(self, *args: str, **kwargs) -> subprocess.Popen:
        """Starts `./env ARGS...` with pipes for its streams."""
        environ = {k: v for k, v in os.environ.items() if k not in ("DMRIFW_INSIDE", "PETSC_DIR")}
        environ |= {"DMRIFW_ENV": str(self.folder.parent), "PYTHONPATH": "/leaked"}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen([self.project / "env", *args], env=environ, text=True, **pipes, **kwargs)

    def run(self, *args: str, stdin: str = "", **kwargs) -> tuple[int, str, str]:
        """Runs `./env ARGS...`; returns exit status, stdout and stderr."""
        process = self.start(*args, **kwargs)
        out, err = process.communicate(stdin, timeout=20)
        return process.returncode, out, err


@pytest.fixture
def clone(tmp_path):
    """A copy of the script in a project of one file, and a folder whose stamps say that nothing is left to build."""
    project, folder = tmp_path / "a clone", tmp_path / "cache" / "dmrifw"
    project.mkdir()
    shutil.copy(SCRIPT, project)
    (project / "pyproject.toml").write_text('[project]\nname = "x"\n')
    sums = [(hashlib.sha256(f"{project}\n".encode()), "-")]
    sums += [(hashlib.sha256((project / name).read_bytes()), name) for name in ("env", "pyproject.toml")]
    ready = folder / "clones" / sums[0][0].hexdigest()[:16] / "ready"
    ready.parent.mkdir(parents=True)
    ready.write_text("".join(f"{digest.hexdigest()}  {name}\n" for digest, name in sums))
    (folder / "CACHEDIR.TAG").touch()
    (folder / "route").write_text("python /usr/bin/python3\n")
    return Clone(project, folder)


def test_help_names_every_option(clone):
    status, out, _ = clone.run("--help")
    assert status == 0
    assert all(option in out for option in ("--complex", "--shell", "--status", "--rebuild", "--remove", "DMRIFW_ENV"))


def test_unknown_option_is_refused_in_one_line(clone):
    status, out, err = clone.run("--no-such-option", "true")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and "--no-such-option" in err


def test_no_command_shows_the_usage(clone):
    status, _, err = clone.run()
    assert status == 2 and err.startswith("usage:")


def test_script_is_clean_under_shellcheck():
    found = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_script_names_no_mirror_and_no_index():
    assert "://" not in SCRIPT.read_text(), "hosts come from the machine's own apt and pip configuration"


def test_status_stdin_arguments_and_folder_pass_through(clone, tmp_path):
    script = 'cat; printf "[%s]" "$@"; pwd; exit 7'
    status, out, err = clone.run("bash", "-c", script, "name", "two words", "*", stdin="in ", cwd=tmp_path)
    assert (status, out, err) == (7, f"in [two words][*]{tmp_path}\n", "")


def test_command_becomes_the_process_that_was_started(clone):
    """Whoever signals ./env signals the command, as there is no shell in between."""
    process = clone.start(sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(20)")
    assert int(process.stdout.readline()) == process.pid
    process.terminate()
    assert process.wait(timeout=10) == -15


def test_other_pythons_do_not_leak_in(clone):
    status, out, _ = clone.run("bash", "-c", 'echo "${PYTHONPATH-none} ${VIRTUAL_ENV-none}"; echo "$PATH"')
    leaks, path = out.splitlines()
    assert (status, leaks) == (0, "none none")
    assert path.startswith(f"{clone.folder}/clones/")


@pytest.mark.parametrize(("options", "build"), [([], "real"), (["--complex"], "complex")])
def test_petsc_build_is_chosen_by_option(clone, options, build):
    status, out, _ = clone.run(*options, "bash", "-c", "echo ${PETSC_DIR##*/} ${SLEPC_DIR##*/}")
    assert (status, out) == (0, f"petsc-{build} slepc-{build}\n")


def test_changed_dependencies_make_the_environment_stale(clone):
    (clone.project / "pyproject.toml").write_text('[project]\nname = "x"\ndependencies = ["y"]\n')
    status, out, _ = clone.run("--status")
    assert status == 1 and "not ready" in out


def test_remove_deletes_the_environment_and_nothing_else(clone):
    neighbour = clone.folder.parent / "neighbour"
    neighbour.touch()
    assert clone.run("--remove")[0] == 0
    assert not clone.folder.exists() and neighbour.exists()


def test_a_folder_that_is_something_else_is_left_alone(clone):
    (clone.folder / "CACHEDIR.TAG").unlink()
    for args in (["--remove"], ["--rebuild"]):
        status, _, err = clone.run(*args)
        assert status == 1 and str(clone.folder) in err and err.count("\n") == 1
    assert (clone.folder / "route").exists()


def test_conda_installs_every_plugin() -> None:
    """`./env` takes all folders of plugins/; the file for conda names them one by one."""
    text = (SCRIPT.parent / "environment.yml").read_text()
    plugins = sorted(one.name for one in (SCRIPT.parent / "plugins").iterdir() if (one / "pyproject.toml").exists())
    assert plugins
    assert [
        line.strip().removeprefix("- -e ./plugins/") for line in text.splitlines() if "./plugins/" in line
    ] == plugins
