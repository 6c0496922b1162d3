"""Errors as users read them: one line with what was wanted, what was got, and what to do."""

from __future__ import annotations

from .installation import explain_import_error


def explain(error: Exception) -> str | None:
    """One line for an error that a user can correct; empty where the help was shown; None for a bug of msa."""
    explained = explain_import_error(error)
    if explained:
        return explained
    if type(error).__name__ == "NoArgsIsHelpError":
        return str(error)
    if hasattr(error, "format_message"):  # click's usage errors, whichever click typer brings
        return _line(error.format_message()) + "; see `msa --help`"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror or error}"
    if isinstance(error, (ValueError, OSError, MemoryError)):
        return _line(str(error)) or type(error).__name__
    return None


def _line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
