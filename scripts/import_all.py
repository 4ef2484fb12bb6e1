"""Import every module: with the core dependencies only, none may need an extra but those that are of one."""

import importlib
import pkgutil

import frailt

OF_AN_EXTRA = {
    "frailt.evaluation.harness",
    "frailt.judge.ask",
    "frailt.judge.task",
    "frailt.judge.wire",
    "frailt.serving.app",
    "frailt.serving.connection",
    "frailt.serving.guard",
    "frailt.serving.run",
}

names = [
    module.name for module in pkgutil.walk_packages(frailt.__path__, "frailt.") if module.name != "frailt.__main__"
]
skipped = []
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if name not in OF_AN_EXTRA:
            raise
        skipped.append(f"{name} ({error.name})")
print(f"imported {len(names) - len(skipped)} modules; an extra is missing for {', '.join(skipped) or 'none'}")
