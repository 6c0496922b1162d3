"""Finds the files of a Hugging Face model, on this machine or on a hub, and computes their digests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from threading import RLock
from urllib.parse import urlsplit

from ..spec import canonical
from ..store.json_files import read_object
from .modelscope import PREFIX as MODELSCOPE
from .modelscope import fetch_modelscope
from .weights import MODEL_FILE, sha256_file, shards

SMALL_FILES = ("*.json", "*.txt", "*.model", "bpe.codes")
TOKENIZER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "bpe.codes", "spiece.model", "sentencepiece.bpe.model")
ALL_FILES = (*SMALL_FILES, "*.safetensors", "*.bin")
EXPORTS = ("onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*")  # the same weights for other engines
VOLATILE = {  # entries of a config that do not change the numbers
    *("_name_or_path", "name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "use_cache"),
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
}
HUB = "https://huggingface.co"
MIRROR = "https://hf-mirror.com"  # an example of what HF_ENDPOINT may name
_switching = RLock()  # the mode is one for the process


@dataclass(frozen=True)
class Repo:
    """The files of a model: a snapshot in the hub's cache, whose folder name is the revision, or any other folder."""

    name: str
    folder: Path
    revision: str | None
    local_files_only: bool

    def weight_files(self) -> list[Path]:
        """All weight files, safetensors first; downloaded if allowed. Raises ValueError when there are none."""
        for filename in ("model.safetensors", "pytorch_model.bin"):
            index = self.folder / f"{filename}.index.json"
            files = shards(index) if index.exists() else [self.folder / filename]
            if self.revision and not all(file.exists() for file in files):
                wanted = [file.name for file in files]
                _snapshot(self.name, wanted, revision=self.revision, local_files_only=self.local_files_only)
            if all(file.exists() for file in files):
                return files
        raise ValueError(
            f"{self.name!r} has no model.safetensors or pytorch_model.bin here; "
            + ("pass --weights FILE" if not self.revision else "allow the download, or pass --weights FILE")
        )


@contextmanager
def offline(wanted: bool) -> Iterator[None]:
    """Keep the hub's client from the network, if wanted: it looks its host up for other things than files, too."""
    if not wanted:
        yield
        return
    from huggingface_hub import constants

    with _switching:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before


def is_mirror(endpoint: str) -> bool:
    """Whether the host of HF_ENDPOINT is another than huggingface.co and its subdomains."""
    host = urlsplit(endpoint).hostname or ""
    return not f".{host}".endswith(".huggingface.co")


def find_repo(name: str, *, local_files_only: bool) -> Repo:
    """Locate the small files of a model; a hub id, or `modelscope:ID`, may be downloaded. Raises ValueError."""
    if name.startswith(MODELSCOPE):
        repo = _find_on_modelscope(name, local_files_only)
        if not (repo.folder / "config.json").exists():
            raise ValueError(f"{name!r} has no config.json; it is not a transformers model")
        return repo
    local = Path(name).expanduser()
    if local.is_dir():
        if not (local / "config.json").exists():
            raise ValueError(f"folder {name!r} has no config.json; give a folder that save_pretrained wrote")
        return Repo(local.resolve().name, local, None, True)
    folder = _snapshot(name, SMALL_FILES, revision=None, local_files_only=local_files_only)
    if not (folder / "config.json").exists():
        raise ValueError(f"{name!r} has no config.json here; it is not a transformers model, or not downloaded")
    return Repo(name, folder, folder.name, local_files_only)


def find_whole_repo(name: str, *, local_files_only: bool) -> Repo:
    """Locate a model of Sentence Transformers with its subfolders and weights; a hub id may be downloaded, as above.

    A name without an owner is one of theirs, as in the package. Raises ValueError.
    """
    if name.startswith(MODELSCOPE):
        return _find_on_modelscope(name, local_files_only)
    local = Path(name).expanduser()
    if local.is_dir():
        return Repo(local.resolve().name, local, None, True)
    repo = name if "/" in name else f"sentence-transformers/{name}"
    fetch = partial(_snapshot, repo, revision=None, local_files_only=local_files_only, ignored=EXPORTS)
    folder = fetch((*SMALL_FILES, "*.safetensors", "*/pytorch_model.bin"))
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("0_*/*.safetensors")):
        folder = fetch(("*pytorch_model*.bin",))
    return Repo(repo, folder, folder.name, local_files_only)


def whole_repo_id(repo: Repo) -> str:
    """`weights` of the spec of such a model: a digest of its files, wherever they came from. Raises ValueError."""
    files = {file.relative_to(repo.folder).as_posix(): file for kind in ALL_FILES for file in repo.folder.rglob(kind)}
    lines = [
        f"{name} {sha256_file(file)}\n"
        for name, file in sorted(files.items())
        if not any(fnmatch(name, export) for export in EXPORTS)
        and not (file.suffix == ".bin" and any(file.parent.glob("*.safetensors")))
    ]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _find_on_modelscope(name: str, local_files_only: bool) -> Repo:
    """The whole model: ModelScope's versions have no name by which what is missing could be fetched later."""
    repo = name.removeprefix(MODELSCOPE)
    fetch = partial(fetch_modelscope, repo, ignored=EXPORTS, local_files_only=local_files_only)
    folder = fetch(patterns=(*SMALL_FILES, "*.safetensors"))
    if not local_files_only and not any(folder.rglob("*.safetensors")):
        fetch(patterns=("*pytorch_model*.bin",))
    return Repo(repo, folder, None, local_files_only)


def fetch_hub(repo: str, filename: str, *, local_files_only: bool) -> Path:
    """One file of a repository in the hub's cache, downloaded if allowed. Raises ValueError."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repo, filename, local_files_only=local_files_only, token=_token()))
    except _failures() as error:
        why = _why_not(error, repo, local_files_only)
        raise ValueError(f"{filename!r} of {repo!r} is not in the hub's cache{why}, or pass --weights FILE") from error


def config_digest(folder: Path) -> str:
    """16 hex digits of config.json without names, labels and versions."""
    return _digest(read_object(folder / "config.json", *MODEL_FILE))


def tokenizer_digests(folder: Path) -> dict[str, str]:
    """Hash of each file that determines how text becomes word pieces. Raises ValueError when there is none."""
    names = ("tokenizer.json",) if (folder / "tokenizer.json").exists() else TOKENIZER_FILES
    found = {name: sha256_file(folder / name) for name in names if (folder / name).exists()}
    if not found:
        raise ValueError(f"folder {str(folder)!r} has no tokenizer; save it there with tokenizer.save_pretrained")
    settings = tokenizer_settings(folder)
    return found | {"tokenizer_config.json": _digest(settings)} if settings else found


def tokenizer_settings(folder: Path) -> dict[str, object]:
    """tokenizer_config.json; empty where the folder has none."""
    file = folder / "tokenizer_config.json"
    return read_object(file, *MODEL_FILE) if file.exists() else {}


def _digest(settings: object) -> str:
    def keep(value: object) -> object:
        if isinstance(value, dict):
            return {key: keep(inner) for key, inner in value.items() if key not in VOLATILE}
        return value

    return hashlib.sha256(canonical({"settings": keep(settings)}).encode()).hexdigest()[:16]


def _snapshot(
    repo: str,
    patterns: Sequence[str],
    *,
    revision: str | None,
    local_files_only: bool,
    ignored: Sequence[str] = ("*/*",),
) -> Path:
    """Folder with files of one revision of the repository, by default its top-level ones. Raises ValueError."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                repo,
                revision=revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
                local_files_only=local_files_only,
                token=_token(),
            )
        )
    except _failures() as error:
        why = _why_not(error, repo, local_files_only)
        raise ValueError(f"{repo!r} is not in the hub's cache{why}, or give a folder") from error


def _token() -> bool | None:
    """`token` of the hub's client, which by itself sends the user's token to any host that HF_ENDPOINT names."""
    from huggingface_hub import constants

    return False if is_mirror(constants.ENDPOINT) else None  # None: the user's, if any


def _failures() -> tuple[type[BaseException], ...]:
    """The errors of the hub's client: its own, and those of its HTTP library, another one in each version."""
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    return OSError, ValueError, EntryNotFoundError, *HfHubHTTPError.__bases__


def _why_not(error: BaseException, repo: str, local_files_only: bool) -> str:
    """Why something was not downloaded, and what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

    if local_files_only:
        return "; run once without --local-files-only"
    if constants.HF_HUB_OFFLINE:
        return ", and HF_HUB_OFFLINE forbids to download it; unset HF_HUB_OFFLINE"
    host, mirror = constants.ENDPOINT, is_mirror(constants.ENDPOINT)
    if isinstance(error, GatedRepoError):
        own = "unset HF_ENDPOINT, as no token is sent to a mirror, " if mirror else ""
        return f", and {host} asks for a login; {own}accept its terms at {HUB}/{repo} and run `hf auth login`"
    if isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 404):  # 401 for unknown names, too
        return f", and {host} shows no such model or file; check the name"
    if mirror:
        return f" and was not downloaded from {host}; check HF_ENDPOINT, which names this host, and the connection"
    return f" and was not downloaded from {host}; check the connection, or take a mirror: `export HF_ENDPOINT={MIRROR}`"
