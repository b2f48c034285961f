"""What is Azure's alone: its clouds, its workspaces, the limits that it publishes, the roles that it asks for."""
