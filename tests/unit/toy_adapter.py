"""Adapter of the toy framework: `settings` name one of its functions and the arguments."""

import os

from . import Setting


def _observe(mib):  # type: ignore[no-untyped-def]
    return {"fact": "kmeans", "backend": "toy", "points": mib, "partitions": 1, "iterations": 2}


def _observe_attempt(backend, error=None):  # type: ignore[no-untyped-def]
    return {"fact": "kmeans", "backend": backend, "points": 3, "partitions": 1, "iterations": 2}


def _observe_wrongly(mib):  # type: ignore[no-untyped-def]
    raise KeyError("an argument that the adapter does not know")


SETTINGS = {
    "call": Setting(str, "outer", "dotted name of the function to call"),
    "arguments": Setting(list, [1, 1], "its arguments"),
    "instance": Setting(bool, False, "the function is a method, to be called on an instance"),
    "own_fault": Setting(bool, False, "the adapter has a defect"),
}
SETTINGS_MEANING = "A function of the toy framework and its arguments."
OBSERVERS = {
    ("toy_framework", "inner"): _observe,
    ("toy_framework", "cluster"): _observe_attempt,
    ("toy_framework", "observed_wrongly"): _observe_wrongly,
}
PHASES = {
    ("toy_framework", "outer"): "planning",
    ("toy_framework", "try_to_train"): "training",
    ("toy_framework", "hold"): "encoding",
}
EXTENSIONS = None
LAYOUT = None


def prepare(run):  # type: ignore[no-untyped-def]
    import toy_framework

    settings = run["settings"]
    if settings.get("own_fault"):
        raise KeyError("a defect of the adapter")

    def build(document_ids, texts):  # type: ignore[no-untyped-def]
        function = toy_framework
        for name in settings["call"].split("."):
            function = getattr(function, name)
        if settings.get("instance"):
            function = getattr(toy_framework.Static(), settings["call"].split(".")[-1])
        function(*settings.get("arguments", []))
        path = os.path.join(run["index_root"], "index")
        os.makedirs(path)
        with open(os.path.join(path, "texts"), "w") as file:
            file.write("\n".join(texts))
        with open(os.path.join(path, "codes"), "wb") as file:
            file.write(bytes(2**20))
        return path

    return build


def resolve(index_path):  # type: ignore[no-untyped-def]
    with open(os.path.join(index_path, "texts")) as file:
        return {"passages": len(file.read().splitlines())}
