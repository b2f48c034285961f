"""What `amlstore doctor` examines: the installation, and a workspace of any kind."""
