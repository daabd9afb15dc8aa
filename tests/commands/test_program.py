"""How the program ends: on every disk, under every terminal, without a home; one line, a status."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import safeclip_jax
from safeclip_jax.commands import console, program
from safeclip_jax.errors import Outage, UserError, failed
from safeclip_jax.system import host
from safeclip_jax.system.signals import Interrupted
from tests.support import data_files
from tests.support.made_up_run import made_up
from tests.support.untrained import untrained

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(console.COMMANDS)
SMALL = ("--config.data.pairs=40", "--config.evaluate.pairs=20", "--config.model.image_size=32")


def ended(capsys, monkeypatch, *arguments):
    """The exit status, and what was said on standard error."""
    monkeypatch.setattr(sys, "argv", ["safeclip-jax", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        console.cli()
    return stop.value.code or 0, capsys.readouterr().err


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A table of pairs, a run, and two that are finished."""
    folder = tmp_path_factory.mktemp("given")
    config = safeclip_jax.config("audit")
    config.data.pairs, config.epochs, config.defense = 128, 1, "none"
    untrained(config, folder / "run")
    data_files.write_scenes_csv(folder / "csv", data_files.scene_files(40))
    for seed, name in enumerate("ab"):
        made_up(folder / name, seed=seed)
    return folder


def writing(name, given, out):
    """The arguments by which a command writes to a folder."""
    run, table = given / "run", given / "csv/pairs.csv"
    return [name, *{
        "train": ["--config=demo", "--config.defense=none", f"--workdir={out}"],
        "grid": ["--config=grid_demo", "--attacks", "badnets", "--defenses", "CLIP", "--seeds=1",
                 f"--folder={out}"],
        "poison": ["--config=demo", *SMALL, "--config.attack.rate=0.1", f"--out={out}"],
        "prepare": [f"--source=csv:{table}", "--threads=1", f"--out={out}"],
        "audit": ["--data=scenes", "--pairs=128", f"--checkpoint={run}", f"--out={out}"],
        "evaluate": [f"--checkpoint={run}", "--data=scenes", "--pairs=20", "--no-cache",
                     f"--out={out}"],
        "export": [f"--model={run}", "--format=native", f"--out={out}"],
        "import": [f"--model={run}", f"--out={out}"],
        "compare": [str(given / "a"), str(given / "b"), f"--out={out}"],
    }[name]]  # fmt: skip


PLACES = {
    "a folder of the kernel": lambda tmp: Path("/proc/none/out"),
    "below a file": lambda tmp: tmp / "file/out",
    "a device": lambda tmp: Path("/dev/null/out"),
    "too long a name": lambda tmp: tmp / ("x" * 300),
    "a link to itself": lambda tmp: tmp / "loop/out",
    "a link to nothing's folder": lambda tmp: tmp / "dangling/a/out",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_cannot_be_written_is_one_line(
    name, place, given, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to("/proc/none")
    before = sorted(tmp_path.rglob("*"))
    status, err = ended(capsys, monkeypatch, *writing(name, given, PLACES[place](tmp_path)))
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, err
    assert sorted(tmp_path.rglob("*")) == before


@contextlib.contextmanager
def disk(folder, options):
    """A small disk, where the user may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_one_line_and_status_75(name, given, tmp_path, capsys, monkeypatch):
    with disk(tmp_path / "disk", "size=20k") as small:
        status, err = ended(capsys, monkeypatch, *writing(name, given, small / "out"))
        left = [path for path in small.rglob("*") if path.is_file() and "partial" in path.name]
        whole = [path.name for path in small.rglob("*") if path.suffix in (".npz", ".npy", ".html")]
    # A grid goes on with its other cells, and lists those that failed.
    assert status == (1 if name == "grid" else 75), err
    assert "error: " in err and "Traceback" not in err
    assert name == "grid" or err.count("\n") == 1
    assert not whole and (name == "prepare" or not left)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_is_read_only_is_one_line(name, given, tmp_path, capsys, monkeypatch):
    with disk(tmp_path / "disk", "size=1m,ro") as small:
        status, err = ended(capsys, monkeypatch, *writing(name, given, small / "out"))
    assert status == 2 and "Read-only file system" in err and err.count("\n") == 1


def test_a_link_to_another_disk_holds_the_checkpoints(tmp_path, config):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/checkpoints").symlink_to(tmp_path / "elsewhere")
    config.defense, config.evaluate.source, config.attack.rate = "none", "", 0.0
    untrained(config, tmp_path / "run")
    assert (tmp_path / "elsewhere/0").is_dir() and safeclip_jax.load(tmp_path / "run")


ENDINGS = {
    "a bad argument": (UserError("what"), 2, "error: what\n"),
    "an outage": (Outage("what"), 75, "error: what\n"),
    "a full disk": (OSError(28, "No space left on device", "/x"), 75, "error: /x: No space left"),
    "a quota": (OSError(122, "Disk quota exceeded", "/x"), 75, "error: /x: Disk quota"),
    "a broken disk": (OSError(5, "Input/output error", "/x"), 75, "error: /x: Input/output"),
    "a lost server": (OSError(116, "Stale file handle", "/x"), 75, "error: /x: Stale"),
    "no right": (PermissionError(13, "Permission denied", "/x"), 2, "error: /x: Permission"),
    "too many files": (OSError(24, "Too many open files"), 2, "error: the output"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "error: stopped"),
    "SIGTERM": (Interrupted(143), 143, "error: stopped"),
    "a process that is gone": (BrokenPipeError(32, "Broken pipe"), 75, "error: a process"),
    "two lines": (UserError("a\nb\x1b[2J"), 2, r"error: a\nb\x1b[2J"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_every_end_has_a_line_and_a_status(name, capsys, monkeypatch):
    error, status, line = ENDINGS[name]

    def main(argv):
        raise error

    monkeypatch.setattr(sys, "argv", ["safeclip-jax"])
    with pytest.raises(SystemExit) as stop:
        program.run(main)
    err = capsys.readouterr().err
    assert stop.value.code == status and err.startswith(line) and err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_while_a_command_is_imported(name, capsys, monkeypatch):
    def interrupted(module):
        raise KeyboardInterrupt

    monkeypatch.setattr(console.importlib, "import_module", interrupted)
    status, err = ended(capsys, monkeypatch, name)
    assert status == 130 and err.count("\n") == 1


def test_a_library_that_quotes_the_system_is_an_outage_too():
    found = failed("x", RuntimeError("write() failed: No space left on device; writing y"), "z")
    assert isinstance(found, Outage) and str(found).endswith("; z")
    assert type(failed("x", ValueError("other"))) is UserError


STUB = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from safeclip_jax.commands import program
"""
PRINT = "program.run(lambda argv: print('× ' * 100_000) or 0)"
TABLE = (
    "from safeclip_jax.system.terminal import console\n"
    "program.run(lambda argv: console().print('× ' * 100_000) or 0)"
)


def shell(code, how, **environment):
    """The end of a program whose streams a shell has changed."""
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {how}', sys.executable, STUB + code],
        env={"PATH": os.environ["PATH"], "HOME": "/"} | environment,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    return done


PIPED = "exit ${PIPESTATUS[0]}"
STREAMS = {
    "a closed output": (">&-", 0, ""),
    "closed streams": ("<&- >&- 2>&-", 0, ""),
    "a closed error": ("2>&-", 0, ""),
    "a full output": (">/dev/full", 75, "No space left"),
    "a full error": ("2>/dev/full", 0, ""),
    "head": (f"| head -c 10; {PIPED}", 141, ""),
    "a reader that is gone": (f"| true; {PIPED}", 141, ""),
}


@pytest.mark.parametrize("code", [PRINT, TABLE], ids=["print", "table"])
@pytest.mark.parametrize("name", STREAMS)
def test_streams_that_take_nothing(name, code):
    how, status, line = STREAMS[name]
    done = shell(code, how)
    assert done.returncode == status and line in done.stderr
    assert done.stderr.count("\n") == bool(line)


TERMINALS = [
    *({"PYTHONIOENCODING": name} for name in ("ascii", "latin-1", "cp437", "utf-8")),
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    *({"TERM": "dumb"}, {"NO_COLOR": "1"}, {"TERM": ""}, {"COLUMNS": "1"}, {"COLUMNS": "x"}),
]
SIGNS = ascii("× ± – … 狗 \udcff")


@pytest.mark.parametrize("terminal", TERMINALS, ids=str)
def test_every_terminal_shows_every_sign(terminal):
    code = (
        "from rich.table import Table\nfrom safeclip_jax.system.terminal import console\n"
        f"table = Table({SIGNS}, title={SIGNS})\ntable.add_row({SIGNS})\n"
        f"program.run(lambda argv: (print({SIGNS}), console().print(table)) and 0)"
    )
    done = shell(code, "", **terminal)
    assert done.returncode == 0 and "\x1b" not in done.stdout and not done.stderr


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    code = f"program.run(lambda argv: 0 if open({str(tmp_path / 'f')!r}, 'w').fileno() > 2 else 9)"
    assert shell(code, "<&- >&- 2>&-").returncode == 0


def test_a_signal_that_comes_while_modules_are_read():
    code = (
        "import importlib, os, signal, time\nfrom safeclip_jax.commands import console\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background
        "def read(name):\n"
        f"    os.kill(os.getpid(), {signal.SIGINT:d})\n"
        "    time.sleep(60)\n"
        "console.importlib.import_module = read\n"
        "console.cli('train')"
    )
    done = shell(code, "")
    assert done.returncode == 130 and done.stderr.startswith("error: stopped")


@pytest.fixture
def homeless(monkeypatch):
    """A user without a name and without a home."""

    def none(*_):
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", none)
    monkeypatch.setattr("pwd.getpwnam", none)
    for name in ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_there_is_no_cache(homeless):
    from safeclip_jax.data import wordnet

    assert host.home_folder() is None and host.cache_folder("x") is None
    wordnet.find("auto")


@pytest.mark.parametrize("name", ["evaluate", "export", "poison", "prepare", "audit"])
def test_commands_work_without_a_home(name, homeless, given, tmp_path, capsys, monkeypatch):
    status, err = ended(capsys, monkeypatch, *writing(name, given, tmp_path / "out"))
    assert (status, err) == (0, "") and any((tmp_path / "out").iterdir())


@pytest.mark.parametrize("place", ["/proc/none", "/dev/null", "/dev/null/x"])
def test_a_cache_that_cannot_be_written_is_done_without(
    place, given, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    assert host.cache_folder("features") is None
    flags = writing("evaluate", given, tmp_path / "out")
    flags[flags.index("--no-cache")] = f"--cache={place}"
    assert ended(capsys, monkeypatch, *flags) == (0, "")
