from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="safeclip_jax",
    version="0.1.0",
    description="CLIP pre-training in JAX that stays safe when the scraped data is poisoned",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["safeclip_jax", "safeclip_jax.*"]),
    package_data={"safeclip_jax": ["templates/*.html"]},
    install_requires=[
        "absl-py>=2.1",
        "flax>=0.12",
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
        "scikit-learn>=1.5",
        "scipy>=1.14",
        "tensorboardX>=2.6.2",
        "tokenizers>=0.22",
        "transformers>=5.0",
    ],
    extras_require={
        "dev": ["hypothesis>=6.100", "mypy>=1.15", "pytest>=8.2", "ruff>=0.12"],
        "torch": ["torch>=2.6"],
        "tfds": ["tensorflow-datasets>=4.9.9", "importlib_resources>=6.4"],
    },
)
