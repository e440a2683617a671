"""Objects as JSON and arrays, and back: what a pickle does, for classes that are named.

Reading makes objects of the given classes alone and calls nothing else, so that a file
of unknown origin does no harm. An object that stands in several places is written once
and is one object again. Floats come back bit for bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import encodings, units
from .encodings import Encoding
from .units import UnitType


class Writer:
    """Describe objects by JSON, with arrays aside.

    Objects of `classes` are their attributes. Those that are `known` to the reader,
    too, are left out; it has to be given the same names.
    """

    def __init__(
        self, classes: Sequence[type], known: Mapping[str, Any] | None = None
    ) -> None:
        self.classes = {cls: cls.__name__ for cls in classes}
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.objects: list[Any] = []  # kept alive, so that no id is used twice
        self._places: dict[int, int] = {}
        self._names = {id(value): name for name, value in (known or {}).items()}

    def write(self, value: Any) -> Any:
        """Describe a value by what JSON can hold."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self._names:
            return {"known": self._names[id(value)]}
        if id(value) in self._places:
            return {"again": self._places[id(value)]}
        self._places[id(value)] = len(self.objects)
        self.objects.append(value)
        return {"new": self._places[id(value)], **self._described(value)}

    def _described(self, value: Any) -> dict[str, Any]:
        """Describe an object that is met for the first time."""
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return {"list": [self.write(entry) for entry in value.tolist()]}
        if isinstance(value, np.ndarray | np.generic):
            name = f"array_{len(self.arrays)}"
            self.arrays[name] = np.asarray(value)
            return {"scalar" if isinstance(value, np.generic) else "array": name}
        if type(value) in (list, tuple):
            return {type(value).__name__: [self.write(entry) for entry in value]}
        if type(value) is dict:
            pairs = [[self.write(k), self.write(v)] for k, v in value.items()]
            return {"dict": pairs}
        if isinstance(value, np.random.Generator):
            return {"generator": self.write(value.bit_generator.state)}
        if isinstance(value, np.random.SeedSequence):
            entropy: Any = value.entropy
            words = (
                int(entropy) if np.ndim(entropy) == 0 else np.array(entropy).tolist()
            )
            key = [int(word) for word in value.spawn_key]
            return {"seed": [words, key, value.n_children_spawned]}
        if isinstance(value, UnitType):
            return {"unit": value.spec()}
        if isinstance(value, Encoding):
            return {"encoding": value.spec()}
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"type": np.dtype(value).str}
        if type(value) is bytes:
            return {"bytes": value.hex()}
        if isinstance(value, slice):
            parts = (value.start, value.stop, value.step)
            return {"slice": [self.write(part) for part in parts]}
        known = next((cls for cls in type(value).__mro__ if cls in self.classes), None)
        if known is not None and hasattr(value, "get_params"):
            # As it was made: attributes may be others in versions to come.
            params = {name: getattr(value, name) for name in known().get_params()}
            return {"made": self.classes[known], "params": self.write(params)}
        if known is type(value):
            state = value.__getstate__()
            return {"object": self.classes[known], "state": self.write(state)}
        raise TypeError(f"{type(value).__name__} objects cannot be written: {value!r}.")


class Reader:
    """Make objects from what a `Writer` has written."""

    def __init__(
        self,
        classes: Sequence[type],
        arrays: Mapping[str, Any],
        known: Mapping[str, Any] | None = None,
    ) -> None:
        self.classes: dict[str, Any] = {cls.__name__: cls for cls in classes}
        self.arrays, self.known = arrays, known or {}
        self.objects: dict[int, Any] = {}

    def read(self, written: Any) -> Any:
        """Make the value that was described."""
        if not isinstance(written, dict):
            return written
        if "known" in written:
            return self.known[written["known"]]
        if "again" in written:
            return self.objects[written["again"]]
        place = written["new"]
        # What can hold itself has its place before its entries are read.
        if "object" in written:
            cls = self.classes[written["object"]]
            value = self.objects[place] = cls.__new__(cls)
            state = self.read(written["state"])
            if hasattr(value, "__setstate__"):
                value.__setstate__(state)
            else:
                vars(value).update(state)
        elif "list" in written:
            value = self.objects[place] = []
            value.extend(map(self.read, written["list"]))
        elif "dict" in written:
            value = self.objects[place] = {}
            value.update((self.read(k), self.read(v)) for k, v in written["dict"])
        else:
            value = self.objects[place] = self._plain(written)
        return value

    def _plain(self, written: Mapping[str, Any]) -> Any:
        """Make an object that cannot hold itself."""
        if "array" in written:
            return self.arrays[written["array"]]
        if "scalar" in written:
            return self.arrays[written["scalar"]][()]
        if "tuple" in written:
            return tuple(map(self.read, written["tuple"]))
        if "generator" in written:
            state = self.read(written["generator"])
            generator = np.random.Generator(np.random.SFC64(0))
            generator.bit_generator.state = state
            return generator
        if "seed" in written:
            words, key, n_spawned = written["seed"]
            return np.random.SeedSequence(
                words, spawn_key=key, n_children_spawned=n_spawned
            )
        if "unit" in written:
            return units.from_spec(written["unit"])
        if "encoding" in written:
            return encodings.from_spec(written["encoding"])
        if "dtype" in written:
            return np.dtype(written["dtype"])
        if "type" in written:
            return np.dtype(written["type"]).type
        if "bytes" in written:
            return bytes.fromhex(written["bytes"])
        if "slice" in written:
            return slice(*map(self.read, written["slice"]))
        if "made" in written:
            params: dict[str, Any] = self.read(written["params"])
            return self.classes[written["made"]](**params)
        raise ValueError(f"{sorted(written)} describes nothing that is known.")
