"""Import every module of the package: with core dependencies only, none may need an extra."""

import importlib
import pkgutil

import frailt

names = [
    module.name for module in pkgutil.walk_packages(frailt.__path__, "frailt.") if module.name != "frailt.__main__"
]
for name in names:
    importlib.import_module(name)
print(f"imported {len(names)} modules")
