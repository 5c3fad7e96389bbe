"""An index behind HTTP: questions, items, uploads, maps and playlists for the page and for other programs.

`clamp3.server.app.make_app` makes the application, `clamp3.server.run.serve` runs it.
"""
