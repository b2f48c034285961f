"""What `import azureml` means after `mlflow_amlstore.install_as_azureml()`: this package under the SDK's names."""
