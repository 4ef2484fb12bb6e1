"""The plugin, held to vLLM's registry as its documentation has it; vLLM itself is not needed."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from frailt.exports.vllm_plugin import BACKEND, register

ROOT = Path(__file__).parents[2]


@pytest.fixture
def vllm(monkeypatch) -> ModuleType:
    """A module with a registry of models by name, each a text `module:class`."""

    class ModelRegistry:
        models: dict[str, str] = {}  # noqa: RUF012

        @classmethod
        def get_supported_archs(cls):
            return cls.models.keys()

        @classmethod
        def register_model(cls, name: str, model: str) -> None:
            assert name not in cls.models
            cls.models[name] = model

    module = ModuleType("vllm")
    module.ModelRegistry = ModelRegistry
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_the_plugin_registers_the_architecture_with_the_transformers_backend_once(vllm):
    register()
    register()
    assert vllm.ModelRegistry.models == {"FraiLTForCausalLM": BACKEND}
    assert BACKEND == "vllm.model_executor.models.transformers:TransformersForCausalLM"


def test_the_entry_point_is_the_plugin():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [path] = project["entry-points"]["vllm.general_plugins"].values()
    module, _, name = path.partition(":")
    assert getattr(import_module(module), name) is register


def test_the_plugin_is_found_without_importing_torch_or_vllm():
    program = "import sys, frailt.exports.vllm_plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "transformers", "vllm"}
