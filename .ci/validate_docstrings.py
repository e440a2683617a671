"""Check with numpydoc the docstring of everything that a user calls.

That is what the modules below export. Run it as ``python .ci/validate_docstrings.py``,
where the package is installed.
"""

import importlib
import inspect
import sys
from functools import cached_property

from numpydoc.validate import Validator, get_doc_object, validate

#: The modules that users import from.
MODULES = [
    "skdbm",
    "skdbm.callback",
    "skdbm.dask",
    "skdbm.display",
    "skdbm.encodings",
    "skdbm.evidence",
    "skdbm.inference",
    "skdbm.likelihood",
    "skdbm.machine",
    "skdbm.pieces",
    "skdbm.sampling",
    "skdbm.units",
]

EXCUSED = {"ES01", "GL01", "GL02", "RT02"}
EXCUSED_IN_MODULES_AND_METHODS = EXCUSED | {"EX01", "SA01"}
#: What a method that overrides a documented one need not say again.
EXCUSED_IN_OVERRIDES = EXCUSED_IN_MODULES_AND_METHODS | {"PR01", "RT01", "SS05", "YD01"}


class ObjectValidator(Validator):
    """Validator that accepts modules without any function or class, too."""

    def __init__(self, obj_name):
        super().__init__(get_doc_object(self._load_obj(obj_name)))

    @property
    def source_file_def_line(self):
        return 1 if self.is_mod else super().source_file_def_line


def is_ours(obj):
    """Say whether a class or function is defined in the package."""
    documented = inspect.isclass(obj) or inspect.isroutine(obj)
    return documented and (getattr(obj, "__module__", None) or "").startswith("skdbm.")


def public_names(module):
    """List what a module exports, or defines if it does not say."""
    members = vars(module)
    defined = [
        name
        for name, obj in members.items()
        if getattr(obj, "__module__", None) == module.__name__ and name[0] != "_"
    ]
    return [n for n in members.get("__all__", defined) if is_ours(members[n])]


def function_of(member):
    """Give the function behind a method or property."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, cached_property):
        return member.func
    return getattr(member, "__func__", member)


def public_methods(cls):
    """Yield the methods and properties that a class has from us, and their excuses."""
    for name in dir(cls):
        if name.startswith("_"):
            continue
        owners = [base for base in cls.__mro__ if name in vars(base)]
        if is_ours(function_of(vars(owners[0])[name])):
            overrides = any(is_ours(base) for base in owners[1:])
            yield (
                name,
                EXCUSED_IN_OVERRIDES if overrides else EXCUSED_IN_MODULES_AND_METHODS,
            )


def public_objects():
    """Yield the name of everything public with the checks it is excused from."""
    seen = set()
    for module_name in MODULES:
        yield module_name, EXCUSED_IN_MODULES_AND_METHODS
        module = importlib.import_module(module_name)
        for name in public_names(module):
            obj = getattr(module, name)
            if obj in seen:
                continue
            seen.add(obj)
            yield f"{module_name}.{name}", EXCUSED
            if inspect.isclass(obj):
                for method, excused in public_methods(obj):
                    yield f"{module_name}.{name}.{method}", excused


def main():
    """Print every finding and return the exit status."""
    objects = list(public_objects())
    findings = 0
    for path, excused in objects:
        for code, message in validate(path, validator_cls=ObjectValidator)["errors"]:
            if code not in excused:
                print(f"{path}: {code} {message}")
                findings += 1
    print(f"{len(objects)} docstrings validated, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
