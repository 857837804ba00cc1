"""What plan_memory.py and plan_cost.py are asked: the options that say what is built, and the case they describe.

Standard library only, unless settings come from a configuration (--system, --configfile).
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from indexscope import doctor
from indexscope.memory_plan import ENCODERS, FRAMEWORKS, Case, encoder_of
from indexscope.run_record import InputError

DEFAULT_CONFIGURATION = Path(__file__).resolve().parents[3] / "config" / "default.yaml"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9}
_GEOMETRY = ("layers", "hidden_size", "heads", "intermediate_size", "vocab_size", "dim")
# The quantities of the documents, and where a case has what was said of them.
FACTS = {
    "passages": "passages_per_document",
    "tokens_per_passage": "tokens_per_passage",
    "text_bytes": "bytes_per_document",
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage of thirty options."""
        self.exit(2, f"{message.removeprefix('argument ')}; --help lists the options\n")


def add_options(parser: argparse.ArgumentParser, *, device: bool) -> None:
    """The options that describe an index; `device` where the asker may choose it."""
    what = parser.add_argument_group("what is built")
    what.add_argument("--documents", metavar="N", help="documents of the collection: 200, 500k, 12.6M")
    what.add_argument("--framework", choices=FRAMEWORKS, help="with the library's own settings")
    what.add_argument("--system", metavar="NAME", help="a system of the configuration, with its settings")
    what.add_argument(
        "--configfile", type=Path, metavar="FILE", help="a configuration laid over config/default.yaml"
    )
    texts = parser.add_argument_group("what is known of the documents (estimated where not given)")
    texts.add_argument("--passages-per-document", metavar="X", help="after splitting")
    texts.add_argument("--tokens-per-passage", metavar="X", help="embeddings of a passage, on average")
    texts.add_argument("--text-bytes", metavar="N", help="of all documents: 25G")
    settings = parser.add_argument_group("settings (those of the framework or the system where not given)")
    settings.add_argument("--nbits", type=int, choices=[1, 2, 4], help="bits per dimension of a residual")
    settings.add_argument("--index-bsize", metavar="N", help="passages per encoder batch")
    settings.add_argument("--doc-maxlen", metavar="N", help="tokens of a passage that are kept")
    settings.add_argument("--kmeans", choices=["faiss", "torch"], help="what clusters the sample")
    settings.add_argument("--in-process", action="store_true", help="ColBERT without its child process")
    settings.add_argument("--nranks", metavar="N", help="processes that encode, one GPU each (default: 1)")
    if device:
        settings.add_argument(
            "--device", choices=["cpu", "cuda"], help="default: the configuration's, else cpu"
        )
    encoder = parser.add_argument_group("the encoder")
    encoder.add_argument(
        "--encoder",
        choices=list(ENCODERS),
        help="default: the configuration's, else answerai-colbert-small-v1",
    )
    for name in _GEOMETRY:
        encoder.add_argument(f"--{name.replace('_', '-')}", metavar="N")


def number(text: str, option: str) -> float:
    """A positive number with a unit of thousands."""
    match = re.fullmatch(r"(\d+(?:[,_]\d{3})*(?:\.\d+)?)([kmbg]?)", text.strip().lower())
    value = float(re.sub("[,_]", "", match[1])) * _UNITS[match[2]] if match else 0.0
    if value <= 0:
        raise InputError(f"{option}: {text!r} is not a positive number; write 200, 500k or 12.6M")
    return value


def whole(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    value = number(text, option)
    if value < 1 or abs(value - round(value)) > 1e-6:
        raise InputError(f"{option}: {text!r} is not a positive whole number; write 200, 500k or 12.6M")
    return round(value)


def mib_of(text: str, option: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(|m|mib|mb|g|gib|gb|t|tib|tb)", text.strip().lower())
    value = float(match[1]) * {"": 1, "m": 1, "g": 1024, "t": 1024**2}[match[2][:1]] if match else 0.0
    if value <= 0:
        raise InputError(f"{option}: {text!r} is no size; write MiB (65536) or 64G")
    return value


def there(text: str | None, option: str, of_this_machine: Callable[[], float | None]) -> float | None:
    """A size that was given, or what this machine has."""
    if text != "machine":
        return None if text is None else mib_of(text, option)
    size = of_this_machine()
    if size is None:
        raise InputError(f"{option}: this machine does not say how much it has; give MiB (65536) or 64G")
    return size


# Options that are settings of a framework, by the name that they have there; elsewhere they are quantities.
_SETTING_OF = {
    "colbert": {"nbits": "nbits", "index_bsize": "index_bsize", "doc_maxlen": "doc_maxlen"},
    "ragatouille": {"index_bsize": "bsize", "doc_maxlen": "max_document_length"},
}


def case_of(arguments: argparse.Namespace) -> Case:
    if arguments.framework and arguments.system:
        raise InputError("--framework and --system: give one of them; a system has its framework")
    if arguments.framework and arguments.configfile:
        raise InputError(
            "--configfile: --framework takes no configuration; name one of its systems with --system"
        )
    documents = whole(arguments.documents, "--documents")
    if documents is None:
        raise InputError("--documents: is missing; give the number of documents, such as 500k")
    if arguments.system:
        content, checkpoint = configured(arguments, configuration(arguments), arguments.system)
    else:
        content = {
            "framework": arguments.framework,
            "environment": arguments.framework,
            "split_to": None,
            "settings": _library_settings(arguments.framework),
            "device": getattr(arguments, "device", None) or "cpu",
        }
        checkpoint = ENCODERS["answerai-colbert-small-v1"]
    if arguments.encoder:
        checkpoint = ENCODERS[arguments.encoder]
    asked = {name: whole(getattr(arguments, name), f"--{name.replace('_', '-')}") for name in _GEOMETRY}
    if given := {name: value for name, value in asked.items() if value is not None}:
        checkpoint = {**encoder_of(checkpoint), **given}
    return with_options(Case(content, checkpoint, documents), arguments)


def with_options(case: Case, arguments: argparse.Namespace) -> Case:
    """The case with the settings and facts that the command line gives."""
    framework = case.content["framework"]
    settings, known = dict(case.content["settings"]), {}
    options = {
        "nbits": arguments.nbits,
        "index_bsize": whole(arguments.index_bsize, "--index-bsize"),
        "doc_maxlen": whole(arguments.doc_maxlen, "--doc-maxlen"),
    }
    for option, value in options.items():
        name = _SETTING_OF.get(framework, {}).get(option)
        if value is not None and name:
            settings[name] = value
        elif value is not None:
            known[option] = value
    if arguments.in_process:
        if framework != "colbert":
            raise InputError(f"--in-process: {framework} has no child process; leave the option out")
        settings["in_process"] = True
    if arguments.kmeans:
        if framework == "ragatouille":
            settings["use_faiss"] = arguments.kmeans == "faiss"
        elif arguments.kmeans == "torch":
            raise InputError(f"--kmeans: {framework} has no k-means of PyTorch; leave the option out")
    if (nranks := whole(arguments.nranks, "--nranks")) is not None:
        known["nranks"] = nranks
    text_bytes = whole(arguments.text_bytes, "--text-bytes")
    return replace(
        case,
        content={**case.content, "settings": settings},
        known=known,
        passages_per_document=_fact(arguments.passages_per_document, "--passages-per-document"),
        tokens_per_passage=_fact(arguments.tokens_per_passage, "--tokens-per-passage"),
        bytes_per_document=None if text_bytes is None else text_bytes / case.documents,
    )


def _fact(text: str | None, option: str) -> float | None:
    return None if text is None else number(text, option)


def _library_settings(framework: str) -> dict[str, Any]:
    """What the library takes where nobody says otherwise; the adapter knows the names."""
    import importlib

    adapter = importlib.import_module(f"indexscope.frameworks.{framework}")
    return {name: setting.default for name, setting in adapter.SETTINGS.items()}


def configuration(arguments: argparse.Namespace) -> Any:
    """The configuration in use; its packages are loaded here only."""
    try:
        import yaml

        from indexscope import config
    except ImportError as error:
        raise InputError(
            f"--system and --configfile read a configuration, for which {error.name} is missing: run this with "
            "`uv run python`, or give --framework"
        ) from None
    files = [path for path in (DEFAULT_CONFIGURATION, arguments.configfile) if path is not None]
    values: dict[str, Any] = {}
    for path in files:
        try:
            values = _laid_over(values, yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a YAML file") from None
        except (yaml.YAMLError, UnicodeDecodeError, AttributeError) as error:
            raise InputError(f"{path}: is no YAML configuration ({' '.join(str(error).split())})") from None
    return config.load(values, files)


def _laid_over(values: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """As Snakemake lays configurations over each other: mappings key by key, anything else as a whole."""
    merged = dict(values)
    for key, value in more.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _device(arguments: argparse.Namespace, configured: str) -> str:
    asked = getattr(arguments, "device", None)
    if asked or configured != "auto":
        return str(asked or configured)
    return "cpu" if isinstance(doctor.nvidia_driver(doctor.Machine()), str) else "cuda"


def configured(
    arguments: argparse.Namespace, settings: Any, name: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The part of a system's cell that decides memory, and the checkpoint's settings."""
    if name not in settings.systems:
        raise InputError(f"--system: {name!r} is not defined; known are {', '.join(settings.systems)}")
    system = settings.systems[name]
    content = {
        "framework": system.framework,
        "environment": system.environment,
        "split_to": system.split_to,
        "settings": system.settings.model_dump(mode="json"),
        "device": _device(arguments, settings.measurement.device),
    }
    checkpoint = settings.checkpoints[settings.index_memory.checkpoint].model_dump(mode="json")
    return content, checkpoint


def estimated(case: Case) -> list[str]:
    """The quantities of the documents that nobody gave."""
    return [name for name, given in FACTS.items() if getattr(case, given) is None]
