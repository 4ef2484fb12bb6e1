"""FraiLT, the Freely Long-Thinking Transformer: iterated ("looped") language models, native in Hugging Face.

`import frailt` is light. The model classes, and torch with them, are loaded on first use; transformers' Auto classes
know FraiLT as soon as they are loaded themselves, before or after this package.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import FraiLTConfig, FraiLTForCausalLM, FraiLTModel, Layout

try:
    __version__ = version("frailt")
except PackageNotFoundError:  # run from its sources without being installed
    __version__ = "0+sources"
__all__ = ["FraiLTConfig", "FraiLTForCausalLM", "FraiLTModel", "Layout", "__version__"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(".model", __name__), name)


class _RegisterWithAutoClasses(MetaPathFinder):
    """Registers FraiLT as soon as `transformers` is imported, whoever imports it.

    Registering needs torch, which takes seconds to import: done eagerly it would slow `frailt --help`, done only on
    first use `import frailt` would not be enough for `AutoModelForCausalLM.from_pretrained`. It imports the modelling
    files, and one of those may be what imports `transformers`; so it waits until none of them is half imported.
    """

    def __init__(self) -> None:
        self.running = 0
        """Imports of awaited modules that have begun and not ended."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "transformers" and not fullname.startswith(f"{__name__}.model."):
            return None
        finders = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in finders)), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_then_register(module) -> None:
            self.running += 1
            try:
                execute(module)
            finally:
                self.running -= 1
            if self.running == 0 and "transformers" in sys.modules:
                self.register()

        spec.loader.exec_module = execute_then_register  # type: ignore[method-assign]
        return spec

    def register(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        import_module(".model.auto", __name__)


if "transformers" in sys.modules:
    import_module(".model.auto", __name__)
else:
    sys.meta_path.insert(0, _RegisterWithAutoClasses())
