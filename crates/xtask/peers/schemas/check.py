"""Checks objects of Kubernetes against the schemas of its versions, fields that they lack included.

Reads one object a line. Says one JSON object a mistake, a line each: the object's number, the version,
where in the object, and what is wrong. The last line says how many objects were checked, and against
which versions.
"""

import json
import pathlib
import sys

import jsonschema


class Version:
    """The schemas of one version by API version and kind."""

    def __init__(self, path):
        self.name = path.stem
        self.definitions = json.loads(path.read_text())["$defs"]
        self.names = {}
        for name, definition in self.definitions.items():
            for kind in definition.get("x-kubernetes-group-version-kind", []):
                group = kind["group"] + "/" if kind["group"] else ""
                self.names[group + kind["version"], kind["kind"]] = name
        self.validators = {}

    def mistakes(self, thing):
        """Where something is wrong in an object, and what."""
        kind = thing.get("apiVersion"), thing.get("kind")
        if kind not in self.names:
            return [("", f"there is no kind {kind[1]} of {kind[0]}")]
        if kind not in self.validators:
            reference = "#/$defs/" + self.names[kind]
            schema = {"$ref": reference, "$defs": self.definitions}
            self.validators[kind] = jsonschema.Draft202012Validator(schema)
        errors = self.validators[kind].iter_errors(thing)
        return [("/".join(map(str, e.absolute_path)), e.message) for e in errors]


def main():
    folder = pathlib.Path(__file__).parent / "versions"
    paths = sorted(folder.glob("*.json"), key=lambda path: int(path.stem.split(".")[1]))
    versions = [Version(path) for path in paths]
    objects = [json.loads(line) for line in sys.stdin]
    for version in versions:
        for number, thing in enumerate(objects):
            for path, message in version.mistakes(thing):
                mistake = {"path": path, "message": message}
                print(json.dumps({"object": number, "version": version.name, **mistake}))
    names = [version.name for version in versions]
    print(json.dumps({"objects": len(objects), "versions": names}))


main()
