"""Who may be given the tasks: a user's own model in a small loop, or Codex."""
