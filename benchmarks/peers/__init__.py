"""Peers, each measured by its own Python with its documented settings; nothing here imports Mainspring."""
