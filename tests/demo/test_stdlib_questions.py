"""The demo finds the library's sources for itself, the way that the server is documented to find them."""

from __future__ import annotations

from pathlib import Path

from demo.stdlib_questions import context_paths, source_texts


def test_each_file_counts_once_under_its_own_name(tmp_path: Path) -> None:
    """Debian's library has a link to a module beside it, and one that leads out of the library."""
    library = tmp_path / "library"
    (library / "package" / "inner").mkdir(parents=True)
    (library / "site-packages").mkdir()
    (library / "zebra.py").write_text("z")
    (library / "alias.py").symlink_to("zebra.py")
    (tmp_path / "outside.py").write_text("o")
    (library / "outside.py").symlink_to(tmp_path / "outside.py")
    (library / "package" / "inner" / "a.py").write_text("a")
    (library / "package" / ".hidden.py").write_text("h")
    (library / "site-packages" / "foreign.py").write_text("f")
    patterns = context_paths(library, [])
    assert patterns == ["*.py", "package/**/*.py"]
    assert source_texts(library, patterns, library) == {"package/inner/a.py": "a", "zebra.py": "z"}
    assert source_texts(library, ["package/**/*.py"], library / "package") == {"inner/a.py": "a"}
