"""One sweep: plan, lock, session, progress."""
