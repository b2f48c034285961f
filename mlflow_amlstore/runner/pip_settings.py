"""Where packages come from, by pip's settings and a list's own options, told to uv, which reads none of pip's.

As in pip, an environment variable beats pip's files, and a list's options beat both. uv's own variables beat pip's
settings. uv is told by variables, since a URL may have a password, and a command line is seen by everybody.
"""

import configparser
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlflow_amlstore.errors import InvalidValue
from mlflow_amlstore.workspace.redaction import redact

# Settings of pip with a value: uv's variable (an older name of it comes second), and what separates several values.
_VARIABLES = {
    "index-url": (("UV_DEFAULT_INDEX", "UV_INDEX_URL"), ""),
    "extra-index-url": (("UV_INDEX", "UV_EXTRA_INDEX_URL"), " "),
    "find-links": (("UV_FIND_LINKS",), ","),
    "trusted-host": (("UV_INSECURE_HOST",), " "),
    "cert": (("SSL_CERT_FILE",), ""),
}
_FLAGS = {"no-index": "--no-index", "pre": "--prerelease=allow"}
_ABBREVIATIONS = {"-i": "--index-url", "-f": "--find-links"}
_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)\}")


def listed_options(lines: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The options of a list that say where packages come from, by pip's names, and the list's other lines.

    Raises InvalidValue for an option without a value.
    """
    options: dict[str, list[str]] = {}
    others = []
    for line in lines:
        words = iter(_words(line) if line.startswith("-") else ())
        for word in words:
            option, has_value, value = _ABBREVIATIONS.get(word, word).partition("=")
            name = option.removeprefix("--")
            if name in _FLAGS:
                options[name] = ["1"]
            elif name in _VARIABLES:
                value = value if has_value else next(words, "")
                if not value:
                    raise InvalidValue("pip option", redact(line), "must have a value")
                options.setdefault(name, []).append(expanded(value))
            else:
                others.append(line)
                break
        if not line.startswith("-"):
            others.append(line)
    return options, others


def as_lines(options: Mapping[str, list[str]]) -> list[str]:
    """The options as lines of a list again."""
    return [
        f"--{name}" if name in _FLAGS else f"--{name} {value}" for name, values in options.items() for value in values
    ]


def for_uv(listed: Mapping[str, list[str]], folder: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """uv's variables, the flags of all its commands, and those of an installation, by pip's settings and a list's.

    Relative paths are below `folder`.
    """
    configured = _configured()
    variables = {}
    for name, (known_as, separator) in _VARIABLES.items():
        given = next((os.environ[variable] for variable in known_as if os.environ.get(variable)), "")
        values = [given] if given else configured.get(name, "").split()
        values = [*values, *listed.get(name, ())]
        if name == "find-links":  # pip passes over a folder that isn't there, uv fails
            values = [value for value in values if "://" in value or "," in value or (folder / value).exists()]
        if values:
            variables[known_as[0]] = separator.join(values) if separator else values[-1]
    # pip takes the best version from all indexes, uv the first index that has any. A list was written for pip.
    variables.setdefault("UV_INDEX_STRATEGY", os.environ.get("UV_INDEX_STRATEGY", "unsafe-best-match"))
    given_flags = {name for name in _FLAGS if name in listed or _is_on(configured.get(name, ""))}
    everywhere = [_FLAGS["no-index"]] if "no-index" in given_flags else []
    return variables, everywhere, [_FLAGS["pre"]] if "pre" in given_flags else []


def constraints() -> list[str]:
    """Lines of a list for the files of constraints that uv's variable names, or else pip's settings."""
    named = os.environ.get("UV_CONSTRAINT") or _configured().get("constraint", "")
    return [f"--constraint {name}" for name in named.split()]


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InvalidValue("pip option", redact(line), f"can't be read: {error}") from None


def expanded(value: str) -> str:
    """`${NAME}` is an environment variable, as in pip's requirements files; one that isn't set stays as it is."""
    return _REFERENCE.sub(lambda match: os.environ.get(match[1], match[0]), value)


def _configured() -> dict[str, str]:
    """pip's settings: of its files, a later one beats an earlier one, `[install]` beats `[global]`."""
    settings: dict[str, str] = {}
    for file in _files():
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue  # pip names the problem wherever it is called; it may be none of ours
        for section in ("global", "install"):
            if parser.has_section(section):
                settings.update(
                    (name.replace("_", "-").removeprefix("--"), text) for name, text in parser.items(section)
                )
    for name in (*_VARIABLES, *_FLAGS, "constraint"):
        text = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if text:
            settings[name] = text
    return settings


def _files() -> list[Path]:
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []  # which is how pip is told to read none
    home = Path.home()
    everybodys = [Path(folder) for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if folder]
    own = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if sys.platform == "darwin":
        everybodys = [Path("/Library/Application Support")]
        apples = home / "Library" / "Application Support"
        own = apples if (apples / "pip").is_dir() else own
    folders = [*(folder / "pip" for folder in reversed(everybodys)), Path("/etc"), home / ".pip", own / "pip"]
    files = [folder / "pip.conf" for folder in (*folders, Path(sys.prefix))]
    return [*files, Path(named)] if named else files


def _is_on(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on", "y", "t")
