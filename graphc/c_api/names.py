"""Names and comments in C for what a model file names: nothing of a user's text reaches C unchecked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_KEYWORDS = {  # of C23 and C++20
    "alignas", "alignof", "and", "and_eq", "asm", "auto", "bool", "break", "case", "catch", "char", "class", "const",
    "constexpr", "continue", "decltype", "default", "delete", "do", "double", "else", "enum", "explicit", "export",
    "extern", "false", "float", "for", "friend", "goto", "if", "inline", "int", "long", "mutable", "namespace", "new",
    "noexcept", "not", "not_eq", "nullptr", "operator", "or", "or_eq", "private", "protected", "public", "register",
    "restrict", "return", "short", "signed", "sizeof", "static", "static_assert", "struct", "switch", "template",
    "this", "throw", "true", "try", "typedef", "typename", "typeof", "union", "unsigned", "using", "virtual", "void",
    "volatile", "wchar_t", "while", "xor", "xor_eq",
}  # fmt: skip


def identifier(text: str) -> str:
    """The text with `_` for everything that C does not allow in a name."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", text)
    return f"_{name}" if not name or name[0].isdigit() else f"{name}_" if name in _KEYWORDS else name


def distinct(texts: Iterable[str], taken: Iterable[str], form: Callable[[str], str] = str) -> dict[str, str]:
    """A C name for each text, made of its `form`; equal ones, and those taken, are told apart by a number."""
    used = set(taken)
    names: dict[str, str] = {}
    for text in texts:
        name = base = identifier(form(text))
        number = 1
        while name in used:
            number += 1
            name = f"{base}_{number}"
        used.add(name)
        names[text] = name
    return names


def comment(text: str, indent: str = "") -> list[str]:
    """The text as lines of a `//` comment; no character of it can end the comment or join the next line to it."""
    lines = ["".join(c if " " <= c < "\x7f" else "?" for c in line).rstrip("\\ ") for line in text.splitlines()]
    return [f"{indent}// {line}".rstrip() for line in lines]
