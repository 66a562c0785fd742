"""The command `peftviz`: what it prints, its exit codes, and that it needs neither torch nor peft."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import peftviz
from peftviz.cli import DIFFERENT, SAME, TROUBLE, main
from peftviz.core.timeline import Step, Timeline
from tests.views.hostile import HIDDEN, everything
from tests.views.story import story

ROOT = Path(__file__).parents[1]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A snapshot without adapters, one with, and the session that led from the one to the other."""
    before, after, _ = story()
    step = Step(label="get_peft_model('chat')", operation="get_peft_model", before=before, after=after)
    return {
        "before": before.save(tmp_path / "before.pvs"),
        "after": after.save(tmp_path / "after.pvs"),
        "session": Timeline(before, [step]).save(tmp_path / "session.pvs"),
    }


def test_show_prints_what_to_text_gives(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(files["after"])]) == SAME
    assert capsys.readouterr().out == f"{peftviz.load(files['after']).to_text()}\n"
    assert main(["show", str(files["session"]), "--width", "70"]) == SAME
    shown = capsys.readouterr().out
    assert shown == f"{Timeline.load(files['session']).to_text(width=70)}\n"
    assert "get_peft_model('chat')" in shown
    assert max(map(len, shown.splitlines())) <= 70


def test_diff_says_by_its_exit_code_whether_anything_changed(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", str(files["before"]), str(files["before"])]) == SAME
    assert "no changes" in capsys.readouterr().out
    assert main(["diff", str(files["before"]), str(files["after"])]) == DIFFERENT
    changes = peftviz.diff(peftviz.load(files["before"]), peftviz.load(files["after"]))
    assert capsys.readouterr().out == f"{changes.to_text()}\n"
    assert main(["diff", str(files["before"]), str(files["after"]), "--markdown"]) == DIFFERENT
    assert capsys.readouterr().out.rstrip("\n") == changes.to_markdown().rstrip("\n")


def test_diff_writes_a_page_and_prints_where(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["diff", str(files["before"]), str(files["after"]), "--html", str(page)]) == DIFFERENT
    assert capsys.readouterr().out == f"{page}\n"
    assert "default-src 'none'" in page.read_text(encoding="utf-8")


def test_audit_says_by_its_exit_code_whether_there_are_faults(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(files["after"])]) == SAME
    capsys.readouterr()
    left = story()[2].save(tmp_path / "left.pvs")
    assert main(["audit", str(left), "--baseline", str(files["before"])]) == DIFFERENT
    assert "PV101" in capsys.readouterr().out


def test_trouble_is_told_on_the_other_stream(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"no snapshot")
    for arguments, what in (
        (["show", str(tmp_path / "nowhere.pvs")], "No such file"),
        (["show", str(tmp_path / "weights.bin")], "The file is no peftviz snapshot."),
        (["diff", str(files["session"]), str(files["after"])], "holds a timeline of 2 states"),
        (["show", str(files["after"]), "--html", str(tmp_path / "no" / "page.html")], "no"),
    ):
        assert main(arguments) == TROUBLE
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.startswith("peftviz: ")
        assert what in told.err


@pytest.mark.parametrize(
    "arguments", [[], ["shw", "x"], ["show"], ["show", "x", "--width", "0"], ["show", "x", "--width", "a"]]
)
def test_wrong_use_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == TROUBLE
    assert capsys.readouterr().err.startswith("usage: peftviz")


def test_it_needs_neither_torch_nor_peft(files: dict[str, Path]) -> None:
    code = (
        "import sys; from peftviz.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'peft', 'transformers') if name in sys.modules]); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "diff", str(files["before"]), str(files["after"])]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == DIFFERENT, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def test_it_runs_as_a_module_and_lets_its_reader_leave(files: dict[str, Path]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "peftviz", "show", str(files["after"])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `head` does
        assert process.stderr.read() == ""
    assert process.returncode == SAME


def test_hostile_names_stay_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(state.save(tmp_path / f"{number}.pvs")) for number, state in enumerate(everything())]
    assert main(["diff", *paths]) == DIFFERENT
    shown = capsys.readouterr().out
    assert "<script>" in shown, "it is there as text"
    assert not set(shown) & set(HIDDEN)


def test_a_terminal_of_few_characters_gets_the_rest_replaced(files: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "peftviz", "diff", str(files["before"]), str(files["after"])]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert (ran.returncode, ran.stderr) == (DIFFERENT, "")
    assert "lora_A" in ran.stdout
