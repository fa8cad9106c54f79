"""Programs in processes of their own: forked where a fork server runs, started anew elsewhere."""
