"""Several heads asked for by one word or a list."""

from __future__ import annotations

from ...heads.registry import HEADS, head_info

GROUPS = {"all": ("pooled", "tokens"), "all-pooled": ("pooled",), "all-tokens": ("tokens",)}


def fusion_names(asked: str) -> list[str]:
    """The heads that `asked` names, each once: `gated`, `gated,concat`, or a word of GROUPS.

    A word stands for the heads that read both modalities and that these inputs suit. Raises ValueError on a head that
    is not there.
    """
    found: list[str] = []
    for word in asked.split(","):
        name = word.strip()
        if name in GROUPS:
            found += [n for n, info in HEADS.items() if info.inputs in GROUPS[name] and n not in ("image", "text")]
        else:
            head_info(name)
            found.append(name)
    return list(dict.fromkeys(found))
