"""The commands. Each reads its arguments first, and imports a host only when it has something to do."""
