"""What the engine's wheel is made of and with; its cache key follows from it. Standard library only."""

import contextlib
import hashlib
import platform
from pathlib import Path

VERSION = "0.3.36"
LOCAL_VERSION = f"{VERSION}+jeeves.1"
SDIST_NAME = f"llama_cpp_python-{VERSION}.tar.gz"
SDIST_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
BUILD_TOOLS = ("cmake>=3.26,<5", "ninja>=1.11,<2", "wheel>=0.43,<1", "scikit-build-core>=0.10,<2")
TARGETS = ("llama", "llama-server", "mtmd")
CONVERTER = ("convert_hf_to_gguf.py", "convert_lora_to_gguf.py", "conversion", "gguf-py/gguf", "gguf-py/LICENSE")

CMAKE_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=ON",
    # Each library exists once, under the name both the linker and the binding look for:
    # a wheel has no symbolic links, and libllama.so -> .so.0 -> .so.0.5.0 would be stored three times.
    "-DCMAKE_PLATFORM_NO_VERSIONED_SONAME=ON",
    "-DCMAKE_BUILD_WITH_INSTALL_RPATH=ON",
    "-DCMAKE_INSTALL_RPATH=$ORIGIN",
    "-DCMAKE_SHARED_LINKER_FLAGS=-s",
    "-DCMAKE_EXE_LINKER_FLAGS=-s",
    "-DGGML_OPENMP=ON",  # llama.cpp's own spin barriers collapse on contended cores (#13079, #29258)
    "-DLLAMA_SUBPROCESS=OFF",  # no shell tools, no router: the server can start no program
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_ALL_WARNINGS=OFF",
    "-DLLAMA_BUILD_COMMON=ON",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_NUMBER=0",
    f"-DLLAMA_BUILD_COMMIT=llama-cpp-python-{VERSION}",
)
NATIVE_OPTIONS = ("-DGGML_NATIVE=ON",)
PORTABLE_X86_OPTIONS = (  # x86-64-v3
    "-DGGML_NATIVE=OFF",
    "-DGGML_SSE42=ON",
    "-DGGML_AVX=ON",
    "-DGGML_AVX2=ON",
    "-DGGML_FMA=ON",
    "-DGGML_F16C=ON",
    "-DGGML_BMI2=ON",
)
PORTABLE_OTHER_OPTIONS = ("-DGGML_NATIVE=OFF",)


def options_for(portable: bool) -> tuple[str, ...]:
    """All options that CMake gets."""
    if not portable:
        return CMAKE_OPTIONS + NATIVE_OPTIONS
    is_x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return CMAKE_OPTIONS + (PORTABLE_X86_OPTIONS if is_x86 else PORTABLE_OTHER_OPTIONS)


def cpu_features() -> str:
    """What ``-march=native`` depends on: the processor's model and features, in a fixed order."""
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in {"flags", "Features", "model", "cpu family", "CPU part"}:
                found.setdefault(name.strip(), " ".join(sorted(value.split())))
    return repr(sorted(found.items())) if found else platform.processor()


def cache_key(portable: bool) -> str:
    """Name of the folder for a wheel of this version, these options and this machine."""
    kind = "portable" if portable else "native"
    parts = (SDIST_SHA256, LOCAL_VERSION, *options_for(portable), *TARGETS, *CONVERTER, *platform.libc_ver())
    described = "\n".join((*parts, "" if portable else cpu_features()))
    digest = hashlib.sha256(described.encode()).hexdigest()[:12]
    return f"llama_cpp_python-{VERSION}-{kind}-{platform.machine()}-{digest}"


def wheel_name() -> str:
    """File name of the wheel; `linux_<machine>` says that it is for this system and no index."""
    return f"llama_cpp_python-{LOCAL_VERSION}-py3-none-linux_{platform.machine()}.whl"
