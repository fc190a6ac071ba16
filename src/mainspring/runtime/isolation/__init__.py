"""Run tasks in processes of their own: warm children of a fork server, each under a keeper that can kill all of it.

The worker starts the *fork server*: a fresh process with one thread that loads the project's tasks and forks. For each
slot it forks a *keeper*, which never runs a task. The keeper forks the *runner*, which runs one task after the other in
its main thread, and watches it: limits, output, processes left behind. Whatever the runner starts, however it hides,
is adopted by the keeper and dies with the run; if a keeper dies the fork server does its work, and all end when the
worker does. Between them go frames: a length, a kind, JSON.
"""
