"""The commit that a run was made with, or why it is not known."""

import shutil
import subprocess

import pytest

from engine.environment import code_at, commit

ME = ["-c", "user.name=me", "-c", "user.email=me@example.org"]


@pytest.fixture
def checkout(tmp_path):
    """A repository of one commit."""
    root = tmp_path / "checkout"
    git("init", "-q", root)
    (root / "file").write_text("one")
    git("-C", root, "add", "file")
    git("-C", root, *ME, "commit", "-q", "-m", "first")
    return root


def git(*arguments):
    run = subprocess.run(["git", *map(str, arguments)], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def test_a_commit_and_its_changes(checkout):
    head = git("-C", checkout, "rev-parse", "HEAD")
    assert commit(checkout) == head
    (checkout / "file").write_text("two")
    assert commit(checkout) == head + "+changes"


def test_somebody_elses_checkout_is_read(checkout, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):
        git("-C", checkout, "status")
    monkeypatch.setenv("GIT_DIR", "elsewhere")
    assert len(commit(checkout)) == 40


def test_reading_starts_no_program_that_the_repository_names(checkout, tmp_path):
    mark = tmp_path / "mark"
    git("-C", checkout, "config", "core.fsmonitor", f"touch {mark} #")
    assert len(commit(checkout)) == 40
    assert not mark.exists()


def test_why_it_is_unknown(checkout, tmp_path, monkeypatch, capfd):
    unpacked = checkout / "downloaded"
    unpacked.mkdir()
    assert commit(unpacked) == "unknown (no git repository)"
    empty = tmp_path / "empty"
    git("init", "-q", empty)
    assert commit(empty).startswith("unknown (git: fatal: ")
    shutil.rmtree(checkout / ".git" / "objects")
    assert "\n" not in commit(checkout)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(checkout) == "unknown (git cannot be started)"
    assert capfd.readouterr() == ("", "")


def test_commits_of_one_code(checkout):
    """A change elsewhere is none; what git does not know stands for itself."""

    def next_commit(name, text):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text(text)
        git("-C", checkout, "add", "-A")
        git("-C", checkout, *ME, "commit", "-q", "-m", name)
        return commit(checkout)

    changes = (("engine/a.py", "1"), ("docs.md", "1"), ("engine/a.py", "2"))
    commits = [next_commit(*change) for change in changes]
    codes = [code_at(own, ("engine", "gone.py"), checkout) for own in commits]
    assert codes[0] == codes[1] != codes[2] and len(codes[0]) == 16
    assert code_at(f"{commits[0]}+changes", ("engine",), checkout) == f"{commits[0]}+changes"
    assert code_at("0" * 40, ("engine",), checkout) == "0" * 40
