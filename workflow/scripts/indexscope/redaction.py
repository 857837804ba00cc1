"""What an archive must not tell: absolute paths, host names, user names, git remotes and e-mail addresses.

Removing and verifying are apart. `Redactor` rewrites files kind by kind. `Identity.found_in` looks for what it
was given to look for, in the bytes of a file and in what they encode, and knows nothing of how it was removed.
"""

from __future__ import annotations

import base64
import binascii
import csv
import getpass
import html
import json
import os
import re
import socket
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from indexscope.run_record import InputError

PATH, HOST, USER, REMOTE, ADDRESS = "[path]", "[host]", "[user]", "[remote]", "[address]"
# What images and installers give to every machine identifies none.
COMMON_NAMES = frozenset(
    {
        *("root", "user", "users", "admin", "administrator", "nobody", "localhost", "localdomain", "home"),
        *("ubuntu", "debian", "fedora", "runner", "runneradmin", "docker", "jovyan", "vscode", "ec2-user"),
    }
)
_ROWS = 1 << 16  # rows of a table in memory
_LIST_OF_TEXTS = pa.list_(pa.string())
_SHORT = 4  # names with fewer characters are taken for names only where they stand alone

# Not characters of a path in running text.
_CHARACTER = r"[^\s\"'`<>|:;,()\[\]{}*?&\\]"
_QUOTED = re.compile(r"""(?P<quote>["'`])(?P<path>(?:file://)?/(?!/)[^"'`<>\n]*)(?P=quote)""")
_ABSOLUTE = re.compile(rf"(?<![\w./\\<~\])}}%+-])(?P<path>(?:file://)?/(?!/){_CHARACTER}+)")
_AFTER_HOME = re.compile(rf"(?<![\w/])~(?:[A-Za-z_]\w*)?/{_CHARACTER}+")
_WINDOWS = re.compile(r"(?<!\w)[A-Za-z]:\\[^\s\"'<>|]+")
_FILE_NAME = re.compile(r"\w\.\w{1,10}$")
_WHOLE_VALUE = re.compile(r"(?:file://)?/(?!/)[^\n:;,\"'<>]+")
# Of a path elsewhere, the part that says which library it is in is kept.
_LIBRARY_PART = re.compile(r"/((?:site-packages|dist-packages|lib/python\d[\d.]*)/.+)$")
_OF_THE_KERNEL = ("proc", "dev", "sys")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"'<>]+@")
_GIT_REMOTE = re.compile(
    r"(?:git\+)?(?:https?|ssh|git)://[^\s\"'<>]+?\.git(?![\w-])|(?<![\w.+-])[\w.+-]+@[\w.-]+:[\w./~-]+"
)
_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]+@[A-Za-z][\w-]*(?:\.[\w-]+)*")
_DATA_URI = re.compile(r"(data:text/csv;base64,)([A-Za-z0-9+/=]+)")
# Code of a page, and its data: a script element of type application/json.
_SCRIPT = re.compile(r"(<script\b([^>]*)>)(.*?)(</script>)", re.DOTALL)


@dataclass(frozen=True)
class Identity:
    """Who and where: the names and folders that no member of an archive may hold.

    Args:
        hosts: names of this machine.
        users: names of its users.
        folders: absolute paths of the project and of home folders, longest first.
        project: those of `folders` that are the project's; paths below it become relative.
    """

    hosts: tuple[str, ...]
    users: tuple[str, ...]
    folders: tuple[str, ...]
    project: tuple[str, ...] = ()

    @classmethod
    def of_this_machine(cls, projects: Iterable[Path], keep: Iterable[str] = ()) -> Identity:
        """This machine's names, but those that every machine may have and those to `keep`.

        Args:
            projects: folders of the project: where it runs, and where its code is.
        """
        kept = COMMON_NAMES | {name.lower() for name in keep}
        full = {
            socket.gethostname(),
            socket.getfqdn(),
            *(os.environ.get(name, "") for name in _HOST_VARIABLES),
        }
        hosts = {*full, *(name.partition(".")[0] for name in full)}
        home = Path.home()
        users = {_user(), home.name, *(os.environ.get(name, "") for name in _USER_VARIABLES)}
        roots = {str(form) for project in projects for form in (project.absolute(), project.resolve())}
        if Path(named := os.environ.get("PWD", "")).resolve() == Path.cwd():
            roots.add(named)  # with the links by which the user came here
        folders = roots | {str(home), str(home.resolve())}

        def names(found: set[str]) -> tuple[str, ...]:
            wanted = {name for name in found if len(name) > 1 and name.lower() not in kept}
            return tuple(sorted((name for name in wanted if not name.isdecimal()), key=_longest_first))

        def paths(found: set[str]) -> tuple[str, ...]:
            return tuple(sorted((path for path in found if path not in ("/", "")), key=_longest_first))

        return cls(names(hosts), names(users - hosts), paths(folders), paths(roots))

    def named_in(self, words: Iterable[str]) -> str | None:
        """A host or user name that is one of `words` too, and so cannot be told from it; None if none is."""
        lowered = {word.lower() for word in words}
        return next((name for name in [*self.hosts, *self.users] if name.lower() in lowered), None)

    def found_in(self, path: Path, name: str) -> str | None:
        """What the file `path`, of the kind that `name` is, tells of the identity; None if nothing.

        The bytes themselves are searched, and what they encode: the values and metadata of Parquet, escapes of
        JSON, HTML and URLs, tables inside a page. In a page's code (Vega) paths are looked for, names are not.
        """
        for text in _texts(path, name):
            for folder in self.folders:
                if any(_stands_in(form, text) for form in _forms(folder)):
                    return f"the path {folder}"
            prose = _SCRIPT.sub(_without_code, text) if name.endswith(".html") else text
            for kind, values in (("host name", self.hosts), ("user name", self.users)):
                for value in values:
                    if any(_word(form).search(prose) for form in _forms(value)):
                        return f"the {kind} {value}"
        return None


_HOST_VARIABLES = ("HOSTNAME", "HOST", "COMPUTERNAME", "SLURMD_NODENAME", "SLURM_SUBMIT_HOST", "PBS_O_HOST")
_USER_VARIABLES = ("USER", "LOGNAME", "USERNAME", "SUDO_USER", "SLURM_JOB_USER", "PBS_O_LOGNAME")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        return ""


def _longest_first(text: str) -> tuple[int, str]:
    return -len(text), text


def _word(name: str) -> re.Pattern[str]:
    """Where a name stands alone; in `alice_laptop` too, unless the name is so short that words have it."""
    beside, flags = ("A-Za-z0-9", re.IGNORECASE) if len(name) >= _SHORT else (r"\w.-", 0)
    return re.compile(rf"(?<![{beside}]){re.escape(name)}(?![{beside}])", flags)


def _stands_in(folder: str, text: str) -> bool:
    """Whether the path is in `text` as a whole: `/root` is not in `/rootless`, nor in `/x/root`."""
    return bool(re.search(rf"(?<![\w.-]){re.escape(folder)}(?![\w-])", text))


def _forms(text: str) -> set[str]:
    """A text as files may write it."""
    return {text, json.dumps(text)[1:-1], html.escape(text), urllib.parse.quote(text)}


def _without_code(script: re.Match[str]) -> str:
    return script[0] if "application/json" in script[2] else ""


def _texts(path: Path, name: str) -> Iterator[str]:
    """Pieces of text that hold all that a file says."""
    if name.endswith(".parquet"):
        with pq.ParquetFile(path) as table:
            for data in (table.schema_arrow.metadata, table.metadata.metadata):
                for key, value in (data or {}).items():
                    if key != b"ARROW:schema":  # the same once more, in base64
                        yield f"{key.decode(errors='replace')}={value.decode(errors='replace')}"
            yield "\n".join(table.schema_arrow.names)
            texts = [
                each.name
                for each in table.schema_arrow
                if pa.types.is_string(each.type) or each.type == _LIST_OF_TEXTS
            ]
            for batch in table.iter_batches(_ROWS, columns=texts):
                for each in batch.columns:
                    column = each.flatten() if each.type == _LIST_OF_TEXTS else each
                    yield "\n".join(value for value in column.unique().to_pylist() if value)
        return
    if name.endswith(".html"):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield text
        for match in _DATA_URI.finditer(text):
            yield base64.b64decode(match[2]).decode(errors="replace")
        return
    overlap = ""
    with path.open(encoding="utf-8", errors="replace") as file:
        while piece := file.read(1 << 20):
            yield overlap + piece
            overlap = piece[-4096:]


@dataclass
class Redactor:
    """Rewrites files without absolute paths and names; counts in `removed` what it took out."""

    identity: Identity
    removed: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known: dict[str, str] = {}
        self._paths: dict[str, dict[str, int]] = {}  # what is kept of a path → paths, numbered
        self._words = [
            (_word(name), replacement)
            for names, replacement in ((self.identity.hosts, HOST), (self.identity.users, USER))
            for name in names
        ]
        self._projects = [
            re.compile(rf"(?<![\w./-]){re.escape(folder)}(?:/|(?![\w.-]))")
            for folder in self.identity.project
        ]
        self._folders = [
            re.compile(rf"(?<![\w./-]){re.escape(folder)}(?![\w./-])") for folder in self.identity.folders
        ]

    def file(self, source: Path, target: Path) -> None:
        """Write the file `source` without what identifies, as `target`; its suffix says how to read it.

        Raises:
            InputError: the file is not what its suffix says.
        """
        rewrite: dict[str, Callable[[Path, Path], None]] = {
            ".parquet": self._parquet,
            ".csv": self._csv,
            ".json": self._json,
            ".yaml": self._yaml,
            ".html": self._html,
        }
        try:
            rewrite.get(source.suffix, self._text_file)(source, target)
        except (OSError, ValueError, pa.ArrowException, yaml.YAMLError) as error:
            problem = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{source}: cannot be archived ({problem}); make it anew") from None

    def text(self, text: str) -> str:
        """`text` without what identifies; what is relative, or the kernel's own, stays."""
        known = self._known.get(text)
        if known is not None:
            return known
        result = self._redacted(text)
        if len(text) < 4096 and len(self._known) < 1 << 16:
            self._known[text] = result
        return result

    def value(self, value: Any) -> Any:
        """A JSON value with the texts in it, keys too, redacted; a text that is a path is one as a whole."""
        if isinstance(value, str):
            return self._single(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {
                self._single(key) if isinstance(key, str) else key: self.value(each)
                for key, each in value.items()
            }
        return value

    def _single(self, text: str) -> str:
        """A text that is a value of its own: a path may have spaces in it."""
        for project in self._projects:
            if project.match(text):
                return self.text(text)
        if _WHOLE_VALUE.fullmatch(text) and (" " not in text or _FILE_NAME.search(text)):
            return self.text(self._path(text))
        return self.text(text)

    def _redacted(self, text: str) -> str:
        if "@" in text:
            text = self._counted(_CREDENTIALS, "", text, "credentials")
            text = self._counted(_GIT_REMOTE, REMOTE, text, "git remotes")
            text = self._counted(_ADDRESS, ADDRESS, text, "addresses")
        elif ".git" in text:
            text = self._counted(_GIT_REMOTE, REMOTE, text, "git remotes")
        if "/" in text:
            for project in self._projects:
                text = self._counted(project, "", text, "paths")
            for folder in self._folders:
                text = self._counted(folder, PATH, text, "paths")
            text = _QUOTED.sub(
                lambda match: match["quote"] + self._path(match["path"]) + match["quote"], text
            )
            text = _ABSOLUTE.sub(lambda match: self._path(match["path"]), text)
            text = self._counted(_AFTER_HOME, PATH, text, "paths")
        if ":\\" in text:
            text = self._counted(_WINDOWS, PATH, text, "paths")
        for word, replacement in self._words:
            text = self._counted(word, replacement, text, "names")
        return text

    def _path(self, path: str) -> str:
        """What stays of an absolute path: the library's part of it, or its file's name."""
        parts = [part for part in path.removeprefix("file://").split("/") if part]
        if len(parts) < 2 or parts[0] in _OF_THE_KERNEL:
            return path
        self._count("paths", 1)
        in_a_home = parts[0] in ("home", "Users") and len(parts) < 3
        if library := _LIBRARY_PART.search(path):
            kept = library[1]
        elif _FILE_NAME.search(parts[-1]) and not in_a_home:
            kept = parts[-1]
        else:
            return PATH
        # Two files stay two: what tables are joined by must not become equal.
        alike = self._paths.setdefault(kept, {})
        number = alike.setdefault("/".join(parts), len(alike) + 1)
        return f"{PATH if number == 1 else PATH.replace(']', f' {number}]')}/{kept}"

    def _counted(self, pattern: re.Pattern[str], replacement: str, text: str, kind: str) -> str:
        result, count = pattern.subn(lambda match: replacement, text)
        self._count(kind, count)
        return result

    def _count(self, kind: str, number: int) -> None:
        if number:
            self.removed[kind] = self.removed.get(kind, 0) + number

    # Kinds of files

    def _parquet(self, source: Path, target: Path) -> None:
        """In row groups; each distinct text of a row group is looked at once."""
        with pq.ParquetFile(source) as table:
            schema = table.schema_arrow
            metadata = {
                self.text(key.decode(errors="replace")): self.text(value.decode(errors="replace"))
                for key, value in (schema.metadata or {}).items()
            }
            schema = schema.with_metadata(metadata or None)
            with pq.ParquetWriter(target, schema) as writer:
                for batch in table.iter_batches(_ROWS):
                    columns = [self._column(column) for column in batch.columns]
                    writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def _column(self, column: pa.Array) -> pa.Array:
        if column.type == _LIST_OF_TEXTS:
            lists = column.to_pylist()
            redacted = [
                None if each is None else [text and self._single(text) for text in each] for each in lists
            ]
            return pa.array(redacted, column.type)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            if pa.types.is_nested(column.type) or pa.types.is_dictionary(column.type):
                raise ValueError(f"a column of type {column.type}")  # none of ours; not to be let through
            return column
        encoded = column.dictionary_encode()
        texts = [self._single(text) for text in encoded.dictionary.to_pylist()]
        return pa.array(texts, column.type).take(encoded.indices)

    def _csv(self, source: Path, target: Path) -> None:
        with (
            source.open(newline="", encoding="utf-8") as lines,
            target.open("w", newline="", encoding="utf-8") as out,
        ):
            writer = csv.writer(out, lineterminator="\n")
            for row in csv.reader(lines):
                writer.writerow([self._single(cell) for cell in row])

    def _json(self, source: Path, target: Path) -> None:
        value = self.value(json.loads(source.read_text(encoding="utf-8")))
        target.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _yaml(self, source: Path, target: Path) -> None:
        text = source.read_text(encoding="utf-8")
        comment = "".join(line + "\n" for line in text.splitlines() if line.startswith("#"))
        value = yaml.safe_dump(self.value(yaml.safe_load(text)), sort_keys=False, allow_unicode=True)
        target.write_text(self.text(comment) + value, encoding="utf-8")

    def _html(self, source: Path, target: Path) -> None:
        """A page's text and data; its code (the Vega library) is left as it is."""
        text = source.read_text(encoding="utf-8")
        parts, end = [], 0
        for script in _SCRIPT.finditer(text):
            parts.append(self._markup(text[end : script.start()]))
            parts.append(script[1] + self._script(script) + script[4])
            end = script.end()
        parts.append(self._markup(text[end:]))
        target.write_text("".join(parts), encoding="utf-8")

    def _markup(self, text: str) -> str:
        def table(match: re.Match[str]) -> str:
            try:
                rows = base64.b64decode(match[2], validate=True).decode("utf-8")
            except (binascii.Error, UnicodeDecodeError):
                raise ValueError("a table in the page is no base64") from None
            return match[1] + base64.b64encode(self._lines(rows).encode()).decode("ascii")

        parts, end = [], 0
        for match in _DATA_URI.finditer(text):
            parts += [self._lines(text[end : match.start()]), table(match)]
            end = match.end()
        return "".join([*parts, self._lines(text[end:])])

    def _script(self, script: re.Match[str]) -> str:
        if "application/json" not in script[2]:
            return script[3]
        data = json.dumps(self.value(json.loads(script[3])), separators=(",", ":"))
        return data.replace("<", "\\u003c")

    def _text_file(self, source: Path, target: Path) -> None:
        with (
            source.open(encoding="utf-8", newline="") as lines,
            target.open("w", encoding="utf-8", newline="") as out,
        ):
            for line in lines:
                out.write(self.text(line))

    def _lines(self, text: str) -> str:
        return "".join(self.text(line) for line in text.splitlines(keepends=True))


def words_of(names: Iterable[str]) -> set[str]:
    """Names and the words that they are made of: `ragatouille_faiss_true` and its parts."""
    return {word for name in names for word in (name, *re.split(r"[^A-Za-z0-9]+", name)) if word}
