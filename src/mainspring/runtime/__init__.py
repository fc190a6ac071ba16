"""The processes: scheduler, worker, their loops and the supervisor of both."""
