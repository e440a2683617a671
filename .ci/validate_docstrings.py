"""Check the docstring of every public object of a package with numpydoc.

Run it as ``python .ci/validate_docstrings.py [package]``, where the package is
installed and is ``skdbm`` unless told otherwise.
"""

import importlib
import inspect
import pkgutil
import sys
from functools import cached_property

from numpydoc.validate import Validator, get_doc_object, validate

EXCUSED = {"ES01", "GL01", "GL02", "RT02"}
EXCUSED_IN_MODULES_AND_METHODS = EXCUSED | {"EX01", "SA01"}


class ObjectValidator(Validator):
    """Validator that accepts modules without any function or class, too."""

    def __init__(self, obj_name):
        super().__init__(get_doc_object(self._load_obj(obj_name)))

    @property
    def source_file_def_line(self):
        return 1 if self.is_mod else super().source_file_def_line


def defined_in(obj, package):
    """Say whether an object is a class or function that the package defines."""
    documented = inspect.isclass(obj) or inspect.isroutine(obj)
    module = getattr(obj, "__module__", None)
    return documented and f"{module}.".startswith(f"{package}.")


def public_methods(cls, package):
    """Yield the names of the methods and properties that the package defines."""
    for name in dir(cls):
        obj = inspect.getattr_static(cls, name)
        if isinstance(obj, property):
            obj = obj.fget
        elif isinstance(obj, cached_property):
            obj = obj.func
        else:
            obj = getattr(cls, name, None)
        if not name.startswith("_") and defined_in(obj, package):
            yield name


def public_objects(package):
    """Yield the name of every public object with the checks it is excused from."""
    root = importlib.import_module(package)
    inside = [info.name for info in pkgutil.walk_packages(root.__path__, f"{package}.")]
    seen = set()
    for module_name in [package, *(name for name in inside if "._" not in name)]:
        yield module_name, EXCUSED_IN_MODULES_AND_METHODS
        members = vars(importlib.import_module(module_name))
        for name, obj in members.items():
            own = getattr(obj, "__module__", None) == module_name
            public = own and not name.startswith("_")
            public = public or name in members.get("__all__", ())
            if not (public and defined_in(obj, package)) or obj in seen:
                continue
            seen.add(obj)
            yield f"{module_name}.{name}", EXCUSED
            for method in public_methods(obj, package) if inspect.isclass(obj) else ():
                yield f"{module_name}.{name}.{method}", EXCUSED_IN_MODULES_AND_METHODS


def main(package="skdbm"):
    """Print every finding and return the exit status."""
    objects = list(public_objects(package))
    findings = 0
    for path, excused in objects:
        for code, message in validate(path, validator_cls=ObjectValidator)["errors"]:
            if code not in excused:
                print(f"{path}: {code} {message}")
                findings += 1
    print(f"{len(objects)} docstrings validated, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
