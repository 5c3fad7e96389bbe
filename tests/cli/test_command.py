"""``clamp3``: every command has quick help and the flags of its script; nothing heavy is imported for it."""

import argparse
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clamp3 import commands
from clamp3.commands import COMMANDS, as_typed, build_parser, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "music21", "accelerate", "sklearn", "librosa", "matplotlib", "pandas", "numpy"}
MODULES = """
import json, sys
sys.argv = ["clamp3", *sys.argv[1:]]
try:
    import clamp3.commands
    clamp3.commands.main()
except SystemExit:
    pass
print("MODULES" + json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def imported(*words, cwd):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MODULES, *words], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    text, _, names = done.stdout.rpartition("MODULES")
    return text, set(json.loads(names))


def help_of(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    return out.getvalue()


def test_help_of_the_command_imports_no_command(tmp_path):
    text, names = imported("--help", cwd=tmp_path)
    assert "clamp3 search" in text and not names & HEAVY
    assert [name for name in COMMANDS if name.partition(" ")[0] not in text] == []
    assert list(tmp_path.iterdir()) == []


def test_help_of_all_commands_imports_nothing_heavy(tmp_path):
    """One process builds the parsers of all of them, as completion does."""
    code = "import sys, clamp3.commands as c; c.build_parser(); print(sorted(set(sys.modules) & set(sys.argv[1:])))"
    light = HEAVY - {"numpy"}  # which some need for their flags
    done = subprocess.run(
        [sys.executable, "-c", code, *light], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("words", [["search"], ["embed"], ["index", "add"], ["serve"], ["doctor"]])
def test_help_of_frequent_commands_needs_no_numpy(words, tmp_path):
    text, names = imported(*words, "--help", cwd=tmp_path)
    assert f"usage: clamp3 {' '.join(words)}" in text
    assert not names & HEAVY


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_is_typed(name):
    text = help_of(*name.split())
    assert f"usage: clamp3 {name}" in text and f"    clamp3 {name}" in text
    scripts = [word for word in re.findall(r"[\w/]+\.py\b", text) if word != "config.py"]
    kept = [word for word in scripts if any(command.script.endswith(f"/{word}") for command in COMMANDS.values())]
    assert not kept, "scripts that have a command"


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.script])
def test_a_script_has_the_same_flags(name, script, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "code")  # config.py of the training scripts
    flags = options(build_parser(name.split()), name.split())
    assert flags == options(script(COMMANDS[name].script).build_parser(), [])


def options(parser, words):
    """Return the flags of a parser, or of the sub-commands below it, in order."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if words:
        return options(below[0].choices[words[0]], words[1:])
    own = [tuple(action.option_strings) or (action.dest,) for action in parser._actions if action not in below]
    return own + [(word, options(sub, [])) for action in below for word, sub in action.choices.items()]


def test_every_script_of_these_folders_is_a_command_or_in_this_list():
    folders = ("code/*.py", "retrieval/*.py", "classification/*.py", "preprocessing/**/*.py")
    found = {path.relative_to(ROOT).as_posix() for folder in folders for path in ROOT.glob(folder)}
    other_names = {"retrieval/clamp2_score.py", "retrieval/semantic_search_metrics.py"}
    assert found - {command.script for command in COMMANDS.values()} == {"code/config.py", *other_names}
    assert all((ROOT / command.script).is_file() for command in COMMANDS.values() if command.script)


def test_launchers_of_several_processes_get_a_module():
    assert as_typed("  torchrun --n 4 code/train_m3.py --data a") == "  torchrun --n 4 -m clamp3 train m3 --data a"
    assert as_typed("accelerate launch --multi_gpu preprocessing/audio/extract_mert.py") == (
        "accelerate launch --multi_gpu -m clamp3 extract mert"
    )
    assert as_typed("retrieval/benchmark.py, classification/benchmark.py") == (
        "clamp3 evaluate benchmark, clamp3 classify benchmark"
    )
    for kept in ("/home/me/retrieval/index.py", "my_index.py", "code/config.py", "index.pyc"):
        assert as_typed(kept) == kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["searhc", "a"], "invalid choice: 'searhc'"),
        (["train", "bogus"], "invalid choice: 'bogus'"),
        (["search", "--no_such_flag", "a", "."], "unrecognized arguments: --no_such_flag"),
        (["search", "a jig", "absent/"], "absent"),
    ],
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["clamp3", *words])
    try:
        code = commands.entry()
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err


def test_without_words_there_is_help_and_a_version(capsys):
    for words, said in (
        ([], "usage: clamp3 [-h]"),
        (["help"], "usage: clamp3 [-h]"),
        (["train"], "usage: clamp3 train [-h] COMMAND"),
        (["help", "index", "add"], "usage: clamp3 index add"),
        (["--version"], "clamp3 0."),
    ):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0 and capsys.readouterr().out.startswith(said)


def test_the_package_imports_neither_torch_nor_a_warning(tmp_path):
    code = "import sys, clamp3; print(len(sys.modules), {'torch', 'transformers', 'numpy'} & set(sys.modules))"
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(len(sys.modules))"], capture_output=True, text=True, check=True
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    n_modules, _, heavy = done.stdout.strip().partition(" ")
    assert heavy == "set()"
    assert int(n_modules) - int(bare.stdout) < 40  # it is quick because there is nothing to it


def completed(script, *words):
    """Return what bash offers for the last of some words."""
    array = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; "
        '$(complete -p clamp3 | grep -o "_shtab_[a-z0-9_]*"); printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], cwd=script.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_shell_completes_commands_flags_values_and_files(tmp_path, capsys):
    pytest.importorskip("shtab")
    for shell in ("zsh", "fish", "bash"):
        assert main(["completion", shell]) == 0
        text = capsys.readouterr().out
        assert "mtf2midi" in text and "get_global" in text
    script = tmp_path / "clamp3.bash"
    script.write_text(text, encoding="utf-8")
    (tmp_path / "my_scores").mkdir()
    assert completed(script, "clamp3", "se") == {"search", "serve"}
    assert completed(script, "clamp3", "train", "p") == {"pairs", "preference"}
    assert completed(script, "clamp3", "embed", "--get") == {"--get_global"}
    assert completed(script, "clamp3", "search", "--dtype", "b") == {"bfloat16"}
    assert completed(script, "clamp3", "search", "a jig", "my_") == {"my_scores"}
    assert completed(script, "clamp3", "index", "add", "my_") == {"my_scores"}


def test_the_page_of_the_command_lists_all():
    page = (ROOT / "docs/command.md").read_text(encoding="utf-8")
    absent = [name for name, command in COMMANDS.items() if f"| `{name}` |" not in page or command.script not in page]
    assert not absent
