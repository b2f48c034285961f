"""What `import azureml` finds in a scoring script where Azure ML's own packages aren't installed.

Where they are, they are found first, and this folder adds the modules that they lack.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
