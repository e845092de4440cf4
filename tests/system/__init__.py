"""The whole house at once: real server, real processes, real jail."""
