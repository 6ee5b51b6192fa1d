"""What people see of a running director: logs, and later metrics and notifications."""
