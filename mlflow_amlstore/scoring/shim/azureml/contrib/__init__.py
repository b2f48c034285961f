"""Azure ML's packages beside its SDK, as far as scoring scripts import them."""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
