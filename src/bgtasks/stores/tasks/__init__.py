"""Where jobs, runs and sessions are kept: one backend a module, each behind `TaskStore`."""
