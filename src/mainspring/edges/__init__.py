"""Thin doors: they parse, call one service, and render. They import no store."""
